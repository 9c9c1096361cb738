//! The log file: kept open for appending, in a folder that others may write to, on a disk that may be full.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, ensure};

use super::timestamp;
use crate::open;
use crate::trusted_users::TrustedUsers;

/// The log file.
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    open: Option<File>,
    /// Set while lines can't be written, until one is again.
    pub failing: bool,
    /// Lines that could not be written since.
    pub lost_lines: u64,
    /// Whether the file ends inside a line.
    torn: bool,
    /// Whether the file has to be opened, for the first time or anew.
    stale: bool,
}

impl LogFile {
    /// A file that is not opened yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            open: None,
            failing: false,
            lost_lines: 0,
            torn: false,
            stale: true,
        }
    }

    /// Opens the file anew; until that works, lines go to the one that was open, which may have been rotated away.
    pub fn reopen(&mut self) -> Result<()> {
        self.stale = true;
        let file = open_log(&self.path)?;
        let is_same = |open: &File| identity(open) == identity(&file);
        // A line that was torn is still the last one where the file is the same, or is one of a run that was killed.
        self.torn = if self.open.as_ref().is_some_and(is_same) {
            self.torn
        } else {
            ends_inside_a_line(&file)
        };
        self.open = Some(file);
        self.stale = false;
        Ok(())
    }

    /// Appends a line. `Some` where this is the first one after some were lost, and how many.
    pub fn append(&mut self, line: &str) -> Result<Option<u64>> {
        if self.stale {
            let reopened = self.reopen();
            // What is written to a file that was removed is lost.
            let is_gone = |open: &File| open.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
            self.open.take_if(|open| is_gone(open));
            if self.open.is_none() {
                reopened?;
            }
        }
        if self.torn {
            self.put("\n")?;
        }
        if !self.failing || self.stale {
            self.put(line)?;
            return Ok(None);
        }
        let lost = self.lost_lines;
        let now = timestamp();
        // Together: a disk with room for the first of the two lines only is not writable again.
        self.put(&format!(
            "{now} WARN log: writable again, {lost} lines were lost\n{line}"
        ))?;
        (self.failing, self.lost_lines) = (false, 0);
        Ok(Some(lost))
    }

    /// Writes whole lines at once, so that other writers of the file can't part it, and the rest of one that a file
    /// system took a part of.
    fn put(&mut self, line: &str) -> std::io::Result<()> {
        let Some(file) = &mut self.open else { return Ok(()) };
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.torn = !rest.is_empty();
        }
        Ok(())
    }
}

/// Opens the log file for appending; links are not followed. In a folder that others can write to, returns an error if
/// the file has a second name, or belongs neither to a trusted user nor to the folder's owner. Shinken owns the folder
/// and may rotate what is in it, and so create the new file itself.
fn open_log(path: &Path) -> Result<File> {
    let file = open::for_appending(path)?;
    let metadata = file.metadata()?;
    let trusted = TrustedUsers::load();
    let folder = path.parent().map(fs::metadata).transpose()?;
    let is_private = |folder: &Metadata| folder.mode() & 0o022 == 0 && trusted.check(folder.uid()).is_ok();
    if folder.as_ref().is_some_and(is_private) {
        return Ok(file);
    }
    ensure!(
        metadata.nlink() <= 1,
        "it has another name too, where it may be someone else's"
    );
    if folder.is_none_or(|folder| folder.uid() != metadata.uid()) {
        trusted.check(metadata.uid()).map_err(Error::msg)?;
    }
    Ok(file)
}

fn identity(file: &File) -> Option<(u64, u64)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Whether a killed run, or a full disk, left a part of a line at the end.
fn ends_inside_a_line(file: &File) -> bool {
    let mut last = [0];
    let end = file.metadata().map_or(0, |metadata| metadata.len());
    end > 0 && file.read_exact_at(&mut last, end - 1).is_ok() && last[0] != b'\n'
}
