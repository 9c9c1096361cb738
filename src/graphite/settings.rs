//! The settings that a count depends on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::GraphiteConfig;

/// A directory changed less than this before it was read may change again without a new time: file systems round
/// times to as much as 2 s (FAT), and the kernel's own clock ticks every few milliseconds.
const SETTLING_TIME: Duration = Duration::from_secs(2);

/// The settings that a count depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountSettings {
    /// The directory that is counted; may be a symbolic link.
    pub whisper_dir: PathBuf,
    /// Depth below it at which directories are hosts, 1 or more.
    pub host_depth: u32,
    /// Gitignore patterns of entries to skip, relative to it.
    pub exclude: Vec<String>,
    /// Largest share of the time that the count works, from 1 to 100 percent.
    pub max_busy_percent: u32,
    /// Every directory is read at least this often.
    pub full_scan_interval: Duration,
    /// A directory changed less than this before the count is read again by the next one.
    pub settling_time: Duration,
}

impl CountSettings {
    /// Returns the settings of `config` for this directory.
    pub fn new(config: &GraphiteConfig, whisper_dir: &Path) -> Self {
        Self {
            whisper_dir: whisper_dir.to_path_buf(),
            host_depth: config.host_depth,
            exclude: config.exclude.clone(),
            max_busy_percent: config.max_busy_percent,
            full_scan_interval: config.full_scan_interval,
            settling_time: SETTLING_TIME,
        }
    }
}
