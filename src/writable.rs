//! Checks whether a socket accepts a message now. The crates for journald and systemd block if the other side does not
//! read; the daemon must not block.

use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Whether the datagram socket at `path` accepts a message now. A leading `@` means an abstract name, as in
/// `NOTIFY_SOCKET`.
pub fn datagram_socket_writable(path: &Path) -> bool {
    let address = match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    };
    let Ok(socket) = UnixDatagram::unbound() else {
        return false;
    };
    address.and_then(|address| socket.connect_addr(&address)).is_ok() && is_writable(&socket)
}

/// Whether a descriptor can be written to without blocking.
pub fn is_writable(descriptor: impl AsFd) -> bool {
    let mut asked = [PollFd::new(&descriptor, PollFlags::OUT)];
    poll(&mut asked, Some(&Timespec::default())).is_ok() && asked[0].revents().contains(PollFlags::OUT)
}
