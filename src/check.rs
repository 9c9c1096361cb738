//! `check`: a monitoring plugin over the published files, after the Monitoring Plugins Development Guidelines.
//!
//! One line on stdout, `SERVICE STATE: text | perfdata`, and the exit code of the state: 0 to 3 and no other, whatever
//! happens (see `guard`). What an absent or outdated file means is the same here as for the readers that the
//! files are made for: see each subject's module.

pub mod args;
mod disks;
mod graphite;
pub mod guard;
mod perfdata;
pub mod range;
mod vmware;

use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::config::{Config, ConfigError};
use crate::escape::is_printable;
use crate::output;
use crate::reader::Reader;
use crate::trusted_users::TrustedUsers;
use args::{CheckArgs, Subject};
use perfdata::{Figure, Thresholds};

/// How long reading the published count may take. Counting has a timeout of its own.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of a service, with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

impl State {
    /// The worse of two: what is known to be wrong counts more than what is not known.
    fn worse(self, other: Self) -> Self {
        let rank = |state| match state {
            Self::Ok => 0,
            Self::Unknown => 1,
            Self::Warning => 2,
            Self::Critical => 3,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        })
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    state: State,
    text: String,
    figures: Vec<Figure>,
}

impl Answer {
    fn unknown(text: impl Into<String>) -> Self {
        Self {
            state: State::Unknown,
            text: text.into(),
            figures: Vec::new(),
        }
    }

    /// The one line of the plugin.
    fn line(&self, service: &str) -> String {
        let mut line = format!("{service} {}: {}", self.state, plain(&self.text));
        for (index, figure) in self.figures.iter().enumerate() {
            line += if index == 0 { " | " } else { " " };
            line += &figure.to_string();
        }
        line.push('\n');
        line
    }
}

/// Answers about one subject. `command_line` is what `args` and `config` come from. The exit code is that of the state.
pub fn run(args: &CheckArgs, config: Result<Config, ConfigError>, command_line: &[OsString]) -> ExitCode {
    let (line, code) = match (&args.subject, &config) {
        (Subject::Graphite(graphite), Ok(_)) => read_elsewhere(graphite.timeout, &command_line[1..])
            .unwrap_or_else(|reason| as_printed(args, &Answer::unknown(reason))),
        _ => answer_now(args, config),
    };
    output::print(&line);
    ExitCode::from(code)
}

/// Answers in a child process: the storage of the tree may hang, and this process would hang with it.
fn read_elsewhere(timeout: Duration, command_line: &[OsString]) -> Result<(String, u8), String> {
    let timeout = timeout + READ_TIMEOUT;
    match Reader::new(command_line.to_vec()).read(timeout) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => {
            let timeout = humantime::format_duration(timeout);
            Err(format!(
                "the storage of the whisper tree has not responded for {timeout}"
            ))
        }
        Err(error) => Err(format!("{error:#}")),
    }
}

/// Returns the line that is printed, and the exit code, as of now.
pub fn answer_now(args: &CheckArgs, config: Result<Config, ConfigError>) -> (String, u8) {
    answer(args, config, &TrustedUsers::load(), SystemTime::now())
}

/// The line that is printed, and the exit code, 0 to 3.
pub fn answer(
    args: &CheckArgs,
    config: Result<Config, ConfigError>,
    trusted: &TrustedUsers,
    now: SystemTime,
) -> (String, u8) {
    let answer = match config {
        Err(error) => Answer::unknown(error.to_string()),
        Ok(config) => match &args.subject {
            Subject::Graphite(args) => graphite::answer(args, &config, trusted, now),
            Subject::Disks(args) => disks::answer(args, &config, trusted, now),
            Subject::Vmware(args) => vmware::answer(args, &config, trusted, now),
        },
    };
    as_printed(args, &answer)
}

fn as_printed(args: &CheckArgs, answer: &Answer) -> (String, u8) {
    (answer.line(args.subject.service()), answer.state as u8)
}

/// The state of a value, and why it is not OK.
fn judge(thresholds: &Thresholds, value: f64) -> (State, Option<String>) {
    let alerts = |range: Option<range::Range>| range.and_then(|range| range.alerts(value));
    if let Some(why) = alerts(thresholds.critical) {
        (State::Critical, Some(why))
    } else if let Some(why) = alerts(thresholds.warning) {
        (State::Warning, Some(why))
    } else {
        (State::Ok, None)
    }
}

/// Text that can't end the line or begin the perfdata early.
fn plain(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '|' => '/',
            character if !is_printable(character) => ' ',
            character => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_keeps_text_and_perfdata_apart() {
        let mut answer = Answer::unknown("a | b\nc\x1b[m");
        assert_eq!(answer.line("X"), "X UNKNOWN: a / b c [m\n");
        answer.figures = ["a", "b"]
            .map(|label| Figure::new(label, Some(1.0), perfdata::Unit::None))
            .into();
        assert_eq!(answer.line("X"), "X UNKNOWN: a / b c [m | a=1;;;0 b=1;;;0\n");
    }

    #[test]
    fn known_trouble_is_worse_than_the_unknown() {
        let worst = |states: &[State]| states.iter().copied().fold(State::Ok, State::worse);
        assert_eq!(worst(&[State::Unknown, State::Ok]), State::Unknown);
        assert_eq!(worst(&[State::Unknown, State::Warning]), State::Warning);
        assert_eq!(
            worst(&[State::Critical, State::Warning, State::Unknown]),
            State::Critical
        );
    }
}
