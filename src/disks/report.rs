//! The document `__check_graphite_iostats.tmp`.

use std::cmp::Ordering::Equal;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::{Gauge, Report, Rounded, Seconds, to_line, two_intervals};

/// The name of the collector.
pub const NAME: &str = "disks";

/// %util from which a disk is doubtful and from which it is too busy, in `status`.
const UTIL_LIMITS: (f64, f64) = (70.0, 90.0);
/// %util of a disk that is busy throughout: the ends of the window are inexact by some milliseconds.
const HUNG_PERCENT: f64 = 99.0;
/// Shortest window that tells a hung disk from a slow one.
const HUNG_SECONDS: f64 = 10.0;

/// The activity of each physical disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DisksReport {
    /// Always 1.
    #[cfg_attr(test, schemars(extend("const" = 1)))]
    pub schema: u32,
    /// When the newest sample was taken, in Unix seconds.
    pub updated_at: i64,
    /// Configured time between two samples.
    pub interval_seconds: Seconds,
    /// Time between the oldest and the newest sample that the values are computed from.
    pub window_seconds: Rounded,
    /// The physical disks, by the name /proc/diskstats gives them.
    pub disks: BTreeMap<String, DiskReport>,
    /// The physical disks that hold the whisper directory; empty if unknown.
    pub whisper_disks: Vec<String>,
}

/// One disk over the window, computed as `iostat -x` of sysstat does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DiskReport {
    /// Share of the time with at least one request in flight, 0 to 100.
    #[cfg_attr(test, schemars(range(min = 0, max = 100)))]
    pub util_percent: Rounded,
    /// Reads completed per second.
    pub reads_per_second: Rounded,
    /// Writes completed per second.
    pub writes_per_second: Rounded,
    /// Bytes read per second.
    pub read_bytes_per_second: Rounded,
    /// Bytes written per second.
    pub write_bytes_per_second: Rounded,
    /// Mean time of a read from queueing to completion, in milliseconds; 0 if none completed (as iostat).
    pub read_await_ms: Rounded,
    /// Mean time of a write from queueing to completion, in milliseconds; 0 if none completed (as iostat).
    pub write_await_ms: Rounded,
    /// Mean number of requests queued or in flight (iostat's aqu-sz).
    pub queue_size: Rounded,
    /// The window of a disk that was added or replaced during the window of the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Rounded"))]
    pub window_seconds: Option<Rounded>,
}

impl DiskReport {
    /// Returns whether requests waited throughout the window and none completed, as on a removed disk or path.
    ///
    /// `window` is that of the document. Kernels before 5.0 count waiting requests in the queue size, later ones only
    /// in %util, so %util decides. The window must be longer than a disk needs to spin up.
    pub fn hangs(&self, window: Rounded) -> bool {
        let completed = self.reads_per_second.get() + self.writes_per_second.get();
        let window = self.window_seconds.unwrap_or(window);
        self.util_percent.get() >= HUNG_PERCENT && completed == 0.0 && window.get() >= HUNG_SECONDS
    }
}

/// Alarm of a disk that hangs.
pub const HUNG: &str = "HUNG: requests queued, none completed";

impl Report for DisksReport {
    fn updated_at(&self) -> i64 {
        self.updated_at
    }

    fn max_age(&self) -> Duration {
        two_intervals(self.interval_seconds.0)
    }

    fn line(&self) -> String {
        to_line(self)
    }

    fn summary(&self) -> String {
        if self.disks.is_empty() {
            return "no physical disks".into();
        }
        let disks = self
            .disks
            .iter()
            .map(|(name, disk)| format!("{name} {:.1}", disk.util_percent.get()));
        format!("%util {}", disks.collect::<Vec<_>>().join(", "))
    }

    fn details(&self) -> String {
        let whisper_disks = match self.whisper_disks.is_empty() {
            true => "unknown disks".into(),
            false => self.whisper_disks.join(", "),
        };
        let window = self.window_seconds.get();
        format!(
            "{} over {window:.1} s; whisper tree is on {whisper_disks}",
            self.summary()
        )
    }

    fn values(&self) -> Vec<(Vec<&str>, f64)> {
        let values = self.disks.iter().flat_map(|(name, disk)| {
            [
                ("util_percent", disk.util_percent),
                ("read_await_ms", disk.read_await_ms),
                ("write_await_ms", disk.write_await_ms),
                ("queue_size", disk.queue_size),
            ]
            .map(|(key, value)| (vec![name.as_str(), key], value.get()))
        });
        values.collect()
    }

    fn gauges(&self) -> Vec<Gauge> {
        if self.disks.is_empty() {
            return vec![Gauge {
                after: self.summary(),
                ..Gauge::default()
            }];
        }
        let width = self.disks.keys().map(|name| name.chars().count()).max();
        let width = width.unwrap_or(0);
        // The busiest first. The sort is stable: equal disks stay in the order of their names.
        let mut disks: Vec<_> = self.disks.iter().collect();
        disks.sort_by(|(_, a), (_, b)| b.util_percent.partial_cmp(&a.util_percent).unwrap_or(Equal));
        let gauge = |(name, disk): (&String, &DiskReport)| {
            let util = disk.util_percent.get();
            let (read, write) = (disk.read_await_ms.get(), disk.write_await_ms.get());
            let queue = disk.queue_size.get();
            let whisper = match self.whisper_disks.contains(name) {
                true => ", whisper tree",
                false => "",
            };
            Gauge {
                name: name.clone(),
                before: format!("{name:<width$} "),
                number: format!("{util:>5.1}%"),
                after: " util".into(),
                value: Some(util),
                scale: Some((0.0, 100.0)),
                bar_limits: Some(UTIL_LIMITS),
                alarm: disk.hangs(self.window_seconds).then_some(HUNG),
                remark: format!(", r/w await {read:.1}/{write:.1} ms, queue {queue:.2}{whisper}"),
                problem: None,
            }
        };
        disks.into_iter().map(gauge).collect()
    }
}
