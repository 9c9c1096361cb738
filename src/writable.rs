//! Whether someone who is told something would take it at once. The crates that talk to journald and systemd wait
//! where the other side does not read; the daemon must not.

use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Whether the datagram socket at `path` takes one more message now. An `@` at the start stands for an abstract name,
/// as in `NOTIFY_SOCKET`.
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

/// Whether a descriptor can be written to without waiting.
pub fn is_writable(descriptor: impl AsFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut asked = [PollFd::new(&descriptor, PollFlags::OUT)];
    poll(&mut asked, Some(&now)).is_ok() && asked[0].revents().contains(PollFlags::OUT)
}
