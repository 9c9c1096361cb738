//! Logs what can recur: only changes, and at most 20 lines a minute about one thing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Error;
use log::Level;

use crate::logging::{Field, Log};

/// Most lines about one thing within [`RATE_LIMIT_WINDOW`].
const MAX_LINES: u32 = 20;
const RATE_LIMIT_WINDOW: Duration = Duration::from_secs(60);
/// Rounds without any event after which the same one is logged again.
const QUIET_ROUNDS: u32 = 6;

/// Counts the lines of a window.
#[derive(Debug, Default)]
struct RateLimit {
    /// When the first line of the window was logged.
    started: Option<Instant>,
    lines: u32,
}

impl RateLimit {
    /// Counts a line that is about to be logged at `now`, and returns what to append to it. `None`: not to be logged.
    fn admit(&mut self, now: Instant) -> Option<&'static str> {
        let has_passed = |started| now.saturating_duration_since(started) >= RATE_LIMIT_WINDOW;
        if self.started.is_none_or(has_passed) {
            (self.started, self.lines) = (Some(now), 0);
        }
        if self.lines == MAX_LINES {
            return None;
        }
        self.lines += 1;
        Some(match self.lines {
            MAX_LINES => "; this changes too often, further changes are logged once a minute has passed",
            _ => "",
        })
    }
}

/// A condition of which only changes are logged.
///
/// A change that the rate limit suppressed is logged as soon as the limit allows it, if it still applies.
#[derive(Debug)]
pub struct Condition {
    collector: &'static str,
    last_logged: Option<String>,
    limit: RateLimit,
}

impl Condition {
    /// Returns a condition that is initially fine. `collector` is the name in the log.
    pub fn new(collector: &'static str) -> Self {
        Self {
            collector,
            last_logged: None,
            limit: RateLimit::default(),
        }
    }

    /// Logs that `what` works again, if its failure was logged.
    pub fn ok(&mut self, what: &str, now: Instant, log: &mut Log) {
        if self.last_logged.is_some()
            && let Some(remark) = self.limit.admit(now)
        {
            log.info(self.collector, format_args!("{what} works again{remark}"), &[]);
            self.last_logged = None;
        }
    }

    /// Logs `error`, unless the same one was logged last.
    pub fn failed(&mut self, error: &Error, now: Instant, log: &mut Log) {
        self.failed_by(&format!("{error:#}"), error, now, log);
    }

    /// Logs `error`, unless one with the same `cause` was logged last.
    pub fn failed_by(&mut self, cause: &str, error: &Error, now: Instant, log: &mut Log) {
        self.changed(cause, Level::Warn, &format!("{error:#}"), now, log);
    }

    /// Logs `message`, unless `state` is the one that was logged last.
    pub fn changed(&mut self, state: &str, level: Level, message: &str, now: Instant, log: &mut Log) {
        if self.last_logged.as_deref() != Some(state)
            && let Some(remark) = self.limit.admit(now)
        {
            let text = format!("{message}{remark}");
            match level {
                Level::Error | Level::Warn => log.warn(self.collector, text, &[("error", &message)]),
                Level::Info | Level::Debug | Level::Trace => log.info(self.collector, text, &[]),
            }
            self.last_logged = Some(state.to_string());
        }
    }
}

/// Something that happened to a disk.
#[derive(Debug)]
pub struct Event<'a> {
    /// Events with the same key are the same.
    pub key: &'a str,
    /// The disk, a field of the journal.
    pub disk: &'a str,
    /// Whether it is a warning.
    pub is_problem: bool,
    /// The text of the log.
    pub message: &'a str,
}

/// Events, of which each is logged once until [`QUIET_ROUNDS`] pass without any event.
#[derive(Debug)]
pub struct Events {
    collector: &'static str,
    logged: BTreeSet<String>,
    /// Rounds since the last event.
    quiet_rounds: u32,
    /// Most different events that are logged at a time: invalid input can have any number.
    max: usize,
    limit: RateLimit,
}

