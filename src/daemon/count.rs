//! The daemon's side of the count of the whisper tree.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use super::outlet::{Health, Outlet};
use crate::config::GraphiteConfig;
use crate::graphite::{Count, Graphite, Progress};
use crate::logging::Log;
use crate::plain;
use crate::publish::Durability;
use crate::report::{GraphiteReport, to_line};

const COLLECTOR: &str = "graphite";
/// A count that failed or could not be published is tried again this soon, if its interval is longer.
const RETRY: Duration = Duration::from_secs(60);

/// The count, its published file and its problems.
#[derive(Debug)]
pub struct CountTask {
    config: GraphiteConfig,
    collector: Graphite,
    outlet: Outlet,
    counting: Health,
    last: Option<(u64, u64)>,
    report: Option<GraphiteReport>,
}

/// When the count goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// There is more to do, after a pause for this much work.
    Pause(Duration),
    /// The next count starts after this long.
    After(Duration),
}

impl CountTask {
    /// Sets the count up, without starting it.
    pub fn new(config: &GraphiteConfig) -> Result<Self> {
        let collector = Graphite::new(config)?;
        let path = config.output(collector.whisper_dir());
        let outlet = Outlet::new(COLLECTOR, path, Durability::Synced);
        Ok(Self {
            config: config.clone(),
            collector,
            outlet,
            counting: Health::default(),
            last: None,
            report: None,
        })
    }

    /// The collector, for where the tree is.
    pub fn collector(&self) -> &Graphite {
        &self.collector
    }

    /// Works on the count for one slice, and publishes what it came to when it is complete.
    pub fn work(&mut self, now: Instant, wall: SystemTime, slice: Duration, log: &mut Log) -> Next {
        if !self.collector.is_running() && self.collector.whisper_dir() != self.config.whisper_dir() {
            // No directory is configured, and one of the usual ones has appeared.
            match Self::new(&self.config) {
                Ok(fresh) => *self = fresh,
                Err(error) => self.counting.fails(log, COLLECTOR, &error),
            }
        }
        match self.collector.work(now, wall, slice) {
            Ok(Progress::Running) => Next::Pause(now.elapsed()),
            Ok(Progress::Done(count)) => {
                self.counting.works(log, COLLECTOR, "counting");
                self.say(&count, log);
                self.last = Some((count.report.hosts, count.report.metrics));
                let published = self.outlet.publish(log, &to_line(&count.report));
                self.report = Some(count.report);
                Next::After(if published {
                    self.config.interval
                } else {
                    self.retry()
                })
            }
            Err(error) => {
                self.counting.fails(log, COLLECTOR, &error);
                Next::After(self.retry())
            }
        }
    }

    /// The latest document, once.
    pub fn take_report(&mut self) -> Option<GraphiteReport> {
        self.report.take()
    }

    /// The latest figures in words.
    pub fn status(&self) -> Option<String> {
        let (hosts, metrics) = self.last?;
        Some(format!("{hosts} hosts, {metrics} metrics"))
    }

    fn retry(&self) -> Duration {
        self.config.interval.min(RETRY)
    }

    fn say(&self, count: &Count, log: &mut Log) {
        for (path, errno) in &count.reported {
            let reason = std::io::Error::from(*errno);
            log.warn(
                COLLECTOR,
                format_args!("{} can't be read and is not counted: {reason}", plain::path(path)),
                &[("error", &reason)],
            );
        }
        if count.newly_unreadable > count.reported.len() as u64 {
            let more = count.newly_unreadable - count.reported.len() as u64;
            log.warn(
                COLLECTOR,
                format_args!("{more} more directories can't be read and are not counted"),
                &[],
            );
        }
        let (report, totals) = (&count.report, &count.totals);
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
        let unreadable = match report.unreadable {
            0 => String::new(),
            unreadable => format!(", {unreadable} directories unreadable"),
        };
        log.info(
            COLLECTOR,
            format_args!(
                "{} hosts, {} metrics in {duration}{unreadable}",
                report.hosts, report.metrics
            ),
            &[
                ("hosts", &report.hosts),
                ("metrics", &report.metrics),
                ("unreadable", &report.unreadable),
                ("duration", &duration),
                ("directories", &totals.directories),
                ("directories_read", &totals.directories_read),
                ("reads_saved", &(totals.directories - totals.directories_read)),
            ],
        );
        log.debug(
            COLLECTOR,
            format_args!(
                "{} directories, {} read, {} reads saved; {} of work in {} slices, the longest {}",
                totals.directories,
                totals.directories_read,
                totals.directories - totals.directories_read,
                humantime::format_duration(in_millis(count.busy)),
                count.slices,
                humantime::format_duration(in_millis(count.longest_slice)),
            ),
            &[],
        );
    }
}

/// A duration to the millisecond, or to the microsecond where it is shorter.
fn in_millis(duration: Duration) -> Duration {
    match duration.as_millis() {
        0 => Duration::from_micros(duration.as_micros() as u64),
        millis => Duration::from_millis(millis as u64),
    }
}
