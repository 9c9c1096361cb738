//! Writes a snapshot, but only from the first record on that differs from the old one.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Result, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, mem};

use tempfile::TempPath;

use super::{BUFFER_BYTES, Checked, Header, Reader, Record};

/// The snapshot that a count makes. Errors are kept until [`Writer::finish`]: they must not stop the count.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    header: Header,
    output: Output,
    record: Vec<u8>,
}

#[derive(Debug)]
enum Output {
    /// Nothing is written: all records up to this offset of the old snapshot are the same.
    Unchanged(u64),
    Temporary(BufWriter<Checked<File>>, TempPath),
    Failed(std::io::Error),
}

impl Writer {
    /// Prepares to replace the snapshot at `path`. Writes nothing while the records equal those of `old`.
    pub fn new(path: &Path, header: Header, old: Option<&Reader>) -> Self {
        let mut writer = Self {
            path: path.into(),
            header,
            output: Output::Unchanged(old.map_or(0, |old| old.header_bytes)),
            record: Vec::new(),
        };
        if old.is_none() {
            writer.start(None);
        }
        writer
    }

    /// Records that the record that `old` took last was found unchanged.
    pub fn keep(&mut self, old: &Reader) -> bool {
        match &mut self.output {
            Output::Unchanged(end) => {
                *end = old.current().end;
                true
            }
            _ => false,
        }
    }

    /// Starts to write: the next record of `old` is not in the new snapshot in this place, or its header is not.
    pub fn start(&mut self, old: Option<&Reader>) {
        let Output::Unchanged(end) = self.output else {
            return;
        };
        self.attempt(|writer| {
            let (mut file, path) = create_temporary(&writer.path)?;
            file.write_all(&writer.header.encode())?;
            if let Some(old) = old {
                copy(old.file(), old.header_bytes, end, &mut file)?;
            }
            writer.output = Output::Temporary(file, path);
            Ok(())
        });
    }

    /// Appends a record; `name` is without NUL.
    pub fn write(&mut self, depth: u16, name: &[u8], record: &Record) {
        let mut bytes = mem::take(&mut self.record);
        bytes.clear();
        record.encode(depth, name, &mut bytes);
        if let Output::Temporary(file, _) = &mut self.output
            && let Err(error) = file.write_all(&bytes)
        {
            self.output = Output::Failed(error);
        }
        self.record = bytes;
    }

    /// Replaces the old snapshot unless both are the same.
    pub fn finish(self) -> Result<()> {
        match self.output {
            Output::Unchanged(_) => Ok(()),
            Output::Failed(error) => Err(error),
            Output::Temporary(mut file, temporary) => {
                file.flush()?;
                let checksum = file.get_ref().checksum();
                file.write_all(&checksum)?;
                file.flush()?;
                // Not synced: a partial file fails its checksum, which costs one full scan.
                temporary.persist(&self.path).map_err(|refused| refused.error)
            }
        }
    }

    fn attempt(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = write(self) {
            self.output = Output::Failed(error);
        }
    }
}

/// Creates the temporary file, after removing the one of a count that was killed.
fn create_temporary(path: &Path) -> Result<(BufWriter<Checked<File>>, TempPath)> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    match fs::remove_file(&name) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&name)?;
    let temporary = TempPath::try_from_path(name)?;
    Ok((
        BufWriter::with_capacity(BUFFER_BYTES, Checked::new(file)),
        temporary,
    ))
}

/// Copies the bytes from `start` to `end`. By the descriptor: another file may be at the path by now.
fn copy(from: &File, start: u64, end: u64, to: &mut impl Write) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut offset = start;
    while offset < end {
        let length = buffer.len().min((end - offset) as usize);
        from.read_exact_at(&mut buffer[..length], offset)?;
        to.write_all(&buffer[..length])?;
        offset += length as u64;
    }
    Ok(())
}
