//! The configuration: `/etc/shinken-gatherer/gatherer.toml`, its defaults, and errors that name file, line and key.
//!
//! `source` and `file` read the text and check its owner, `document` parses it once and locates keys in it, `schema` and
//! `values` give the keys their types and defaults, `rules` checks the values together, `export` loads templates, and `hints` explains mistakes.
//! `settings` lists the keys. Only [`WhisperPaths::choose`] accesses configured paths, immediately before a command
//! counts or reads.

mod collectors;
mod document;
mod error;
mod export;
mod file;
mod hints;
mod location;
mod paths;
mod rules;
mod schema;
mod settings;
mod source;
mod values;
mod whisper;
mod written;

pub use collectors::CollectorSettings;
pub use error::ConfigError;
pub(crate) use export::SNAPSHOT;
pub use paths::{protected_folder, without_dots};
pub use schema::*;
pub use settings::Setting;
pub use source::{DEFAULT_PATH, Source};
pub use values::HOSTNAME;
pub use whisper::WhisperPaths;
