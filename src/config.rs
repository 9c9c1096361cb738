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
pub use values::HOSTNAME;
pub use whisper::WhisperPaths;

/// Path of the configuration if the command line names none. The file need not exist.
pub const DEFAULT_PATH: &str = "/etc/shinken-gatherer/gatherer.toml";

impl Config {
    /// Reads the configuration from `path`, else from [`DEFAULT_PATH`] if that exists, else returns the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        match path {
            Some(path) => Self::parse(path, &file::read(path)?),
            None => Self::load_optional(Path::new(DEFAULT_PATH)),
        }
    }

    /// Reads the configuration from `path`, or returns the defaults if it does not exist. A file that cannot be read is
    /// an error.
    fn load_optional(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            _ => Self::load(Some(path)),
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn default_file_is_optional_but_an_unreadable_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gatherer.toml");
        let load = |path| Config::load_optional(path).map_err(|error| error.to_string());
        assert_eq!(load(&path), Ok(Config::default()));
        symlink("/nonexistent", &path).unwrap();
        let error = load(&path).unwrap_err();
        assert!(
            error.ends_with("/gatherer.toml: No such file or directory (os error 2)"),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
        fs::write(&path, "log_level = 'debug'").unwrap();
        assert_eq!(load(&path).unwrap().log_level, log::LevelFilter::Debug);
        let below = path.join("gatherer.toml");
        assert!(load(&below).unwrap_err().contains(": Not a directory"));
        assert!(load(dir.path()).unwrap_err().ends_with(": not a regular file"));
    }
}
