//! Opens files that another user may have replaced.
//!
//! Opens only regular files, and never blocks: a FIFO is opened without waiting for its writer and then rejected.
//! The standard library closes descriptors on exec. The caller checks the owner, on the opened descriptor.

use std::fs::{File, OpenOptions};
use std::io::{Error, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// How to treat a symbolic link at the path. Links in its folders are always followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Open the target.
    Follow,
    /// Return an error.
    Reject,
}

/// Opens a regular file for reading.
///
/// Returns the error of open(2), "is a symbolic link" or "not a regular file".
pub fn for_reading(path: &Path, links: Links) -> Result<File> {
    open(path, links, OpenOptions::new().read(true))
}

/// Opens a regular file for appending and reading. If it does not exist, creates it with mode 0640 less the umask.
///
/// Returns the same errors as [`for_reading`]; links are rejected.
pub fn for_appending(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o640);
    open(path, Links::Reject, &mut options)
}

/// Opens a regular file for reading and writing, as a lock file. If it does not exist, creates it with mode 0600:
/// any user who can open a file can lock it.
///
/// Returns the same errors as [`for_reading`]; links are rejected.
pub fn for_locking(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    open(path, Links::Reject, &mut options)
}

/// Reads a file to its end. Returns an error if it is larger than `max_bytes`, without reading more of it.
pub fn read_all(file: &File, max_bytes: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > max_bytes {
        true => Err(Error::other(format!("larger than {max_bytes} bytes"))),
        false => Ok(bytes),
    }
}

fn open(path: &Path, links: Links, options: &mut OpenOptions) -> Result<File> {
    let no_follow = match links {
        Links::Follow => OFlags::empty(),
        Links::Reject => OFlags::NOFOLLOW,
    };
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | no_follow;
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::LOOP) if links == Links::Reject => Error::other("is a symbolic link"),
        // A folder; a socket, a FIFO without a reader, or a device without a driver.
        Some(Errno::ISDIR | Errno::NXIO) => Error::other("not a regular file"),
        _ => error,
    })?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(Error::other("not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn folder_and_socket_are_not_regular_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _socket = UnixListener::bind(&path).unwrap();
        for opened in [for_reading(&path, Links::Follow), for_appending(folder.path())] {
            assert_eq!(opened.unwrap_err().to_string(), "not a regular file");
        }
    }
}
