//! The time of a log line.

use std::time::{Duration, SystemTime};

/// The end of the year 9999, in Unix seconds.
const LAST_SECOND: u64 = 253_402_300_799;

/// Returns the current time as a prefix for a line, limited to the years that RFC 3339 can represent.
pub fn timestamp() -> String {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND);
    let now = SystemTime::now().clamp(SystemTime::UNIX_EPOCH, last);
    humantime::format_rfc3339_seconds(now).to_string()
}
