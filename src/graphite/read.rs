//! Reading one directory: which of its entries are metrics, and which are directories to go into.

use std::hash::RandomState;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, RawDir, statat};
use rustix::io::Errno;

use super::children::Children;
use super::tree::{DirId, Stamp, State, Tree};
use crate::exclude::Exclude;

/// Room for one `getdents` call, the unit of work that nothing interrupts.
const BUFFER_BYTES: usize = 32 * 1024;
/// The same where entries carry no type: each is then looked at, and a slice must not wait for a thousand of them.
const UNTYPED_BUFFER_BYTES: usize = 1024;
const LAST_POSITION: u64 = i64::MAX as u64;
/// A directory changed less than this before it was read may change again without a new time: file systems round
/// times to as much as 2 s (FAT), and the kernel's own clock ticks every few milliseconds.
const SETTLE_NS: i64 = 2_000_000_000;

/// Scratch space shared by all directories of a walk.
#[derive(Debug)]
pub struct Buffer {
    entries: Vec<u8>,
    path: Vec<u8>,
    /// Set once an entry came without a type.
    untyped: bool,
    /// Its key differs from walk to walk: no names can be chosen for their hashes.
    hasher: RandomState,
}

impl Buffer {
    /// Room for one system call's worth of entries.
    pub fn new() -> Self {
        Self {
            entries: Vec::with_capacity(BUFFER_BYTES),
            path: Vec::new(),
            untyped: false,
            hasher: RandomState::new(),
        }
    }
}

/// A directory that is being read.
#[derive(Debug)]
pub struct Reading {
    /// The directory.
    pub dir: DirId,
    /// Open for reading.
    pub fd: OwnedFd,
    stamp: Stamp,
    /// Wall clock before the first entry was read, Unix nanoseconds.
    read_at_ns: i64,
    metrics: u32,
    children: Children,
    /// How the reading of entries ended.
    ended: Option<Result<(), Errno>>,
}

impl Reading {
    /// Starts to read `dir`, whose stamp was just taken from `fd`.
    pub fn start(tree: &Tree, dir: DirId, fd: OwnedFd, stamp: Stamp, read_at_ns: i64) -> Self {
        Self {
            dir,
            fd,
            stamp,
            read_at_ns,
            metrics: 0,
            children: Children::of(tree, dir),
            ended: None,
        }
    }

    /// One step: `Ok(true)` at the end of the directory, an error where it can't be read to its end.
    ///
    /// `path` is the directory's, and needed only with an `exclude` that concerns it.
    pub fn step(
        &mut self,
        tree: &mut Tree,
        exclude: Option<&Exclude>,
        path: &[u8],
        buffer: &mut Buffer,
    ) -> Result<bool, Errno> {
        if !self.children.note(tree, &buffer.hasher) {
            return Ok(false);
        }
        if self.ended.is_none() {
            self.ended = match self.read_buffer(tree, exclude, path, buffer) {
                Ok(false) => return Ok(false),
                Ok(true) => Some(Ok(())),
                Err(errno) => Some(Err(errno)),
            };
            self.children.end();
        }
        if !self.children.let_go(tree) {
            return Ok(false);
        }
        self.ended.unwrap_or(Ok(())).map(|()| true)
    }

    /// Reads one buffer of entries. `Ok(true)` at the end of the directory.
    fn read_buffer(
        &mut self,
        tree: &mut Tree,
        exclude: Option<&Exclude>,
        path: &[u8],
        buffer: &mut Buffer,
    ) -> Result<bool, Errno> {
        let room = if buffer.untyped {
            UNTYPED_BUFFER_BYTES
        } else {
            BUFFER_BYTES
        };
        let mut raw = RawDir::new(&self.fd, &mut buffer.entries.spare_capacity_mut()[..room]);
        loop {
            let entry = match raw.next() {
                None => return Ok(true),
                // The directory was removed while it was read: that is its end.
                Some(Err(Errno::NOENT)) => return Ok(true),
                Some(Err(errno)) => return Err(errno),
                Some(Ok(entry)) => entry,
            };
            let name = entry.file_name().to_bytes();
            let file_type = match entry.file_type() {
                FileType::Unknown => {
                    buffer.untyped = true;
                    type_by_stat(self.fd.as_fd(), name)
                }
                known => known,
            };
            let scratch = &mut buffer.path;
            match file_type {
                FileType::Directory if name == b"." || name == b".." => {}
                FileType::Directory => {
                    let excluded =
                        exclude.is_some_and(|exclude| exclude.takes_directory(join(scratch, path, name)));
                    if !excluded {
                        self.children.take(tree, name, &buffer.hasher);
                    }
                }
                FileType::RegularFile | FileType::Symlink if name.last_chunk() == Some(b".wsp") => {
                    let excluded = exclude.is_some_and(|exclude| {
                        exclude.takes_files() && exclude.takes_file(join(scratch, path, name))
                    });
                    self.metrics += u32::from(!excluded);
                }
                _ => {}
            }
            // ext4, btrfs and others give the last entry the largest position there is: nothing can follow, and the
            // system call that would say so is saved.
            if entry.next_entry_cookie() == LAST_POSITION {
                return Ok(true);
            }
            if raw.is_buffer_empty() {
                return Ok(false);
            }
        }
    }

    /// Notes in the tree what the whole directory holds. Returns by how many metrics and directories that differs
    /// from what its unchanged stamp had promised.
    pub fn finish(&self, tree: &mut Tree) -> u64 {
        let promised = tree.state(self.dir) == State::Settled && tree.stamp(self.dir) == self.stamp;
        let metrics_difference = u64::from(tree.metrics(self.dir).abs_diff(self.metrics));
        let last_change_ns = self.stamp.modified_ns.max(self.stamp.changed_ns);
        let settled = last_change_ns < self.read_at_ns.saturating_sub(SETTLE_NS);
        let state = if settled { State::Settled } else { State::Unsettled };
        tree.update(self.dir, self.stamp, state, self.metrics);
        if promised {
            metrics_difference + self.children.gone + self.children.new
        } else {
            0
        }
    }

    /// Notes in the tree that the directory could not be read to its end.
    pub fn fail(&self, tree: &mut Tree) {
        note_unreadable(tree, self.dir, self.stamp);
    }
}

/// Notes in the tree that a directory can't be read: nothing in or below it is counted.
pub fn note_unreadable(tree: &mut Tree, dir: DirId, stamp: Stamp) {
    tree.remove_children(dir);
    tree.update(dir, stamp, State::Unreadable, 0);
}

/// For file systems whose entries carry no type. An entry that vanished meanwhile is of no type that counts.
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
