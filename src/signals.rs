//! Signals as a descriptor, so that one poll(2) waits for them and everything else.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM,
    SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// Linux signals that signal-hook does not name.
const SIGSTKFLT: i32 = 16;
const SIGPWR: i32 = 30;
/// The real-time signals that libc does not use.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;
/// Signals that end the process by default, except those of a crash (SIGABRT, SIGBUS, SIGSEGV and so on).
const TERMINATING: [i32; 11] = [
    SIGTERM, SIGINT, SIGQUIT, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXCPU, SIGSTKFLT, SIGPWR,
];
/// SIGCONT only wakes the loop: deadlines may have passed while the process was stopped. SIGXFSZ is ignored, so that
/// reaching the file size limit is a write error.
const OTHERS: [i32; 5] = [SIGHUP, SIGUSR1, SIGCHLD, SIGCONT, SIGXFSZ];

/// The caught signals.
#[derive(Debug)]
pub struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    stop: Option<i32>,
    reload: bool,
    reopen: bool,
    child_ended: bool,
}

impl Signals {
    /// Catches every signal that would end the process, except those of a crash; SIGHUP (reload), SIGUSR1 (reopen the
    /// log) and SIGCHLD (a child process exited).
    pub fn catch() -> Result<Self> {
        let (wakeups, waker) = UnixStream::pair().context("creating a socket pair for signals")?;
        let signals = TERMINATING.into_iter().chain(REAL_TIME).chain(OTHERS);
        let delivery = SignalDelivery::with_pipe(wakeups, waker, SignalOnly, signals)
            .context("installing a signal handler")?;
        Ok(Self {
            delivery,
            stop: None,
            reload: false,
            reopen: false,
            child_ended: false,
        })
    }

    /// Receives pending signals. Call it after each poll(2).
    pub fn receive(&mut self) {
        for signal in self.delivery.pending() {
            match signal {
                SIGHUP => self.reload = true,
                SIGUSR1 => self.reopen = true,
                SIGCHLD => self.child_ended = true,
                SIGCONT | SIGXFSZ => {}
                signal => self.stop = self.stop.or(Some(signal)),
            }
        }
    }

    /// Whether the process was asked to stop.
    pub fn stop(&self) -> bool {
        self.stop.is_some()
    }

    /// Returns the signal that stopped the process, unless it was SIGTERM or SIGINT.
    pub fn unusual_stop(&self) -> Option<i32> {
        self.stop.filter(|signal| !matches!(*signal, SIGTERM | SIGINT))
    }

    /// Whether a reload was requested since the last [`Signals::take_reload`].
    pub fn is_hung_up(&self) -> bool {
        self.reload
    }

    /// Whether a reload was requested since the last call.
    pub fn take_reload(&mut self) -> bool {
        std::mem::take(&mut self.reload)
    }

    /// Whether reopening the log was requested since the last call.
    pub fn take_reopen(&mut self) -> bool {
        std::mem::take(&mut self.reopen)
    }

    /// Whether a child process exited since the last call.
    pub fn take_child_ended(&mut self) -> bool {
        std::mem::take(&mut self.child_ended)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}
