//! Feeds the figures to Graphite: a connection to carbon that never makes the daemon wait.
//!
//! Documents become lines of the plaintext protocol (`lines`), wait in a bounded queue (`queue`), and go out when the
//! socket takes them. The daemon's poll waits for the socket beside its signals and deadlines.

pub mod lines;
mod queue;

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use queue::Queue;

/// A connection that is not made by then is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From one attempt to the next: doubled at each failure, from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The connection to carbon and what is still to be sent.
#[derive(Debug)]
pub struct Feed {
    address: SocketAddr,
    queue: Queue,
    link: Link,
    pause: Duration,
}

#[derive(Debug)]
enum Link {
    /// No connection; none is tried before this time.
    Closed(Instant),
    /// A connection; under way where it has a time at which it is given up.
    Open(TcpStream, Option<Instant>),
}

/// What a turn of the feed came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Everything was sent.
    Sent,
    /// Something waits for carbon, or there was nothing to do.
    Nothing,
}

impl Feed {
    /// A feed without a connection: the first is made when there is something to send.
    pub fn new(address: SocketAddr, now: Instant) -> Self {
        Self {
            address,
            queue: Queue::default(),
            link: Link::Closed(now),
            pause: FIRST_PAUSE,
        }
    }

    /// Queues lines of the plaintext protocol. Where they do not fit, the oldest are dropped.
    pub fn push(&mut self, lines: String) {
        self.queue.push(lines);
    }

    /// How many values were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        self.queue.take_dropped()
    }

    /// What to poll for.
    pub fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.link {
            Link::Closed(_) => None,
            Link::Open(socket, Some(_)) => Some((socket.as_fd(), PollFlags::OUT)),
            Link::Open(socket, None) if self.queue.is_empty() => Some((socket.as_fd(), PollFlags::RDHUP)),
            Link::Open(socket, None) => Some((socket.as_fd(), PollFlags::RDHUP | PollFlags::OUT)),
        }
    }

    /// When there is something to do even if nothing happens.
    pub fn due(&self) -> Option<Instant> {
        match &self.link {
            Link::Closed(retry) => (!self.queue.is_empty()).then_some(*retry),
            Link::Open(_, deadline) => *deadline,
        }
    }

    /// Connects, sends and notices carbon's end, as far as that goes without waiting. After an error it tries again by
    /// itself, less and less often.
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
            let socket = start(self.address).with_context(|| connecting(self.address))?;
            self.link = Link::Open(socket, Some(now + CONNECT_TIMEOUT));
        }
        let address = self.address;
        let Link::Open(socket, given_up) = &mut self.link else {
            return Ok(Turn::Nothing);
        };
        if let Some(deadline) = *given_up {
            if is_connected(socket).with_context(|| connecting(address))? {
                *given_up = None;
            } else if now >= deadline {
                let seconds = CONNECT_TIMEOUT.as_secs();
                return Err(anyhow!("no answer within {seconds} s").context(connecting(address)));
            } else {
                return Ok(Turn::Nothing);
            }
        }
        if has_ended(socket).with_context(|| format!("reading from carbon at {address}"))? {
            // No error: carbon was restarted or closes idle connections. A new one is made when it is needed.
            self.close(now);
            return Ok(Turn::Nothing);
        }
        let had_some = !self.queue.is_empty();
        while let Some(rest) = self.queue.front() {
            match socket.write(rest) {
                Ok(written) => self.queue.sent(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("writing to carbon at {address}"));
                }
            }
        }
        self.pause = FIRST_PAUSE;
        Ok(if had_some { Turn::Sent } else { Turn::Nothing })
    }

    /// Drops the connection. What was sent in part is sent again as a whole: carbon forgets a line without its end, and
    /// the same value at the same time is the same point.
    fn close(&mut self, now: Instant) {
        self.queue.rewind();
        self.link = Link::Closed(now + self.pause);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }
}

fn connecting(address: SocketAddr) -> String {
    format!("connecting to carbon at {address}")
}

