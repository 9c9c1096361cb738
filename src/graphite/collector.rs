//! The count of the whisper tree as a collector.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;

use super::check;
use super::pace::every_second;
use super::report::{GraphiteReport, NAME};
use super::settings::CountSettings;
use super::task::CountTask;
use super::totals::Totals;
use crate::collector::{Collector, Found, Gather, Once, Published, Task};
use crate::config::{Config, GraphiteConfig, WhisperPaths};
use crate::escape;
use crate::logging::Log;
use crate::moment::Moment;
use crate::output;
use crate::plugin::Answer;
use crate::publish::Durability;
use crate::published;
use crate::report::Report;

/// Counts the hosts and metrics of the whisper tree.
#[derive(Debug)]
pub struct GraphiteCollector;

impl Collector for GraphiteCollector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn durability(&self) -> Durability {
        Durability::Synced
    }

    /// The worker also finds the devices of the tree, which other collectors use.
    fn start(&self, config: &Config, now: Moment, _log: &mut Log) -> Option<Box<dyn Task>> {
        Some(Box::new(CountTask::new(config, now)))
    }

    /// The task applies every configuration itself.
    fn is_changed(&self, _old: &Config, _new: &Config) -> bool {
        false
    }

    fn begin(&self, once: &Once) -> Box<dyn Gather> {
        Box::new(Count {
            config: once.config.graphite.clone(),
            whisper_dir: once.paths.whisper_dir.clone(),
        })
    }

    fn parse(&self, json: &[u8]) -> Result<Box<dyn Report>, String> {
        published::parse::<GraphiteReport>(json).map(|report| Box::new(report) as _)
    }

    fn output(&self, config: &Config) -> PathBuf {
        WhisperPaths::choose(&config.graphite).output
    }

    fn is_on_tree_storage(&self) -> bool {
        true
    }

    fn check_command(&self) -> clap::Command {
        check::command()
    }

    fn check(&self, args: &ArgMatches, published: &Published) -> Answer {
        check::answer(args, published)
    }

    fn check_timeout(&self, args: &ArgMatches) -> Duration {
        check::timeout(args)
    }

    #[cfg(test)]
    fn schema(&self, generator: schemars::SchemaGenerator) -> schemars::Schema {
        generator.into_root_schema_for::<GraphiteReport>()
    }

    #[cfg(test)]
    fn example(&self) -> (&'static str, &'static [&'static str]) {
        (
            r#"{"schema":1,"updated_at":7,"interval_seconds":9,"hosts":4,"metrics":1000000,"scan_seconds":0.105}"#,
            &["hosts 4", "metrics 1000000", "scan_seconds 0.105"],
        )
    }
}

/// The count of `once`, at full speed.
struct Count {
    config: GraphiteConfig,
    whisper_dir: PathBuf,
}

impl Gather for Count {
    fn needs_window(&self) -> bool {
        false
    }

    fn finish(self: Box<Self>, clock: fn() -> Moment) -> Found {
        match count(&self.config, &self.whisper_dir, clock) {
            Ok((report, messages)) => Found {
                text: format!(
                    "{} under {}{}",
                    report.summary(),
                    escape::escape(&self.whisper_dir.to_string_lossy()),
                    report.unreadable_remark()
                ),
                report: Some(Box::new(report)),
                errors: Vec::new(),
                notes: messages,
                is_absent: false,
            },
            Err(error) => Found::failed(error),
        }
    }
}

fn count(
    config: &GraphiteConfig,
    whisper_dir: &Path,
    clock: fn() -> Moment,
) -> anyhow::Result<(GraphiteReport, Vec<String>)> {
    let settings = CountSettings {
        max_busy_percent: 100,
        ..CountSettings::new(config, whisper_dir)
    };
    let mut progress = output::Progress::new();
    let show = move |totals: &Totals, elapsed: Duration| {
        let seconds = elapsed.as_secs();
        progress.show(&format!(
            "counting: {} hosts, {} metrics in {seconds}s …",
            totals.hosts, totals.metrics
        ));
        Ok(())
    };
    // No snapshot: one that root leaves could not be read by the service.
    let count = super::count(&settings, None, false, clock().wall, &mut every_second(show))?;
    Ok((count.report(config.interval, clock().wall), count.messages))
}
