//! Where a walk stands: the directories from the whisper directory down to the one it is in.
//!
//! Trees may be thousands of levels deep while only a few descriptors are allowed, so only the deepest levels (and
//! the root) are kept open. Going back up to a level that was closed takes its descriptor from `..` of the level
//! below, or, where that has been moved away meanwhile, by the names from the root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, Stat, openat};
use rustix::io::Errno;

use super::tree::{DirId, Stamp, State, Tree};

/// Levels kept open beside the root.
const MAX_OPEN: usize = 16;
/// Enough to look up names below a directory and to read its stamp, also where it can't be listed.
const LOOK_FLAGS: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// One directory on the way down.
#[derive(Debug)]
pub struct Level {
    /// The directory.
    pub dir: DirId,
    fd: Option<OwnedFd>,
    /// The child visited last that is still there.
    pub previous: Option<DirId>,
    /// The child to visit next.
    pub next: Option<DirId>,
    /// Length of the path up to here.
    path_len: usize,
}

/// The way down to where the walk is.
#[derive(Debug, Default)]
pub struct Levels {
    levels: Vec<Level>,
    /// Levels below this index have no descriptor, but for the root.
    first_open: usize,
    path: Vec<u8>,
}

impl Levels {
    /// How many directories down the walk is: 1 in the whisper directory, 0 when it has left it.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The directory the walk is in.
    pub fn top(&mut self) -> Option<&mut Level> {
        self.levels.last_mut()
    }

    /// The descriptor of the directory the walk is in.
    pub fn top_fd(&self) -> Option<BorrowedFd<'_>> {
        self.levels
            .last()
            .and_then(|level| level.fd.as_ref())
            .map(AsFd::as_fd)
    }

    /// Path of a child of the directory the walk is in, relative to the whisper directory.
    pub fn child_path(&self, name: &[u8]) -> Vec<u8> {
        join(&self.path, name)
    }

    /// Goes down into `dir`, a child of where the walk is (or the root).
    pub fn enter(&mut self, tree: &Tree, dir: DirId, fd: OwnedFd) {
        let path_len = self.path.len();
        if !self.levels.is_empty() {
            self.path = join(&self.path, tree.name(dir));
        }
        self.levels.push(Level {
            dir,
            fd: Some(fd),
            previous: None,
            next: tree.first_child(dir),
            path_len,
        });
        self.first_open = self.first_open.max(1);
        if self.levels.len() > self.first_open + MAX_OPEN {
            self.levels[self.first_open].fd = None;
            self.first_open += 1;
        }
    }

    /// Goes back up. Directories that were moved away meanwhile are left too, and marked to be read again.
    pub fn leave(&mut self, tree: &mut Tree) -> Result<(), Errno> {
        let Some(left) = self.levels.pop() else {
            return Ok(());
        };
        self.path.truncate(left.path_len);
        let index = self.levels.len();
        if index < 2 || index > self.first_open {
            self.first_open = self.first_open.min(index.max(1));
            return Ok(());
        }
        self.first_open = index - 1;
        let wanted = tree.stamp(self.levels[index - 1].dir);
        let up = left.fd.as_ref().map(|fd| look(fd, b".."));
        if let Some(Ok((fd, stamp))) = up
            && stamp.is_same_directory(&wanted)
        {
            self.levels[index - 1].fd = Some(fd);
            return Ok(());
        }
        self.reopen_from_root(tree)
    }

    fn reopen_from_root(&mut self, tree: &mut Tree) -> Result<(), Errno> {
        let Some(root) = self.levels[0].fd.as_ref() else {
            return Ok(());
        };
        let mut above = root
            .try_clone()
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        for index in 1..self.levels.len() {
            let dir = self.levels[index].dir;
            match look(&above, tree.name(dir)) {
                Ok((fd, stamp)) if stamp.is_same_directory(&tree.stamp(dir)) => above = fd,
                Err(errno) if is_ours(errno) => return Err(errno),
                _ => {
                    self.give_up_below(tree, index);
                    break;
                }
            }
        }
        let index = self.levels.len() - 1;
        self.first_open = index.max(1);
        if index > 0 {
            self.levels[index].fd = Some(above);
        }
        Ok(())
    }

    fn give_up_below(&mut self, tree: &mut Tree, index: usize) {
        for level in &self.levels[index..] {
            tree.update(
                level.dir,
                tree.stamp(level.dir),
                State::Unsettled,
                tree.metrics(level.dir),
            );
        }
        self.path.truncate(self.levels[index].path_len);
        self.levels.truncate(index);
    }
}

/// Opens a subdirectory just to look, and takes its stamp.
pub fn look(parent: impl AsFd, name: &[u8]) -> Result<(OwnedFd, Stamp), Errno> {
    let fd = openat(parent, name, LOOK_FLAGS, Mode::empty())?;
    let stamp = stamp_of(&rustix::fs::fstat(&fd)?);
    Ok((fd, stamp))
}

/// What a `stat` says of a directory's identity and last change.
pub fn stamp_of(stat: &Stat) -> Stamp {
    Stamp {
        inode: stat.st_ino,
        device: stat.st_dev,
        modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
        changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
    }
}

/// Whether an error says something about this process and not about the directory: the count can't go on.
pub fn is_ours(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + 1 + name.len());
    joined.extend_from_slice(path);
    if !path.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}
