//! The log file, in a folder that others may write to, on a disk that may fail.
//!
//! Each line opens and closes it. So a rotation needs no signal, and the file system can always be unmounted for a repair.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, ensure};

use super::timestamp::timestamp;
use crate::open;
use crate::trusted_users::TrustedUsers;

const MAX_PENDING_LINES: usize = 100;

/// The log file. Its failures are returned once each, for the other sinks.
pub struct LogFile {
    path: PathBuf,
    /// Lines that are not in the file yet, because of a failure or the moment of a rotation in which there is no file.
    pending: VecDeque<String>,
    /// The number of lines that were dropped because too many were pending.
    lost: u64,
}

/// The result of appending a line.
#[derive(Debug)]
pub enum Appended {
    /// The line was written.
    Written,
    /// The line and those that were pending were written, which ended a failure.
    Recovered,
    /// The line is pending. The error is `None` if the failure was returned before.
    Pending(Option<Error>),
}

impl LogFile {
    /// A log file, which is opened for each line.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            pending: VecDeque::new(),
            lost: 0,
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line, which ends with a newline.
    pub fn append(&mut self, line: &str) -> Appended {
        let was_failing = !self.pending.is_empty();
        self.pending.push_back(line.into());
        match self.write_pending() {
            Ok(()) if was_failing => Appended::Recovered,
            Ok(()) => Appended::Written,
            Err(error) => {
                if self.pending.len() > MAX_PENDING_LINES {
                    self.pending.pop_front();
                    self.lost += 1;
                }
                Appended::Pending((!was_failing).then_some(error))
            }
        }
    }

    fn write_pending(&mut self) -> Result<()> {
        let mut file = open(&self.path)?;
        if self.lost > 0 {
            let (now, lost) = (timestamp(), self.lost);
            file.write_all(format!("{now} WARN log: writable again, {lost} lines lost\n").as_bytes())?;
            self.lost = 0;
        }
        while let Some(line) = self.pending.front() {
            // A whole line at once, so that those of other processes do not come between.
            file.write_all(line.as_bytes())?;
            self.pending.pop_front();
        }
        Ok(())
    }
}

/// Opens the file for appending, and ends a partial line, left by a killed process or a full disk.
///
/// Links are not followed. In a folder that others can write to, returns an error if the file has more than one hard
/// link, or belongs neither to a trusted user nor to the owner of the folder. Shinken owns the folder and may create the
/// file.
fn open(path: &Path) -> Result<File> {
    let mut file = open::for_appending(path)?;
    let metadata = file.metadata()?;
    let trusted = TrustedUsers::load();
    let folder = path.parent().map(fs::metadata).transpose()?;
    let is_private = |folder: &Metadata| folder.mode() & 0o022 == 0 && trusted.check(folder.uid()).is_ok();
    if !folder.as_ref().is_some_and(is_private) {
        ensure!(metadata.nlink() <= 1, "file has more than one hard link");
        if folder.is_none_or(|folder| folder.uid() != metadata.uid()) {
            trusted.check(metadata.uid()).map_err(Error::msg)?;
        }
    }
    if metadata.len() > 0 {
        let mut last = [0];
        let read = file.read_exact_at(&mut last, metadata.len() - 1);
        if read.is_ok() && last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_failure_are_written_after_it_up_to_a_number() {
        let directory = tempfile::tempdir().unwrap();
        let (path, away) = (directory.path().join("log"), directory.path().join("away"));
        fs::write(&path, "partial").unwrap();
        let mut log = LogFile::new(&path);
        assert!(matches!(log.append("1\n"), Appended::Written));
        for (first, last) in [(2, 101), (102, 203)] {
            fs::rename(&path, &away).unwrap();
            fs::create_dir(&path).unwrap();
            assert!(matches!(
                log.append(&format!("{first}\n")),
                Appended::Pending(Some(_))
            ));
            for number in first + 1..last {
                assert!(matches!(
                    log.append(&format!("{number}\n")),
                    Appended::Pending(None)
                ));
            }
            fs::remove_dir(&path).unwrap();
            fs::rename(&away, &path).unwrap();
            assert!(matches!(log.append(&format!("{last}\n")), Appended::Recovered));
        }
        assert!(matches!(log.append("204\n"), Appended::Written));
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[102].ends_with(" WARN log: writable again, 1 lines lost"),
            "{text}"
        );
        let numbers: Vec<_> = (1..=101)
            .chain(103..=204)
            .map(|number| number.to_string())
            .collect();
        assert_eq!(lines[0], "partial");
        assert_eq!([&lines[1..102], &lines[103..]].concat(), numbers);
    }
}
