//! A TCP connection that does not block.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

/// Starts to connect, without waiting for the result.
pub fn start_connecting(address: SocketAddr) -> Result<TcpStream> {
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

/// Whether the connection is established. Returns the error if it failed.
pub fn is_connected(socket: &TcpStream) -> Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error.into());
    }
    match socket.peer_addr() {
        // On the loopback, a socket can connect to itself if nobody listens on the port.
        Ok(peer) if peer == socket.local_addr()? => Err(Errno::CONNREFUSED.into()),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the peer has closed the connection. Carbon sends no data. Data from another program is not read: it fills
/// the socket buffer and costs nothing more.
pub fn is_closed(socket: &TcpStream) -> Result<bool> {
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
