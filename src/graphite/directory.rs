//! Reads one directory: how many of its entries are metrics, and which are directories to visit.

use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use anyhow::Result;
use rustix::fs::{AtFlags, FileType, RawDir, statat};
use rustix::io::Errno;

use crate::exclude::Exclude;

/// Room for one `getdents` call.
const BUFFER_BYTES: usize = 32 << 10;
const LAST_POSITION: u64 = i64::MAX as u64;

/// Names of directories, each after its length and terminated by NUL.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    next: usize,
}

impl Names {
    fn push(&mut self, name: &[u8]) {
        let start = u32::try_from(self.bytes.len()).expect("the names of one directory take less than 4 GiB");
        let length = u16::try_from(name.len() + 1).expect("a directory entry is shorter than 64 KiB");
        self.starts.push(start);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
    }

    /// Sorts the names. A directory that changes while it is read may list one twice: only the first is kept.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.starts
            .sort_unstable_by(|one, other| name_at(bytes, *one).cmp(name_at(bytes, *other)));
        self.starts
            .dedup_by(|one, other| name_at(bytes, *one) == name_at(bytes, *other));
    }

    /// Returns the next name, with NUL.
    pub fn next(&mut self) -> Option<&[u8]> {
        let start = self.starts.get(self.next)?;
        self.next += 1;
        Some(name_at(&self.bytes, *start))
    }

    /// Returns whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

fn name_at(bytes: &[u8], start: u32) -> &[u8] {
    let start = start as usize;
    let length = usize::from(u16::from_le_bytes([bytes[start], bytes[start + 1]]));
    &bytes[start + 2..start + 2 + length]
}

/// Scratch space for all directories of a walk.
#[derive(Debug)]
pub struct Buffer {
    entries: Box<[MaybeUninit<u8>]>,
    path: Vec<u8>,
}

impl Buffer {
    /// Allocates the space.
    pub fn new() -> Self {
        Self {
            entries: Box::new_uninit_slice(BUFFER_BYTES),
            path: Vec::new(),
        }
    }
}

/// The entries of a directory that count.
#[derive(Debug, Default)]
pub struct Entries {
    /// Metrics directly in the directory.
    pub metrics: u32,
    /// Its subdirectories.
    pub directories: Names,
}

impl Entries {
    /// Reads the directory `fd`. The inner error means that it cannot be read, the outer one is of `step`, which is
    /// called after each buffer of entries.
    ///
    /// `path` is that of the directory, relative to the whisper directory. It is used only with `exclude`.
    pub fn read(
        fd: BorrowedFd<'_>,
        exclude: Option<&Exclude>,
        path: &[u8],
        buffer: &mut Buffer,
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Result<Self, Errno>> {
        let mut found = Self::default();
        let mut raw = RawDir::new(fd, &mut buffer.entries[..]);
        loop {
            let entry = match raw.next() {
                // ENOENT: the directory was removed while it was read.
                None | Some(Err(Errno::NOENT)) => break,
                Some(Err(errno)) => return Ok(Err(errno)),
                Some(Ok(entry)) => entry,
            };
            let name = entry.file_name().to_bytes();
            let file_type = match entry.file_type() {
                FileType::Unknown => {
                    // This may wait for the disk.
                    step()?;
                    type_by_stat(fd, name)
                }
                known => known,
            };
            let scratch = &mut buffer.path;
            match file_type {
                FileType::Directory if name == b"." || name == b".." => {}
                FileType::Directory => {
                    let excludes = |exclude: &Exclude| exclude.excludes_directory(join(scratch, path, name));
                    if !exclude.is_some_and(excludes) {
                        found.directories.push(name);
                    }
                }
                FileType::RegularFile | FileType::Symlink if name.last_chunk() == Some(b".wsp") => {
                    let excludes = |exclude: &Exclude| {
                        exclude.may_match_files() && exclude.excludes_file(join(scratch, path, name))
                    };
                    found.metrics += u32::from(!exclude.is_some_and(excludes));
                }
                _ => {}
            }
            // ext4, btrfs and others give the last entry the largest possible position: the system call that would
            // report the end is not needed.
            if entry.next_entry_cookie() == LAST_POSITION {
                break;
            }
            if raw.is_buffer_empty() {
                step()?;
            }
        }
        found.directories.sort();
        Ok(Ok(found))
    }
}

/// Returns the type of an entry of a file system that does not list types. An entry that was removed has none.
fn type_by_stat(directory: BorrowedFd<'_>, name: &[u8]) -> FileType {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statat(directory, name, flags).map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}

fn join<'b>(scratch: &'b mut Vec<u8>, directory: &[u8], name: &[u8]) -> &'b [u8] {
    scratch.clear();
    scratch.extend_from_slice(directory);
    if !directory.is_empty() {
        scratch.push(b'/');
    }
    scratch.extend_from_slice(name);
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_bytes_and_listed_once() {
        let mut names = Names::default();
        for name in ["b", "a", "a.b", "b", "\u{76ee}", "a-"] {
            names.push(name.as_bytes());
        }
        names.sort();
        let mut sorted = Vec::new();
        while let Some(name) = names.next() {
            sorted.push(String::from_utf8(name.to_vec()).unwrap());
        }
        assert_eq!(sorted, ["a\0", "a-\0", "a.b\0", "b\0", "\u{76ee}\0"]);
    }
}
