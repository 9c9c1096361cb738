//! The trait of all published documents, and their numbers.
//!
//! Each document is one JSON object on one line. Field names, types and units are a public format: fields may be added,
//! existing ones never change.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Version of the published format, the `schema` field of every document.
pub const SCHEMA: u32 = 1;
/// A document may be this much older than two of its intervals: a busy machine is late, not stopped.
const GRACE: Duration = Duration::from_secs(30);

/// A document of a collector.
pub trait Report: Debug {
    /// Returns when it was measured, in Unix seconds.
    fn updated_at(&self) -> i64;
    /// Returns the age beyond which a running gatherer would have replaced it.
    fn max_age(&self) -> Duration;
    /// Returns the document as it is published: one JSON object on one line, terminated by a newline.
    fn line(&self) -> String;
    /// Returns its values briefly, for `systemctl status`.
    fn summary(&self) -> String;
    /// Returns its values in one sentence, for the log.
    fn details(&self) -> String {
        self.summary()
    }
    /// Returns how long the collection took, if the document states it.
    fn duration(&self) -> Option<Duration> {
        None
    }
    /// Returns the values for Graphite, each with the nodes of its path below the name of the collector.
    fn values(&self) -> Vec<(Vec<&str>, f64)>;
    /// Returns the rows of `status`.
    fn gauges(&self) -> Vec<Gauge>;
}

/// A row of `status`: `BEFORE NUMBER AFTER ALARM REMARK bar history`.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Name of the value, unique within the document.
    pub name: String,
    /// Text before the number.
    pub before: String,
    /// The value with its unit.
    pub number: String,
    /// Text after the number.
    pub after: String,
    /// The value of which `--watch` shows the history. `None` if it is unknown.
    pub value: Option<f64>,
    /// Range of the history. `None` for the smallest and the largest value so far.
    pub scale: Option<(f64, f64)>,
    /// Limits from which a percentage is doubtful and bad. `None` for a value without a bar.
    pub bar_limits: Option<(f64, f64)>,
    /// Text of an alarm.
    pub alarm: Option<&'static str>,
    /// Further text.
    pub remark: String,
    /// Why the value is unknown or incomplete.
    pub problem: Option<String>,
}

/// Returns the default limit for the age of a document that is replaced every `interval`.
pub fn two_intervals(interval: Duration) -> Duration {
    interval.saturating_mul(2).saturating_add(GRACE)
}

/// A finite number, published with few decimals.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rounded(#[cfg_attr(test, schemars(range(min = 0)))] f64);

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

    /// Returns the value.
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Seconds(#[cfg_attr(test, schemars(with = "f64", range(min = 0)))] pub Duration);

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

/// Returns a document as it is published: one JSON object on one line, terminated by a newline.
pub fn to_line<T: Serialize>(report: &T) -> String {
    let mut line =
        serde_json::to_string(report).expect("a report holds only strings, numbers and maps of them");
    line.push('\n');
    line
}

/// Returns the whole Unix seconds of a wall clock time; 0 before 1970.
pub fn unix_seconds(now: SystemTime) -> i64 {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}
