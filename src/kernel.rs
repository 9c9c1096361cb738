//! Reading the kernel's small text files, those of procfs and sysfs, below the configured roots.

use std::io::Result;
use std::path::Path;

use crate::open::{self, Links};

/// Largest attribute of sysfs: the kernel gives it one page.
const MAX_ATTRIBUTE_BYTES: u64 = 4096;

/// Reads a file. Returns an error if it is not a regular file or is larger than `max_bytes`.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    open::read_all(&open::for_reading(path, Links::Follow)?, max_bytes)
}

/// Returns an attribute of sysfs without the white space around it; `None` if it can't be read or is not UTF-8.
pub fn attribute(path: &Path) -> Option<String> {
    let text = String::from_utf8(read(path, MAX_ATTRIBUTE_BYTES).ok()?).ok()?;
    Some(text.trim().to_string())
}
