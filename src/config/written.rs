//! Writes the value of a key as the configuration has it, for [`super::settings`].

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use serde::{Serialize, Serializer};

/// Writes `15m` or `1h 30m`.
pub fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*value))
}

/// Writes the name in lower case.
pub fn log_level<S: Serializer>(value: &LevelFilter, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.as_str().to_ascii_lowercase())
}

/// Writes `""` for none.
pub fn optional_path<S: Serializer>(value: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    value.clone().unwrap_or_default().serialize(serializer)
}
