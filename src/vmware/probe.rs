//! The daemon's end of the helper process: asks, receives, kills. Never blocks.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use super::answer::{Answer, DEADLINE, Fault};

/// The hidden subcommand of this binary that is the helper.
pub const SUBCOMMAND: &str = "guest-library";
/// What the service manager gives to the daemon alone: the helper must not speak for it.
const DAEMON_VARIABLES: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "GATHERER_DEBUG"];
/// Longest line that can be an answer, in bytes.
const MAX_LINE: usize = 4096;
/// Wait before the next helper after one that failed, doubled with each further one in a row.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// Most doublings: about a minute.
const MOST_DOUBLINGS: u32 = 6;

/// What came of a question.
pub type Outcome = Result<Answer, Fault>;

/// Asks the guest library through a helper, which it starts when needed and at most one at a time.
#[derive(Debug)]
pub struct Probe {
    libraries: Vec<String>,
    helper: Option<Helper>,
    question: u64,
    /// Helpers in a row that failed.
    failures: u32,
    not_before: Option<Instant>,
    /// How the last helper failed, said again while no new one may be started.
    fault: Fault,
}

/// A process that was started and not yet waited for.
#[derive(Debug)]
struct Helper {
    /// `None` once it was waited for: the number may then be another process's.
    pid: Option<Pid>,
    questions: ChildStdin,
    answers: ChildStdout,
    received: Vec<u8>,
    /// Until when the question must be answered; `None` where none is open.
    deadline: Option<Instant>,
    killed: bool,
}

impl Probe {
    /// A probe of the first of these libraries that loads. Starts nothing yet.
    pub fn new(libraries: &[String]) -> Self {
        Self {
            libraries: libraries.to_vec(),
            helper: None,
            question: 0,
            failures: 0,
            not_before: None,
            fault: Fault::Nonsense,
        }
    }

    /// Asks. The outcome comes from [`Probe::receive`] or [`Probe::ended`], or at once where nothing can be asked now.
    pub fn ask(&mut self, now: Instant) -> Option<Outcome> {
        match &self.helper {
            Some(helper) if helper.killed => return Some(Err(self.fault.clone())),
            Some(helper) if helper.deadline.is_some() => return None,
            Some(_) => {}
            None if self.not_before.is_some_and(|time| now < time) => return Some(Err(self.fault.clone())),
            None => match Helper::start(&self.libraries) {
                Ok(helper) => self.helper = Some(helper),
                Err(error) => return Some(Err(self.failed(now, Fault::NotStarted(format!("{error:#}"))))),
            },
        }
        let helper = self.helper.as_mut()?;
        self.question += 1;
        helper.deadline = Some(now + DEADLINE);
        // Does not fit only where earlier ones were not read, and fails only where no one reads: dead or as good as.
        if helper
            .questions
            .write_all(format!("{}\n", self.question).as_bytes())
            .is_err()
        {
            helper.kill();
        }
        None
    }

    /// The pipe to wait for, and until when to wait at most.
    pub fn waits_for(&self) -> Option<(BorrowedFd<'_>, Option<Instant>)> {
        let helper = self.helper.as_ref().filter(|helper| !helper.killed)?;
        Some((helper.answers.as_fd(), helper.deadline))
    }

    /// Takes what the helper wrote, and kills it where it wrote nonsense or did not answer in time.
    pub fn receive(&mut self, now: Instant) -> Option<Outcome> {
        let helper = self.helper.as_mut()?;
        if helper.killed {
            return None;
        }
        let ended = helper.read();
        match helper.take_line() {
            Some(line) => {
                let expected = helper.deadline.take().map(|_| self.question);
                let answer = parse(&line).filter(|(question, _)| Some(*question) == expected);
                let rest = !helper.received.is_empty();
                match answer {
                    Some((_, answer)) if !rest => {
                        (self.failures, self.not_before) = (0, None);
                        if !is_trustworthy(&answer) {
                            helper.kill();
                        }
                        Some(Ok(answer))
                    }
                    _ => self.give_up(now, Fault::Nonsense),
                }
            }
            None if helper.received.len() > MAX_LINE => self.give_up(now, Fault::Nonsense),
            // How it ended is known when it is waited for. One that only closed its pipe must end, too.
            None if ended => {
                helper.kill();
                None
            }
            None if helper.deadline.is_some_and(|deadline| deadline <= now) => {
                self.give_up(now, Fault::Silent)
            }
            None => None,
        }
    }

    /// A child process of this one ended: if it is the helper, that may be the outcome of the question.
    pub fn ended(&mut self, now: Instant, pid: Pid, status: ExitStatus) -> Option<Outcome> {
        self.helper.as_mut().filter(|helper| helper.pid == Some(pid))?.pid = None;
        // Its last words may still be in the pipe.
        let last = self.receive(now);
        let asked = self.helper.take().is_some_and(|helper| helper.deadline.is_some());
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
                None => match wait(WaitOptions::empty()).context("waiting for the helper")? {
                    Some((pid, status)) => {
                        self.ended(Instant::now(), pid, ExitStatus::from_raw(status.as_raw()))
                    }
                    None => None,
                },
            };
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
    }

    /// The names of the libraries that are tried.
    pub fn libraries(&self) -> &[String] {
        &self.libraries
    }

    fn give_up(&mut self, now: Instant, fault: Fault) -> Option<Outcome> {
        if let Some(helper) = &mut self.helper {
            helper.kill();
            helper.deadline = None;
        }
        Some(Err(self.failed(now, fault)))
    }

    fn failed(&mut self, now: Instant, fault: Fault) -> Fault {
        self.not_before = Some(now + FIRST_BACK_OFF * (1 << self.failures.min(MOST_DOUBLINGS)));
        self.failures += 1;
        self.fault = fault.clone();
        fault
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(helper) = &mut self.helper {
            helper.kill();
        }
    }
}

impl Helper {
    fn start(libraries: &[String]) -> Result<Self> {
        // The very file that runs, also where a newer one was installed in its place.
        let mut command = Command::new("/proc/self/exe");
        for variable in DAEMON_VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command
            .arg0(env!("CARGO_PKG_NAME"))
            .arg(SUBCOMMAND)
            .arg("--parent")
            .arg(std::process::id().to_string())
            .arg("--")
            .args(libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A ^C on the terminal is the daemon's business.
            .process_group(0)
            .spawn()?;
        let pid = Some(Pid::from_child(&child));
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (questions, answers) = pipes.context("the helper has no pipes")?;
        let helper = Self {
            pid,
            questions,
            answers,
            received: Vec::new(),
            deadline: None,
            killed: false,
        };
        ioctl_fionbio(&helper.questions, true).context("setting up the pipe for questions")?;
        ioctl_fionbio(&helper.answers, true).context("setting up the pipe for answers")?;
        Ok(helper)
    }

    /// Reads what is there. True where no more will come.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 512];
        while self.received.len() <= MAX_LINE {
            match self.answers.read(&mut bytes) {
                Ok(0) => return true,
                Ok(length) => self.received.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
        false
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        let line = self.received.drain(..=end).collect::<Vec<_>>();
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    fn kill(&mut self) {
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, Signal::KILL);
        }
        self.killed = true;
    }
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

/// Waits for every child process that has ended, whoever started it: none stays a zombie.
pub fn reap() -> Vec<(Pid, ExitStatus)> {
    let mut ended = Vec::new();
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        ended.push((pid, ExitStatus::from_raw(status.as_raw())));
    }
    ended
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
