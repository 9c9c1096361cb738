//! The log file: open for appending, in a folder that others may write to, on a disk that may be full.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Write};
use std::mem::take;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, ensure};

use super::timestamp::timestamp;
use crate::open;
use crate::trusted_users::TrustedUsers;

/// The log file. Its failures are returned once each, for the other sinks.
pub struct LogFile {
    path: PathBuf,
    sink: Sink,
}

/// Numbers are those of the lines that were lost since the failure began.
enum Sink {
    /// The path is open, and the last line was written.
    Open(Output),
    /// The path cannot be opened again. Lines go to the file from before, which may have been rotated away.
    Previous(Output, u64),
    /// The path cannot be opened or written. It is not kept open: its file system may have to be unmounted for a repair,
    /// and another one is then mounted.
    Closed(u64),
}

/// The result of appending a line.
#[derive(Debug)]
pub enum Appended {
    /// The line was written.
    Written,
    /// The line was written and ended a failure, in which this number of lines were lost.
    Recovered(u64),
    /// The line was not written. The error is `None` if the failure was returned before.
    Lost(Option<Error>),
}

impl LogFile {
    /// Opens the file. Also returns the error if that fails; each line then tries again.
    pub fn open(path: &Path) -> (Self, Option<Error>) {
        let (sink, error) = match Output::open(path) {
            Ok(output) => (Sink::Open(output), None),
            Err(error) => (Sink::Closed(0), Some(error)),
        };
        let path = path.into();
        (Self { path, sink }, error)
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the path again, after a rotation. Returns an error if that begins a failure.
    pub fn reopen(&mut self) -> Option<Error> {
        let (sink, error) = match take(&mut self.sink) {
            Sink::Open(previous) => match Output::open(&self.path) {
                Ok(output) => (Sink::Open(output), None),
                Err(error) if previous.is_deleted() => (Sink::Closed(0), Some(error)),
                Err(error) => (Sink::Previous(previous, 0), Some(error)),
            },
            // Each line tries again.
            failing => (failing, None),
        };
        self.sink = sink;
        error
    }

    /// Appends a line, which ends with a newline.
    pub fn append(&mut self, line: &str) -> Appended {
        let (sink, appended) = match take(&mut self.sink) {
            Sink::Open(mut output) => match output.write_lines(line) {
                Ok(()) => (Sink::Open(output), Appended::Written),
                Err(error) => (Sink::Closed(1), Appended::Lost(Some(error.into()))),
            },
            Sink::Previous(mut output, lost) => match self.open_and_append(line, lost) {
                Ok(output) => (Sink::Open(output), Appended::Recovered(lost)),
                Err(_) if output.is_deleted() => (Sink::Closed(lost + 1), Appended::Lost(None)),
                Err(_) => match output.write_lines(line) {
                    Ok(()) => (Sink::Previous(output, lost), Appended::Written),
                    Err(_) => (Sink::Closed(lost + 1), Appended::Lost(None)),
                },
            },
            Sink::Closed(lost) => match self.open_and_append(line, lost) {
                Ok(output) => (Sink::Open(output), Appended::Recovered(lost)),
                Err(_) => (Sink::Closed(lost + 1), Appended::Lost(None)),
            },
        };
        self.sink = sink;
        appended
    }

    /// Ends a failure in which this number of lines were lost.
    fn open_and_append(&self, line: &str, lost: u64) -> Result<Output> {
        let mut output = Output::open(&self.path)?;
        let now = timestamp();
        // Both at once: a disk with room for only the first line still fails.
        output.write_lines(&format!(
            "{now} WARN log: writable again, {lost} lines lost\n{line}"
        ))?;
        Ok(output)
    }
}

impl Default for Sink {
    fn default() -> Self {
        Self::Closed(0)
    }
}

struct Output {
    file: File,
    /// Whether the file ends with a partial line, left by a killed process or a full disk.
    is_partial: bool,
}

impl Output {
    /// Opens a file for appending; links are not followed.
    ///
    /// In a folder that others can write to, returns an error if the file has more than one hard link, or belongs
    /// neither to a trusted user nor to the owner of the folder. Shinken owns the folder and may create the file.
    fn open(path: &Path) -> Result<Self> {
        let file = open::for_appending(path)?;
        let metadata = file.metadata()?;
        let trusted = TrustedUsers::load();
        let folder = path.parent().map(fs::metadata).transpose()?;
        let is_private =
            |folder: &Metadata| folder.mode() & 0o022 == 0 && trusted.check(folder.uid()).is_ok();
        if !folder.as_ref().is_some_and(is_private) {
            ensure!(metadata.nlink() <= 1, "file has more than one hard link");
            if folder.is_none_or(|folder| folder.uid() != metadata.uid()) {
                trusted.check(metadata.uid()).map_err(Error::msg)?;
            }
        }
        let mut last = [0];
        let is_partial = metadata.len() > 0
            && file.read_exact_at(&mut last, metadata.len() - 1).is_ok()
            && last[0] != b'\n';
        Ok(Self { file, is_partial })
    }

    fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    fn write_lines(&mut self, lines: &str) -> std::io::Result<()> {
        if self.is_partial {
            self.write_all("\n")?;
        }
        self.write_all(lines)
    }

    /// Writes whole lines at once, so that those of other processes do not come between, and the rest of a short write.
    fn write_all(&mut self, lines: &str) -> std::io::Result<()> {
        let mut rest = lines.as_bytes();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.is_partial = !rest.is_empty();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_is_returned_once_and_counts_the_lost_lines() {
        let directory = tempfile::tempdir().unwrap();
        let (path, away) = (directory.path().join("log"), directory.path().join("away"));
        fs::write(&path, "partial").unwrap();
        let (mut log, error) = LogFile::open(&path);
        assert!(error.is_none());
        if let Sink::Open(output) = &mut log.sink {
            output.file = File::options().write(true).open("/dev/full").unwrap();
        }
        assert!(matches!(log.append("a\n"), Appended::Lost(Some(_))));
        fs::rename(&path, &away).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(log.append("b\n"), Appended::Lost(None)));
        assert!(log.reopen().is_none());
        fs::remove_dir(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        assert!(matches!(log.append("c\n"), Appended::Recovered(2)));
        assert!(matches!(log.append("d\n"), Appended::Written));
        let text = fs::read_to_string(&path).unwrap();
        let (before, after) = text.split_once('\n').unwrap();
        assert_eq!(before, "partial");
        assert!(
            after.ends_with(" WARN log: writable again, 2 lines lost\nc\nd\n"),
            "{text}"
        );
    }

    #[test]
    fn failed_reopen_keeps_the_previous_file_until_it_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let (path, rotated) = (directory.path().join("log"), directory.path().join("log.1"));
        let (mut log, _) = LogFile::open(&path);
        fs::rename(&path, &rotated).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(log.reopen().is_some());
        assert!(log.reopen().is_none(), "returned once");
        assert!(matches!(log.append("a\n"), Appended::Written));
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "a\n");
        fs::remove_file(&rotated).unwrap();
        assert!(matches!(log.append("b\n"), Appended::Lost(None)));
        fs::remove_dir(&path).unwrap();
        assert!(matches!(log.append("c\n"), Appended::Recovered(1)));
        assert!(fs::read_to_string(&path).unwrap().ends_with(" 1 lines lost\nc\n"));
    }
}
