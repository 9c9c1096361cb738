//! The one place that publishes: atomic replacement of a small file in a directory where others may create files.
//!
//! The document is written to a temporary file that only this call can have created (`O_EXCL`, same directory), which is
//! then renamed over the target. `rename` replaces a symbolic link, FIFO or another user's file and follows none.
//!
//! The temporary file of `NAME` is always `.NAME.tmp`, so a killed run leaves at most that one file and the next call
//! replaces it. No directory is ever listed.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{Error, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, flock, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// Tries to lock a directory, and the pause between two, before a random name is used.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// Whether a published document must survive a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Flushed to the disk before and after the rename.
    Synced,
    /// Left to the page cache: the file does not outlive the boot anyway.
    Volatile,
}

/// The mode of a published document.
pub const DOCUMENT_MODE: u32 = 0o644;

/// Replaces `path` by `document`, with this mode whatever the umask is. Readers see the old document or the new one, never a part.
///
/// Fails if the directory does not exist, is not writable, full or read-only, or if `path` is a directory, device or
/// socket. The old document is then unchanged and the temporary file is removed.
pub fn publish(path: &Path, document: &str, durability: Durability, mode: u32) -> Result<()> {
    let (Some(directory_path), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{path:?} is not a file path");
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, directory_path, flags, Mode::empty())
        .map(File::from)
        .map_err(Error::from)
        .with_context(|| format!("opening {directory_path:?}"))?;
    let mut temporary = Temporary::create(&directory, name)
        .map_err(Error::from)
        .with_context(|| format!("creating a temporary file in {directory_path:?}"))?;
    let file = &mut temporary.file;
    file.write_all(document.as_bytes())
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| match durability {
            Durability::Synced => file.sync_all(),
            Durability::Volatile => Ok(()),
        })
        .with_context(|| format!("writing a temporary file in {directory_path:?}"))?;
    // Last, so that a device has little time to appear.
    ensure_replaceable(path)?;
    if let Err(errno) = temporary.rename_to(name) {
        // If one appeared all the same, the error is that of the next call.
        ensure_replaceable(path)?;
        return Err(Error::from(errno)).with_context(|| format!("replacing {path:?}"));
    }
    if durability == Durability::Synced {
        directory
            .sync_all()
            .with_context(|| format!("syncing {directory_path:?}"))?;
    }
    Ok(())
}

/// Removes a published file. Succeeds if the file does not exist or the path is a directory; fails, and removes
/// nothing, if it is a device or a socket.
pub fn remove(path: &Path) -> Result<()> {
    if file_type(path) == Some(FileType::Directory) {
        return Ok(());
    }
    ensure_replaceable(path)
        .and_then(|()| match unlinkat(CWD, path, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::from(errno).into()),
        })
        .with_context(|| format!("removing {path:?}"))
}

/// Fails if a device or socket is at `path`: an output configured as `/dev/null` must not destroy the device, and a
/// socket belongs to a running program. Links and FIFOs are replaced. Directories are left to the system calls.
fn ensure_replaceable(path: &Path) -> Result<()> {
    let found = match file_type(path) {
        Some(FileType::BlockDevice | FileType::CharacterDevice) => "device",
        Some(FileType::Socket) => "socket",
        _ => return Ok(()),
    };
    Err(anyhow!("is a {found}, must be a regular file"))
}

fn file_type(path: &Path) -> Option<FileType> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// A temporary file, removed when dropped unless it was renamed.
struct Temporary<'a> {
    directory: &'a File,
    name: OsString,
    file: File,
    is_renamed: bool,
}

impl<'a> Temporary<'a> {
    /// Creates the temporary file for `target` in `directory`, empty and with mode 0600.
    ///
    /// Its name is `.TARGET.tmp`. A random part is added only if another process publishes in this directory right now,
    /// or if another user's file is at that name and cannot be removed.
    fn create(directory: &'a File, target: &OsStr) -> Result<Self, Errno> {
        let fixed = temporary_name(target, "");
        // The count worker and the daemon may publish in the same directory, each for a few milliseconds.
        let lock = || flock(directory, FlockOperation::NonBlockingLockExclusive).is_ok();
        let is_locked = (0..LOCK_TRIES).any(|_| {
            lock() || {
                sleep(LOCK_PAUSE);
                false
            }
        });
        // Without the lock, another process of ours could be writing to the file that is removed here. It would then
        // rename the new file, which has only a part of a document. Another user who holds the lock delays nothing.
        if is_locked {
            match unlinkat(directory, &fixed, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // Our own file that cannot be removed: random names would accumulate.
                Err(errno) if is_own_file(directory, &fixed) => return Err(errno),
                Err(_) => {}
            }
            match Self::create_new(directory, fixed) {
                Err(Errno::EXIST) => {}
                created => return created,
            }
        }
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        // Ten digits: the configuration leaves 16 bytes for what is added to the longest file name.
        let random = format!(".{:010x}", u64::from_ne_bytes(random) >> 24);
        Self::create_new(directory, temporary_name(target, &random))
    }

    fn create_new(directory: &'a File, name: OsString) -> Result<Self, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(directory, &name, flags, Mode::from_raw_mode(0o600))?.into();
        Ok(Self {
            directory,
            name,
            file,
            is_renamed: false,
        })
    }

    fn rename_to(&mut self, target: &OsStr) -> Result<(), Errno> {
        renameat(self.directory, &self.name, self.directory, target)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.is_renamed {
            let _ = unlinkat(self.directory, &self.name, AtFlags::empty());
        }
    }
}

fn temporary_name(target: &OsStr, random: &str) -> OsString {
    let mut name = OsString::from(".");
    name.push(target);
    name.push(random);
    name.push(".tmp");
    name
}

fn is_own_file(directory: &File, name: &OsStr) -> bool {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_uid == rustix::process::geteuid().as_raw()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn names_in(folder: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn temporary_file_of_a_killed_run_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, temporary) = (folder.path().join("file"), folder.path().join(".file.tmp"));
        let publish = || publish(&path, "{}\n", Durability::Synced, DOCUMENT_MODE).unwrap();
        fs::write(&temporary, "part").unwrap();
        publish();
        assert_eq!(names_in(folder.path()), ["file"]);
        fs::create_dir(&temporary).unwrap();
        publish();
        assert_eq!(names_in(folder.path()), [".file.tmp", "file"]);
    }

    #[test]
    fn failed_publication_leaves_no_file_and_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let assert_fails_at = |path: &Path, reason: &str| {
            let error = publish(path, "{}\n", Durability::Volatile, DOCUMENT_MODE).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
            assert_eq!(names_in(folder.path()), ["file"]);
        };
        let assert_fails = |reason| assert_fails_at(&path, reason);
        fs::create_dir(&path).unwrap();
        assert_fails("Is a directory");
        fs::remove_dir(&path).unwrap();
        let _socket = UnixListener::bind(&path).unwrap();
        assert_fails("is a socket, must be a regular file");
        // Opened as a folder only: a FIFO would block.
        assert_fails_at(&path.join("below"), "/file\": Not a directory");
        assert!(remove(&path).is_err());
        assert_eq!(file_type(&path), Some(FileType::Socket));
    }
}
