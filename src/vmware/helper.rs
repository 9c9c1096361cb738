//! The helper process: loads the guest library and asks it for its counters.
//!
//! A question is a line with a number on stdin. The answer on stdout is the same number and [`Answer::to_line`]. The
//! library may print, block, crash, replace signal handlers and exit: in this process, not in the daemon.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, Write, stdin};
use std::process::ExitCode;

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::stdio::{dup2_stdout, stdout};

use super::answer::Answer;
use super::confine::{confine, drop_ambient_capabilities};
use super::guestlib::{GuestLib, LoadError};
use crate::child;

/// The hidden subcommand of this binary that runs the helper.
pub const SUBCOMMAND: &str = "guest-library";

/// Returns the parent process and the libraries to try, if the command line starts a helper.
pub fn arguments(args: &[OsString]) -> Option<(Pid, Vec<String>)> {
    let (parent, libraries) = child::arguments(args, SUBCOMMAND)?;
    let libraries = libraries.iter().map(|name| name.clone().into_string());
    Some((parent, libraries.collect::<Result<_, _>>().ok()?))
}

/// Answers until stdin ends.
pub fn run(parent: Pid, libraries: &[String]) -> ExitCode {
    // The only error is that the pipe to the daemon failed: nobody is left to report it to.
    answer_all(parent, libraries).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn answer_all(parent: Pid, libraries: &[String]) -> Result<()> {
    // First, because it may execute this program again.
    let confined = drop_ambient_capabilities().and_then(|()| confine(parent));
    let mut answers = take_stdout().context("setting up the pipe for answers")?;
    let mut library = None;
    for question in stdin().lock().lines() {
        let question = question.context("reading a question")?;
        let answer = match &confined {
            Ok(()) => answer(&mut library, libraries),
            Err(error) => Answer::Unusable(format!("{error:#}")),
        };
        // One write, so that the line arrives as a whole.
        answers
            .write_all(format!("{question} {}\n", answer.to_line()).as_bytes())
            .context("writing an answer")?;
    }
    Ok(())
}

/// Loads the library at each question until that succeeds: it may be installed later.
fn answer(library: &mut Option<GuestLib>, names: &[String]) -> Answer {
    if library.is_none() {
        match load(names) {
            Ok(loaded) => *library = Some(loaded),
            Err(answer) => return answer,
        }
    }
    library.as_ref().map_or(Answer::Missing, GuestLib::read)
}

/// Returns the first library that loads. The error of a library that exists is preferred to [`Answer::Missing`].
fn load(names: &[String]) -> Result<GuestLib, Answer> {
    let mut answer = Answer::Missing;
    for name in names {
        match GuestLib::load(name) {
            Ok(library) => return Ok(library),
            Err(LoadError::Refused(reason)) if answer == Answer::Missing => {
                answer = Answer::Unusable(format!("loading {name}: {reason}"));
            }
            Err(_) => {}
        }
    }
    Err(answer)
}

/// Returns stdout, and redirects the output of the library to /dev/null.
fn take_stdout() -> Result<File> {
    let answers = rustix::io::fcntl_dupfd_cloexec(stdout(), 3)?;
    dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(answers.into())
}
