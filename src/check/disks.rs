//! `check disks`: how busy the physical disks are, as the "graphite writer" check answers that question.
//!
//! Values of a stopped gatherer are none: an absent, unreadable, malformed or outdated file is UNKNOWN.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::args::DisksArgs;
use super::perfdata::{Figure, Thresholds, Unit};
use super::{Answer, State, judge};
use crate::config::Config;
use crate::published::{self, Age, Unread};
use crate::report::{DiskReport, DisksReport, Rounded};
use crate::trusted_users::TrustedUsers;

/// Disks named in the text; the figures of all are in the perfdata.
const MAX_NAMED: usize = 8;
/// Disks with all their figures. With more there is %util alone: a checker cuts an answer off at 8 KiB.
const MAX_DETAILED: usize = 24;

pub fn answer(args: &DisksArgs, config: &Config, trusted: &TrustedUsers, now: SystemTime) -> Answer {
    let path = &config.disks.output;
    let cannot_read =
        |reason: &str| Answer::unknown(format!("cannot read the file {}: {reason}", path.display()));
    let report: DisksReport = match published::read(path, trusted) {
        Ok(report) => report,
        Err(Unread::Absent) if !config.disks.enabled => {
            return cannot_read("it is absent, [disks] is not enabled");
        }
        Err(Unread::Absent) => return cannot_read("it is absent, is the gatherer running?"),
        Err(Unread::Refused(reason)) => return cannot_read(&reason),
    };
    let age = Age::of(&report, now, args.common.max_age);
    if let Some(outdated) = age.outdated() {
        let text = format!(
            "the file {} is {outdated}; is the gatherer running?",
            path.display()
        );
        return Answer::unknown(text);
    }
    let mut answer = judged(args, &report);
    let age = Figure::new("age", Some(age.passed().as_secs_f64()), Unit::Seconds);
    answer.figures.push(age);
    answer
}

fn judged(args: &DisksArgs, report: &DisksReport) -> Answer {
    let (chosen, missing) = choose(args, report);
    let mut state = State::Ok;
    let mut remarks = Vec::new();
    if args.whisper && report.whisper_disks.is_empty() {
        state = State::Unknown;
        remarks.push("the disks under the whisper tree are not known".to_string());
    }
    if !missing.is_empty() {
        state = State::Unknown;
        remarks.push(format!("no disk {}", named(&missing)));
    }
    if report.disks.is_empty() {
        state = State::Unknown;
        remarks.push("no physical disk".into());
    }
    let thresholds = args.common.thresholds();
    let mut disks: Vec<_> = chosen
        .iter()
        .map(|name| Judged::new(name, &report.disks[*name], report, &thresholds))
        .collect();
    let figures = disks
        .iter()
        .flat_map(|disk| disk.figures(thresholds, disks.len() <= MAX_DETAILED))
        .collect();
    state = disks.iter().fold(state, |state, disk| state.worse(disk.state));
    // The worst first, the busiest of those first; sorting is stable, so the same figures give the same text.
    disks.sort_by(|a, b| {
        (b.state as u8, b.util)
            .partial_cmp(&(a.state as u8, a.util))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut said: Vec<_> = disks.iter().take(MAX_NAMED).map(Judged::text).collect();
    if disks.len() > MAX_NAMED {
        said.push(format!("{} more at or below that", disks.len() - MAX_NAMED));
    }
    if !said.is_empty() {
        let window = report.window_seconds.get();
        remarks.push(format!("%util {} over {window:.0} s", said.join(", ")));
    }
    Answer {
        state,
        text: remarks.join("; "),
        figures,
    }
}

/// The disks asked for that there are, in the order of their names, and those that there are not.
fn choose<'a>(args: &'a DisksArgs, report: &'a DisksReport) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
    if args.disk.is_empty() && !args.whisper {
        return (report.disks.keys().map(String::as_str).collect(), BTreeSet::new());
    }
    let named = args
        .disk
        .iter()
        .map(|name| name.strip_prefix("/dev/").unwrap_or(name));
    let under = report.whisper_disks.iter().map(String::as_str);
    named
        .chain(under.filter(|_| args.whisper))
        .partition(|name| report.disks.contains_key(*name))
}

fn named(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

/// One disk and what is to be said about it.
struct Judged<'a> {
    name: &'a str,
    disk: &'a DiskReport,
    util: f64,
    state: State,
    why: Option<String>,
}

impl<'a> Judged<'a> {
    fn new(name: &'a str, disk: &'a DiskReport, report: &DisksReport, thresholds: &Thresholds) -> Self {
        let util = disk.util_percent.get();
        let (state, why) = if disk.hangs(report.window_seconds) {
            let why = "HUNG: requests queued, none completed".to_string();
            (State::Critical, Some(why))
        } else {
            judge(thresholds, util)
        };
        Self {
            name,
            disk,
            util,
            state,
            why,
        }
    }

    fn text(&self) -> String {
        let why = self.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        format!("{} {:.1}%{why}", self.name, self.util)
    }

    fn figures(&self, thresholds: Thresholds, detailed: bool) -> Vec<Figure> {
        let figure =
            |what: &str, value: f64, unit| Figure::new(format!("{}_{what}", self.name), Some(value), unit);
        let seconds = |ms: Rounded| (ms.get() * 1000.0).round() / 1e6;
        let util = figure("util", self.util, Unit::Percent)
            .judged_by(thresholds)
            .at_most(100.0);
        if !detailed {
            return vec![util];
        }
        vec![
            util,
            figure("read_await", seconds(self.disk.read_await_ms), Unit::Seconds),
            figure("write_await", seconds(self.disk.write_await_ms), Unit::Seconds),
            figure("queue", self.disk.queue_size.get(), Unit::None),
        ]
    }
}
