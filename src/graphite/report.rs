//! The document `whisper.nb_metrics`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::{Gauge, Report, Rounded, Seconds, to_line, two_intervals};

/// The name of the collector.
pub const NAME: &str = "graphite";

/// The numbers of hosts and metrics in the whisper tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GraphiteReport {
    /// Always 1.
    #[cfg_attr(test, schemars(extend("const" = 1)))]
    pub schema: u32,
    /// When the count ended, in Unix seconds.
    pub updated_at: i64,
    /// Configured pause between the end of a count and the start of the next.
    pub interval_seconds: Seconds,
    /// Directories at `host_depth` under the whisper directory.
    pub hosts: u64,
    /// Entries named `*.wsp`, regular files or symbolic links, anywhere under the whisper directory.
    pub metrics: u64,
    /// Directories that could not be read and are missing from `metrics`; omitted if 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: u64,
    /// From the start of the count to its end, pauses included.
    pub scan_seconds: Rounded,
}

impl GraphiteReport {
    /// Returns a remark on directories that are not counted; empty without any.
    pub fn unreadable_remark(&self) -> String {
        match self.unreadable {
            0 => String::new(),
            unreadable => format!(", {unreadable} unreadable directories"),
        }
    }
}

impl Report for GraphiteReport {
    fn updated_at(&self) -> i64 {
        self.updated_at
    }

    /// The interval is from the end of a count to the start of the next, so the count itself adds to it.
    fn max_age(&self) -> Duration {
        let scan = self.duration().unwrap_or_default();
        two_intervals(self.interval_seconds.0.saturating_add(scan))
    }

    fn duration(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.scan_seconds.get()).ok()
    }

    fn line(&self) -> String {
        to_line(self)
    }

    fn summary(&self) -> String {
        format!("{} hosts, {} metrics", self.hosts, self.metrics)
    }

    fn values(&self) -> Vec<(Vec<&str>, f64)> {
        vec![
            (vec!["hosts"], self.hosts as f64),
            (vec!["metrics"], self.metrics as f64),
            (vec!["scan_seconds"], self.scan_seconds.get()),
        ]
    }

    fn gauges(&self) -> Vec<Gauge> {
        let gauge = |name: &str, value: u64, remark: String| Gauge {
            name: name.into(),
            number: format!("{value:>9}"),
            after: format!(" {name}"),
            value: Some(value as f64),
            remark,
            ..Gauge::default()
        };
        let remark = format!(
            ", counted in {} s{}",
            self.scan_seconds.get(),
            self.unreadable_remark()
        );
        vec![
            gauge("metrics", self.metrics, remark),
            gauge("hosts", self.hosts, String::new()),
        ]
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
