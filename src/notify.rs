//! Notifies systemd: ready, status, heartbeat, reloading, stopping.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::escape;
use crate::writable;

/// systemd drops messages longer than 4096 bytes, and the heartbeat with them.
const MAX_STATUS_BYTES: usize = 1000;

/// Shortest watchdog timeout that heartbeats keep up with. systemd accepts one microsecond.
const MIN_WATCHDOG: Duration = Duration::from_millis(20);

/// The connection to systemd. Does nothing if the daemon was not started by systemd.
#[derive(Debug)]
pub struct Notifier {
    watchdog: Option<Duration>,
    last_heartbeat: Instant,
    status: String,
}

impl Notifier {
    /// Reads the watchdog timeout from the environment.
    pub fn new(now: Instant) -> Self {
        Self {
            // 0 means none, see sd_watchdog_enabled(3).
            watchdog: sd_notify::watchdog_enabled()
                .filter(|timeout| !timeout.is_zero())
                .map(|timeout| timeout.max(MIN_WATCHDOG)),
            last_heartbeat: now,
            status: String::new(),
        }
    }

    /// Reports that the start or a reload is complete.
    pub fn ready(&self) {
        send(&[NotifyState::Ready]);
    }

    /// Reports that a reload begins.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(_) => send(&[NotifyState::Reloading]),
        }
    }

    /// Reports that the daemon is stopping.
    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }

    /// Returns when the next heartbeat is due: after half of the watchdog timeout.
    pub fn heartbeat_due(&self) -> Option<Instant> {
        self.watchdog.map(|timeout| self.last_heartbeat + timeout / 2)
    }

    /// Sends the status if it changed, and a heartbeat if a quarter of the watchdog timeout has passed. Call it in each
    /// turn of the loop: if samples are frequent enough, heartbeats then need no extra wake-up.
    pub fn turn(&mut self, now: Instant, status: &str) {
        let mut states = Vec::new();
        if self
            .watchdog
            .is_some_and(|timeout| now >= self.last_heartbeat + timeout / 4)
        {
            self.last_heartbeat = now;
            states.push(NotifyState::Watchdog);
        }
        let escaped;
        if status != self.status {
            self.status = status.to_string();
            escaped = escape::truncate(&escape::escape(status), MAX_STATUS_BYTES);
            states.push(NotifyState::Status(&escaped));
        }
        send(&states);
    }
}

/// Sends a message unless systemd would make the daemon wait. Errors are ignored: the work goes on.
fn send(states: &[NotifyState]) {
    let is_writable = |path: OsString| writable::datagram_socket_writable(path.as_ref());
    if !states.is_empty() && std::env::var_os("NOTIFY_SOCKET").is_some_and(is_writable) {
        let _ = sd_notify::notify(states);
    }
}
