//! Writes to stdout or stderr without waiting for its reader.

use std::fs::File;
use std::io::{ErrorKind, Result, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::net::{SendFlags, send};

use crate::writable;

/// PIPE_BUF: a pipe that poll(2) reports as writable accepts this many bytes at once.
const ATOMIC_BYTES: usize = 4096;

/// An inherited descriptor for writing without blocking.
///
/// `O_NONBLOCK` on the descriptor itself would also affect the shell and all other processes that share it.
#[derive(Debug)]
pub enum NonBlocking {
    /// A terminal or pipe, opened again with `O_NONBLOCK`.
    Reopened(File),
    /// A socket, written to with `MSG_DONTWAIT`.
    Socket(BorrowedFd<'static>),
    /// A regular file, or a descriptor that cannot be opened again, such as the terminal of another user. Such a
    /// terminal can still block if it accepts only part of a line.
    Polled(BorrowedFd<'static>),
}

impl NonBlocking {
    /// Opens an inherited descriptor.
    pub fn new(descriptor: BorrowedFd<'static>) -> Self {
        let file_type = fstat(descriptor).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match file_type {
            Ok(FileType::Socket) => Self::Socket(descriptor),
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                match openat(CWD, path, flags, Mode::empty()) {
                    Ok(file) => Self::Reopened(file.into()),
                    Err(_) => Self::Polled(descriptor),
                }
            }
            _ => Self::Polled(descriptor),
        }
    }

    /// Writes a prefix of `bytes` and returns its length. Returns `WouldBlock` if the descriptor accepts nothing now.
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Reopened(file) => (&mut &*file).write(bytes),
            Self::Socket(socket) => Ok(send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?),
            Self::Polled(descriptor) if writable::is_writable(descriptor) => {
                let start = &bytes[..bytes.len().min(ATOMIC_BYTES)];
                Ok(rustix::io::write(descriptor, start)?)
            }
            Self::Polled(_) => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl AsFd for NonBlocking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Reopened(file) => file.as_fd(),
            Self::Socket(descriptor) | Self::Polled(descriptor) => *descriptor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_pipe_that_cannot_be_opened_again_is_not_waited_for() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let writer: &'static _ = Box::leak(Box::new(writer));
        let out = NonBlocking::Polled(writer.as_fd());
        let mut written = 0;
        let error = loop {
            match out.write(&[b'x'; 10_000]) {
                Ok(length) => written += length,
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), written), (ErrorKind::WouldBlock, 65_536));
    }
}
