//! What the log says about a finished count.

use std::time::Duration;

use super::COLLECTOR;
use crate::graphite::adaptor::Count;
use crate::logging::Log;

/// Logs the result of a count and what was wrong with the tree.
pub fn log_count(count: &Count, log: &mut Log) {
    for message in &count.messages {
        log.warn(COLLECTOR, message, &[]);
    }
    let totals = &count.totals;
    if totals.differences > 0 {
        let differences = totals.differences;
        log.warn(
            COLLECTOR,
            format_args!(
                "reading everything found {differences} entries that differ without a new directory time"
            ),
            &[("differences", &differences)],
        );
    }
    let duration = humantime::format_duration(in_millis(count.duration));
    let unreadable = match totals.unreadable {
        0 => String::new(),
        unreadable => format!(", {unreadable} directories unreadable"),
    };
    let reads_saved = totals.directories - totals.directories_read;
    log.info(
        COLLECTOR,
        format_args!(
            "{} hosts, {} metrics in {duration}{unreadable}",
            totals.hosts, totals.metrics
        ),
        &[
            ("hosts", &totals.hosts),
            ("metrics", &totals.metrics),
            ("unreadable", &totals.unreadable),
            ("duration", &duration),
            ("directories", &totals.directories),
            ("directories_read", &totals.directories_read),
            ("reads_saved", &reads_saved),
        ],
    );
    log.debug(
        COLLECTOR,
        format_args!(
            "{} directories, {} read, {reads_saved} reads saved; {} of work",
            totals.directories,
            totals.directories_read,
            humantime::format_duration(in_millis(count.busy)),
        ),
        &[],
    );
}

/// Rounds down to milliseconds, or to microseconds if it is shorter than one.
fn in_millis(duration: Duration) -> Duration {
    match duration.as_millis() {
        0 => Duration::from_micros(duration.as_micros() as u64),
        millis => Duration::from_millis(millis as u64),
    }
}
