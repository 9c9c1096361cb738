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
mod settings;
mod snapshot;
mod task;
mod totals;
mod walk;

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::exclude::Exclude;
use crate::report::{Rounded, SCHEMA, Seconds, unix_seconds};
use pace::Pace;
pub use pace::{Progress, every_second};
use plan::Plan;
pub use report::GraphiteReport;
pub use settings::CountSettings;
use snapshot::Damaged;
pub use totals::{FullScan, Totals};
use walk::Walk;

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
