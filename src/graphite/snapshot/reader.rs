//! Reads a snapshot once, from front to back, and trusts nothing in it.

use std::fmt::{Display, Formatter};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Take};
use std::mem;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{
    BUFFER_BYTES, CHECKSUM_BYTES, Checked, HAS_DEVICE, HEADER_BYTES, Header, MAGIC, RECORD_BYTES, Record,
    STATE_MASK, Stamp, State,
};

/// The reason why the rest of a snapshot cannot be used. Nothing that was read from it before can be trusted either.
#[derive(Debug)]
pub struct Damaged(String);

impl Display for Damaged {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Damaged {}

impl From<std::io::Error> for Damaged {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self("the file is truncated".into()),
            _ => Self(error.to_string()),
        }
    }
}

/// A directory in the snapshot.
#[derive(Debug)]
pub struct Entry {
    /// Levels below the whisper directory, which itself is at 0.
    pub depth: u16,
    /// Terminated by NUL; only that for the whisper directory.
    pub name: Vec<u8>,
    /// What the last count found.
    pub record: Record,
    /// Offset of the next record in the file.
    pub end: u64,
}

impl Entry {
    fn before_the_first(end: u64) -> Self {
        Self {
            depth: 0,
            name: vec![0],
            record: Record::UNREADABLE,
            end,
        }
    }
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
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path);
        let file = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Err(Damaged("it is a symbolic link".into()));
            }
            opened => opened?,
        };
        let payload_bytes = check_file(&file)?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, Checked::new(file.take(payload_bytes)));
        let header = read_header(&mut input, settings)?;
        if header.written_ns > now_ns || header.last_full_scan_ns > header.written_ns {
            return Err(Damaged("it is dated in the future".into()));
        }
        let header_bytes = (HEADER_BYTES + settings.len()) as u64;
        let mut reader = Self {
            input,
            last_full_scan_ns: header.last_full_scan_ns,
            header_bytes,
            current: Entry::before_the_first(header_bytes),
            next: Entry::before_the_first(header_bytes),
            is_at_end: false,
        };
        reader.load()?;
        match reader.next() {
            Some(root) if root.name == [0] => Ok(Some(reader)),
            _ => Err(Damaged("it does not begin with the whisper directory".into())),
        }
    }

    /// The file, for what was already read of it.
    pub fn file(&self) -> &File {
        self.input.get_ref().inner.get_ref()
    }

    /// The record that was taken last.
    pub fn current(&self) -> &Entry {
        &self.current
    }

    /// The record that will be taken next; `None` at the end, whose checksum is then verified.
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
        let mut fixed = [0; RECORD_BYTES];
        self.input.read_exact(&mut fixed)?;
        let mut fields = &fixed[..];
        let entry = &mut self.next;
        entry.depth = u16::from_le_bytes(take_field(&mut fields));
        let name_bytes = usize::from(u16::from_le_bytes(take_field(&mut fields)));
        let [flags] = take_field(&mut fields);
        entry.record.metrics = u32::from_le_bytes(take_field(&mut fields));
        entry.record.stamp = Stamp {
            inode: u64::from_le_bytes(take_field(&mut fields)),
            device: None,
            modified_ns: i64::from_le_bytes(take_field(&mut fields)),
            changed_ns: i64::from_le_bytes(take_field(&mut fields)),
        };
        entry.record.state = match flags & STATE_MASK {
            0 => State::Unsettled,
            1 => State::Settled,
            2 => State::Unreadable,
            _ => return Err(malformed()),
        };
        entry.end = self.current.end + (RECORD_BYTES + name_bytes) as u64;
        if flags & HAS_DEVICE != 0 {
            let mut device = [0; 8];
            self.input.read_exact(&mut device)?;
            entry.record.stamp.device = Some(u64::from_le_bytes(device));
            entry.end += device.len() as u64;
        }
        entry.name.resize(name_bytes + 1, 0);
        self.input.read_exact(&mut entry.name[..name_bytes])?;
        entry.name[name_bytes] = 0;
        let is_first = self.current.end == self.header_bytes;
        let is_placed = match entry.depth {
            0 => is_first && name_bytes == 0,
            depth => !is_first && depth <= self.current.depth + 1 && is_name(&entry.name[..name_bytes]),
        };
        match is_placed && flags & !(STATE_MASK | HAS_DEVICE) == 0 {
            true => Ok(()),
            false => Err(malformed()),
        }
    }

    fn verify(&self) -> Result<(), Damaged> {
        let checked = self.input.get_ref();
        let mut stored = [0; CHECKSUM_BYTES as usize];
        self.file().read_exact_at(&mut stored, self.current.end)?;
        match stored == checked.checksum() {
            true => Ok(()),
            false => Err(Damaged("its checksum does not match".into())),
        }
    }
}

/// Returns the size without the checksum of a file that nobody else could have written.
fn check_file(file: &File) -> Result<u64, Damaged> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Damaged("it is not a regular file".into()));
    }
    let owner = metadata.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(Damaged(format!("it belongs to user {owner}")));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(Damaged("other users can write it".into()));
    }
    Ok(metadata.len().saturating_sub(CHECKSUM_BYTES))
}

fn read_header(input: &mut impl Read, settings: &[u8]) -> Result<Header, Damaged> {
    let mut fixed = [0; HEADER_BYTES];
    input.read_exact(&mut fixed)?;
    let mut fields = &fixed[..];
    let magic: [u8; 8] = take_field(&mut fields);
    if magic[..7] != MAGIC[..7] {
        return Err(Damaged("it is not a snapshot".into()));
    }
    if magic != MAGIC {
        return Err(Damaged(format!("its format is version {}", magic[7])));
    }
    let header = Header {
        written_ns: i64::from_le_bytes(take_field(&mut fields)),
        last_full_scan_ns: i64::from_le_bytes(take_field(&mut fields)),
        settings: settings.into(),
    };
    let mut found = vec![0; settings.len()];
    let has_length = u32::from_le_bytes(take_field(&mut fields)) as usize == settings.len();
    if has_length {
        input.read_exact(&mut found)?;
    }
    match has_length && found == settings {
        true => Ok(header),
        false => Err(Damaged(
            "it was made for another whisper directory or other exclude patterns".into(),
        )),
    }
}

/// Whether `name` can be a directory entry, so that nothing outside of the tree is ever opened.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !matches!(name, b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

fn malformed() -> Damaged {
    Damaged("a record is malformed".into())
}

fn take_field<const BYTES: usize>(fields: &mut &[u8]) -> [u8; BYTES] {
    let (field, rest) = fields
        .split_first_chunk()
        .expect("the sum of the fields is constant");
    *fields = rest;
    *field
}
