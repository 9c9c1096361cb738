//! One pass over the whisper tree, done in small steps that the daemon's loop can stop between.
//!
//! A directory whose stamp is unchanged has the same entries: it is not read, only looked at, and the walk goes on to
//! its subdirectories. All others are read. Nothing is recursive, and `stat` is called for no file.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::levels::{Levels, is_ours, look, stamp_of};
use super::read::{Buffer, Reading, note_unreadable};
use super::tree::{DirId, Stamp, State, Tree};
use crate::exclude::Exclude;

const READ_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);
/// Unreadable directories reported by path in one pass; the others are only counted.
const MAX_REPORTED: usize = 20;
/// Removed directories whose space is given back in one step.
const REAPED_PER_STEP: usize = 1000;

/// What a pass found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Directories at the depth of hosts.
    pub hosts: u64,
    /// `*.wsp` entries.
    pub metrics: u64,
    /// Directories that can't be read.
    pub unreadable: u64,
    /// Directories visited, the whisper directory included.
    pub directories: u64,
    /// Those of them whose entries were read.
    pub directories_read: u64,
    /// Metrics and directories found to differ though the directory's stamp had not changed.
    pub differences: u64,
}

/// A directory that can't be read, seen for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Relative to the whisper directory; empty for the whisper directory itself.
    pub path: Vec<u8>,
    /// Why.
    pub errno: Errno,
}

/// A pass that is under way.
#[derive(Debug)]
pub struct Walk {
    levels: Levels,
    reading: Option<Reading>,
    buffer: Buffer,
    root: Stamp,
    host_depth: usize,
    /// Whether directories are read though their stamp is unchanged.
    everything: bool,
    /// Whether reading still leaves access times alone.
    keep_access_times: bool,
    /// What was found so far.
    pub totals: Totals,
    /// Directories that turned unreadable.
    pub newly_unreadable: u64,
    /// The first few of them.
    pub reported: Vec<Unreadable>,
}

/// What became of a directory that was looked at.
enum Seen {
    /// It is no longer there, or no longer a directory.
    Gone,
    Unreadable(Errno),
    /// Unchanged, with no subdirectories to visit.
    Unchanged,
    /// Unchanged; its subdirectories are to be visited through this descriptor.
    UnchangedAbove(OwnedFd),
    /// Open, to be read.
    ToRead(OwnedFd, Stamp),
}

impl Walk {
    /// Opens the whisper directory, which may itself be a symbolic link.
    pub fn start(
        tree: &mut Tree,
        whisper_dir: &Path,
        host_depth: u32,
        everything: bool,
        wall_ns: i64,
    ) -> Result<Self, Errno> {
        let fd = openat(
            CWD,
            whisper_dir,
            READ_FLAGS.difference(OFlags::NOFOLLOW),
            Mode::empty(),
        )?;
        let root = stamp_of(&fstat(&fd)?);
        let mut walk = Self {
            levels: Levels::default(),
            reading: None,
            buffer: Buffer::new(),
            root,
            host_depth: host_depth as usize,
            everything,
            keep_access_times: true,
            totals: Totals {
                directories: 1,
                ..Totals::default()
            },
            newly_unreadable: 0,
            reported: Vec::new(),
        };
        if !everything && tree.state(Tree::ROOT) == State::Settled && tree.stamp(Tree::ROOT) == root {
            walk.totals.metrics = u64::from(tree.metrics(Tree::ROOT));
            walk.levels.enter(tree, Tree::ROOT, fd);
        } else {
            walk.reading = Some(Reading::start(tree, Tree::ROOT, fd, root, wall_ns));
        }
        Ok(walk)
    }

    /// Whether `whisper_dir` still is the directory that this walk goes through.
    pub fn is_still_at(&self, whisper_dir: &Path) -> bool {
        statat(CWD, whisper_dir, AtFlags::empty())
            .is_ok_and(|stat| stamp_of(&stat).is_same_directory(&self.root))
    }

    /// One step: a system call or a few. `Ok(true)` at the end of the pass; an error ends it without a result.
    ///
    /// `wall_ns` is a wall clock time at or a little before now.
    pub fn step(&mut self, tree: &mut Tree, exclude: &Exclude, wall_ns: i64) -> Result<bool, Errno> {
        let reaped = tree.reap(REAPED_PER_STEP);
        if self.reading.is_none() {
            let Some(top) = self.levels.top() else {
                return Ok(reaped);
            };
            match top.next {
                Some(child) => {
                    top.next = tree.next_sibling(child);
                    self.visit(tree, child, wall_ns)?;
                }
                None => self.levels.leave(tree)?,
            }
        }
        if let Some(reading) = &mut self.reading {
            let exclude = exclude.concerns(reading.dir == Tree::ROOT).then_some(exclude);
            let path = exclude.map_or_else(Vec::new, |_| self.levels.child_path(tree.name(reading.dir)));
            match reading.step(tree, exclude, &path, &mut self.buffer) {
                Ok(false) => {}
                Ok(true) => self.finish_reading(tree),
                Err(errno) => self.fail_reading(tree, errno)?,
            }
        }
        Ok(false)
    }

