//! Reads the file, which must be writable only by root or the caller.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::{ConfigError, Mistake};
use super::location::{Location, line_at};
use crate::open::{self, Links};

/// A configuration is a page of text. A larger file was named by mistake.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the file. Returns an error unless it is a regular file that only root or the caller can write, of at most
/// 1 MiB of UTF-8. Checks owner and mode of the opened file, so replacing the path meanwhile has no effect.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let reject = |line: Option<usize>, reason: String| {
        let location = Location { line, key: None };
        Mistake { location, reason }.in_file(path)
    };
    let failed = |error: std::io::Error| reject(None, error.to_string());
    let file = open::for_reading(path, Links::Follow).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check_owner(&metadata).map_err(|reason| reject(None, reason))?;
    let bytes = open::read_all(&file, MAX_BYTES).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let line = line_at(error.as_bytes(), error.utf8_error().valid_up_to());
        reject(Some(line), "not valid UTF-8".into())
    })
}

/// Returns the reason if another user than root or the caller owns the file or can write to it. An ACL that lets
/// another user write is visible in the mode: the group permissions are then its mask.
fn check_owner(metadata: &Metadata) -> Result<(), String> {
    let caller = rustix::process::geteuid().as_raw();
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if [0, caller].contains(&owner) && mode & 0o022 == 0 {
        return Ok(());
    }
    let owners = match caller {
        0 => "root".to_string(),
        caller => format!("root or user {caller}"),
    };
    Err(format!(
        "owner is user {owner} and mode is {mode:04o}, must be owned by {owners} and not writable by group or others"
    ))
}
