//! Reads small text files of procfs and sysfs.

use std::ffi::{OsStr, OsString};
use std::io::Result;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Dir, Mode, OFlags};

use crate::open::{self, Links};

/// The kernel limits sysfs attributes to one page.
const MAX_ATTRIBUTE_BYTES: u64 = 4096;

/// Reads a file. Returns an error if it is not a regular file or is larger than `max_bytes`.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    open::read_all(&open::for_reading(path, Links::Follow)?, max_bytes)
}

/// Returns a sysfs attribute, trimmed; `None` if it cannot be read or is not UTF-8.
pub fn attribute(path: &Path) -> Option<String> {
    let text = String::from_utf8(read(path, MAX_ATTRIBUTE_BYTES).ok()?).ok()?;
    Some(text.trim().to_string())
}

/// Opens a folder.
pub fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(Into::into)
}

/// Returns the names in a folder; none if it cannot be read. At each sample, the 32 KB that std takes for this would enlarge
/// the heap of the daemon.
pub fn names(path: &Path) -> Vec<OsString> {
    let entries = open_folder(path).ok().and_then(|folder| Dir::new(folder).ok());
    let names = entries.into_iter().flatten().flatten();
    let names = names.map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_os_string());
    names.filter(|name| name != "." && name != "..").collect()
}
