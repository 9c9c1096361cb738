//! Reads small text files of procfs and sysfs.

use std::ffi::{OsStr, OsString};
use std::io::Result;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, RawDir};

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
    let mut names = Vec::new();
    let Ok(folder) = open_folder(path) else {
        return names;
    };
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(OsStr::from_bytes(name).to_os_string()),
        }
    }
    names
}
