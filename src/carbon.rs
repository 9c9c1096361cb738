//! Sends the published values to Graphite over a connection to carbon, without blocking.
//!
//! `lines` formats documents for the plaintext protocol, `queue` holds them until the `socket` accepts them.

pub mod lines;
mod queue;
mod socket;
#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::event::PollFlags;

use queue::Queue;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before the next attempt to connect, doubled after each failure up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The connection to carbon and the lines that wait for it.
#[derive(Debug)]
pub struct Feed {
    address: SocketAddr,
    queue: Queue,
    link: Link,
    pause: Duration,
}

#[derive(Debug)]
enum Link {
    /// No connection. None is attempted before this time.
    Closed(Instant),
    /// A connection, and until it is established the time at which the attempt fails.
    Open(TcpStream, Option<Instant>),
}

/// The result of [`Feed::turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The queue was sent and is empty now.
    Sent,
    /// There was nothing to send, or carbon accepts no more now.
    Nothing,
}

impl Feed {
    /// Creates a feed. It connects when there is something to send.
    pub fn new(address: SocketAddr, now: Instant) -> Self {
        Self {
            address,
            queue: Queue::default(),
            link: Link::Closed(now),
            pause: FIRST_PAUSE,
        }
    }

    /// Queues lines of the plaintext protocol. Drops the oldest if the queue is full.
    pub fn push(&mut self, lines: String) {
        self.queue.push(lines);
    }

    /// Returns the number of values dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        self.queue.take_dropped()
    }

    /// Returns what to poll for.
    pub fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.link {
            Link::Closed(_) => None,
            Link::Open(socket, Some(_)) => Some((socket.as_fd(), PollFlags::OUT)),
            Link::Open(socket, None) if self.queue.is_empty() => Some((socket.as_fd(), PollFlags::RDHUP)),
            Link::Open(socket, None) => Some((socket.as_fd(), PollFlags::RDHUP | PollFlags::OUT)),
        }
    }

    /// Returns when [`Feed::turn`] is due even if the socket is not ready.
    pub fn due(&self) -> Option<Instant> {
        match &self.link {
            Link::Closed(retry) => (!self.queue.is_empty()).then_some(*retry),
            Link::Open(_, deadline) => *deadline,
        }
    }

    /// Connects, sends and detects a closed connection, without blocking. After an error, reconnects after a pause.
    pub fn turn(&mut self, now: Instant) -> Result<Turn> {
        let result = self.advance(now);
        if result.is_err() {
            self.close(now);
        }
        result
    }

    fn advance(&mut self, now: Instant) -> Result<Turn> {
        if let Link::Closed(retry) = self.link {
            if self.queue.is_empty() || now < retry {
                return Ok(Turn::Nothing);
            }
            let socket = socket::start_connecting(self.address).with_context(|| connecting(self.address))?;
            self.link = Link::Open(socket, Some(now + CONNECT_TIMEOUT));
        }
        let address = self.address;
        let Link::Open(socket, connect_deadline) = &mut self.link else {
            return Ok(Turn::Nothing);
        };
        if let Some(deadline) = *connect_deadline {
            if socket::is_connected(socket).with_context(|| connecting(address))? {
                *connect_deadline = None;
            } else if now >= deadline {
                let seconds = CONNECT_TIMEOUT.as_secs();
                return Err(anyhow!("timed out after {seconds} s").context(connecting(address)));
            } else {
                return Ok(Turn::Nothing);
            }
        }
        if socket::is_closed(socket).with_context(|| format!("reading from carbon at {address}"))? {
            // Not an error: carbon was restarted or closes idle connections.
            self.close(now);
            return Ok(Turn::Nothing);
        }
        let had_lines = !self.queue.is_empty();
        while let Some(rest) = self.queue.front() {
            match socket.write(rest) {
                Ok(written) => self.queue.mark_sent(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("writing to carbon at {address}")),
            }
        }
        self.pause = FIRST_PAUSE;
        Ok(if had_lines { Turn::Sent } else { Turn::Nothing })
    }

    /// Drops the connection. A partly sent batch will be sent again as a whole: carbon discards a partial line, and the
    /// same value at the same time is the same point.
    fn close(&mut self, now: Instant) {
        self.queue.rewind();
        self.link = Link::Closed(now + self.pause);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }
}

fn connecting(address: SocketAddr) -> String {
    format!("connecting to carbon at {address}")
}
