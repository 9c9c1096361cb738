//! The configuration: `/etc/shinken-gatherer/gatherer.toml`, its defaults, and errors that name file, line and key.
//!
//! `file` reads the text and checks its owner, `document` parses it once and locates keys in it, `schema` and `values`
//! give the keys their types and defaults, and `rules` checks the values together. Only
//! [`WhisperPaths::choose`] accesses configured paths, immediately before a command counts or reads.

mod collectors;
mod document;
mod error;
mod file;
mod location;
mod paths;
mod rules;
mod schema;
mod values;
mod whisper;

use std::path::Path;

pub use collectors::CollectorSettings;
use document::Document;
pub use error::ConfigError;
pub use paths::protected_folder;
pub use schema::*;
pub use whisper::WhisperPaths;

/// Path of the configuration if the command line names none. The file need not exist.
pub const DEFAULT_PATH: &str = "/etc/shinken-gatherer/gatherer.toml";

impl Config {
    /// Reads the configuration from `path`, else from [`DEFAULT_PATH`] if that exists, else returns the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        match path {
            Some(path) => Self::parse(path, &file::read(path)?),
            // The defaults apply only if the file does not exist. A file that cannot be read is an error.
            None => match std::fs::symlink_metadata(DEFAULT_PATH) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
                _ => Self::load(Some(Path::new(DEFAULT_PATH))),
            },
        }
    }

    /// Parses and checks `text`. `file` appears in errors, and no written path may be equal to it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let parsed = Document::parse(text).and_then(|document| {
            let config = document.config()?;
            rules::check(file, &document, &config)?;
            Ok(config)
        });
        parsed.map_err(|mistake| mistake.in_file(file))
    }
}
