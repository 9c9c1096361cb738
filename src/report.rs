//! The published documents: what the three files hold, field by field.
//!
//! Each is one JSON object on one line. Field names, types and units are a public format: fields may be added,
//! existing ones never change.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Version of the published format, the `schema` field of every document.
pub const SCHEMA: u32 = 1;

/// %util from which a disk counts as busy throughout: the ends of the window are some milliseconds off.
const HUNG_PERCENT: f64 = 99.0;
/// Shortest window that tells a hung disk from a slow one.
const HUNG_SECONDS: f64 = 10.0;

/// What `whisper.nb_metrics` holds: how much the whisper tree contains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GraphiteReport {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// When the count ended, in Unix seconds.
    pub updated_at: i64,
    /// Configured pause between the end of a count and the start of the next.
    pub interval_seconds: Seconds,
    /// Directories at `host_depth` under the whisper directory.
    pub hosts: u64,
    /// Entries named `*.wsp`, regular files or symbolic links, anywhere under the whisper directory.
    pub metrics: u64,
    /// Directories that could not be read and are missing from `metrics`; left out of the document when 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: u64,
    /// From the start of the count to its end, pauses included.
    pub scan_seconds: Rounded,
}

/// What `__check_graphite_iostats.tmp` holds: how busy each physical disk is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DisksReport {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// When the newest sample was taken, in Unix seconds.
    pub updated_at: i64,
    /// Configured time between two samples.
    pub interval_seconds: Seconds,
    /// Time between the oldest and the newest sample that the values are computed from.
    pub window_seconds: Rounded,
    /// The physical disks, by the name /proc/diskstats gives them.
    pub disks: BTreeMap<String, DiskReport>,
    /// Those of the physical disks that hold the whisper directory; empty where that can't be known.
    pub whisper_disks: Vec<String>,
}

/// One disk over the window, computed as `iostat -x` of sysstat does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskReport {
    /// Share of the time with at least one request in flight, 0 to 100.
    pub util_percent: Rounded,
    /// Reads completed per second.
    pub reads_per_second: Rounded,
    /// Writes completed per second.
    pub writes_per_second: Rounded,
    /// Bytes read per second.
    pub read_bytes_per_second: Rounded,
    /// Bytes written per second.
    pub write_bytes_per_second: Rounded,
    /// Mean time of a read from queueing to completion, in milliseconds; 0 when none completed (as iostat).
    pub read_await_ms: Rounded,
    /// Mean time of a write from queueing to completion, in milliseconds; 0 when none completed (as iostat).
    pub write_await_ms: Rounded,
    /// Mean number of requests queued or in flight (iostat's aqu-sz).
    pub queue_size: Rounded,
    /// This disk's own window where it is shorter than the document's: it appeared or was replaced meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<Rounded>,
}

impl DiskReport {
    /// Whether requests waited throughout the window and none completed, as on a disk or path that is gone.
    ///
    /// `window` is the document's. Kernels before 5.0 count the waiting in the queue, later ones only in %util, so
    /// %util decides. A window of a second or two proves nothing: a disk that spins up needs longer.
    pub fn hangs(&self, window: Rounded) -> bool {
        let completed = self.reads_per_second.get() + self.writes_per_second.get();
        let window = self.window_seconds.unwrap_or(window);
        self.util_percent.get() >= HUNG_PERCENT && completed == 0.0 && window.get() >= HUNG_SECONDS
    }
}

/// What `vmware_stats_export.dat` holds, on VMware virtual machines only: CPU time withheld from this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmwareReport {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// When the newest sample was taken, in Unix seconds.
    pub updated_at: i64,
    /// Configured time between two samples.
    pub interval_seconds: Seconds,
    /// Time the value is computed over; 0 while there is no value.
    pub window_seconds: Rounded,
    /// Always true: the file is written only on VMware virtual machines.
    pub is_vmware: bool,
    /// 100 × ΔCpuStolenMs / ΔElapsedMs, summed over the vCPUs (esxtop's %RDY), so it may exceed 100.
    pub cpu_ready_percent: Option<Rounded>,
    /// The same divided by the number of vCPUs.
    pub cpu_ready_percent_per_vcpu: Option<Rounded>,
    /// CPUs online in this machine, or null where sysfs does not tell.
    pub vcpus: Option<u32>,
    /// Why there is no value, or null.
    pub error: Option<String>,
}

/// A finite number, published with few decimals.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Rounded(f64);

impl Rounded {
    /// Rounds to three decimals. The callers divide by positive numbers only, so `value` is finite.
    pub fn new(value: f64) -> Self {
        debug_assert!(value.is_finite(), "a published number is not finite");
        Self((value * 1000.0).round() / 1000.0)
    }

    /// Rounds a duration to microseconds: counting a small tree takes less than a millisecond.
    pub fn microseconds(duration: Duration) -> Self {
        Self(duration.as_micros() as f64 / 1e6)
    }

    /// The value as a plain number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl From<Duration> for Rounded {
    fn from(duration: Duration) -> Self {
        Self::new(duration.as_secs_f64())
    }
}

/// A configured duration: whole seconds are written as an integer, others with their fraction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let duration = Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)?;
        Ok(Self(duration))
    }
}

/// The document as it is published: one JSON object on one line, ended by a newline.
pub fn to_line<T: Serialize>(report: &T) -> String {
    let mut line =
        serde_json::to_string(report).expect("a report holds only strings, numbers and maps of them");
    line.push('\n');
    line
}

/// Whole Unix seconds of a wall clock time; 0 for a clock before 1970.
pub fn unix_seconds(now: SystemTime) -> i64 {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