impl Events {
    /// Returns an empty set of events. `collector` is the name in the log.
    pub fn new(collector: &'static str, max: usize) -> Self {
        Self {
            collector,
            max,
            logged: BTreeSet::new(),
            quiet_rounds: 0,
            limit: RateLimit::default(),
        }
    }

    /// Logs an event, unless one with the same key was logged.
    pub fn occurred(&mut self, event: &Event, now: Instant, log: &mut Log) {
        self.quiet_rounds = 0;
        let is_full = self.logged.len() == self.max;
        if is_full || self.logged.contains(event.key) {
            return;
        }
        let Some(mut remark) = self.limit.admit(now) else {
            return;
        };
        if self.logged.len() + 1 == self.max {
            remark = "; further ones are not logged";
        }
        self.logged.insert(event.key.to_string());
        let message = event.message;
        let text = format!("{message}{remark}");
        let disk: Field = ("disk", &event.disk);
        match event.is_problem {
            true => log.warn(self.collector, text, &[disk, ("error", &message)]),
            false => log.info(self.collector, text, &[disk]),
        }
    }

    /// Ends a round. Returns whether the events are over, which is reported once.
    pub fn end_round(&mut self) -> bool {
        self.quiet_rounds = self.quiet_rounds.saturating_add(1);
        let is_over = self.quiet_rounds > QUIET_ROUNDS && !self.logged.is_empty();
        if is_over {
            self.logged.clear();
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;

    fn log_in(directory: &std::path::Path) -> (Log, impl Fn() -> String) {
        let path = directory.join("log");
        let log = Log::new(LevelFilter::Info, Some(&path));
        (log, move || std::fs::read_to_string(&path).unwrap())
    }

    #[test]
    fn flapping_condition_logs_20_lines_a_minute_then_its_state() {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, text) = log_in(directory.path());
        let lines = || text().lines().count();
        let mut condition = Condition::new("disks");
        let (broken, start) = (Error::msg("broken"), Instant::now());
        for step in 0..50 {
            let now = start + Duration::from_millis(200) * step;
            condition.failed(&broken, now, &mut log);
            condition.ok("it", now, &mut log);
        }
        assert_eq!(lines(), 20);
        assert_eq!(text().matches("changes too often").count(), 1, "{}", text());
        condition.failed(&broken, start + Duration::from_secs(59), &mut log);
        assert_eq!(lines(), 20);
        for second in 60..90 {
            condition.failed(&broken, start + Duration::from_secs(second), &mut log);
        }
        assert_eq!(lines(), 21);
        condition.ok("it", start + Duration::from_secs(90), &mut log);
        assert_eq!(lines(), 22);
    }

    #[test]
    fn event_is_logged_again_only_after_quiet_rounds() {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, text) = log_in(directory.path());
        let mut events = Events::new("disks", 30);
        let now = Instant::now();
        let mut occurs = |events: &mut Events, key: &str| {
            let event = Event {
                key,
                disk: "sda",
                is_problem: false,
                message: "event",
            };
            events.occurred(&event, now, &mut log);
        };
        for _ in 0..10 {
            occurs(&mut events, "sda");
            for _ in 0..QUIET_ROUNDS {
                assert!(!events.end_round());
            }
        }
        assert_eq!(text().lines().count(), 1);
        assert!(events.end_round());
        occurs(&mut events, "sda");
        assert_eq!(text().lines().count(), 2);
        for key in 0..100 {
            occurs(&mut events, &key.to_string());
        }
        assert_eq!(text().lines().count(), 20);
        assert_eq!(events.logged.len(), 19, "suppressed ones are not recorded");
        let mut few = Events::new("disks", 3);
        for key in 0..10 {
            occurs(&mut few, &key.to_string());
        }
        assert_eq!(text().lines().count(), 23);
        assert!(
            text().ends_with("INFO disks: event; further ones are not logged\n"),
            "{}",
            text()
        );
    }
}
