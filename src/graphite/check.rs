//! `check graphite`: the numbers of hosts and metrics. Behaves as Graphite: without a published count it counts the
//! tree; an outdated count is reported, and is a WARNING.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use clap::{ArgMatches, Args, FromArgMatches};

use super::report::{GraphiteReport, NAME};
use super::settings::CountSettings;
use crate::collector::Published;
use crate::config::{GraphiteConfig, WhisperPaths};
use crate::plugin::perfdata::{PerfValue, Thresholds, Unit};
use crate::plugin::{Answer, Common, Outdated, judge, parse_time};
use crate::published::{self, Age, ReadError};

/// How many metrics or hosts Graphite holds
///
/// If there is no published count, counts the tree itself. An outdated count is reported with the state of --outdated.
#[derive(Debug, Args)]
struct GraphiteArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    outdated: Outdated,
    /// Apply the ranges to the number of hosts instead of metrics
    #[arg(long)]
    hosts: bool,
    /// Time limit for counting if there is no published count
    #[arg(short, long, value_name = "TIME", default_value = "8s", value_parser = parse_time)]
    timeout: Duration,
}

/// Returns the subcommand.
pub fn command() -> clap::Command {
    GraphiteArgs::augment_args(clap::Command::new(NAME))
}

/// Returns how long counting may take.
pub fn timeout(args: &ArgMatches) -> Duration {
    GraphiteArgs::from_arg_matches(args).map_or(Duration::ZERO, |args| args.timeout)
}

/// Checks the published count.
pub fn answer(args: &ArgMatches, published: &Published) -> Answer {
    let args = match GraphiteArgs::from_arg_matches(args) {
        Ok(args) => args,
        Err(error) => return Answer::unknown(error.to_string()),
    };
    let args = &args;
    let (config, now) = (&published.config.graphite, published.now);
    let paths = WhisperPaths::choose(config);
    let path = &paths.output;
    match published::read::<GraphiteReport>(path, published.trusted) {
        Ok(report) => {
            let age = Age::of(&report, now, args.common.max_age);
            let passed = humantime::format_duration(age.passed());
            let (state, outdated) = args.outdated.judge(age);
            let remark = outdated.unwrap_or_else(|| format!("counted {passed} ago"));
            let age = PerfValue::new("age", Some(age.passed().as_secs_f64()), Unit::Seconds);
            let answer = judged(args, &report, &remark, age);
            Answer {
                state: answer.state.worse(state),
                ..answer
            }
        }
        Err(ReadError::Rejected(reason)) => {
            Answer::unknown(format!("cannot read the file {}: {reason}", path.display()))
        }
        Err(ReadError::NotFound) => match count(config, &paths.whisper_dir, args.timeout, now) {
            Ok(report) => {
                let remark = format!("counted by this check, {} does not exist", path.display());
                let age = PerfValue::new("age", Some(0.0), Unit::Seconds);
                judged(args, &report, &remark, age)
            }
            Err(reason) => Answer::unknown(format!(
                "{} does not exist and counting failed: {reason}",
                path.display()
            )),
        },
    }
}

fn judged(args: &GraphiteArgs, report: &GraphiteReport, remark: &str, age: PerfValue) -> Answer {
    let thresholds = args.common.thresholds();
    let subject = if args.hosts { report.hosts } else { report.metrics };
    let (state, why) = judge(&thresholds, subject as f64);
    let why = |judged: bool| {
        let why = why.as_ref().filter(|_| judged);
        why.map_or(String::new(), |why| format!(" ({why})"))
    };
    let unreadable = match report.unreadable {
        0 => String::new(),
        _ => format!("{} not counted", report.unreadable_remark()),
    };
    let text = format!(
        "{} metrics{}, {} hosts{}{unreadable}, {remark}",
        report.metrics,
        why(!args.hosts),
        report.hosts,
        why(args.hosts)
    );
    let value = |label: &str, count: u64, judged: bool| {
        let thresholds = if judged { thresholds } else { Thresholds::default() };
        PerfValue::new(label, Some(count as f64), Unit::None).judged_by(thresholds)
    };
    Answer {
        state,
        text,
        perfdata: vec![
            value("metrics", report.metrics, !args.hosts),
            value("hosts", report.hosts, args.hosts),
            age,
        ],
    }
}

/// Counts at full speed, for at most `timeout`.
fn count(
    config: &GraphiteConfig,
    whisper_dir: &Path,
    timeout: Duration,
    now: SystemTime,
) -> Result<GraphiteReport, String> {
    let settings = CountSettings {
        max_busy_percent: 100,
        ..CountSettings::new(config, whisper_dir)
    };
    let count = super::count(&settings, None, false, now, &mut |_, elapsed| {
        ensure!(
            elapsed < timeout,
            "timed out after {}",
            humantime::format_duration(timeout)
        );
        Ok(())
    });
    match count {
        Ok(count) => Ok(count.report(config.interval, now)),
        Err(error) => Err(format!("{error:#}")),
    }
}
