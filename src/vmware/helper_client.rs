//! Client of the VMware helper: starts it, asks it, and replaces it after a failure. Only `ask_and_wait` blocks.

mod state;

use std::mem::take;
use std::os::fd::BorrowedFd;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Pid;

use super::answer::{Answer, DEADLINE, Fault};
use super::helper::SUBCOMMAND;
use crate::child::{self, Child, Received};
use crate::moment::Moment;
use state::{Failure, State, exiting, killed};

/// Pause before the next helper after a failure, doubled with each further failure in a row.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// Limits the pause to 8 s.
const MAX_DOUBLINGS: u32 = 3;
const MAX_LINE_BYTES: usize = 4096;

/// The answer to a question, or the fault that prevented it.
pub type Outcome = Result<Answer, Fault>;

/// Asks the guest library through a helper. At most one helper exists at a time.
#[derive(Debug)]
pub struct HelperClient {
    command: Command,
    state: State,
    /// Number of the last question.
    question: u64,
    /// Failures since the last answer.
    failures: u32,
}

/// Something that [`HelperClient::handle`] acts on.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// A sample is due.
    Ask,
    /// The helper wrote something, or its deadline has passed.
    Wakeup,
    /// A child process was reaped.
    Reaped(Pid, ExitStatus),
}

impl HelperClient {
    /// Creates a client of the first of these libraries that loads. Starts no process yet.
    pub fn new(libraries: &[String]) -> Self {
        let libraries: Vec<_> = libraries.iter().map(Into::into).collect();
        Self::with_command(child::command(SUBCOMMAND, &libraries))
    }

    fn with_command(command: Command) -> Self {
        Self {
            command,
            state: State::default(),
            question: 0,
            failures: 0,
        }
    }

    /// Acts on an event. Returns the outcome of a question when it is known.
    ///
    /// After a failure, returns the same fault again for each question until the helper may be restarted.
    pub fn handle(&mut self, event: Event, now: Instant) -> Option<Outcome> {
        match event {
            Event::Ask => self.ask(now),
            Event::Wakeup => self.receive(now),
            Event::Reaped(pid, status) => self.on_exit(pid, status, now),
        }
    }

    /// Returns the pipe to poll and the deadline of [`Event::Wakeup`]; `None` if only [`Event::Reaped`] can follow.
    pub fn poll_fd(&self) -> Option<(BorrowedFd<'_>, Option<Instant>)> {
        match &self.state {
            State::Ready(helper) | State::Asked(helper) => Some((helper.output()?, helper.deadline())),
            _ => None,
        }
    }

    /// Asks and blocks until the outcome is known. Reaps any child process of the caller.
    pub fn ask_and_wait(&mut self, clock: fn() -> Moment) -> Result<Outcome> {
        let mut event = Event::Ask;
        loop {
            if let Some(outcome) = self.handle(event, clock().monotonic) {
                return Ok(outcome);
            }
            event = match self.poll_fd() {
                Some((pipe, deadline)) => {
                    child::wait_readable(Some(pipe), deadline)?;
                    Event::Wakeup
                }
                None => match child::wait_ended()? {
                    Some((pid, status)) => Event::Reaped(pid, status),
                    None => Event::Wakeup,
                },
            };
        }
    }

    /// Kills the helper and waits for its end, for at most a tenth of a second.
    pub fn stop(&mut self) {
        if let Some(helper) = self.state.helper() {
            helper.stop();
        }
        self.state = State::default();
    }

    fn ask(&mut self, now: Instant) -> Option<Outcome> {
        let mut helper = match take(&mut self.state) {
            State::Ready(helper) => helper,
            State::Stopped(failure) if failure.as_ref().is_none_or(|failure| failure.retry_at <= now) => {
                match Child::spawn(&mut self.command, MAX_LINE_BYTES) {
                    Ok(helper) => helper,
                    Err(error) => return self.fail(None, Fault::NotStarted(format!("{error:#}")), now),
                }
            }
            // Blocked in the kernel, where a kill does not reach it.
            State::Exiting(helper) if helper.deadline() <= Some(now) => {
                return self.fail(Some(helper), Fault::Timeout, now);
            }
            state => {
                self.state = state;
                return match &self.state {
                    State::Stopped(Some(failure)) | State::Killed(_, Some(failure)) => {
                        Some(Err(failure.fault.clone()))
                    }
                    _ => None,
                };
            }
        };
        self.question += 1;
        helper.set_deadline(Some(now + DEADLINE));
        self.state = match helper.send(format!("{}\n", self.question).as_bytes()) {
            Ok(()) => State::Asked(helper),
            // It has exited, or does not read.
            Err(_) => exiting(helper),
        };
        None
    }

    fn receive(&mut self, now: Instant) -> Option<Outcome> {
        match take(&mut self.state) {
            State::Asked(mut helper) => match helper.receive(now) {
                Received::Nothing => self.state = State::Asked(helper),
                Received::End => self.state = exiting(helper),
                Received::Timeout => return self.fail(Some(helper), Fault::Timeout, now),
                Received::Line(line) if !helper.has_more() => return self.on_line(helper, &line, now),
                Received::Line(_) | Received::TooLong => {
                    return self.fail(Some(helper), Fault::InvalidReply, now);
                }
            },
            State::Ready(mut helper) => match helper.receive(now) {
                Received::Nothing => self.state = State::Ready(helper),
                Received::End => self.state = killed(helper, None),
                _ => return self.fail(Some(helper), Fault::InvalidReply, now),
            },
            state => self.state = state,
        }
        None
    }

    fn on_line(&mut self, mut helper: Child, line: &str, now: Instant) -> Option<Outcome> {
        let answer = line
            .split_once(' ')
            .filter(|(question, _)| question.parse() == Ok(self.question))
            .and_then(|(_, answer)| Answer::from_line(answer));
        let Some(answer) = answer else {
            return self.fail(Some(helper), Fault::InvalidReply, now);
        };
        self.failures = 0;
        helper.set_deadline(None);
        // After an error that no state of the host explains, a new process asks the library.
        self.state = match answer {
            Answer::Failed(_) | Answer::Unusable(_) => killed(helper, None),
            _ => State::Ready(helper),
        };
        Some(Ok(answer))
    }

    fn on_exit(&mut self, pid: Pid, status: ExitStatus, now: Instant) -> Option<Outcome> {
        if !self.state.helper().is_some_and(|helper| helper.note_reaped(pid)) {
            return None;
        }
        // Its last answer may still be in the pipe.
        let outcome = self.receive(now);
        match take(&mut self.state) {
            State::Asked(_) | State::Exiting(_) => self.fail(None, Fault::Died(status.to_string()), now),
            State::Killed(_, failure) => {
                self.state = State::Stopped(failure);
                outcome
            }
            State::Ready(_) | State::Stopped(_) => outcome,
        }
    }

    fn fail(&mut self, helper: Option<Child>, fault: Fault, now: Instant) -> Option<Outcome> {
        let retry_at = now + FIRST_BACK_OFF * (1 << self.failures.min(MAX_DOUBLINGS));
        self.failures += 1;
        let failure = Some(Failure {
            fault: fault.clone(),
            retry_at,
        });
        self.state = match helper {
            Some(helper) => killed(helper, failure),
            None => State::Stopped(failure),
        };
        Some(Err(fault))
    }
}

#[cfg(test)]
mod tests;