/// Begins to connect, without waiting for the answer.
fn start(address: SocketAddr) -> Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn is_connected(socket: &TcpStream) -> Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error.into());
    }
    match socket.peer_addr() {
        // On the loopback, a connection to a port that nobody listens on may come to be with itself.
        Ok(peer) if peer == socket.local_addr()? => Err(Errno::CONNREFUSED.into()),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the other side has closed or reset the connection. Carbon sends nothing. What another program sends is not
/// read, so that a flood of it fills the socket's buffer and costs nothing more.
fn has_ended(socket: &TcpStream) -> Result<bool> {
    let mut asked = [PollFd::new(socket, PollFlags::RDHUP)];
    match poll(&mut asked, Some(&Timespec::default())) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    if let Some(error) = socket.take_error()? {
        return Err(error.into());
    }
    Ok(!asked[0].revents().is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// Turns as the daemon would, until something was sent.
    fn turn_until_sent(feed: &mut Feed, now: Instant) {
        for _ in 0..1000 {
            if feed.turn(now).unwrap() == Turn::Sent {
                return;
            }
            std::thread::yield_now();
        }
        panic!("nothing was sent");
    }

    #[test]
    fn a_refused_connection_is_tried_again_less_and_less_often() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut now = Instant::now();
        let mut feed = Feed::new(address, now);
        assert_eq!((feed.turn(now).unwrap(), feed.due()), (Turn::Nothing, None));
        feed.push("a 1 1\n".into());
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert!(
                feed.turn(now)
                    .unwrap_err()
                    .to_string()
                    .starts_with("connecting to carbon")
            );
            assert_eq!(feed.due(), Some(now + Duration::from_secs(seconds)));
            assert_eq!(feed.turn(now).unwrap(), Turn::Nothing, "not before it is due");
            now += Duration::from_secs(seconds);
        }
        let listener = TcpListener::bind(address).unwrap();
        turn_until_sent(&mut feed, now);
        let mut received = [0; 6];
        listener.accept().unwrap().0.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"a 1 1\n");
        assert_eq!(feed.due(), None);
    }

    #[test]
    fn a_carbon_that_does_not_read_delays_nothing_and_costs_the_oldest() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let now = Instant::now();
        let mut feed = Feed::new(listener.local_addr().unwrap(), now);
        let lines = |n: u32| format!("a.{n:05} 1 1\n").repeat(1000);
        let mut pushed = 0;
        while feed.take_dropped() == 0 {
            feed.push(lines(pushed));
            feed.turn(now).unwrap();
            pushed += 1;
            assert!(pushed < 10_000, "the sockets' buffers never fill");
        }
        let (mut carbon, _) = listener.accept().unwrap();
        carbon.set_nonblocking(true).unwrap();
        let mut received = Vec::new();
        loop {
            let _ = carbon.read_to_end(&mut received);
            if feed.turn(now).unwrap() == Turn::Sent {
                break;
            }
        }
        drop(feed);
        carbon.set_nonblocking(false).unwrap();
        carbon.read_to_end(&mut received).unwrap();
        let received = String::from_utf8(received).unwrap();
        assert!(received.lines().all(|line| line.len() == 11), "no line is torn");
        assert!(received.ends_with(&lines(pushed - 1)), "the newest arrive");
        assert!(received.starts_with(&lines(0)), "what was under way is finished");
    }

    #[test]
    fn bytes_from_carbon_wake_nobody_and_hide_no_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut now = Instant::now();
        let mut feed = Feed::new(listener.local_addr().unwrap(), now);
        feed.push("a 1 1\n".into());
        turn_until_sent(&mut feed, now);
        let (mut carbon, _) = listener.accept().unwrap();
        carbon.set_nonblocking(true).unwrap();
        while carbon.write(&[b'x'; 4096]).is_ok() {}
        let is_awake = |feed: &Feed| {
            let (socket, flags) = feed.waits_for().unwrap();
            let mut asked = [PollFd::from_borrowed_fd(socket, flags)];
            poll(&mut asked, Some(&Timespec::default())).unwrap() > 0
        };
        assert!(!is_awake(&feed));
        feed.push("b 2 2\n".into());
        turn_until_sent(&mut feed, now);
        let mut received = [0; 12];
        carbon.set_nonblocking(false).unwrap();
        carbon.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"a 1 1\nb 2 2\n");
        drop(carbon);
        // Its kernel still has bytes to send. The next line is answered by a reset.
        feed.push("c 3 3\n".into());
        while feed.waits_for().is_some() {
            let _ = feed.turn(now);
            feed.push("d 4 4\n".into());
        }
        now += FIRST_PAUSE;
        turn_until_sent(&mut feed, now);
        let (mut carbon, _) = listener.accept().unwrap();
        carbon.read_exact(&mut received[..6]).unwrap();
    }

    #[test]
    fn carbons_end_is_noticed_and_a_new_connection_made() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut now = Instant::now();
        let mut feed = Feed::new(listener.local_addr().unwrap(), now);
        feed.push("a 1 1\n".into());
        turn_until_sent(&mut feed, now);
        let mut received = [0; 6];
        listener.accept().unwrap().0.read_exact(&mut received).unwrap();
        while feed.waits_for().is_some() {
            assert_eq!(feed.turn(now).unwrap(), Turn::Nothing);
        }
        assert_eq!(feed.due(), None, "nothing to send, nothing to do");
        feed.push("b 2 2\n".into());
        now += FIRST_PAUSE;
        turn_until_sent(&mut feed, now);
        listener.accept().unwrap().0.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"b 2 2\n");
    }
}
