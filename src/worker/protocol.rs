//! The messages between the daemon and the count worker: one line of JSON each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Config, ExportConfig, SNAPSHOT};
use crate::device::Device;
use crate::graphite::{Count, CountSettings, GraphiteReport};

/// Longest report, in bytes: a count lists a few unreadable paths.
pub const MAX_REPORT_BYTES: usize = 1 << 20;

/// The task of a worker, and all of its input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Whether to count; otherwise the worker only reports the place of the tree.
    pub counts: bool,
    /// The configured whisper directory. If it is not set, the worker chooses one.
    pub whisper_dir: Option<PathBuf>,
    /// The configured output. If it is not set, the whisper directory gives it.
    pub output: Option<PathBuf>,
    /// Folder of the snapshot and of the workers' lock.
    pub state_dir: Option<PathBuf>,
    /// Whether to use the old snapshot; otherwise every directory is read.
    pub use_snapshot: bool,
    /// From the end of a count to the start of the next: a field of the document.
    pub interval: Duration,
    /// The settings of the count, except for the whisper directory.
    pub settings: CountSettings,
    /// Mount point of procfs.
    pub proc: PathBuf,
    /// Mount point of sysfs.
    pub sys: PathBuf,
    /// The exports that are made from the count alone.
    pub exports: Vec<ExportConfig>,
    /// Files by their key: no file that the worker publishes must be one of them.
    pub other_files: Vec<(String, PathBuf)>,
}

impl Request {
    /// Returns the request for a configuration.
    pub fn new(config: &Config) -> Self {
        let graphite = &config.graphite;
        let state_dir = &config.state_dir;
        let exports = config.export.iter().cloned();
        let (exports, others): (Vec<_>, Vec<_>) = exports.partition(ExportConfig::is_of_count);
        let mut other_files = config.local_files();
        other_files.extend(others.into_iter().map(ExportConfig::named_path));
        Self {
            counts: graphite.enabled,
            whisper_dir: graphite.whisper_dir.clone(),
            output: graphite.output.clone(),
            state_dir: state_dir.clone(),
            use_snapshot: true,
            interval: graphite.interval,
            // The worker chooses the directory.
            settings: CountSettings::new(graphite, Path::new("")),
            proc: config.host.proc.clone(),
            sys: config.host.sys.clone(),
            exports,
            other_files,
        }
    }

    /// Returns the path of the snapshot; `None` without a state folder.
    pub fn snapshot(&self) -> Option<PathBuf> {
        Some(self.state_dir.as_ref()?.join(SNAPSHOT))
    }

    /// Returns the settings of the count of `whisper_dir`.
    pub fn settings_for(&self, whisper_dir: &Path) -> CountSettings {
        CountSettings {
            whisper_dir: whisper_dir.to_path_buf(),
            ..self.settings.clone()
        }
    }
}

/// The reports of a worker, in the order of its work.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Another worker holds the state folder. It is the last report.
    Busy,
    /// The state folder cannot be used, for this reason.
    NoState(String),
    /// The place of the tree.
    Tree(Tree),
    /// The count goes on. Sent about once a second.
    Progress,
    /// The count is complete, but not published yet.
    Counted(Box<Count>, GraphiteReport),
    /// The export at this path is published, or why it is not.
    Exported(PathBuf, Option<String>),
    /// The document is published. It is the last report.
    Published,
    /// The document could not be published. It is the last report.
    NotPublished {
        /// What failed, with its cause.
        error: String,
        /// The cause alone.
        cause: String,
    },
    /// There is no count, for this reason. It is the last report.
    Failed(String),
}

/// The place of the whisper tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The whisper directory.
    pub whisper_dir: PathBuf,
    /// The published file that belongs to it.
    pub output: PathBuf,
    /// The devices of its file system. Empty if they are unknown or if there is no such directory.
    pub devices: Vec<Device>,
    /// Whether it is mounted read-only, as in the service's sandbox. `None` if there is no such directory.
    pub is_read_only: Option<bool>,
}
