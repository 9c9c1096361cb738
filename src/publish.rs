//! The one place that publishes: replaces a small file as a whole, in directories where anyone may plant things.
//!
//! The document is written to a temporary file that only this call can have made (`O_EXCL`, random name, same
//! directory) and renamed over the target. `rename` replaces a symbolic link, FIFO or foreign file instead of
//! following it, so nothing planted at either name is ever written through. A directory at the target is refused.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, anyhow};

const TEMPORARY_SUFFIX: &str = ".tmp";
/// Random characters in a temporary name.
const TEMPORARY_RANDOM: usize = 10;

/// Whether a published document must survive a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Flushed to the disk before and after the rename.
    Synced,
    /// Left to the page cache: the file does not outlive the boot anyway.
    Volatile,
}

/// Replaces `path` by `document`, mode 0644. Readers see the old document or the new one, never a part.
///
/// Fails when the directory is missing, not writable, full or read-only, or when `path` is a directory; the old
/// document is then untouched and no temporary file is left.
pub fn publish(path: &Path, document: &str, durability: Durability) -> Result<()> {
    let directory = parent(path)?;
    let mut temporary = tempfile::Builder::new()
        .prefix(&temporary_prefix(path)?)
        .suffix(TEMPORARY_SUFFIX)
        .rand_bytes(TEMPORARY_RANDOM)
        // Opened here because tempfile's own errors name the random path: the same failure would read
        // differently every time, and the log could not tell a new state from an old one.
        .make_in(directory, |path| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
        })
        .with_context(|| format!("creating a temporary file in {directory:?}"))?;
    temporary
        .as_file_mut()
        .write_all(document.as_bytes())
        .and_then(|()| temporary.as_file().set_permissions(Permissions::from_mode(0o644)))
        .and_then(|()| match durability {
            Durability::Synced => temporary.as_file().sync_all(),
            Durability::Volatile => Ok(()),
        })
        .with_context(|| format!("writing a temporary file in {directory:?}"))?;
    temporary
        .persist(path)
        .map_err(|refused| refused.error)
        .with_context(|| format!("replacing {path:?}"))?;
    if durability == Durability::Synced {
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .with_context(|| format!("flushing {directory:?}"))?;
    }
    Ok(())
}

/// Removes a published file. One that is not there is fine, and a directory in its place is none.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
            Err(error).with_context(|| format!("removing {path:?}"))
        }
        _ => Ok(()),
    }
}

/// Removes the temporary files that earlier calls of this user left beside `path`, and says how many: of runs that
/// were killed, or where removing them failed.
///
/// Files of other users and anything but regular files are left alone: they are not ours.
pub fn sweep(path: &Path) -> Result<usize> {
    let directory = parent(path)?;
    let prefix = temporary_prefix(path)?;
    let us = rustix::process::geteuid().as_raw();
    let mut swept = 0;
    for entry in fs::read_dir(directory).with_context(|| format!("reading {directory:?}"))? {
        let entry = entry.with_context(|| format!("reading {directory:?}"))?;
        if !is_temporary_name(&entry.file_name(), &prefix) {
            continue;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() && metadata.uid() == us && fs::remove_file(entry.path()).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

fn parent(path: &Path) -> Result<&Path> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(anyhow!("{path:?} is not the path of a file")),
    }
}

fn temporary_prefix(path: &Path) -> Result<OsString> {
    let name = path
        .file_name()
        .ok_or_else(|| anyhow!("{path:?} is not the path of a file"))?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    Ok(prefix)
}

fn is_temporary_name(name: &OsStr, prefix: &OsStr) -> bool {
    name.as_bytes()
        .strip_prefix(prefix.as_bytes())
        .and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX.as_bytes()))
        .is_some_and(|random| {
            random.len() == TEMPORARY_RANDOM && random.iter().all(u8::is_ascii_alphanumeric)
        })
}
