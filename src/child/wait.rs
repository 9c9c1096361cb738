//! Waits for child processes: for their output, and for their end.

use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};

/// Waits until the pipe is readable or the deadline has passed.
pub fn wait_readable(pipe: Option<BorrowedFd<'_>>, deadline: Option<Instant>) -> Result<()> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.map(Timespec::try_from).transpose()?;
    let pipe = pipe.map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN));
    match poll(&mut Vec::from_iter(pipe), left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno).context("waiting for a child process"),
    }
}

/// Reaps every child process that has exited, without waiting for the others.
pub fn reap_ended() -> Vec<(Pid, ExitStatus)> {
    let mut ended = Vec::new();
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        ended.push((pid, ExitStatus::from_raw(status.as_raw())));
    }
    ended
}

/// Waits until a child process exits, and reaps it.
pub fn wait_ended() -> Result<Option<(Pid, ExitStatus)>> {
    let ended = wait(WaitOptions::empty()).context("waiting for a child process")?;
    Ok(ended.map(|(pid, status)| (pid, ExitStatus::from_raw(status.as_raw()))))
}
