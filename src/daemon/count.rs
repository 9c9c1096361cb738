//! The daemon's side of the count of the whisper tree.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::outlet::{Health, Outlet};
use crate::config::GraphiteConfig;
use crate::graphite::{Count, CountSettings, count};
use crate::logging::Log;
use crate::publish::Durability;
use crate::report::{GraphiteReport, to_line};

const COLLECTOR: &str = "graphite";
/// A count that failed or could not be published is tried again this soon, if its interval is longer.
const RETRY: Duration = Duration::from_secs(60);

/// The count, its published file and its problems.
#[derive(Debug)]
pub struct CountTask {
    config: GraphiteConfig,
    settings: CountSettings,
    outlet: Outlet,
    counting: Health,
    last: Option<(u64, u64)>,
    report: Option<GraphiteReport>,
}

impl CountTask {
    /// Sets the count up, without starting it.
    pub fn new(config: &GraphiteConfig, log: &mut Log) -> Self {
        let settings = CountSettings {
            // The loop waits for the count.
            max_busy_percent: 100,
            ..CountSettings::new(config)
        };
        let path = config.output(&settings.whisper_dir);
        let outlet = Outlet::new(COLLECTOR, path, Durability::Synced);
        outlet.sweep(log);
        Self {
            config: config.clone(),
            settings,
            outlet,
            counting: Health::default(),
            last: None,
            report: None,
        }
    }

    /// The directory that is counted.
    pub fn whisper_dir(&self) -> &Path {
        &self.settings.whisper_dir
    }

    /// Counts and publishes the result. Returns the time until the next count.
    pub fn work(&mut self, log: &mut Log) -> Duration {
        if self.settings.whisper_dir != self.config.whisper_dir() {
            // No directory is configured, and one of the usual ones has appeared.
            *self = Self::new(&self.config, log);
        }
        match count(&self.settings, None, true, &mut |_| Ok(())) {
            Ok(count) => {
                self.counting.works(log, COLLECTOR, "counting");
                let report = count.report(self.config.interval, SystemTime::now());
                say(&count, log);
                self.last = Some((report.hosts, report.metrics));
                let published = self.outlet.publish(log, &to_line(&report));
                self.report = Some(report);
                if published {
                    self.config.interval
                } else {
                    self.retry()
                }
            }
            Err(error) => {
                self.counting.fails(log, COLLECTOR, &error);
                self.retry()
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
}

fn say(count: &Count, log: &mut Log) {
    for message in &count.messages {
        log.warn(COLLECTOR, message, &[]);
    }
    let totals = &count.totals;
    let duration = humantime::format_duration(in_millis(count.duration));
    let unreadable = match totals.unreadable {
        0 => String::new(),
        unreadable => format!(", {unreadable} directories unreadable"),
    };
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
            ("reads_saved", &(totals.directories - totals.directories_read)),
        ],
    );
    log.debug(
        COLLECTOR,
        format_args!(
            "{} directories, {} read, {} unchanged; busy {}",
            totals.directories,
            totals.directories_read,
            totals.directories - totals.directories_read,
            humantime::format_duration(in_millis(count.busy)),
        ),
        &[],
    );
}

/// A duration to the millisecond, or to the microsecond where it is shorter.
fn in_millis(duration: Duration) -> Duration {
    match duration.as_millis() {
        0 => Duration::from_micros(duration.as_micros() as u64),
        millis => Duration::from_millis(millis as u64),
    }
}
