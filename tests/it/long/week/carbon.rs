//! A carbon that receives the values, and is away for some hours.

use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::support::wait_for;

/// The default prefix.
const PREFIX: &str = "shinken.gatherer.";
/// The queue of the daemon, and the lines of a document.
const MAX_QUEUE_BYTES: usize = (64 << 10) + 4096;

pub struct Carbon {
    pub address: SocketAddr,
    listener: Option<TcpListener>,
    connection: Option<TcpStream>,
    partial: String,
    /// Lines that were not received yet, without the prefix.
    expected: HashSet<String>,
    /// What was received at once after the outage.
    first_bytes: usize,
    /// The time of the oldest value that was received after the outage.
    oldest: Option<i64>,
}

impl Carbon {
    pub fn new() -> Self {
        let listener = listen("127.0.0.1:0".parse().unwrap());
        Self {
            address: listener.local_addr().unwrap(),
            listener: Some(listener),
            connection: None,
            partial: String::new(),
            expected: HashSet::new(),
            first_bytes: 0,
            oldest: None,
        }
    }

    pub fn expect(&mut self, lines: impl IntoIterator<Item = String>) {
        self.expected.extend(lines);
    }

    /// Receives what has arrived: expected lines, each once.
    pub fn receive(&mut self) {
        let Some(listener) = &self.listener else { return };
        if self.connection.is_none() {
            self.connection = listener.accept().ok().map(|(connection, _)| connection);
        }
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.set_nonblocking(true).unwrap();
        let mut bytes = Vec::new();
        let result = connection.read_to_end(&mut bytes);
        assert!(
            result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
            "the daemon closed"
        );
        if self.first_bytes == 0 {
            self.first_bytes = bytes.len();
        }
        self.partial += std::str::from_utf8(&bytes).unwrap();
        let whole = self.partial.rfind('\n').map_or(0, |end| end + 1);
        for line in self.partial[..whole].lines() {
            let line = line.strip_prefix(PREFIX).unwrap();
            assert!(self.expected.remove(line), "unexpected: {line}");
            self.oldest = self.oldest.or_else(|| Some(time_of(line)));
        }
        self.partial.drain(..whole);
    }

    /// Waits until everything was received.
    pub fn receive_all(&mut self) {
        wait_for("all values", || {
            self.receive();
            self.expected.is_empty().then_some(())
        });
    }

    /// Ends, and refuses connections.
    pub fn leave(&mut self) {
        self.receive_all();
        assert!(self.partial.is_empty());
        (self.connection, self.listener) = (None, None);
    }

    pub fn come_back(&mut self) {
        self.listener = Some(listen(self.address));
        (self.first_bytes, self.oldest) = (0, None);
    }

    /// Returns how many values were not received: the oldest of the outage, which the queue had no room for.
    pub fn take_dropped(&mut self) -> usize {
        let oldest = self.oldest.unwrap();
        let before = self.expected.len();
        self.expected.retain(|line| time_of(line) > oldest);
        let queued = self.first_bytes;
        assert!(
            (32 << 10..MAX_QUEUE_BYTES).contains(&queued),
            "{queued} bytes were queued"
        );
        before - self.expected.len()
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// The time of a line, which is its last column.
fn time_of(line: &str) -> i64 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
