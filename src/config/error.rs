//! Why a configuration was refused, in words.

use std::fmt;
use std::path::PathBuf;

use crate::plain;

/// Why a configuration was refused: the file, the line and the key where they are known, and the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError {
    pub(super) file: PathBuf,
    pub(super) line: Option<usize>,
    pub(super) key: Option<String>,
    pub(super) reason: String,
}

/// On one line of bounded length, whatever the file holds and however it is named.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file.as_os_str().is_empty() {
            true => write!(f, "\"\"")?,
            false => write!(f, "{}", plain::line(&self.file.display().to_string()))?,
        }
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {}", abridged(key, 50, 10))?;
        }
        write!(f, ": {}", abridged(&self.reason, 250, 150))
    }
}

/// The text on one line; where it is long, its first and its last characters.
fn abridged(text: &str, first: usize, last: usize) -> String {
    let text = plain::line(text);
    let start = text.char_indices().nth(first).map(|(index, _)| index);
    let end = text.char_indices().rev().nth(last).map(|(index, _)| index);
    match (start, end) {
        (Some(start), Some(end)) if start < end => format!("{}…{}", &text[..start], &text[end..]),
        _ => text,
    }
}

impl std::error::Error for ConfigError {}
