//! Reads small text files of procfs and sysfs.

use std::io::Result;
use std::path::Path;

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
