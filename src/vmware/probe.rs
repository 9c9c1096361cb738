//! The daemon's end of the helper: which question is open, until when, and what came of it. Never blocks.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use super::answer::{Answer, DEADLINE, Fault};
use super::helper::SUBCOMMAND;
use crate::child::{self, Child, Received};

/// Wait before the next helper after one that failed, doubled with each further one in a row.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// Longest line that can be an answer, in bytes.
const MAX_LINE_BYTES: usize = 4096;
/// Most doublings: 8 s.
const MAX_DOUBLINGS: u32 = 3;

/// What came of a question.
pub type Outcome = Result<Answer, Fault>;

/// Asks the guest library through a helper, which it starts when needed and at most one at a time.
#[derive(Debug)]
pub struct Probe {
    libraries: Vec<OsString>,
    helper: Option<Child>,
    question: u64,
    /// Helpers in a row that failed.
    failures: u32,
    not_before: Option<Instant>,
    /// How the last helper failed, said again while no new one may be started.
    fault: Option<Fault>,
}

impl Probe {
    /// A probe of the first of these libraries that loads. Starts nothing yet.
    pub fn new(libraries: &[String]) -> Self {
        Self {
            libraries: libraries.iter().map(OsString::from).collect(),
            helper: None,
            question: 0,
            failures: 0,
            not_before: None,
            fault: None,
        }
    }

    /// Asks. The outcome comes from [`Probe::receive`] or [`Probe::ended`], or at once where nothing can be asked now.
    pub fn ask(&mut self, now: Instant) -> Option<Outcome> {
        match &self.helper {
            Some(helper) if helper.is_killed() => return self.fault.clone().map(Err),
            Some(helper) if helper.deadline().is_some() => return None,
            Some(_) => {}
            None if self.not_before.is_some_and(|time| now < time) => return self.fault.clone().map(Err),
            None => match Child::start(SUBCOMMAND, &self.libraries, MAX_LINE_BYTES) {
                Ok(helper) => self.helper = Some(helper),
                Err(error) => return Some(Err(self.failed(now, Fault::NotStarted(format!("{error:#}"))))),
            },
        }
        self.question += 1;
        let helper = self.helper.as_mut()?;
        helper.set_deadline(Some(now + DEADLINE));
        if helper.send(format!("{}\n", self.question).as_bytes()).is_err() {
            // It has exited, or does not read.
            helper.kill();
        }
        None
    }

    /// The pipe to wait for, and until when to wait at most.
    pub fn waits_for(&self) -> Option<(BorrowedFd<'_>, Option<Instant>)> {
        let helper = self.helper.as_ref()?;
        Some((helper.output()?, helper.deadline()))
    }

    /// Takes what the helper wrote, and kills it where it wrote nonsense or did not answer in time.
    pub fn receive(&mut self, now: Instant) -> Option<Outcome> {
        let helper = self.helper.as_mut()?;
        if helper.is_killed() {
            return None;
        }
        match helper.receive(now) {
            Received::Line(_) if helper.has_more() => self.give_up(now, Fault::Nonsense),
            Received::Line(line) => {
                let open = helper.deadline().map(|_| self.question);
                helper.set_deadline(None);
                match parse(&line) {
                    Some((question, answer)) if Some(question) == open => {
                        (self.failures, self.not_before, self.fault) = (0, None, None);
                        if !is_trustworthy(&answer) {
                            helper.kill();
                        }
                        Some(Ok(answer))
                    }
                    _ => self.give_up(now, Fault::Nonsense),
                }
            }
            Received::TooLong => self.give_up(now, Fault::Nonsense),
            Received::End => {
                // How it ended is known when it is waited for. One that only closed its pipe must end, too.
                helper.kill();
                None
            }
            Received::Timeout => self.give_up(now, Fault::Silent),
            Received::Nothing => None,
        }
    }

    /// A child process of this one ended: if it is the helper, that may be the outcome of the question.
    pub fn ended(&mut self, now: Instant, pid: Pid, status: ExitStatus) -> Option<Outcome> {
        self.helper.as_mut()?.note_reaped(pid).then_some(())?;
        // Its last words may still be in the pipe.
        let last = self.receive(now);
        let asked = self
            .helper
            .take()
            .is_some_and(|helper| helper.deadline().is_some());
        if last.is_some() || !asked {
            return last;
        }
        Some(Err(self.failed(now, Fault::Died(status.to_string()))))
    }

    /// Asks and waits for the outcome, for a process that has nothing else to do meanwhile.
    pub fn ask_and_wait(&mut self) -> Result<Outcome> {
        if let Some(outcome) = self.ask(Instant::now()) {
            return Ok(outcome);
        }
        loop {
            let outcome = match self.waits_for() {
                Some((pipe, deadline)) => {
                    wait_readable(pipe, deadline)?;
                    self.receive(Instant::now())
                }
                // It is dead, which a wait without end can thus wait for.
                None => match child::wait_ended()? {
                    Some((pid, status)) => self.ended(Instant::now(), pid, status),
                    None => None,
                },
            };
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
    }

    /// Ends the helper for good.
    pub fn stop(&mut self) {
        if let Some(mut helper) = self.helper.take() {
            helper.stop();
        }
    }

    fn give_up(&mut self, now: Instant, fault: Fault) -> Option<Outcome> {
        if let Some(helper) = &mut self.helper {
            helper.kill();
            helper.set_deadline(None);
        }
        Some(Err(self.failed(now, fault)))
    }

    fn failed(&mut self, now: Instant, fault: Fault) -> Fault {
        self.not_before = Some(now + FIRST_BACK_OFF * (1 << self.failures.min(MAX_DOUBLINGS)));
        self.failures += 1;
        self.fault = Some(fault.clone());
        fault
    }
}

/// The number of the question and its answer; `None` for anything else.
fn parse(line: &str) -> Option<(u64, Answer)> {
    let (question, answer) = line.split_once(' ')?;
    Some((question.parse().ok()?, Answer::from_line(answer)?))
}

/// Whether the library is still good for the next question. After an error that no state of the host explains, a new
/// process asks it.
fn is_trustworthy(answer: &Answer) -> bool {
    !matches!(answer, Answer::Failed(_) | Answer::Unusable(_))
}

fn wait_readable(pipe: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<()> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.map(Timespec::try_from).transpose()?;
    match poll(
        &mut [PollFd::from_borrowed_fd(pipe, PollFlags::IN)],
        left.as_ref(),
    ) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno).context("waiting for the helper"),
    }
}
