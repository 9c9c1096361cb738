//! Reads a snapshot once, from front to back, and validates all of it.

use std::fmt::{Display, Formatter};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Take};
use std::mem;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::geteuid;

use super::format::{
    BUFFER_BYTES, CHECKSUM_BYTES, Checked, DEPTH_BITS, FIXED_BYTES, HAS_DEVICE, MAGIC, Record, Stamp, State,
};

/// The reason why a snapshot cannot be used. Nothing that was read from it before can be trusted either.
#[derive(Debug)]
pub struct Damaged(String);

impl Display for Damaged {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Damaged {}

impl From<io::Error> for Damaged {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self("it is truncated".into()),
            _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                Self("it is a symbolic link".into())
            }
            _ => Self(error.to_string()),
        }
    }
}

fn damaged<T>(reason: impl Into<String>) -> Result<T, Damaged> {
    Err(Damaged(reason.into()))
}

/// A directory in the snapshot.
#[derive(Debug)]
pub struct Entry {
    /// Levels below the whisper directory, which itself is at 0.
    pub depth: u16,
    /// Terminated by NUL; only that for the whisper directory.
    pub name: Vec<u8>,
    /// Its record.
    pub record: Record,
    /// Offset of the next record in the file.
    pub end: u64,
}

/// An open snapshot.
#[derive(Debug)]
pub struct Reader {
    input: BufReader<Checked<Take<File>>>,
    /// When the last full scan started, Unix nanoseconds.
    pub last_full_scan_ns: i64,
    /// Offset of the first record.
    pub header_bytes: u64,
    current: Entry,
    next: Entry,
    is_at_end: bool,
}

impl Reader {
    /// Opens the snapshot at `path` up to its first record. `Ok(None)` if there is no such file.
    ///
    /// Fails with the reason if the file is not a regular one that only the caller or root can write, or is not a
    /// snapshot made with these `settings` and before `now_ns`.
    pub fn open(path: &Path, settings: &[u8], now_ns: i64) -> Result<Option<Self>, Damaged> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        let file = match options
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
        {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let payload_bytes = check_file(&file)?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, Checked::new(file.take(payload_bytes)));
        let last_full_scan_ns = read_header(&mut input, settings, now_ns)?;
        let header_bytes = (FIXED_BYTES + settings.len()) as u64;
        let before_the_first = || Entry {
            depth: 0,
            name: vec![0],
            record: Record::UNREADABLE,
            end: header_bytes,
        };
        let mut reader = Self {
            input,
            last_full_scan_ns,
            header_bytes,
            current: before_the_first(),
            next: before_the_first(),
            is_at_end: false,
        };
        reader.load()?;
        match reader.is_at_end {
            true => damaged("it is empty"),
            false => Ok(Some(reader)),
        }
    }

    /// Returns the file, to copy what was already read.
    pub fn file(&self) -> &File {
        self.input.get_ref().inner.get_ref()
    }

    /// Returns the record that was taken last.
    pub fn current(&self) -> &Entry {
        &self.current
    }

    /// Returns the record that will be taken next; `None` at the end, after its checksum was verified.
    pub fn next(&self) -> Option<&Entry> {
        (!self.is_at_end).then_some(&self.next)
    }

    /// Takes the next record.
    pub fn take(&mut self) -> Result<(), Damaged> {
        mem::swap(&mut self.current, &mut self.next);
        self.load()
    }

    fn load(&mut self) -> Result<(), Damaged> {
        if self.input.fill_buf()?.is_empty() {
            self.is_at_end = true;
            return self.verify();
        }
        let [first, inode, modified, changed] = read_words(&mut self.input)?;
        let depth = first as u16 & ((1 << DEPTH_BITS) - 1);
        let flags = first >> DEPTH_BITS & 0b1111;
        let name_bytes = usize::from((first >> 16) as u16);
        let device = match flags & HAS_DEVICE {
            0 => None,
            _ => Some(read_words::<1>(&mut self.input)?[0]),
        };
        let state = match flags & !HAS_DEVICE {
            0 => State::Unsettled,
            1 => State::Settled,
            2 => State::Unreadable,
            _ => return damaged("a record is malformed"),
        };
        let entry = &mut self.next;
        entry.depth = depth;
        entry.record = Record {
            state,
            stamp: Stamp {
                inode,
                device,
                modified_ns: modified.cast_signed(),
                changed_ns: changed.cast_signed(),
            },
            metrics: (first >> 32) as u32,
        };
        entry.end = self.current.end + (FIXED_BYTES + device.map_or(0, |_| 8) + name_bytes) as u64;
        entry.name.clear();
        entry.name.resize(name_bytes + 1, 0);
        let name = &mut entry.name[..name_bytes];
        self.input.read_exact(name)?;
        let is_first = self.current.end == self.header_bytes;
        match is_first {
            true if depth == 0 && name.is_empty() => Ok(()),
            false if (1..=self.current.depth + 1).contains(&depth) && is_name(name) => Ok(()),
            _ => damaged("a record is malformed"),
        }
    }

    fn verify(&self) -> Result<(), Damaged> {
        let mut stored = [0; CHECKSUM_BYTES];
        self.file().read_exact_at(&mut stored, self.current.end)?;
        match stored == self.input.get_ref().checksum() {
            true => Ok(()),
            false => damaged("its checksum does not match"),
        }
    }
}

/// Returns the size, without the checksum, of a file that nobody else could have written.
fn check_file(file: &File) -> Result<u64, Damaged> {
    let metadata = file.metadata()?;
    let owner = metadata.uid();
    if !metadata.is_file() {
        damaged("it is not a regular file")
    } else if owner != 0 && owner != geteuid().as_raw() {
        damaged(format!("it belongs to user {owner}"))
    } else if metadata.mode() & 0o022 != 0 {
        damaged("other users can write it")
    } else {
        Ok(metadata.len().saturating_sub(CHECKSUM_BYTES as u64))
    }
}

/// Returns the time of the last full scan.
fn read_header(input: &mut impl Read, settings: &[u8], now_ns: i64) -> Result<i64, Damaged> {
    let [magic, written, last_full_scan, settings_bytes] = read_words(input)?;
    if magic << 8 != MAGIC << 8 {
        return damaged("it is not a snapshot");
    }
    if magic != MAGIC {
        return damaged(format!("its format is version {}", magic >> 56));
    }
    let mut found = vec![0; settings.len()];
    if settings_bytes == settings.len() as u64 {
        input.read_exact(&mut found)?;
    }
    if found != settings {
        return damaged("it was made for another whisper directory or other exclude patterns");
    }
    match last_full_scan.cast_signed().max(written.cast_signed()) > now_ns {
        true => damaged("it is dated in the future"),
        false => Ok(last_full_scan.cast_signed()),
    }
}

fn read_words<const WORDS: usize>(input: &mut impl Read) -> io::Result<[u64; WORDS]> {
    let mut words = [[0; 8]; WORDS];
    input.read_exact(words.as_flattened_mut())?;
    Ok(words.map(u64::from_le_bytes))
}

/// Whether `name` can be a directory entry, so that nothing outside of the tree is ever opened.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}
