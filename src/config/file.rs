//! Reading the file, which only root, or the caller, may have written.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::{ConfigError, Mistake};
use super::location::{Location, line_at};
use crate::open::{self, Links};

/// A configuration is a page of text; anything larger is another file, named by mistake.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the file. Returns an error unless it is a regular file that only root or the caller can write, of at most
/// 1 MiB of UTF-8. Owner and mode are those of the opened file, so it does not matter what replaces it meanwhile.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let refuse = |line: Option<usize>, reason: String| {
        let location = Location { line, key: None };
        Mistake { location, reason }.in_file(path)
    };
    let failed = |error: std::io::Error| refuse(None, error.to_string());
    let file = open::for_reading(path, Links::Follow).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check_owner(&metadata).map_err(|reason| refuse(None, reason))?;
    let bytes = open::read_all(&file, MAX_BYTES).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let line = line_at(error.as_bytes(), error.utf8_error().valid_up_to());
        refuse(Some(line), "not UTF-8 text".into())
    })
}

/// Returns the reason if another user than root or the caller owns the file or can write to it. An ACL that lets
/// another user write shows in the mode, too: its mask stands in the place of the group's permissions.
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
