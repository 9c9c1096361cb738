//! The answer of a monitoring plugin, by the Monitoring Plugins Development Guidelines.
//!
//! One line on stdout, `SERVICE STATE: text | perfdata`, and the exit code of the state: 0 to 3.

pub mod perfdata;
pub mod range;

use std::fmt;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::duration;
use crate::escape::is_printable;
use crate::published::Age;
use perfdata::{PerfValue, Thresholds};
use range::Range;

/// The state of a service, with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Exit code 0.
    Ok = 0,
    /// Exit code 1.
    Warning = 1,
    /// Exit code 2.
    Critical = 2,
    /// Exit code 3.
    Unknown = 3,
}

impl State {
    /// Returns the worse of two. A known problem is worse than an unknown state.
    pub fn worse(self, other: Self) -> Self {
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

/// The answer of a check.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The state of the service.
    pub state: State,
    /// Text for people.
    pub text: String,
    /// The perfdata.
    pub perfdata: Vec<PerfValue>,
}

impl Answer {
    /// Returns an answer without values.
    pub fn unknown(text: impl Into<String>) -> Self {
        Self {
            state: State::Unknown,
            text: text.into(),
            perfdata: Vec::new(),
        }
    }

    /// Returns the line of the plugin.
    pub fn line(&self, service: &str) -> String {
        let mut line = format!("{service} {}: {}", self.state, sanitize(&self.text));
        for (index, value) in self.perfdata.iter().enumerate() {
            line += if index == 0 { " | " } else { " " };
            line += &value.to_string();
        }
        line.push('\n');
        line
    }
}

/// Returns the state of a value, and why it is not OK.
pub fn judge(thresholds: &Thresholds, value: f64) -> (State, Option<String>) {
    let alerts = |range: Option<range::Range>| range.and_then(|range| range.alerts(value));
    if let Some(why) = alerts(thresholds.critical) {
        (State::Critical, Some(why))
    } else if let Some(why) = alerts(thresholds.warning) {
        (State::Warning, Some(why))
    } else {
        (State::Ok, None)
    }
}

/// Replaces the characters that end the line or start the perfdata.
fn sanitize(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '|' => '/',
            character if !is_printable(character) => ' ',
            character => character,
        })
        .collect()
}

/// Options that every check has.
#[derive(Debug, Args)]
pub struct Common {
    /// Warning if the value is outside this range: 10, 10:, ~:10 or 10:20; @10:20: if it is inside
    #[arg(short, long, value_name = "RANGE", allow_hyphen_values = true)]
    warning: Option<Range>,
    /// Critical if the value is outside this range
    #[arg(short, long, value_name = "RANGE", allow_hyphen_values = true)]
    critical: Option<Range>,
    /// Maximum age of the values [default: two intervals plus 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub max_age: Option<Duration>,
}

impl Common {
    /// Returns the ranges of the command line.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            warning: self.warning,
            critical: self.critical,
        }
    }
}

/// The option of the checks that report outdated values, as the consumers of the file do.
#[derive(Debug, Args)]
pub struct Outdated {
    /// State of outdated values, if that of the values themselves is not worse
    #[arg(long, value_name = "STATE", default_value = "warning")]
    outdated: State,
}

impl Outdated {
    /// Returns the state of values of this age, and why it is not OK.
    pub fn judge(&self, age: Age) -> (State, Option<String>) {
        match age.outdated() {
            Some(outdated) => (
                self.outdated,
                Some(format!("{outdated}; is the gatherer running?")),
            ),
            None => (State::Ok, None),
        }
    }
}

/// Parses a duration such as `5m`, or a number of seconds as other plugins accept it.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_start_perfdata() {
        let mut answer = Answer::unknown("a | b\nc\x1b[m");
        assert_eq!(answer.line("X"), "X UNKNOWN: a / b c [m\n");
        answer.perfdata = ["a", "b"]
            .map(|label| PerfValue::new(label, Some(1.0), perfdata::Unit::None))
            .into();
        assert_eq!(answer.line("X"), "X UNKNOWN: a / b c [m | a=1;;;0 b=1;;;0\n");
    }

    #[test]
    fn known_problem_is_worse_than_unknown_state() {
        let worst = |states: &[State]| states.iter().copied().fold(State::Ok, State::worse);
        assert_eq!(worst(&[State::Unknown, State::Ok]), State::Unknown);
        assert_eq!(worst(&[State::Unknown, State::Warning]), State::Warning);
        assert_eq!(
            worst(&[State::Critical, State::Warning, State::Unknown]),
            State::Critical
        );
    }
}
