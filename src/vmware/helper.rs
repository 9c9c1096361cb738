//! The helper process: loads the guest library and answers questions about it, one line each.
//!
//! A question is a number on stdin; the answer on stdout is that number and [`Answer::to_line`]. The library may
//! print, block, crash, swap signal handlers and end the process: all of it happens here and not in the daemon.

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

/// The hidden subcommand of this binary that is the helper, known to no one but the process that starts it.
pub const SUBCOMMAND: &str = "guest-library";

/// The process that asks and the names of the libraries to try, of a command line that [`SUBCOMMAND`] begins.
pub fn arguments(args: &[OsString]) -> Option<(Pid, Vec<String>)> {
    let (parent, libraries) = child::arguments(args, SUBCOMMAND)?;
    let libraries = libraries.iter().map(|name| name.clone().into_string());
    Some((parent, libraries.collect::<Result<_, _>>().ok()?))
}

/// Answers until stdin ends.
pub fn run(parent: Pid, libraries: &[String]) -> ExitCode {
    // There is no one to tell but the one who asks, and the pipe to it is what fails.
    answer_all(parent, libraries).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn answer_all(parent: Pid, libraries: &[String]) -> Result<()> {
    // Before stdout is replaced: the program may start again here.
    let confined = drop_ambient_capabilities().and_then(|()| confine(parent));
    let mut answers = take_stdout().context("setting up the pipe for answers")?;
    let mut library = None;
    for question in stdin().lock().lines() {
        let question = question.context("reading a question")?;
        let answer = match &confined {
            Ok(()) => answer(&mut library, libraries),
            Err(error) => Answer::Unusable(format!("{error:#}")),
        };
        // One write: the line arrives as a whole.
        answers
            .write_all(format!("{question} {}\n", answer.to_line()).as_bytes())
            .context("writing an answer")?;
    }
    Ok(())
}

/// A library that is installed later is found then, without a restart.
fn answer(library: &mut Option<GuestLib>, names: &[String]) -> Answer {
    if library.is_none() {
        match load(names) {
            Ok(loaded) => *library = Some(loaded),
            Err(answer) => return answer,
        }
    }
    library.as_ref().map_or(Answer::Missing, GuestLib::read)
}

/// The first library that loads. One that is there and does not load is worth more words than those that are not.
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

/// Takes stdout for the answers alone: what the library prints goes nowhere.
fn take_stdout() -> Result<File> {
    let answers = rustix::io::fcntl_dupfd_cloexec(stdout(), 3)?;
    dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(answers.into())
}
