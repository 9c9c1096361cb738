//! `check`: a monitoring plugin that reads the published files.
//!
//! The exit code is always 0 to 3 (see `guard`). A missing or outdated file has the same meaning as for the consumers of
//! the file: see the `check` module of each collector.

pub mod args;
pub mod guard;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::collector::Published;
use crate::config::{Config, ConfigError};
use crate::output;
use crate::plugin::Answer;
use crate::reader::Reader;
use crate::trusted_users::TrustedUsers;
use args::CheckArgs;

/// How long reading a published file may take. With the time limit of a count this is less than 10 s, after which
/// check_nrpe gives up.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers `args`, prints the line and returns the exit code. `command_line` is the source of `args` and `config`.
pub fn run(args: &CheckArgs, config: Result<Config, ConfigError>, command_line: &[OsString]) -> ExitCode {
    let subject = &args.subject;
    let (line, code) = match config {
        Ok(_) if subject.collector.is_on_tree_storage() => {
            let timeout = subject.collector.check_timeout(&subject.args);
            read_elsewhere(timeout, &command_line[1..])
                .unwrap_or_else(|reason| as_printed(args, &Answer::unknown(reason)))
        }
        config => answer_now(args, config),
    };
    output::print(&line);
    ExitCode::from(code)
}

/// Answers in a child process: the storage of the tree may hang.
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

/// Returns the line that is printed, and the exit code, 0 to 3.
pub fn answer(
    args: &CheckArgs,
    config: Result<Config, ConfigError>,
    trusted: &TrustedUsers,
    now: SystemTime,
) -> (String, u8) {
    let answer = match &config {
        Err(error) => Answer::unknown(error.to_string()),
        Ok(config) => {
            let published = Published { config, trusted, now };
            args.subject.collector.check(&args.subject.args, &published)
        }
    };
    as_printed(args, &answer)
}

fn as_printed(args: &CheckArgs, answer: &Answer) -> (String, u8) {
    (answer.line(&args.subject.service()), answer.state as u8)
}
