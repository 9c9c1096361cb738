//! A child process of this binary: starts it, sends, receives, kills and reaps without blocking.
//!
//! A child runs `/proc/self/exe` with a hidden subcommand and the parent process id. It leads its own process group,
//! reads requests on stdin and writes one line for each report to stdout. It drops its own privileges.

mod command;
mod wait;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::ioctl_fionbio;
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};

pub use command::{arguments, command, tie_to_parent};
pub use wait::{reap_ended, wait_ended, wait_readable};

/// Capacity of a new pipe on Linux.
const PIPE_BYTES: usize = 65_536;
/// Limit for [`Child::stop`]. Only a child that is blocked in the kernel needs longer to exit.
const STOP_TIMEOUT: Duration = Duration::from_millis(100);
const STOP_PAUSE: Duration = Duration::from_millis(1);

/// A child process. Dropping it kills the process.
#[derive(Debug)]
pub struct Child {
    /// `None` after it was reaped: the kernel may then give the number to another process.
    pid: Option<Pid>,
    /// `None` after it was closed.
    input: Option<ChildStdin>,
    output: ChildStdout,
    received: Vec<u8>,
    max_line_bytes: usize,
    deadline: Option<Instant>,
    /// Whether the child has closed its stdout.
    ended: bool,
    killed: bool,
}

/// The result of [`Child::receive`].
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A line, without its newline.
    Line(String),
    /// No complete line yet.
    Nothing,
    /// No complete line, and the deadline has passed.
    Timeout,
    /// A line longer than the limit.
    TooLong,
    /// The child has closed its stdout or exited.
    End,
}

impl Child {
    /// Starts a command. [`Child::receive`] rejects lines longer than `max_line_bytes`.
    #[allow(clippy::zombie_processes, reason = "reap_ended and Child::wait reap it")]
    pub fn spawn(command: &mut Command, max_line_bytes: usize) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // So that ^C reaches only the parent, and a kill also the processes that the child starts.
            .process_group(0)
            .spawn()?;
        let pid = Some(Pid::from_child(&child));
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.context("the child process has no pipes")?;
        let started = Self {
            pid,
            input: Some(input),
            output,
            received: Vec::new(),
            max_line_bytes,
            deadline: None,
            ended: false,
            killed: false,
        };
        ioctl_fionbio(&started.output, true).context("setting up the pipe from the child process")?;
        if let Some(input) = &started.input {
            ioctl_fionbio(input, true).context("setting up the pipe to the child process")?;
        }
        Ok(started)
    }

    /// Returns the process id until the child is reaped.
    pub fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Whether it was killed by its parent.
    pub fn is_killed(&self) -> bool {
        self.killed
    }

    /// Returns the time by which the next line must arrive.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Sets or clears the deadline of the next line.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Sends bytes. Returns an error if the child has exited or the pipe has no room for all of them.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self
            .input
            .as_mut()
            .context("the pipe to the child process is closed")?;
        if bytes.len() > PIPE_BYTES {
            // The child may not read yet, and the parent must not wait until it does.
            fcntl_setpipe_size(&*input, bytes.len()).context("enlarging the pipe to the child process")?;
        }
        input.write_all(bytes).context("writing to the child process")
    }

    /// Closes the stdin of the child.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Returns the next line, or the reason why nothing was received.
    pub fn receive(&mut self, now: Instant) -> Received {
        let mut searched = 0;
        loop {
            if let Some(end) = self.received[searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=searched + end).collect();
                return Received::Line(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned());
            }
            searched = self.received.len();
            if searched > self.max_line_bytes {
                self.received.clear();
                return Received::TooLong;
            }
            let is_late = self.deadline.is_some_and(|deadline| deadline <= now);
            let mut bytes = [0; 4096];
            match self.output.read(&mut bytes) {
                Ok(0) => {
                    // A child may hang at its exit, after its files were closed.
                    let first = !std::mem::replace(&mut self.ended, true);
                    return if is_late && !first {
                        Received::Timeout
                    } else {
                        Received::End
                    };
                }
                Ok(length) => self.received.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return if is_late {
                        Received::Timeout
                    } else {
                        Received::Nothing
                    };
                }
                Err(_) => return Received::End,
            }
        }
    }

    /// Whether bytes after the last returned line have already been read.
    pub fn has_more(&self) -> bool {
        !self.received.is_empty()
    }

    /// Returns the pipe that [`Child::receive`] reads, for poll(2); `None` after it was closed or the child killed.
    pub fn output(&self) -> Option<BorrowedFd<'_>> {
        (!self.ended && !self.killed).then(|| self.output.as_fd())
    }

    /// Kills the child and every process of its group. [`reap_ended`] reaps it.
    pub fn kill(&mut self) {
        if let Some(pid) = self.pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        self.killed = true;
    }

    /// Records that the child was reaped, if `pid` is its process id. Returns whether it is.
    pub fn note_reaped(&mut self, pid: Pid) -> bool {
        let is_this = self.pid == Some(pid);
        if is_this {
            self.pid = None;
        }
        is_this
    }

    /// Kills the child and waits for its end, at most [`STOP_TIMEOUT`].
    pub fn stop(&mut self) {
        self.kill();
        self.wait(STOP_TIMEOUT);
    }

    /// Waits until the child exits, at most `timeout`.
    pub fn wait(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while let Some(pid) = self.pid {
            match waitpid(Some(pid), WaitOptions::NOHANG) {
                Ok(None) if Instant::now() < deadline => sleep(STOP_PAUSE),
                Ok(None) => break,
                _ => self.pid = None,
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests;
