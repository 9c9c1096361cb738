//! Records and header of a snapshot, and the checksum of its bytes. [`super`] documents the format.

use std::fs::File;
use std::io::{self, Read, Take, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Stat;

/// The last byte is the version of the format.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SGCOUNT\x01");
/// Bytes of the header without settings, and of a record without device and name.
pub const FIXED_BYTES: usize = 4 * 8;
pub const CHECKSUM_BYTES: usize = 4;
pub const BUFFER_BYTES: usize = 64 << 10;
pub const DEPTH_BITS: u32 = 12;
pub const HAS_DEVICE: u64 = 0b100;

/// Identifies a directory and tells whether its entries may have changed.
///
/// The change time cannot be set back by tools that restore modification times (rsync, tar).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Inode number.
    pub inode: u64,
    /// Device number, `None` on the file system of the whisper directory: that number changes at a remount of NFS,
    /// btrfs and overlay.
    pub device: Option<u64>,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Change time, nanoseconds since 1970.
    pub changed_ns: i64,
}

impl Stamp {
    /// Takes the stamp from `stat`, relative to the device of the whisper directory.
    pub fn new(stat: &Stat, root_device: u64) -> Self {
        let nanoseconds =
            |seconds: i64, more: i64| seconds.saturating_mul(1_000_000_000).saturating_add(more);
        Self {
            inode: stat.st_ino,
            device: (stat.st_dev != root_device).then_some(stat.st_dev),
            modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }
}

/// Whether the record of a directory is reliable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Read too soon after its last change: must be read again.
    Unsettled,
    /// Valid while the stamp is unchanged.
    Settled,
    /// Could not be read, which was reported.
    Unreadable,
}

/// One directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Whether the rest is reliable.
    pub state: State,
    /// The directory when it was read.
    pub stamp: Stamp,
    /// Metrics directly in it.
    pub metrics: u32,
}

impl Record {
    /// The record of every unreadable directory: without a stamp, so that the same tree gives the same records.
    pub const UNREADABLE: Self = Self {
        state: State::Unreadable,
        stamp: Stamp {
            inode: 0,
            device: None,
            modified_ns: 0,
            changed_ns: 0,
        },
        metrics: 0,
    };

    /// Returns whether the entries of a directory with this stamp are the recorded ones.
    pub fn is_valid(&self, stamp: &Stamp) -> bool {
        self.state == State::Settled && self.stamp == *stamp
    }

    /// Encodes the record of the directory `name` (without NUL).
    pub fn encode(&self, depth: u16, name: &[u8]) -> Vec<u8> {
        let flags = self.state as u64 | self.stamp.device.map_or(0, |_| HAS_DEVICE);
        let first = u64::from(depth)
            | flags << DEPTH_BITS
            | (name.len() as u64) << 16
            | u64::from(self.metrics) << 32;
        let times = [self.stamp.modified_ns, self.stamp.changed_ns].map(i64::cast_unsigned);
        let words = [first, self.stamp.inode, times[0], times[1]].map(u64::to_le_bytes);
        let device = self.stamp.device.map(u64::to_le_bytes);
        [words.as_flattened(), device.as_slice().as_flattened(), name].concat()
    }
}

/// Encodes the header. `written_ns` and `last_full_scan_ns` are the wall clock, Unix nanoseconds, at the start of the
/// count that writes the file and of the last full scan; for `settings` see [`settings_key`].
pub fn header(written_ns: i64, last_full_scan_ns: i64, settings: &[u8]) -> Vec<u8> {
    let times = [written_ns, last_full_scan_ns].map(i64::cast_unsigned);
    let words = [MAGIC, times[0], times[1], settings.len() as u64].map(u64::to_le_bytes);
    [words.as_flattened(), settings].concat()
}

/// Encodes the settings that the records depend on, to compare them with those of a snapshot.
pub fn settings_key(whisper_dir: &Path, exclude: &[String]) -> Vec<u8> {
    let mut key = Vec::new();
    let patterns = exclude.iter().map(String::as_bytes);
    for part in std::iter::once(whisper_dir.as_os_str().as_bytes()).chain(patterns) {
        key.extend((part.len() as u64).to_le_bytes());
        key.extend(part);
    }
    key
}

/// A file that computes the checksum of the bytes that are read or written.
#[derive(Debug)]
pub struct Checked<T> {
    /// The file.
    pub inner: T,
    checksum: crc32fast::Hasher,
}

impl<T> Checked<T> {
    /// Starts at the front of the file.
    pub fn new(inner: T) -> Self {
        let checksum = crc32fast::Hasher::new();
        Self { inner, checksum }
    }

    /// Returns the checksum of all bytes up to now, as in the file.
    pub fn checksum(&self) -> [u8; CHECKSUM_BYTES] {
        self.checksum.clone().finalize().to_le_bytes()
    }
}

impl Read for Checked<Take<File>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.checksum.update(&buffer[..length]);
        Ok(length)
    }
}

impl Write for Checked<File> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.checksum.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
