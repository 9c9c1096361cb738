//! The helper as a process: started, written to, read from, killed, waited for. Nothing here blocks.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait, waitpid};
use rustix::thread::clear_ambient_capability_set;

use super::helper::SUBCOMMAND;

/// What the service manager gives to the daemon alone: the helper must not speak for it.
const DAEMON_VARIABLES: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "GATHERER_DEBUG"];
/// Longest line that can be an answer, in bytes.
const MAX_LINE: usize = 4096;
/// How often and how long [`Helper::stop`] waits for a killed helper, which takes long only where the disk does.
const STOP_TRIES: u32 = 100;
const STOP_PAUSE: Duration = Duration::from_millis(1);

/// A process that was started and not yet waited for.
#[derive(Debug)]
pub struct Helper {
    /// `None` once it was waited for: the number may then be another process's.
    pub pid: Option<Pid>,
    questions: ChildStdin,
    answers: ChildStdout,
    received: Vec<u8>,
    /// Until when the question must be answered; `None` where none is open.
    pub deadline: Option<Instant>,
    /// Whether it was killed: it is then only waited for.
    pub killed: bool,
}

/// What the helper wrote.
#[derive(Debug)]
pub enum Written {
    /// A line, without its newline, and nothing after it.
    Line(String),
    /// More than a line, or a longer one than any answer.
    TooMuch,
    /// Nothing yet, or the beginning of a line.
    Nothing,
    /// No line, and none will follow.
    End,
}

impl Helper {
    /// Starts it. It loads one of these libraries when it is asked.
    pub fn start(libraries: &[String]) -> Result<Self> {
        // Capabilities that the service manager gave this process beyond its user are not for others, and a sandbox may
        // keep the helper from dropping what it is born with.
        let _ = clear_ambient_capability_set();
        // The very file that runs, also where a newer one was installed in its place.
        let mut command = Command::new("/proc/self/exe");
        for variable in DAEMON_VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command
            .arg0(env!("CARGO_PKG_NAME"))
            .arg(SUBCOMMAND)
            .arg(std::process::id().to_string())
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

    /// Writes a question. It does not fit only where earlier ones were not read.
    pub fn ask(&mut self, question: u64, deadline: Instant) {
        self.deadline = Some(deadline);
        let written = self.questions.write_all(format!("{question}\n").as_bytes());
        if written.is_err() {
            // Dead, or as good as.
            self.kill();
        }
    }

    /// Reads what is there.
    pub fn read(&mut self) -> Written {
        let mut bytes = [0; 512];
        let mut ended = false;
        while !ended && self.received.len() <= MAX_LINE {
            match self.answers.read(&mut bytes) {
                Ok(0) => ended = true,
                Ok(length) => self.received.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => ended = true,
            }
        }
        match self.received.iter().position(|byte| *byte == b'\n') {
            Some(end) if end + 1 == self.received.len() => {
                let line = String::from_utf8_lossy(&self.received[..end]).into_owned();
                self.received.clear();
                Written::Line(line)
            }
            Some(_) => Written::TooMuch,
            None if self.received.len() > MAX_LINE => Written::TooMuch,
            None if ended => Written::End,
            None => Written::Nothing,
        }
    }

    /// The pipe that [`Helper::read`] reads.
    pub fn answers(&self) -> BorrowedFd<'_> {
        self.answers.as_fd()
    }

    /// Kills it and waits for its end, but not for long: for a process that ends itself.
    pub fn stop(&mut self) {
        self.kill();
        for _ in 0..STOP_TRIES {
            match self.pid.map(|pid| waitpid(Some(pid), WaitOptions::NOHANG)) {
                Some(Ok(None)) => sleep(STOP_PAUSE),
                _ => break,
            }
        }
        self.pid = None;
    }

    /// Kills it. That it ended comes from [`reap`].
    pub fn kill(&mut self) {
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, Signal::KILL);
        }
        self.killed = true;
    }
}

/// A helper that is given up ends, whether or not someone waits for it.
impl Drop for Helper {
    fn drop(&mut self) {
        self.kill();
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
