//! A process that can be waited for without being its parent.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

/// Seconds between two checks of the processes on kernels before 5.3, which have no process descriptors.
const PAUSE_SECONDS: i64 = 5;

/// Parses the PID of a process that is not init; `None` if it is not one.
pub fn parse_pid(text: &str) -> Option<Pid> {
    let pid: u32 = text.parse().ok()?;
    Pid::from_raw(pid.try_into().ok()?).filter(|pid| !pid.is_init())
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    /// `None` if the kernel has no process descriptors, or a container forbids them.
    descriptor: Option<OwnedFd>,
}

impl Process {
    /// Opens the process with this PID; `None` if it does not exist.
    pub fn open(pid: Pid) -> Option<Self> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => Some(Self {
                descriptor: Some(descriptor),
            }),
            Err(Errno::SRCH) => None,
            // With another error than ESRCH, it runs but may not be signalled.
            Err(_) => (test_kill_process(pid) != Err(Errno::SRCH)).then_some(Self { descriptor: None }),
        }
    }
}

/// Waits until one of the processes has ended, and returns true. Returns false after a few seconds if one of them has no
/// descriptor, and without processes at once.
pub fn wait_for_end(processes: &[Process]) -> Result<bool> {
    if processes.is_empty() {
        return Ok(false);
    }
    let mut polled: Vec<_> = processes
        .iter()
        .filter_map(|process| process.descriptor.as_ref())
        .map(|descriptor| PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::IN))
        .collect();
    let pause = Timespec {
        tv_sec: PAUSE_SECONDS,
        tv_nsec: 0,
    };
    let timeout = (polled.len() < processes.len()).then_some(&pause);
    match poll(&mut polled, timeout) {
        Ok(ended) => Ok(ended > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error).context("waiting for processes"),
    }
}
