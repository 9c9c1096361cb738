//! `check graphite`: how much Graphite holds, as Graphite itself answers that question.
//!
//! Without a published count it counts by itself; a count that a stopped gatherer left is given as it is, with
//! the state its figures have, and called outdated.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::ensure;

use super::args::GraphiteArgs;
use super::perfdata::{Figure, Thresholds, Unit};
use super::{Answer, State, judge};
use crate::config::{Config, GraphiteConfig, WhisperPaths};
use crate::graphite::{self, CountSettings};
use crate::published::{self, Age, Unread};
use crate::report::GraphiteReport;
use crate::trusted_users::TrustedUsers;

pub fn answer(args: &GraphiteArgs, config: &Config, trusted: &TrustedUsers, now: SystemTime) -> Answer {
    let config = &config.graphite;
    let paths = WhisperPaths::choose(config);
    let path = &paths.output;
    match published::read::<GraphiteReport>(path, trusted) {
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
        Err(Unread::Absent) => match count(config, &paths.whisper_dir, args.timeout) {
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
        unreadable => format!(", {unreadable} directories unreadable and not counted"),
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
fn count(config: &GraphiteConfig, whisper_dir: &Path, timeout: Duration) -> Result<GraphiteReport, String> {
    let settings = CountSettings {
        max_busy_percent: 100,
        ..CountSettings::new(config, whisper_dir)
    };
    let started = Instant::now();
    let count = graphite::count(&settings, None, false, SystemTime::now(), &mut |_| {
        ensure!(
            started.elapsed() < timeout,
            "timed out after {}",
            humantime::format_duration(timeout)
        );
        Ok(())
    });
    match count {
        Ok(count) => Ok(count.report(config.interval, SystemTime::now())),
        Err(error) => Err(format!("{error:#}")),
    }
}