    fn visit(&mut self, tree: &mut Tree, child: DirId, wall_ns: i64) -> Result<(), Errno> {
        let depth = self.levels.depth();
        let seen = self.see(tree, child)?;
        if let Seen::Gone = seen {
            if let Some(top) = self.levels.top() {
                tree.link(top.dir, top.previous, top.next);
            }
            tree.remove(child);
            return Ok(());
        }
        if let Some(top) = self.levels.top() {
            top.previous = Some(child);
        }
        self.totals.directories += 1;
        self.totals.hosts += u64::from(depth == self.host_depth);
        match seen {
            Seen::Gone => {}
            Seen::Unreadable(errno) => {
                let path = self.levels.child_path(tree.name(child));
                self.report_unreadable(tree, child, path, errno);
                note_unreadable(tree, child, tree.stamp(child));
            }
            Seen::Unchanged => self.totals.metrics += u64::from(tree.metrics(child)),
            Seen::UnchangedAbove(fd) => {
                self.totals.metrics += u64::from(tree.metrics(child));
                self.levels.enter(tree, child, fd);
            }
            Seen::ToRead(fd, stamp) => {
                self.reading = Some(Reading::start(tree, child, fd, stamp, wall_ns));
            }
        }
        Ok(())
    }

    /// Looks at a child of the directory the walk is in; opens it where that is needed.
    fn see(&mut self, tree: &Tree, child: DirId) -> Result<Seen, Errno> {
        let parent = self.levels.top_fd().ok_or(Errno::BADF)?;
        match see(parent, tree, child, self.everything, &mut self.keep_access_times) {
            Err(errno) if is_ours(errno) => Err(errno),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Seen::Gone),
            Err(errno) => Ok(Seen::Unreadable(errno)),
            seen => seen,
        }
    }

    fn finish_reading(&mut self, tree: &mut Tree) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        self.totals.differences += reading.finish(tree);
        self.totals.metrics += u64::from(tree.metrics(reading.dir));
        self.totals.directories_read += 1;
        if tree.first_child(reading.dir).is_some() {
            self.levels.enter(tree, reading.dir, reading.fd);
        }
    }

    fn fail_reading(&mut self, tree: &mut Tree, errno: Errno) -> Result<(), Errno> {
        let Some(reading) = self.reading.take() else {
            return Ok(());
        };
        // Without the whisper directory itself there is nothing to tell.
        if is_ours(errno) || reading.dir == Tree::ROOT {
            return Err(errno);
        }
        let path = self.levels.child_path(tree.name(reading.dir));
        self.report_unreadable(tree, reading.dir, path, errno);
        reading.fail(tree);
        Ok(())
    }

    fn report_unreadable(&mut self, tree: &Tree, dir: DirId, path: Vec<u8>, errno: Errno) {
        self.totals.unreadable += 1;
        if tree.state(dir) != State::Unreadable {
            self.newly_unreadable += 1;
            if self.reported.len() < MAX_REPORTED {
                self.reported.push(Unreadable { path, errno });
            }
        }
    }
}

fn see(
    parent: BorrowedFd<'_>,
    tree: &Tree,
    child: DirId,
    everything: bool,
    keep_access_times: &mut bool,
) -> Result<Seen, Errno> {
    let name = tree.name(child);
    let known = tree.stamp(child);
    if everything || tree.state(child) != State::Settled {
        let fd = open_to_read(parent, name, keep_access_times)?;
        let stamp = stamp_of(&fstat(&fd)?);
        return Ok(Seen::ToRead(fd, stamp));
    }
    if tree.first_child(child).is_none() {
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Seen::Gone);
        }
        if stamp_of(&stat) == known {
            return Ok(Seen::Unchanged);
        }
        let fd = open_to_read(parent, name, keep_access_times)?;
        let stamp = stamp_of(&fstat(&fd)?);
        return Ok(Seen::ToRead(fd, stamp));
    }
    let (fd, stamp) = look(parent, name)?;
    if stamp == known {
        return Ok(Seen::UnchangedAbove(fd));
    }
    Ok(Seen::ToRead(
        open_to_read(fd.as_fd(), b".", keep_access_times)?,
        stamp,
    ))
}

/// Opens a directory for reading, if possible without leaving an access time behind: those would be written to the
/// disk. The kernel allows that to the directory's owner and to processes with CAP_FOWNER.
fn open_to_read(parent: BorrowedFd<'_>, name: &[u8], keep_access_times: &mut bool) -> Result<OwnedFd, Errno> {
    if *keep_access_times {
        match openat(parent, name, READ_FLAGS | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => *keep_access_times = false,
            opened => return opened,
        }
    }
    openat(parent, name, READ_FLAGS, Mode::empty())
}
