//! A configuration file as it was read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::document::Document;
use super::error::ConfigError;
use super::schema::Config;
use super::{file, rules};

/// Path of the configuration if the command line names none. The file need not exist.
pub const DEFAULT_PATH: &str = "/etc/shinken-gatherer/gatherer.toml";

/// The text of a configuration file, which need not be valid.
#[derive(Debug)]
pub struct Source {
    /// The path of the file.
    pub path: PathBuf,
    /// `None` if the file does not exist and need not.
    text: Option<String>,
}

impl Source {
    /// Reads `path`, else [`DEFAULT_PATH`] if that exists. A file that cannot be read is an error.
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        match path {
            Some(path) => Ok(Self {
                path: path.into(),
                text: Some(file::read(path)?),
            }),
            None => Self::read_optional(Path::new(DEFAULT_PATH)),
        }
    }

    /// Reads `path` if it exists.
    pub fn read_optional(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self {
                path: path.into(),
                text: None,
            }),
            _ => Self::read(Some(path)),
        }
    }

    /// Returns whether there is a file.
    pub fn exists(&self) -> bool {
        self.text.is_some()
    }

    /// Parses and checks the text.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let Some(text) = &self.text else {
            return Ok(Config::default());
        };
        let parsed = Document::parse(text).and_then(|document| {
            let config = document.config()?;
            rules::check(&self.path, &document, &config)?;
            Ok(config)
        });
        parsed.map_err(|mistake| mistake.in_file(&self.path))
    }

    /// Returns the lines that set each of these keys, given as table and key; `None` for a key that is not set.
    pub fn lines_of<'k>(&self, keys: impl Iterator<Item = (&'k str, &'k str)>) -> Vec<Option<usize>> {
        let document = self.text.as_deref().and_then(|text| Document::parse(text).ok());
        keys.map(|(table, key)| document.as_ref()?.location_of(table, key, None)?.line)
            .collect()
    }
}

impl Config {
    /// Reads the configuration from `path`, else from [`DEFAULT_PATH`] if that exists, else returns the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        Source::read(path)?.config()
    }

    /// Parses and checks `text`. `file` appears in errors, and no written path may be equal to it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let (path, text) = (file.into(), Some(text.into()));
        Source { path, text }.config()
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
        let load = |path| {
            let config = Source::read_optional(path).and_then(|source| source.config());
            config.map_err(|error| error.to_string())
        };
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
