//! Reads the published files without trusting them, parses them and checks their age.
//!
//! `check` and `status` both use this module, so that they accept the same files and call the same ones outdated.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::open::{self, Links};
use crate::report::{Report, SCHEMA, unix_seconds};
use crate::trusted_users::TrustedUsers;

/// Largest document that is read: the disks of a full /proc/diskstats of 4 MiB, some 60,000, have 15 MB.
const MAX_BYTES: u64 = 16 << 20;
/// A timestamp may be this far in the future: clocks are corrected in small steps.
const MAX_AHEAD_SECONDS: i64 = 60;

/// Why there is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// There is no such file.
    NotFound,
    /// The file is not accepted or malformed, for this reason.
    Rejected(String),
}

/// How old a document is and how old it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Seconds since it was measured; negative if the timestamp is in the future.
    pub seconds: i64,
    /// The age up to which it is fresh.
    pub limit: Duration,
}

impl Age {
    /// Returns the age of `document` at `now`. The limit is `max_age`, else that of the document.
    pub fn of(document: &dyn Report, now: SystemTime, max_age: Option<Duration>) -> Self {
        Self {
            seconds: unix_seconds(now).saturating_sub(document.updated_at()),
            limit: max_age.unwrap_or_else(|| document.max_age()),
        }
    }

    /// Returns whether the document is up to date.
    pub fn is_fresh(self) -> bool {
        self.seconds >= -MAX_AHEAD_SECONDS && self.passed() <= self.limit
    }

    /// Returns the age; 0 if the timestamp is in the future.
    pub fn passed(self) -> Duration {
        Duration::from_secs(self.seconds.max(0).unsigned_abs())
    }

    /// Returns the reason if the document is outdated.
    pub fn outdated(self) -> Option<String> {
        if self.is_fresh() {
            None
        } else if self.seconds < 0 {
            let ahead = Duration::from_secs(self.seconds.unsigned_abs());
            let ahead = humantime::format_duration(ahead);
            Some(format!("outdated: timestamp is {ahead} in the future"))
        } else {
            let (age, limit) = (
                humantime::format_duration(self.passed()),
                humantime::format_duration(in_seconds(self.limit)),
            );
            Some(format!("outdated: {age} old, the limit is {limit}"))
        }
    }
}

/// Drops the fraction of durations of a second or more.
fn in_seconds(duration: Duration) -> Duration {
    match duration.as_secs() {
        0 => duration,
        seconds => Duration::from_secs(seconds),
    }
}

/// Reads and parses the document at `path`, as [`read_bytes`] does.
pub fn read<T: DeserializeOwned>(path: &Path, trusted: &TrustedUsers) -> Result<T, ReadError> {
    parse(&read_bytes(path, trusted)?).map_err(ReadError::Rejected)
}

/// Reads a regular file of a trusted user, of at most 16 MiB. Links are not followed.
pub fn read_bytes(path: &Path, trusted: &TrustedUsers) -> Result<Vec<u8>, ReadError> {
    let reject = |error: std::io::Error| ReadError::Rejected(error.to_string());
    let file = open::for_reading(path, Links::Reject).map_err(|error| match error.kind() {
        ErrorKind::NotFound => ReadError::NotFound,
        _ => reject(error),
    })?;
    let owner = file.metadata().map_err(reject)?.uid();
    trusted.check(owner).map_err(ReadError::Rejected)?;
    open::read_all(&file, MAX_BYTES).map_err(reject)
}

/// Parses a document. Returns why it is malformed.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    let malformed = |error: serde_json::Error| format!("malformed: {error}");
    // First the version alone: in a later one, the same names may have another meaning.
    let Schema { schema } = serde_json::from_slice(bytes).map_err(malformed)?;
    if schema != SCHEMA {
        return Err(format!("unsupported schema {schema}, expected {SCHEMA}"));
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disks::DisksReport;
    use crate::graphite::GraphiteReport;

    const DISKS: &str = r#"{"schema":1,"updated_at":1000,"interval_seconds":10,"window_seconds":60.0,"disks":{},
        "whisper_disks":[],"added_later":[{}]}"#;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn age_limit_is_that_of_the_document_or_the_given_one() {
        let disks: DisksReport = parse(DISKS.as_bytes()).unwrap();
        assert!(Age::of(&disks, at(1050), None).is_fresh());
        assert!(!Age::of(&disks, at(1051), None).is_fresh());
        assert!(Age::of(&disks, at(1300), Some(Duration::from_secs(300))).is_fresh());
        assert!(!Age::of(&disks, at(1003), Some(Duration::from_secs(2))).is_fresh());
        let outdated = Age::of(&disks, at(1120), None).outdated().unwrap();
        assert_eq!(outdated, "outdated: 2m old, the limit is 50s");
    }

    #[test]
    fn document_from_the_future_is_fresh_up_to_a_minute() {
        let disks: DisksReport = parse(DISKS.as_bytes()).unwrap();
        assert!(Age::of(&disks, at(940), None).is_fresh());
        let age = Age::of(&disks, at(400), None);
        assert_eq!(age.passed(), Duration::ZERO);
        assert_eq!(
            age.outdated().unwrap(),
            "outdated: timestamp is 10m in the future"
        );
        let never = DISKS.replace("1000", "-9223372036854775808");
        let never: DisksReport = parse(never.as_bytes()).unwrap();
        assert!(!Age::of(&never, at(1000), None).is_fresh());
    }

    #[test]
    fn count_is_fresh_up_to_two_intervals_and_two_counts() {
        let text =
            r#"{"schema":1,"updated_at":1,"interval_seconds":0.5,"hosts":1,"metrics":2,"scan_seconds":100}"#;
        let count: GraphiteReport = parse(text.as_bytes()).unwrap();
        assert_eq!(count.max_age(), Duration::from_secs(231));
        assert_eq!(count.duration(), Some(Duration::from_secs(100)));
        assert_eq!(count.details(), "1 hosts, 2 metrics");
        let disks: DisksReport = parse(DISKS.as_bytes()).unwrap();
        assert_eq!(disks.duration(), None, "is not stated");
    }

    #[test]
    fn invalid_document_is_rejected_with_a_reason() {
        for (text, reason) in [
            ("", "malformed: EOF"),
            ("[1]", "malformed: invalid"),
            (&DISKS[..60], "malformed: EOF"),
            (
                &DISKS.replace("\"schema\":1", "\"schema\":2"),
                "unsupported schema 2",
            ),
            (
                &DISKS.replace(":10,", ":-10,"),
                "malformed: cannot convert float seconds",
            ),
            (&DISKS.replace("60.0", "1e999"), "malformed: number out of range"),
            (&DISKS.replace("disks", "d"), "malformed: missing field `disks`"),
            (&"[".repeat(100_000), "malformed: invalid type"),
            (&format!("{{\"new\":{}", "[".repeat(100_000)), "malformed: EOF"),
        ] {
            let error = parse::<DisksReport>(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(reason), "{text:.80}: {error}");
        }
    }
}
