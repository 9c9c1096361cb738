//! Errors of the configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use super::location::Location;
use crate::escape;

/// A mistake in a text: its location and the reason for rejecting it.
#[derive(Debug)]
pub struct Mistake {
    pub location: Location,
    pub reason: String,
}

impl Mistake {
    /// Adds the file whose text it is.
    pub fn in_file(self, file: &Path) -> ConfigError {
        ConfigError {
            file: file.to_path_buf(),
            location: self.location,
            reason: self.reason,
        }
    }
}

/// Why a configuration was rejected: the file, the line and the key if they are known, and the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError {
    file: PathBuf,
    location: Location,
    reason: String,
}

/// Writes one escaped line of limited length.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file.as_os_str().is_empty() {
            true => write!(f, "\"\"")?,
            false => write!(f, "{}", escape::escape(&self.file.display().to_string()))?,
        }
        if let Some(line) = self.location.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.location.key {
            write!(f, ": {}", abridged(key, 50, 10))?;
        }
        write!(f, ": {}", abridged(&self.reason, 250, 150))
    }
}

/// Returns the text on one line; if it is long, its first and its last characters.
fn abridged(text: &str, first: usize, last: usize) -> String {
    let text = escape::escape(text);
    let start = text.char_indices().nth(first).map(|(index, _)| index);
    let end = text.char_indices().rev().nth(last).map(|(index, _)| index);
    match (start, end) {
        (Some(start), Some(end)) if start < end => format!("{}…{}", &text[..start], &text[end..]),
        _ => text,
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_abridged_if_that_makes_it_shorter() {
        let numbers = |count| ('一'..).take(count).collect::<String>();
        let long = numbers(62);
        for length in [0, 50, 51, 60, 61] {
            assert_eq!(abridged(&numbers(length), 50, 10), numbers(length));
        }
        let end: String = long.chars().skip(51).collect();
        assert_eq!(abridged(&long, 50, 10), format!("{}…{end}", numbers(50)));
    }
}
