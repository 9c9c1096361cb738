//! Durations as people write them: `10s`, `15m`, `1h 30m`.

use std::time::Duration;

/// Parses a duration. Months are rejected: who writes `5M` means minutes.
pub fn parse(text: &str) -> Result<Duration, String> {
    match text.contains('M') {
        true => Err("M is months, minutes are m".into()),
        false => humantime::parse_duration(text).map_err(|error| error.to_string()),
    }
}
