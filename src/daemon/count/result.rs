//! Logs finished counts: the result each time, a problem of the tree or of the snapshot once.

use std::time::Duration;

use anyhow::Error;

use super::super::outlet::Health;
use super::COLLECTOR;
use crate::graphite::{Count, FullScan, Message};
use crate::logging::Log;

/// Remembered messages. A count has at most a few dozen.
const MAX_KNOWN: usize = 200;

/// What was logged about earlier counts.
#[derive(Debug, Default)]
pub struct ResultLog {
    snapshot: Health,
    /// Messages about the tree that a count without an old snapshot repeats.
    known: Vec<Message>,
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
        let full_scan = match count.full_scan {
            None => "",
            Some(FullScan::Requested) => ", full scan (requested)",
            Some(FullScan::NoSnapshot) => ", full scan (no snapshot)",
            Some(FullScan::UnusableSnapshot) => ", full scan (unusable snapshot)",
            Some(FullScan::Interval) => ", full scan (interval)",
        };
        log.debug(
            COLLECTOR,
            format_args!(
                "{} directories, {} read, {reads_saved} reads saved{full_scan}; {} of work",
                totals.directories,
                totals.directories_read,
                humantime::format_duration(in_millis(count.busy)),
            ),
            &[],
        );
    }

    fn log_messages(&mut self, count: &Count, log: &mut Log) {
        let (snapshot, tree): (Vec<_>, Vec<_>) = count
            .messages
            .iter()
            .partition(|message| matches!(message, Message::Snapshot(_)));
        match snapshot.first() {
            Some(message) => self
                .snapshot
                .fails(log, COLLECTOR, &Error::msg(message.to_string())),
            None => self.snapshot.works(log, COLLECTOR, "using the snapshot"),
        }
        // With an old snapshot, the messages are about what is new. Without one, about all there is.
        let is_new = matches!(count.full_scan, None | Some(FullScan::Interval));
        for message in &tree {
            if is_new || !self.known.contains(message) {
                log.warn(COLLECTOR, message, &[]);
            }
        }
        if !is_new || self.known.len() > MAX_KNOWN {
            self.known.clear();
        }
        self.known.extend(tree.into_iter().cloned());
    }
}

/// Rounds down to milliseconds, or to microseconds if it is shorter than one.
fn in_millis(duration: Duration) -> Duration {
    match duration.as_millis() {
        0 => Duration::from_micros(duration.as_micros() as u64),
        millis => Duration::from_millis(millis as u64),
    }
}
