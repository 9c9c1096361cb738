//! `check graphite`: how much Graphite holds, as Graphite itself answers that question.
//!
//! Without a published count it counts the tree. An outdated count is shown as it is, with the state of its values, and
//! called outdated.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::ensure;
use clap::{ArgMatches, Args, FromArgMatches};

use super::report::{GraphiteReport, NAME};
use super::settings::CountSettings;
use crate::collector::Published;
use crate::config::{GraphiteConfig, WhisperPaths};
use crate::plugin::perfdata::{Figure, Thresholds, Unit};
use crate::plugin::{Answer, Common, State, judge, parse_time};
use crate::published::{self, Age, Unread};

/// How many metrics or hosts Graphite holds
///
/// Without a published count it counts by itself; an outdated one is given as it is, and called outdated.
#[derive(Debug, Args)]
struct GraphiteArgs {
    #[command(flatten)]
    common: Common,
    /// Judge the number of hosts instead of the number of metrics
    #[arg(long)]
    hosts: bool,
    /// Give up counting after this long if there is no published count
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
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

/// Answers for the published count.
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
            let remark = match age.outdated() {
                Some(outdated) => format!("{outdated}; is the gatherer running?"),
                None => format!("counted {passed} ago"),
            };
            let age = Figure::new("age", Some(age.passed().as_secs_f64()), Unit::Seconds);
            judged(args, &report, &remark, age)
        }
        Err(Unread::Refused(reason)) => {
            Answer::unknown(format!("cannot read the file {}: {reason}", path.display()))
        }
        Err(Unread::Absent) => match count(config, &paths.whisper_dir, args.timeout, now) {
            Ok(report) => {
                let remark = format!("counted just now: {} is absent", path.display());
                let age = Figure::new("age", Some(0.0), Unit::Seconds);
                judged(args, &report, &remark, age)
            }
            Err(reason) => Answer::unknown(format!(
                "{} is absent, and counting without it failed: {reason}",
                path.display()
            )),
        },
    }
}

fn judged(args: &GraphiteArgs, report: &GraphiteReport, remark: &str, age: Figure) -> Answer {
    let thresholds = args.common.thresholds();
    let subject = if args.hosts { report.hosts } else { report.metrics };
    let (state, why) = judge(&thresholds, subject as f64);
    let why = |judged: bool| {
        let why = why.as_ref().filter(|_| judged);
        why.map_or(String::new(), |why| format!(" ({why})"))
    };
    let unreadable = match report.unreadable {
        0 => String::new(),
        _ => format!("{} and not counted", report.unreadable_remark()),
    };
    let text = format!(
        "{} metrics{}, {} hosts{}{unreadable}, {remark}",
        report.metrics,
        why(!args.hosts),
        report.hosts,
        why(args.hosts)
    );
    let figure = |label: &str, value: u64, judged: bool| {
        let thresholds = if judged { thresholds } else { Thresholds::default() };
        Figure::new(label, Some(value as f64), Unit::None).judged_by(thresholds)
    };
    Answer {
        state: State::Ok.worse(state),
        text,
        figures: vec![
            figure("metrics", report.metrics, !args.hosts),
            figure("hosts", report.hosts, args.hosts),
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
    let started = Instant::now();
    let count = super::count(&settings, None, false, now, &mut |_| {
        ensure!(
            started.elapsed() < timeout,
            "timed out after {}",
            humantime::format_duration(timeout)
        );
        Ok(())
    });
    match count {
        Ok(count) => Ok(count.report(config.interval, now + count.duration)),
        Err(error) => Err(format!("{error:#}")),
    }
}
