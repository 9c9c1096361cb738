//! Decides how to count: with which snapshot, and whether to read every directory.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::settings::CountSettings;
use super::snapshot::{Damaged, Join, Reader, Writer, header, settings_key};
use super::totals::FullScan;
use crate::escape::display_path;

/// How to count.
pub struct Plan {
    /// The wall clock, Unix nanoseconds.
    pub now_ns: i64,
    /// The reason to read every directory, if there is one.
    pub full_scan: Option<FullScan>,
    settings_key: Vec<u8>,
    old: Option<Reader>,
    rejected: Option<Damaged>,
}

impl Plan {
    /// Opens the old snapshot unless `use_old` is false.
    pub fn new(settings: &CountSettings, snapshot: Option<&Path>, use_old: bool, wall: SystemTime) -> Self {
        let since_1970 = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ns = i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX);
        let mut plan = Self {
            now_ns,
            settings_key: settings_key(&settings.whisper_dir, &settings.exclude),
            old: None,
            full_scan: Some(FullScan::NoSnapshot),
            rejected: None,
        };
        if !use_old {
            plan.full_scan = Some(FullScan::Requested);
            return plan;
        }
        let opened = snapshot.map(|path| Reader::open(path, &plan.settings_key, now_ns));
        match opened.transpose().map(Option::flatten) {
            Ok(None) => {}
            Ok(Some(old)) => {
                let since_full_scan_ns = now_ns.saturating_sub(old.last_full_scan_ns);
                let is_due = i128::from(since_full_scan_ns) >= settings.full_scan_interval.as_nanos() as i128;
                plan.full_scan = is_due.then_some(FullScan::Interval);
                plan.old = Some(old);
            }
            Err(damaged) => plan.reject(damaged),
        }
        plan
    }

    /// Decides not to use the old snapshot.
    pub fn reject(&mut self, damaged: Damaged) {
        self.full_scan = Some(FullScan::UnusableSnapshot);
        self.rejected = Some(damaged);
    }

    /// Joins the old snapshot, which is then no longer part of the plan, with a new one.
    pub fn join(&mut self, path: Option<&Path>) -> Join {
        let old = self.old.take();
        let last_full_scan = old.as_ref().filter(|_| self.full_scan.is_none());
        let last_full_scan_ns = last_full_scan.map_or(self.now_ns, |old| old.last_full_scan_ns);
        let new = path.map(|path| {
            let header = header(self.now_ns, last_full_scan_ns, &self.settings_key);
            let mut new = Writer::new(path, header, old.as_ref());
            if self.full_scan.is_some() {
                // The header differs.
                new.start(old.as_ref());
            }
            new
        });
        Join { old, new }
    }

    /// Returns the warning for a snapshot at `path` that cannot be used, written or both.
    pub fn snapshot_message(&self, path: &Path, not_written: Option<io::Error>) -> Option<String> {
        let path = display_path(path);
        match (&self.rejected, not_written) {
            (None, None) => None,
            (Some(reason), None) => Some(format!(
                "cannot use snapshot {path}, reading all directories: {reason}"
            )),
            (None, Some(reason)) => Some(format!("cannot write snapshot {path}: {reason}")),
            (Some(unusable), Some(reason)) => Some(format!(
                "cannot use snapshot {path} ({unusable}), cannot replace it: {reason}"
            )),
        }
    }
}
