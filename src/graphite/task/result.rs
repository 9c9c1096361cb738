//! Logs finished counts: the result each time, a problem of the tree or of the snapshot once.

use std::time::Duration;

use crate::graphite::report::NAME;
use crate::graphite::{Count, FullScan};
use crate::logging::Log;

/// Logs counts, and remembers what it logged about the last one.
#[derive(Debug, Default)]
pub struct ResultLog {
    last: Vec<String>,
}

impl ResultLog {
    /// Logs the result of a count and what is new about its problems.
    pub fn log(&mut self, count: &Count, log: &mut Log) {
        self.log_messages(count, log);
        let totals = &count.totals;
        let duration = humantime::format_duration(in_millis(count.duration));
        let unreadable = match totals.unreadable {
            0 => String::new(),
            unreadable => format!(", {unreadable} directories unreadable"),
        };
        let reads_saved = totals.directories - totals.directories_read;
        log.info(
            NAME,
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
        let full_scan = match count.full_scan {
            None => "",
            Some(FullScan::Requested) => ", full scan (requested)",
            Some(FullScan::NoSnapshot) => ", full scan (no snapshot)",
            Some(FullScan::UnusableSnapshot) => ", full scan (unusable snapshot)",
            Some(FullScan::Interval) => ", full scan (interval)",
        };
        log.debug(
            NAME,
            format_args!(
                "{} directories, {} read, {reads_saved} unchanged{full_scan}; busy {}",
                totals.directories,
                totals.directories_read,
                humantime::format_duration(in_millis(count.busy)),
            ),
            &[],
        );
    }

    /// Logs the messages that the last count did not have: without an old snapshot, a count repeats them all.
    fn log_messages(&mut self, count: &Count, log: &mut Log) {
        for message in count
            .messages
            .iter()
            .filter(|message| !self.last.contains(message))
        {
            log.warn(NAME, message, &[]);
        }
        self.last.clone_from(&count.messages);
    }
}

/// Rounds down to milliseconds, or to microseconds if it is shorter than one.
fn in_millis(duration: Duration) -> Duration {
    match duration.as_millis() {
        0 => Duration::from_micros(duration.as_micros() as u64),
        millis => Duration::from_millis(millis as u64),
    }
}

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;
    use crate::graphite::Totals;

    #[test]
    fn result_is_logged_each_time_and_a_problem_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let mut log = Log::new(LevelFilter::Debug, Some(&file));
        let totals = Totals {
            hosts: 3,
            metrics: 4,
            directories: 7,
            directories_read: 2,
            ..Totals::default()
        };
        let count = Count {
            totals,
            duration: Duration::from_micros(1_999),
            busy: Duration::from_nanos(999_999),
            full_scan: None,
            messages: vec!["a problem".into()],
        };
        let mut results = ResultLog::default();
        for _ in 0..3 {
            results.log(&count, &mut log);
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let logged = |line: &str| text.lines().filter(|logged| logged.ends_with(line)).count();
        assert_eq!(logged(" WARN graphite: a problem"), 1, "{text}");
        assert_eq!(logged(" INFO graphite: 3 hosts, 4 metrics in 1ms"), 3, "{text}");
        let debug = " DEBUG graphite: 7 directories, 2 read, 5 unchanged; busy 999us";
        assert_eq!(logged(debug), 3, "{text}");
    }
}
