//! `status -v`: what a bug report needs, on one screen.

use std::path::Path;
use std::time::Duration;

use humantime::format_duration;

use super::entry::{Entry, Status};
use super::last_errors::LogEnd;
use super::process::Process;
use super::screen::{Line, Look, Screen, wrap};
use crate::collector::Collector;
use crate::config::{Config, ConfigError, DEFAULT_PATH};
use crate::detected::{self, WhisperTree};
use crate::escape::truncate;
use crate::lock;
use crate::version::VERSION;

/// Column of the values.
const INDENT: usize = 11;
/// Columns if stdout is not a terminal.
const COLUMNS: usize = 80;
/// Longest value, in bytes: about two lines of 80 columns.
const MAX_BYTES: usize = 120;

/// Returns the lines for this screen, wrapped.
pub fn lines(status: &Status, config_path: Option<&Path>, config: &Config, screen: &Screen) -> Vec<Line> {
    let rows = rows(status, config_path, config).into_iter();
    rows.flat_map(|(name, value)| wrapped(name, &truncate(&value, MAX_BYTES), screen))
        .collect()
}

/// Returns what is known if the configuration is rejected. A daemon may still run with an earlier one.
pub fn rejected(error: &ConfigError, screen: &Screen) -> Vec<Line> {
    let pid = lock::running(&Config::default());
    let daemon = match pid {
        Some(_) => describe(pid, pid.map(Process::new).as_ref()),
        None => "not running, unless [host] run is set".into(),
    };
    let rows = [
        ("version", VERSION.to_string()),
        ("daemon", daemon),
        ("config", format!("rejected: {error}")),
    ];
    rows.iter()
        .flat_map(|(name, value)| wrapped(name, value, screen))
        .collect()
}

fn rows(status: &Status, config_path: Option<&Path>, config: &Config) -> Vec<(&'static str, String)> {
    let pid = lock::running(config);
    let process = pid.map(Process::new);
    let file = config_path.unwrap_or(Path::new(DEFAULT_PATH));
    let defaults = match file.exists() {
        true => "",
        false => " does not exist, the defaults apply",
    };
    let (log, log_end) = match &config.log_file {
        Some(path) => {
            let log_end = LogEnd::read(path);
            let problem = log_end.as_ref().err().map(|error| format!(" ({error})"));
            let path = path.display();
            (format!("{path}{}", problem.unwrap_or_default()), log_end.ok())
        }
        None => ("no file, see journalctl -u shinken-gatherer".into(), None),
    };
    let mut rows = vec![
        ("version", VERSION.to_string()),
        ("daemon", describe(pid, process.as_ref())),
        ("config", format!("{}{defaults}", file.display())),
        ("log", log),
    ];
    let privileges = process.and_then(|process| process.privileges());
    rows.extend(privileges.map(|text| ("privileges", text)));
    rows.extend(detected::facts(config, &WhisperTree::find_elsewhere(config_path)));
    for (collector, entry) in &status.entries {
        let name = collector.name();
        rows.push((name, state(*collector, entry)));
        if let Some(log_end) = &log_end {
            let error = log_end.last_error(name).unwrap_or("none in the log file");
            rows.push(("", format!("last error: {error}")));
        }
    }
    rows
}

fn describe(pid: Option<u32>, process: Option<&Process>) -> String {
    let (Some(pid), Some(process)) = (pid, process) else {
        return "not running".into();
    };
    let uptime = process
        .uptime()
        .map(|uptime| format!(", up {}", format_duration(uptime)));
    let command = process.command().map(|command| format!(": {command}"));
    format!(
        "pid {pid}{}{}",
        uptime.unwrap_or_default(),
        command.unwrap_or_default()
    )
}

fn state(collector: &dyn Collector, entry: &Entry) -> String {
    let word = entry.state.word();
    // The file may have been replaced after the clock was read.
    let age = entry.age_seconds.map(|seconds| seconds.max(0).unsigned_abs());
    let age = age.map(|age| format!(", {} old", format_duration(Duration::from_secs(age))));
    let report = entry.report(collector).map(|report| report.summary());
    let reason = entry.reason.clone();
    let texts: Vec<_> = reason.into_iter().chain(report).collect();
    format!("{word}{}: {}", age.unwrap_or_default(), texts.join("; "))
}

/// Returns a row on as many lines as it needs.
fn wrapped(name: &str, value: &str, screen: &Screen) -> Vec<Line> {
    let columns = screen
        .size
        .map_or(COLUMNS, |(columns, _)| columns.max(2 * INDENT));
    let texts = wrap(value, columns - INDENT);
    let names = [name].into_iter().chain(std::iter::repeat(""));
    names
        .zip(texts)
        .map(|(name, text)| {
            let mut line = Line::default();
            line.push(Look::Bold, format!("{name:<INDENT$}"));
            line.push(Look::Plain, text);
            line
        })
        .collect()
}
