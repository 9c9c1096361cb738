//! Reads the published files back without trusting them, parses them and judges their age.
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
/// A document dated this far ahead is still taken for one of now: clocks are corrected in small steps.
const MAX_AHEAD_SECONDS: i64 = 60;

/// Why there is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// There is no such file.
    Absent,
    /// There is one that is not read or makes no sense, and why.
    Refused(String),
}

/// How old a document is and how old it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Seconds since it was measured; negative for a document dated ahead of the clock.
    pub seconds: i64,
    /// The age up to which it is fresh.
    pub limit: Duration,
}

impl Age {
    /// The age of `document` at `now`, judged by `max_age` where that is given, else by the document's own interval.
    pub fn of(document: &dyn Report, now: SystemTime, max_age: Option<Duration>) -> Self {
        Self {
            seconds: unix_seconds(now).saturating_sub(document.updated_at()),
            limit: max_age.unwrap_or_else(|| document.max_age()),
        }
    }

    /// Whether the document still holds.
    pub fn is_fresh(self) -> bool {
        self.seconds >= -MAX_AHEAD_SECONDS && self.passed() <= self.limit
    }

    /// The age without a sign: 0 for a document dated ahead.
    pub fn passed(self) -> Duration {
        Duration::from_secs(self.seconds.max(0).unsigned_abs())
    }

    /// Why it does not hold any more, for people; `None` while it does.
    pub fn outdated(self) -> Option<String> {
        if self.is_fresh() {
            None
        } else if self.seconds < 0 {
            let ahead = Duration::from_secs(self.seconds.unsigned_abs());
            let ahead = humantime::format_duration(ahead);
            Some(format!("outdated: dated {ahead} ahead of the clock"))
        } else {
            let (age, limit) = (
                humantime::format_duration(self.passed()),
                humantime::format_duration(in_seconds(self.limit)),
            );
            Some(format!("outdated: {age} old, fresh up to {limit}"))
        }
    }
}

/// People need no milliseconds, unless there is nothing else.
fn in_seconds(duration: Duration) -> Duration {
    match duration.as_secs() {
        0 => duration,
        seconds => Duration::from_secs(seconds),
    }
}

/// Reads and parses the document at `path`, as [`read_bytes`] does.
pub fn read<T: DeserializeOwned>(path: &Path, trusted: &TrustedUsers) -> Result<T, Unread> {
    parse(&read_bytes(path, trusted)?).map_err(Unread::Refused)
}

/// Reads a regular file of a trusted user, of at most 16 MiB. Links are not followed.
pub fn read_bytes(path: &Path, trusted: &TrustedUsers) -> Result<Vec<u8>, Unread> {
    let refuse = |error: std::io::Error| Unread::Refused(error.to_string());
    let file = open::for_reading(path, Links::Reject).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Unread::Absent,
        _ => refuse(error),
    })?;
    let owner = file.metadata().map_err(refuse)?.uid();
    trusted.check(owner).map_err(Unread::Refused)?;
    open::read_all(&file, MAX_BYTES).map_err(refuse)
}

/// Parses a document. Returns why it is malformed.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    let malformed = |error: serde_json::Error| format!("malformed: {error}");
    // First the version alone: a later one may mean something else by the same names.
    let Schema { schema } = serde_json::from_slice(bytes).map_err(malformed)?;
    if schema != SCHEMA {
        return Err(format!("malformed: schema {schema}, this program reads {SCHEMA}"));
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
    fn age_is_judged_by_the_documents_interval_or_by_what_is_asked() {
        let disks: DisksReport = parse(DISKS.as_bytes()).unwrap();
        assert!(Age::of(&disks, at(1050), None).is_fresh());
        assert!(!Age::of(&disks, at(1051), None).is_fresh());
        assert!(Age::of(&disks, at(1300), Some(Duration::from_secs(300))).is_fresh());
        assert!(!Age::of(&disks, at(1003), Some(Duration::from_secs(2))).is_fresh());
        let outdated = Age::of(&disks, at(1120), None).outdated().unwrap();
        assert_eq!(outdated, "outdated: 2m old, fresh up to 50s");
    }

    #[test]
    fn a_document_from_the_future_is_fresh_only_within_a_minute() {
        let disks: DisksReport = parse(DISKS.as_bytes()).unwrap();
        assert!(Age::of(&disks, at(940), None).is_fresh());
        let age = Age::of(&disks, at(400), None);
        assert_eq!(age.passed(), Duration::ZERO);
        assert_eq!(age.outdated().unwrap(), "outdated: dated 10m ahead of the clock");
        let never = DISKS.replace("1000", "-9223372036854775808");
        let never: DisksReport = parse(never.as_bytes()).unwrap();
        assert!(!Age::of(&never, at(1000), None).is_fresh());
    }

    #[test]
    fn a_count_may_be_as_old_as_two_intervals_and_two_counts() {
        let text =
            r#"{"schema":1,"updated_at":1,"interval_seconds":0.5,"hosts":1,"metrics":2,"scan_seconds":100}"#;
        let count: GraphiteReport = parse(text.as_bytes()).unwrap();
        assert_eq!(count.max_age(), Duration::from_secs(231));
    }

    #[test]
    fn what_is_no_document_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "malformed: EOF"),
            ("[1]", "malformed: invalid"),
            (&DISKS[..60], "malformed: EOF"),
            (
                &DISKS.replace("\"schema\":1", "\"schema\":2"),
                "malformed: schema 2",
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
            let refused = parse::<DisksReport>(text.as_bytes()).unwrap_err();
            assert!(refused.starts_with(reason), "{text:.80}: {refused}");
        }
    }
}
