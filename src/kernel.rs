//! Reading the kernel's small text files, those of procfs and sysfs, from roots that are configured: what is there
//! instead of them neither blocks the reader nor fills its memory.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Result, ensure};
use rustix::fs::OFlags;

/// Largest attribute of sysfs: the kernel gives it one page.
const MAX_ATTRIBUTE_BYTES: u64 = 4096;

/// The text of a file. Anything but a regular file, and a larger one, is an error.
pub fn read(path: &Path, most_bytes: u64) -> Result<Vec<u8>> {
    // A FIFO would wait for a writer, and the file may have become one since it was last looked at.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    ensure!(file.metadata()?.is_file(), "not a regular file");
    let mut text = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut text)?;
    ensure!(text.len() as u64 <= most_bytes, "larger than {most_bytes} bytes");
    Ok(text)
}

/// What an attribute of sysfs says, without the white space around it; `None` where there is none, or no text.
pub fn attribute(path: &Path) -> Option<String> {
    let text = String::from_utf8(read(path, MAX_ATTRIBUTE_BYTES).ok()?).ok()?;
    Some(text.trim().to_string())
}
