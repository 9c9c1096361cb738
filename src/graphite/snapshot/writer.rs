//! Writes a snapshot, starting at the first record that differs from the old one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::format::{BUFFER_BYTES, Checked, Record};
use super::reader::Reader;

/// The snapshot that a count makes. Errors are kept until [`Writer::finish`]: they must not stop the count.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    header: Vec<u8>,
    output: Output,
}

#[derive(Debug)]
enum Output {
    /// Nothing is written: the records up to this offset of the old snapshot are the same.
    Unchanged(u64),
    Temporary(BufWriter<Checked<File>>, Temporary),
    Failed(io::Error),
}

/// The path of a temporary file, which is removed when this is dropped. After a rename there is none.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Writer {
    /// Prepares to replace the snapshot at `path`. Writes nothing while the records equal those of `old`.
    pub fn new(path: &Path, header: Vec<u8>, old: Option<&Reader>) -> Self {
        Self {
            path: path.into(),
            header,
            output: Output::Unchanged(old.map_or(0, |old| old.header_bytes)),
        }
    }

    /// Appends the record that `old` took last. Returns `false` if it has to be written.
    pub fn keep(&mut self, old: &Reader) -> bool {
        let is_unchanged = matches!(self.output, Output::Unchanged(_));
        if is_unchanged {
            self.output = Output::Unchanged(old.current().end);
        }
        is_unchanged
    }

    /// Starts to write: the header differs, or the next record of `old` is not the next one of the new snapshot.
    pub fn start(&mut self, old: Option<&Reader>) {
        if let Output::Unchanged(end) = self.output {
            self.output = match self.start_at(old, end) {
                Ok((file, path)) => Output::Temporary(file, path),
                Err(error) => Output::Failed(error),
            };
        }
    }

    fn start_at(&self, old: Option<&Reader>, end: u64) -> io::Result<(BufWriter<Checked<File>>, Temporary)> {
        let mut name = self.path.clone().into_os_string();
        name.push(".tmp");
        // Left by a count that was killed.
        match fs::remove_file(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&name)?;
        let temporary = Temporary(name.into());
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, Checked::new(file));
        file.write_all(&self.header)?;
        if let Some(old) = old {
            copy(old.file(), old.header_bytes, end, &mut file)?;
        }
        Ok((file, temporary))
    }

    /// Appends a record; `name` is without NUL.
    pub fn write(&mut self, depth: u16, name: &[u8], record: &Record) {
        if let Output::Temporary(file, _) = &mut self.output
            && let Err(error) = file.write_all(&record.encode(depth, name))
        {
            self.output = Output::Failed(error);
        }
    }

    /// Replaces the old snapshot unless both are the same.
    pub fn finish(self) -> io::Result<()> {
        let (mut file, temporary) = match self.output {
            Output::Unchanged(_) => return Ok(()),
            Output::Failed(error) => return Err(error),
            Output::Temporary(file, temporary) => (file, temporary),
        };
        file.flush()?;
        let checksum = file.get_ref().checksum();
        file.write_all(&checksum)?;
        file.flush()?;
        // Not synced: a partial file fails its checksum, which costs one full scan.
        fs::rename(&temporary.0, &self.path)
    }
}

/// Copies the bytes from `start` to `end`. By the descriptor: another file may be at the path by now.
fn copy(from: &File, start: u64, end: u64, to: &mut impl Write) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_of_any_size_has_the_same_bytes() {
        let bytes: Vec<u8> = (0..3 * BUFFER_BYTES as u32)
            .map(|number| (number % 251) as u8)
            .collect();
        let mut from = tempfile::tempfile().unwrap();
        from.write_all(&bytes).unwrap();
        let (start, end) = (7, bytes.len() - 9);
        let mut copied = Vec::new();
        copy(&from, start as u64, end as u64, &mut copied).unwrap();
        assert!(copied == bytes[start..end]);
    }
}
