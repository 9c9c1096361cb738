//! What systemd is told: ready, status, heartbeat, reloading, stopping.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::escape;
use crate::writable;

/// Longest status that is told: a message of more than 4096 bytes is dropped by systemd, and the heartbeat in it.
const MAX_STATUS_BYTES: usize = 1000;

/// Shortest watchdog timeout that heartbeats keep up with. systemd's own limit is one microsecond.
const MIN_WATCHDOG: Duration = Duration::from_millis(20);

/// The connection to the service manager. Without one, all of this does nothing.
#[derive(Debug)]
pub struct Notifier {
    watchdog: Option<Duration>,
    last_heartbeat: Instant,
    status: String,
}

impl Notifier {
    /// Takes the socket and the watchdog's timeout from the environment that systemd set.
    pub fn new(now: Instant) -> Self {
        Self {
            // As sd_watchdog_enabled(3) has it, 0 is not a timeout.
            watchdog: sd_notify::watchdog_enabled()
                .filter(|timeout| !timeout.is_zero())
                .map(|timeout| timeout.max(MIN_WATCHDOG)),
            last_heartbeat: now,
            status: String::new(),
        }
    }

    /// Start-up is complete.
    pub fn ready(&self) {
        send(&[NotifyState::Ready]);
    }

    /// The configuration is being read again; [`Notifier::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(_) => send(&[NotifyState::Reloading]),
        }
    }

    /// The daemon is about to end.
    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }

    /// When a heartbeat is due at the latest: twice within the watchdog's timeout.
    pub fn heartbeat_due(&self) -> Option<Instant> {
        self.watchdog.map(|timeout| self.last_heartbeat + timeout / 2)
    }

    /// Called at every turn of the loop. Tells a new status, and that the loop is alive where a quarter of the
    /// watchdog's timeout has passed: with samples at that pace no extra wake-up is needed for it.
    pub fn turn(&mut self, now: Instant, status: &str) {
        let heartbeat = self
            .watchdog
            .is_some_and(|timeout| now >= self.last_heartbeat + timeout / 4);
        let plain =
            (status != self.status).then(|| escape::truncate(&escape::escape(status), MAX_STATUS_BYTES));
        let news = plain.as_deref().map(NotifyState::Status);
        match (heartbeat, news) {
            (true, Some(news)) => send(&[NotifyState::Watchdog, news]),
            (true, None) => send(&[NotifyState::Watchdog]),
            (false, Some(news)) => send(&[news]),
            (false, None) => {}
        }
        if heartbeat {
            self.last_heartbeat = now;
        }
        if status != self.status {
            self.status = status.to_string();
        }
    }
}

fn send(states: &[NotifyState]) {
    let takes = std::env::var_os("NOTIFY_SOCKET")
        .is_some_and(|path| writable::datagram_socket_writable(path.as_ref()));
    if !takes {
        return;
    }
    // A manager that can't be told has no one to tell either: the daemon's work goes on.
    let _ = sd_notify::notify(states);
}
