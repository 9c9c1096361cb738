//! What goes out of a collector: its published file, and its problems, each said once per change of state.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Error;

use crate::logging::Log;
use crate::publish::{self, Durability};

/// Most lines about one thing within [`SPAN`]: whoever makes it fail and work by turns is not to fill the log.
const MAX_LINES: u32 = 20;
const SPAN: Duration = Duration::from_secs(60);

/// Whether something works, remembered so that only changes are logged.
///
/// What goes to and fro too fast is not said each time; how it is in the end is said once the span is over.
#[derive(Debug, Default)]
pub struct Health {
    /// The problem that was said last, and not yet that it is over.
    said: Option<String>,
    /// When the first line of the span was said.
    since: Option<Instant>,
    lines: u32,
}

impl Health {
    /// It works. Says so if it did not before.
    pub fn works(&mut self, log: &mut Log, collector: &'static str, what: &str) {
        if self.said.is_some()
            && let Some(remark) = self.may_say()
        {
            log.info(collector, format_args!("{what} works again{remark}"), &[]);
            self.said = None;
        }
    }

    /// It does not work. Says so unless it already said the same.
    pub fn fails(&mut self, log: &mut Log, collector: &'static str, error: &Error) {
        let problem = format!("{error:#}");
        self.fails_as(problem, log, collector, error);
    }

    /// As [`Health::fails`], for errors that are the same problem where `problem` is the same.
    pub fn fails_as(&mut self, problem: String, log: &mut Log, collector: &'static str, error: &Error) {
        if self.said.as_ref() != Some(&problem)
            && let Some(remark) = self.may_say()
        {
            let error = format!("{error:#}");
            log.warn(collector, format_args!("{error}{remark}"), &[("error", &error)]);
            self.said = Some(problem);
        }
    }

    /// Whether one more line may be said now, and what it then ends with.
    fn may_say(&mut self) -> Option<&'static str> {
        let now = Instant::now();
        if self.since.is_none_or(|since| now.duration_since(since) >= SPAN) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines == MAX_LINES {
            return None;
        }
        self.lines += 1;
        Some(match self.lines {
            MAX_LINES => "; this changes too often to be said each time",
            _ => "",
        })
    }
}

/// A published file of a collector.
#[derive(Debug)]
pub struct Outlet {
    collector: &'static str,
    path: PathBuf,
    durability: Durability,
    health: Health,
}

impl Outlet {
    /// An outlet that has published nothing yet.
    pub fn new(collector: &'static str, path: PathBuf, durability: Durability) -> Self {
        Self {
            collector,
            path,
            durability,
            health: Health::default(),
        }
    }

    /// Publishes a document. True where that worked.
    pub fn publish(&mut self, log: &mut Log, document: &str) -> bool {
        let published = publish::publish(&self.path, document, self.durability);
        let worked = published.is_ok();
        match published {
            Ok(()) => self.works(log),
            Err(error) => self.fails(log, error.context(format!("publishing {:?}", self.path))),
        }
        worked
    }

    /// Takes the file away: what it says no longer holds.
    pub fn remove(&mut self, log: &mut Log) {
        if let Err(error) = publish::remove(&self.path) {
            self.fails(log, error);
        }
    }

    /// Takes the file away at the end. Where that fails it is said whatever was said before: nobody will try again.
    pub fn end(&mut self, log: &mut Log) {
        if let Err(error) = publish::remove(&self.path) {
            let error = format!("{error:#}");
            log.warn(
                self.collector,
                format_args!("{error}; what it says is outdated from now on"),
                &[("error", &error)],
            );
        }
    }

    fn works(&mut self, log: &mut Log) {
        let what = format!("publishing {:?}", self.path);
        self.health.works(log, self.collector, &what);
    }

    /// One cause is one problem, whichever step it stops.
    fn fails(&mut self, log: &mut Log, error: Error) {
        let cause = error.root_cause().to_string();
        self.health.fails_as(cause, log, self.collector, &error);
    }
}

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;

    #[test]
    fn a_file_that_can_not_be_taken_away_at_the_end_is_said_whatever_was_said_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::open(LevelFilter::Info, Some(&path));
        // The log itself is no folder: nothing can be published or removed below it.
        let mut outlet = Outlet::new("disks", path.join("file"), Durability::Volatile);
        assert!(!outlet.publish(&mut log, "{}\n"));
        outlet.remove(&mut log);
        outlet.end(&mut log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().last().unwrap().contains("outdated"), "{text}");
    }

    #[test]
    fn what_goes_to_and_fro_is_said_twenty_times_a_minute_and_how_it_is_then() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::open(LevelFilter::Info, Some(&path));
        let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
        let mut health = Health::default();
        let broken = Error::msg("broken");
        for _ in 0..50 {
            health.fails(&mut log, "disks", &broken);
            health.works(&mut log, "disks", "it");
        }
        assert_eq!(lines(), 20);
        health.fails(&mut log, "disks", &broken);
        assert_eq!(lines(), 20);
        // A minute later it is still broken, which was not said yet.
        health.since = health.since.map(|since| since.checked_sub(SPAN).unwrap());
        for _ in 0..50 {
            health.fails(&mut log, "disks", &broken);
        }
        assert_eq!(lines(), 21);
        health.works(&mut log, "disks", "it");
        assert_eq!(lines(), 22);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("changes too often").count(), 1, "{text}");
    }
}
