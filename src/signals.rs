//! Signals as a readable descriptor: the loop's one `poll` waits for them beside its deadlines.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

/// The signals that the daemon acts on, from now on caught.
#[derive(Debug)]
pub struct Signals {
    wakeups: UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    child_ended: Arc<AtomicBool>,
}

impl Signals {
    /// Catches SIGTERM and SIGINT (stop), SIGHUP (reload) and SIGCHLD (a child process ended).
    pub fn catch() -> Result<Self> {
        let (wakeups, waker) = UnixStream::pair().context("making a socket pair for signals")?;
        wakeups
            .set_nonblocking(true)
            .context("setting up the socket pair for signals")?;
        let stop = Arc::new(AtomicBool::new(false));
        let reload = Arc::new(AtomicBool::new(false));
        let child_ended = Arc::new(AtomicBool::new(false));
        for (signal, flag) in [
            (SIGTERM, &stop),
            (SIGINT, &stop),
            (SIGHUP, &reload),
            (SIGCHLD, &child_ended),
        ] {
            // In this order: whoever is woken finds the flag set.
            signal_hook::flag::register(signal, Arc::clone(flag)).context("catching a signal")?;
            let waker = waker.try_clone().context("catching a signal")?;
            signal_hook::low_level::pipe::register(signal, waker).context("catching a signal")?;
        }
        // A process that was stopped finds deadlines passed when it goes on: the loop is to look at them at once.
        let waker = waker.try_clone().context("catching a signal")?;
        signal_hook::low_level::pipe::register(SIGCONT, waker).context("catching a signal")?;
        // Caught, so that a file at the limit of its size is an error of that file and not the end of the process.
        signal_hook::flag::register(SIGXFSZ, Arc::default()).context("catching a signal")?;
        Ok(Self {
            wakeups,
            stop,
            reload,
            child_ended,
        })
    }

    /// Whether the daemon was asked to stop.
    pub fn stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether the daemon was asked to reload since the last call.
    pub fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::SeqCst)
    }

    /// Whether a child process ended since the last call.
    pub fn take_child_ended(&self) -> bool {
        self.child_ended.swap(false, Ordering::SeqCst)
    }

    /// Empties the descriptor after a wake-up.
    pub fn drain(&mut self) {
        let mut bytes = [0; 64];
        loop {
            match self.wakeups.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeups.as_fd()
    }
}
