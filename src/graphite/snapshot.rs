//! The snapshot file: the directories of the whisper tree as the last count found them.
//!
//! A flat file in the order of the walk, depth first, children sorted by name. All numbers are little-endian:
//!
//! ```text
//! header    magic and format version (8 bytes), wall clock of the count (i64 ns), wall clock of the last full scan
//!           (i64 ns), length of the settings (u32), settings that the records depend on
//! record    depth (u16), length of the name (u16), flags (u8), metrics (u32), inode (u64), modification time (i64 ns),
//!           change time (i64 ns), device (u64, only if it is not that of the whisper directory), name
//! trailer   CRC-32 of all that precedes it (u32)
//! ```
//!
//! The same tree gives the same records, whether an incremental count or a full scan wrote them. Git's index and
//! plocate's database are the models.

mod join;
mod reader;
mod writer;

use std::fs::File;
use std::io::{Read, Result, Take, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Stat;

pub use join::Join;
pub use reader::{Damaged, Reader};
pub use writer::Writer;

/// The last byte is the version of the format.
const MAGIC: [u8; 8] = *b"SGCOUNT\x01";
/// Bytes of the header before the settings.
const HEADER_BYTES: usize = 28;
/// Bytes of a record without device and name.
const RECORD_BYTES: usize = 33;
const CHECKSUM_BYTES: u64 = 4;
const STATE_MASK: u8 = 0b011;
const HAS_DEVICE: u8 = 0b100;
const BUFFER_BYTES: usize = 64 * 1024;

/// Identifies a directory and tells whether its entries may have changed.
///
/// The change time cannot be set back by tools that restore modification times (rsync, tar).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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

/// Whether the record of a directory can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Read too soon after its last change: must be read again.
    Unsettled,
    /// Valid while the stamp is unchanged.
    Settled,
    /// Could not be read, which was reported. Its stamp and metrics are 0.
    Unreadable,
}

/// One directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Whether the rest can be relied on.
    pub state: State,
    /// The directory when it was read.
    pub stamp: Stamp,
    /// Metrics directly in it.
    pub metrics: u32,
}

impl Record {
    /// The record of every unreadable directory.
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

    /// Appends the record of the directory `name` (without NUL) to `bytes`.
    fn encode(&self, depth: u16, name: &[u8], bytes: &mut Vec<u8>) {
        let name_bytes = u16::try_from(name.len()).expect("a directory entry is shorter than 64 KiB");
        let has_device = self.stamp.device.map_or(0, |_| HAS_DEVICE);
        bytes.extend(depth.to_le_bytes());
        bytes.extend(name_bytes.to_le_bytes());
        bytes.push(self.state as u8 | has_device);
        bytes.extend(self.metrics.to_le_bytes());
        bytes.extend(self.stamp.inode.to_le_bytes());
        bytes.extend(self.stamp.modified_ns.to_le_bytes());
        bytes.extend(self.stamp.changed_ns.to_le_bytes());
        bytes.extend(self.stamp.device.iter().flat_map(|device| device.to_le_bytes()));
        bytes.extend(name);
    }
}

/// The start of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Wall clock at the start of the count that wrote the file, Unix nanoseconds.
    pub written_ns: i64,
    /// Wall clock at the start of the last full scan, Unix nanoseconds.
    pub last_full_scan_ns: i64,
    /// See [`settings_key`].
    pub settings: Vec<u8>,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let settings_bytes = u32::try_from(self.settings.len()).expect("settings are shorter than 4 GiB");
        [
            &MAGIC[..],
            &self.written_ns.to_le_bytes(),
            &self.last_full_scan_ns.to_le_bytes(),
            &settings_bytes.to_le_bytes(),
            &self.settings,
        ]
        .concat()
    }
}

/// Encodes the settings that the records depend on, to compare them with those of a snapshot.
pub fn settings_key(whisper_dir: &Path, exclude: &[String]) -> Vec<u8> {
    let patterns = exclude.iter().map(String::as_bytes);
    let mut key = Vec::new();
    for part in std::iter::once(whisper_dir.as_os_str().as_bytes()).chain(patterns) {
        key.extend((part.len() as u64).to_le_bytes());
        key.extend(part);
    }
    key
}

/// A file that computes the checksum of what passes through.
#[derive(Debug)]
struct Checked<T> {
    inner: T,
    checksum: crc32fast::Hasher,
}

impl<T> Checked<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            checksum: crc32fast::Hasher::new(),
        }
    }

    /// The checksum of all bytes up to now, as it stands in the file.
    fn checksum(&self) -> [u8; 4] {
        self.checksum.clone().finalize().to_le_bytes()
    }
}

impl Read for Checked<Take<File>> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let length = self.inner.read(buffer)?;
        self.checksum.update(&buffer[..length]);
        Ok(length)
    }
}

impl Write for Checked<File> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let length = self.inner.write(bytes)?;
        self.checksum.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()
    }
}
