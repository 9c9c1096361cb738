//! Opening a published file in a directory where anyone may have planted something else.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Unread;

/// Largest document that is read: the disks of a full /proc/diskstats of 4 MiB, some 60,000, have 15 MB.
const MAX_BYTES: u64 = 16 << 20;
/// Largest part of /etc/passwd that is read.
const MAX_PASSWD_BYTES: u64 = 1 << 20;
/// The user of the packaged service.
const SERVICE_USER: &str = "shinken-gatherer";
const PASSWD: &str = "/etc/passwd";

/// The users whose files are believed.
///
/// Root; the packaged service's user; and the user who asks, because whoever can plant a file in that name can answer
/// in that name anyway, and it is how a gatherer run by hand is read back. The service's user is looked up in
/// /etc/passwd, where the package makes it: asking NSS could load and wait for anything the machine is set up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    uids: Vec<u32>,
}

impl Trusted {
    /// Those of this machine.
    pub fn of_this_machine() -> Self {
        let mut passwd = Vec::new();
        // Without the file, or beyond its first MiB, there is no such user: root's files are still believed.
        let read = File::open(PASSWD).and_then(|file| file.take(MAX_PASSWD_BYTES).read_to_end(&mut passwd));
        // The names of people in it may be in any encoding.
        let service = read
            .ok()
            .and_then(|_| uid_of(SERVICE_USER, &String::from_utf8_lossy(&passwd)));
        let us = rustix::process::geteuid().as_raw();
        Self {
            uids: [0, us].into_iter().chain(service).collect(),
        }
    }

    /// Why a file of the user `uid` is not believed, where it is not.
    pub fn check(&self, uid: u32) -> Result<(), String> {
        match self.uids.contains(&uid) {
            true => Ok(()),
            false => Err(format!("owned by user {uid}, not by root or {SERVICE_USER}")),
        }
    }
}

/// The user id of `name` in the text of a passwd file.
fn uid_of(name: &str, passwd: &str) -> Option<u32> {
    let mut entries = passwd.lines().map(|line| line.split(':'));
    entries
        .find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()))
        .flatten()
}

/// Reads a regular file of a trusted user, of at most 16 MiB. Links are not followed, and nothing blocks: a FIFO is
/// opened without waiting for its writer, then refused.
pub fn read(path: &Path, trusted: &Trusted) -> Result<Vec<u8>, Unread> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Unread::Absent,
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            Unread::Refused("a symbolic link, which is not followed".into())
        }
        _ => Unread::Refused(error.to_string()),
    })?;
    let refuse = |error: std::io::Error| Unread::Refused(error.to_string());
    let metadata = file.metadata().map_err(refuse)?;
    if !metadata.is_file() {
        return Err(Unread::Refused("not a regular file".into()));
    }
    trusted.check(metadata.uid()).map_err(Unread::Refused)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(refuse)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Unread::Refused(format!("larger than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::uid_of;

    #[test]
    fn the_services_user_is_found_in_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\n\nshinken:x:7:7::/:/bin/sh\nshinken-gatherer:x:998:998::/:/bin/false\n";
        assert_eq!(uid_of("shinken-gatherer", passwd), Some(998));
        assert_eq!(uid_of("shinken-gather", passwd), None);
        assert_eq!(uid_of("x", "x:x:many:1::/:\nx:x:5:1::/:\n"), None);
        assert_eq!(uid_of("x", "x\n"), None);
    }
}
