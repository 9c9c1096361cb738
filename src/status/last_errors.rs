//! The last error or warning of each collector, from the log file.

use std::io::{Read, Result, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::open::{self, Links};

/// The end of a log file that is searched, in bytes: some thousand lines.
const SEARCHED_BYTES: u64 = 256 << 10;

/// The ends of the log file and of its last rotation.
#[derive(Debug)]
pub struct LogEnd {
    lines: Vec<String>,
}

impl LogEnd {
    /// Reads them. Returns an error if the log file cannot be read.
    pub fn read(log_file: &Path) -> Result<Self> {
        let mut rotated = log_file.as_os_str().to_os_string();
        rotated.push(".1");
        let text = end_of(&PathBuf::from(rotated)).unwrap_or_default() + &end_of(log_file)?;
        let lines = text.lines().map(String::from).collect();
        Ok(Self { lines })
    }

    /// Returns the last error or warning of a collector, with its time.
    pub fn last_error(&self, collector: &str) -> Option<&str> {
        let mut lines = self.lines.iter().rev().map(String::as_str);
        lines.find(|line| match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            [_, "ERROR" | "WARN", name, _] => name.strip_suffix(':') == Some(collector),
            _ => false,
        })
    }
}

fn end_of(path: &Path) -> Result<String> {
    let mut file = open::for_reading(path, Links::Reject)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SEARCHED_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(SEARCHED_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
