//! Counts the hosts and metrics of the whisper tree: a pure function of the tree and of the snapshot of the last count.
//!
//! `plan` decides how to count, `walk` goes through the tree, `open_dir` opens and `directory` reads one directory.
//! `snapshot` has the result of the last count and takes that of this one. `pace` limits the CPU share.

mod check;
pub mod collector;
mod directory;
mod open_dir;
mod pace;
mod plan;
pub mod report;
mod snapshot;
mod task;
mod walk;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::config::GraphiteConfig;
use crate::exclude::Exclude;
use crate::report::{Rounded, SCHEMA, Seconds, unix_seconds};
use pace::Pace;
pub use pace::Progress;
use plan::Plan;
pub use report::GraphiteReport;
use snapshot::Damaged;
use walk::Walk;

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

/// The numbers of a count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Directories at the depth of hosts.
    pub hosts: u64,
    /// `*.wsp` entries.
    pub metrics: u64,
    /// Directories that cannot be read.
    pub unreadable: u64,
    /// Directories visited, the whisper directory included.
    pub directories: u64,
    /// Those of them whose entries were read.
    pub directories_read: u64,
    /// Metrics and directories that differ although the stamp of their directory is unchanged.
    pub differences: u64,
}

/// The reason why every directory was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FullScan {
    /// The caller asked for it.
    Requested,
    /// There is no snapshot yet.
    NoSnapshot,
    /// The snapshot cannot be used; a message gives the reason.
    UnusableSnapshot,
    /// The last full scan was `full_scan_interval` ago.
    Interval,
}

/// A finished count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The result.
    pub totals: Totals,
    /// From start to end, pauses included.
    pub duration: Duration,
    /// Time spent working.
    pub busy: Duration,
    /// Set if every directory was read.
    pub full_scan: Option<FullScan>,
    /// Warnings for the log, one line each: the snapshot cannot be used or written, directories became unreadable, a
    /// full scan found differences.
    pub messages: Vec<String>,
}

impl Count {
    /// Returns the document to publish. `interval` is that between counts, `now` the end of this one.
    pub fn report(&self, interval: Duration, now: SystemTime) -> GraphiteReport {
        GraphiteReport {
            schema: SCHEMA,
            updated_at: unix_seconds(now),
            interval_seconds: Seconds(interval),
            hosts: self.totals.hosts,
            metrics: self.totals.metrics,
            unreadable: self.totals.unreadable,
            scan_seconds: Rounded::microseconds(self.duration),
        }
    }
}

/// Counts the whisper tree. Reads the old snapshot at `snapshot` and replaces it by the new one; `None`: neither.
///
/// `use_old = false` ignores the old snapshot, for a full scan. `wall` is the current time, which decides whether a
/// directory is settled and a full scan due. A snapshot that cannot be used or written is a message, never an error. An
/// error (no whisper directory, too few file descriptors, or one of `progress`) leaves no result and the old snapshot as
/// it is. At most one count at a time may use the same snapshot.
pub fn count(
    settings: &CountSettings,
    snapshot: Option<&Path>,
    use_old: bool,
    wall: SystemTime,
    progress: &mut Progress<'_>,
) -> Result<Count> {
    let mut pace = Pace::new(settings.max_busy_percent, progress);
    let exclude = Exclude::new(&settings.exclude)?;
    let mut plan = Plan::new(settings, snapshot, use_old, wall);
    let (totals, mut messages, join) = loop {
        let join = plan.join(snapshot);
        let full_scan = plan.full_scan.is_some();
        let walk = Walk::start(settings, &exclude, full_scan, plan.now_ns, join, &mut pace);
        let error = match walk.and_then(Walk::finish) {
            Ok(walked) => break walked,
            Err(error) => error.downcast::<Damaged>(),
        };
        plan.reject(error.map_err(|error| error.context(format!("counting {:?}", settings.whisper_dir)))?);
    };
    let written = join.finish();
    messages.extend(snapshot.and_then(|path| plan.snapshot_message(path, written.err())));
    if totals.differences > 0 {
        messages.push(format!(
            "full scan found {} entries that changed without a directory timestamp change",
            totals.differences
        ));
    }
    Ok(Count {
        totals,
        duration: pace.duration(),
        busy: pace.busy(),
        full_scan: plan.full_scan,
        messages,
    })
}
