//! `check disks`: how busy the physical disks are. Behaves as the "graphite writer" check: without current values, the
//! state is UNKNOWN.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};

use super::report::{DiskReport, DisksReport, HUNG, NAME};
use crate::collector::Published;
use crate::plugin::perfdata::{PerfValue, Thresholds, Unit};
use crate::plugin::{Answer, Common, State, judge};
use crate::published::{self, Age, ReadError};
use crate::report::Rounded;

/// Disks in the text. The perfdata has all.
const MAX_NAMED: usize = 8;

/// How busy each physical disk is (%util), and whether one hangs
///
/// UNKNOWN if the published file is missing, unreadable, malformed or outdated.
#[derive(Debug, Args)]
struct DisksArgs {
    #[command(flatten)]
    common: Common,
    /// Check only these disks
    #[arg(long, value_name = "NAME", num_args = 1..)]
    disk: Vec<String>,
    /// Check only the disks that hold the whisper tree
    #[arg(long)]
    whisper: bool,
    /// Values of each disk in the perfdata
    #[arg(long, value_name = "VALUES", default_value = "util")]
    perfdata: Perfdata,
}

/// The values of each disk in the perfdata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Perfdata {
    /// Only %util
    Util,
    /// Also await and queue size: NRPE 2 truncates an answer at 1 KiB, Nagios at 8 KiB
    All,
}

/// Returns the subcommand.
pub fn command() -> clap::Command {
    DisksArgs::augment_args(clap::Command::new(NAME))
}

/// Checks the published disk activity.
pub fn answer(args: &ArgMatches, published: &Published) -> Answer {
    let args = match DisksArgs::from_arg_matches(args) {
        Ok(args) => args,
        Err(error) => return Answer::unknown(error.to_string()),
    };
    let args = &args;
    let config = published.config;
    let path = &config.disks.output;
    let cannot_read =
        |reason: &str| Answer::unknown(format!("cannot read the file {}: {reason}", path.display()));
    let report: DisksReport = match published::read(path, published.trusted) {
        Ok(report) => report,
        Err(ReadError::NotFound) if !config.disks.enabled => {
            return cannot_read("no such file ([disks] is disabled)");
        }
        Err(ReadError::NotFound) => return cannot_read("no such file, is the gatherer running?"),
        Err(ReadError::Rejected(reason)) => return cannot_read(&reason),
    };
    let age = Age::of(&report, published.now, args.common.max_age);
    if let Some(outdated) = age.outdated() {
        let text = format!(
            "the file {} is {outdated}; is the gatherer running?",
            path.display()
        );
        return Answer::unknown(text);
    }
    let mut answer = judged(args, &report);
    let age = PerfValue::new("age", Some(age.passed().as_secs_f64()), Unit::Seconds);
    answer.perfdata.push(age);
    answer
}

fn judged(args: &DisksArgs, report: &DisksReport) -> Answer {
    let (chosen, missing) = choose(args, report);
    let mut state = State::Ok;
    let mut remarks = Vec::new();
    if args.whisper && report.whisper_disks.is_empty() {
        state = State::Unknown;
        remarks.push("the disks of the whisper tree are unknown".to_string());
    }
    if !missing.is_empty() {
        state = State::Unknown;
        remarks.push(format!("no such disk: {}", list(&missing)));
    }
    if report.disks.is_empty() {
        state = State::Unknown;
        remarks.push("no physical disks found".into());
    }
    let thresholds = args.common.thresholds();
    let mut disks: Vec<_> = chosen
        .iter()
        .map(|name| Judged::new(name, &report.disks[*name], report, &thresholds))
        .collect();
    let perfdata = disks
        .iter()
        .flat_map(|disk| disk.perfdata(thresholds, args.perfdata))
        .collect();
    state = disks.iter().fold(state, |state, disk| state.worse(disk.state));
    // The worst state first, then the busiest disk. The sort is stable: the same values give the same text.
    disks.sort_by(|a, b| b.util.total_cmp(&a.util));
    disks.sort_by_key(|disk| Reverse(disk.state as u8));
    let mut named: Vec<_> = disks.iter().take(MAX_NAMED).map(Judged::text).collect();
    if disks.len() > MAX_NAMED {
        named.push(format!("{} more", disks.len() - MAX_NAMED));
    }
    if !named.is_empty() {
        let window = report.window_seconds.get();
        remarks.push(format!("%util {} over {window:.0} s", named.join(", ")));
    }
    Answer {
        state,
        text: remarks.join("; "),
        perfdata,
    }
}

/// Returns the requested disks that exist and those that do not, by name.
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

fn list(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

/// A disk with its state.
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
            (State::Critical, Some(HUNG.into()))
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

    fn perfdata(&self, thresholds: Thresholds, perfdata: Perfdata) -> Vec<PerfValue> {
        let value =
            |key: &str, value: f64, unit| PerfValue::new(format!("{}_{key}", self.name), Some(value), unit);
        let seconds = |ms: Rounded| (ms.get() * 1000.0).round() / 1e6;
        let util = value("util", self.util, Unit::Percent)
            .judged_by(thresholds)
            .at_most(100.0);
        if perfdata == Perfdata::Util {
            return vec![util];
        }
        vec![
            util,
            value("read_await", seconds(self.disk.read_await_ms), Unit::Seconds),
            value("write_await", seconds(self.disk.write_await_ms), Unit::Seconds),
            value("queue", self.disk.queue_size.get(), Unit::None),
        ]
    }
}
