//! Samples of the physical disks, and the log of their changes.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use super::report::{DiskReport, DisksReport, NAME};
use super::{Disks, Sample};
use crate::collector::sampled::{Sampled, Sampler};
use crate::config::{DisksConfig, HostConfig};
use crate::device::Device;
use crate::escape;
use crate::logging::Log;
use crate::moment::{Moment, thread_cpu_time};
use crate::recurring::{Event, Events};
use anyhow::Result;

/// Disks whose changes are logged at a time.
const MAX_CHANGES: usize = 100;
/// Devices whose malformed lines are logged at a time.
const MAX_MALFORMED: usize = 5;

/// A reading that was interrupted for longer than this, and than a hundredth of the time since the last sample, has no exact
/// time.
const MAX_INTERRUPTION: Duration = Duration::from_millis(10);
/// Readings of which one must have an exact time.
const MAX_READINGS: usize = 3;

/// The names and units of `iostat -x`, which administrators know, and the widths. With the name of a disk in 10 columns,
/// the table of `once` has 80.
const COLUMNS: [(&str, usize); 8] = [
    ("%util", 7),
    ("r/s", 7),
    ("w/s", 7),
    ("rkB/s", 8),
    ("wkB/s", 8),
    ("r_await", 8),
    ("w_await", 8),
    ("aqu-sz", 7),
];

/// The disks, and the logged events.
#[derive(Debug)]
pub struct DisksSampler {
    disks: Disks,
    last: Option<Sample>,
    /// When the last sample was taken, or the first one was tried.
    last_at: Option<Instant>,
    /// The disks of the last sample. `None` before the first one.
    names: Option<BTreeSet<String>>,
    changes: Events,
    malformed: Events,
}

impl DisksSampler {
    /// Returns a sampler without samples.
    pub fn new(config: &DisksConfig, host: &HostConfig) -> Self {
        Self {
            disks: Disks::new(config, host),
            last: None,
            last_at: None,
            names: None,
            changes: Events::new(NAME, MAX_CHANGES),
            malformed: Events::new(NAME, MAX_MALFORMED),
        }
    }
}

impl Sampler for DisksSampler {
    type Report = DisksReport;

    /// Reads again if the process was interrupted between the clock and the counters. The growth of the counters would be
    /// that of another time. The text of many thousand disks takes longer to read than an interruption.
    fn sample(&mut self, clock: fn() -> Moment) -> Result<Sampled<DisksReport>> {
        for _ in 0..MAX_READINGS {
            let (now, worked_before) = (clock(), thread_cpu_time());
            let text = self.disks.read()?;
            let passed = clock().monotonic.saturating_duration_since(now.monotonic);
            let worked = thread_cpu_time().saturating_sub(worked_before);
            let last_at = *self.last_at.get_or_insert(now.monotonic);
            let elapsed = now.monotonic.saturating_duration_since(last_at);
            if passed.saturating_sub(worked) > MAX_INTERRUPTION.max(elapsed / 100) {
                continue;
            }
            let mut sample = self.disks.add(now, &text)?;
            let report = sample.report.take();
            (self.last, self.last_at) = (Some(sample), Some(now.monotonic));
            return Ok(report.map_or(Sampled::First, Sampled::Document));
        }
        Ok(Sampled::Skipped)
    }

    fn log_findings(&mut self, now: Instant, log: &mut Log) {
        let names: BTreeSet<_> = self.disks.names().map(String::from).collect();
        let mut changes = Vec::new();
        if let Some(old) = &self.names {
            let added = names.difference(old);
            changes.extend(added.map(|name| (name.clone(), "added")));
            let removed = old.difference(&names);
            changes.extend(removed.map(|name| (name.clone(), "removed")));
        }
        self.names = Some(names);
        let Some(sample) = &self.last else { return };
        let restarted = "was replaced or its counters were reset, restarting its window";
        changes.extend(sample.restarted.iter().map(|name| (name.clone(), restarted)));
        for (disk, change) in &changes {
            let message = format!("disk {disk} {change}");
            let event = Event {
                key: &message,
                disk,
                is_problem: false,
                message: &message,
            };
            self.changes.occurred(&event, now, log);
        }
        self.changes.end_round();
        for malformed in &sample.skipped {
            let event = Event {
                key: &malformed.device,
                disk: &malformed.device,
                is_problem: true,
                message: &format!("{malformed}; device skipped"),
            };
            self.malformed.occurred(&event, now, log);
        }
        if self.malformed.end_round() {
            log.info(NAME, "diskstats has no malformed lines any more", &[]);
        }
    }

    fn notes(&self) -> Vec<String> {
        let malformed = self.last.iter().flat_map(|sample| &sample.skipped);
        malformed
            .map(|malformed| format!("{malformed}; device skipped"))
            .collect()
    }

    fn text(&self, report: &DisksReport) -> String {
        table(report)
    }

    fn set_whisper_devices(&mut self, devices: &[Device]) {
        self.disks.set_whisper_devices(devices.to_vec());
    }
}

fn table(report: &DisksReport) -> String {
    let mut table = format!(
        "{} physical, over {:.1} s",
        report.disks.len(),
        report.window_seconds.get()
    );
    if !report.whisper_disks.is_empty() {
        let disks = escape::escape(&report.whisper_disks.join(", "));
        table += &format!("; whisper tree is on {disks}");
    }
    if report.disks.is_empty() {
        return table;
    }
    let name = |name: &String| escape::escape(name);
    let width = report.disks.keys().map(|disk| name(disk).len()).max();
    let width = width.unwrap_or(0);
    // Writing to a String can't fail.
    let _ = write!(table, "\n{:width$}", "");
    for (column, width) in COLUMNS {
        let _ = write!(table, "{column:>width$}");
    }
    for (disk, values) in &report.disks {
        let _ = write!(table, "\n{:width$}", name(disk));
        for (value, (_, width)) in columns(values).into_iter().zip(COLUMNS) {
            // As many decimals as there is room for.
            let decimals = match value {
                0.0..1000.0 => 2,
                1000.0..10_000.0 => 1,
                _ => 0,
            };
            // A longer value than the column makes the line longer, but stays apart from the one before.
            let width = width - 1;
            let _ = write!(table, " {value:>width$.decimals$}");
        }
    }
    table
}

fn columns(disk: &DiskReport) -> [f64; 8] {
    [
        disk.util_percent.get(),
        disk.reads_per_second.get(),
        disk.writes_per_second.get(),
        disk.read_bytes_per_second.get() / 1024.0,
        disk.write_bytes_per_second.get() / 1024.0,
        disk.read_await_ms.get(),
        disk.write_await_ms.get(),
        disk.queue_size.get(),
    ]
}

#[cfg(test)]
mod tests;
