//! One depth-first walk over the whisper tree, beside the snapshot of the last one.
//!
//! A directory whose stamp is unchanged has the same entries: it is only checked, and the walk goes on to the
//! subdirectories that the snapshot has for it. All others are read. No file is ever checked with `stat`.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, anyhow};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, statat};
use rustix::io::Errno;

use super::directory::{Buffer, Entries, Names};
use super::open_dir::{READ_FLAGS, open_root};
use super::pace::Pace;
use super::snapshot::{Join, Record, Stamp, State};
use super::{CountSettings, Totals};
use crate::escape;
use crate::exclude::Exclude;

/// Levels below the whisper directory. Each stays open, and a path of 4,096 bytes cannot have more.
const MAX_DEPTH: usize = 2047;
/// Unreadable directories that are reported by path; the others are only counted.
const MAX_REPORTED: usize = 20;
/// Enough to look up names below a directory and to read its stamp, even if it cannot be listed.
const PATH_FLAGS: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// File systems without files of anybody, by their magic numbers in linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts,
/// debugfs, tracefs, securityfs, bpf, pstore, configfs, efivarfs, mqueue, binfmt_misc, fusectl, selinuxfs, hugetlbfs.
const PSEUDO_FILE_SYSTEMS: [u32; 17] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x6165_676c,
    0x6265_6570,
    0xde5e_81e4,
    0x1980_0202,
    0x4249_4e4d,
    0x6573_5543,
    0xf97c_ff8c,
    0x9584_58f6,
];

/// An open directory on the path from the whisper directory to the one that is visited.
struct Level {
    fd: OwnedFd,
    /// The subdirectories that were read; `None` if the directory is unchanged and they are in the snapshot.
    names: Option<Names>,
    /// Whether the old snapshot has the directory.
    is_known: bool,
    /// Whether the old snapshot has the same stamp for it: other entries are then a difference.
    is_promised: bool,
    /// Its device if it is not that of the whisper directory.
    device: Option<u64>,
    /// Length of the path to its parent.
    parent_path_bytes: usize,
}

/// The result of checking a directory.
enum DirState {
    /// It does not exist any more, or is not a directory.
    Gone,
    Unreadable(String),
    /// Unchanged, and open if it has subdirectories.
    Unchanged(Option<OwnedFd>),
    /// Open, to be read.
    ToRead(OwnedFd, Stamp),
}

/// A walk that is under way.
pub struct Walk<'a, 'b> {
    settings: &'a CountSettings,
    exclude: &'a Exclude,
    full_scan: bool,
    /// Directories that were changed at this time or later are not settled.
    settled_before_ns: i64,
    root: Stat,
    levels: Vec<Level>,
    /// Relative to the whisper directory.
    path: Vec<u8>,
    /// With NUL.
    name: Vec<u8>,
    buffer: Buffer,
    /// Whether reading can still leave access times as they are.
    keep_access_times: bool,
    join: Join,
    pace: &'a mut Pace<'b>,
    totals: Totals,
    messages: Vec<String>,
    newly_unreadable: u64,
}

impl<'a, 'b> Walk<'a, 'b> {
    /// Opens the whisper directory, which may be a symbolic link. `started_ns` is the wall clock.
    pub fn start(
        settings: &'a CountSettings,
        exclude: &'a Exclude,
        full_scan: bool,
        started_ns: i64,
        join: Join,
        pace: &'a mut Pace<'b>,
    ) -> Result<Self> {
        let (fd, root) = open_root(&settings.whisper_dir)?;
        let settling_ns = i64::try_from(settings.settling_time.as_nanos()).unwrap_or(i64::MAX);
        let mut walk = Self {
            settings,
            exclude,
            full_scan,
            settled_before_ns: started_ns.saturating_sub(settling_ns),
            root,
            levels: Vec::new(),
            path: Vec::new(),
            name: vec![0],
            buffer: Buffer::new(),
            keep_access_times: true,
            join,
            pace,
            totals: Totals::default(),
            messages: Vec::new(),
            newly_unreadable: 0,
        };
        walk.enter_root(fd)?;
        Ok(walk)
    }

    /// Walks to the end. Returns the totals, the directories that became unreadable, and both snapshots.
    pub fn finish(mut self) -> Result<(Totals, Vec<String>, Join)> {
        while !self.levels.is_empty() {
            match self.next_child()? {
                Some(known) => self.visit_child(known)?,
                None => self.leave()?,
            }
        }
        let whisper_dir = &self.settings.whisper_dir;
        let is_same = |stat: Stat| (stat.st_dev, stat.st_ino) == (self.root.st_dev, self.root.st_ino);
        if !statat(CWD, whisper_dir, AtFlags::empty()).is_ok_and(is_same) {
            return Err(anyhow!("{whisper_dir:?} was replaced during the count"));
        }
        match self.newly_unreadable - self.messages.len() as u64 {
            0 => {}
            more => self
                .messages
                .push(format!("{more} more unreadable directories not counted")),
        }
        Ok((self.totals, self.messages, self.join))
    }

    fn enter_root(&mut self, fd: OwnedFd) -> Result<()> {
        let known = self.join.take_next(0)?;
        let stamp = Stamp::new(&self.root, self.root.st_dev);
        self.totals.directories = 1;
        match known {
            Some(known) if !self.full_scan && known.is_valid(&stamp) => self.keep(&known, Some(fd), 0),
            known => self.read(known, fd, stamp, 0)?,
        }
        Ok(())
    }

    /// Moves on to the next subdirectory of the deepest open directory. Returns what is known of it; `None` after the
    /// last one.
    fn next_child(&mut self) -> Result<Option<Option<Record>>> {
        let depth = self.depth();
        let Some(level) = self.levels.last_mut() else {
            return Ok(None);
        };
        let Some(names) = &mut level.names else {
            let known = self.join.take_next(depth)?;
            self.name.clear();
            self.name.extend_from_slice(self.join.name());
            return Ok(known.map(Some));
        };
        let Some(name) = names.next() else {
            return Ok(None);
        };
        self.name.clear();
        self.name.extend_from_slice(name);
        if !level.is_known {
            return Ok(Some(None));
        }
        let mut removed = 0;
        let known = self.join.find(depth, &self.name, &mut removed)?;
        if level.is_promised {
            self.totals.differences += removed + u64::from(known.is_none());
        }
        Ok(Some(known))
    }

    /// Goes back up from a directory whose subdirectories were all visited.
    fn leave(&mut self) -> Result<()> {
        let Some(level) = self.levels.pop() else {
            return Ok(());
        };
        self.path.truncate(level.parent_path_bytes);
        if level.is_known {
            self.remove_below(level.is_promised)?;
        }
        Ok(())
    }

    /// Drops all that is known below the directory that was visited last.
    fn remove_below(&mut self, is_promised: bool) -> Result<()> {
        let removed = self.join.remove_below(self.depth())?;
        if is_promised {
            self.totals.differences += removed;
        }
        Ok(())
    }

    fn visit_child(&mut self, known: Option<Record>) -> Result<()> {
        self.pace.step(&self.totals)?;
        let (depth, parent_path_bytes) = (self.levels.len(), self.path.len());
        let state = match depth {
            0..=MAX_DEPTH => match self.check_directory(known.as_ref())? {
                DirState::ToRead(fd, stamp) if self.is_pseudo(&fd, &stamp) => DirState::Gone,
                state => state,
            },
            _ => DirState::Unreadable(format!("more than {MAX_DEPTH} levels deep")),
        };
        if let DirState::Gone = state {
            return known.map_or(Ok(()), |_| Ok(self.join.remove(self.depth())?));
        }
        self.totals.directories += 1;
        self.totals.hosts += u64::from(depth == self.settings.host_depth as usize);
        if let (DirState::Unchanged(None), Some(known)) = (&state, &known) {
            // Nearly all directories, and their paths are not needed.
            self.keep(known, None, 0);
            return Ok(());
        }
        if depth > 1 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&self.name[..self.name.len() - 1]);
        match (state, known) {
            (DirState::Unchanged(fd), Some(known)) => self.keep(&known, fd, parent_path_bytes),
            (DirState::ToRead(fd, stamp), known) => self.read(known, fd, stamp, parent_path_bytes)?,
            (DirState::Unreadable(reason), known) => self.skip_unreadable(known, reason)?,
            (DirState::Unchanged(_), None) | (DirState::Gone, _) => {}
        }
        if self.levels.len() == depth {
            self.path.truncate(parent_path_bytes);
        }
        Ok(())
    }

    /// Whether a pseudo file system is mounted at this subdirectory of the deepest open directory. Those are not
    /// counted: /proc alone can have millions of entries.
    fn is_pseudo(&self, fd: &OwnedFd, stamp: &Stamp) -> bool {
        let parent = self.levels.last().and_then(|level| level.device);
        // The type has 32 bits, in a word of another size on some machines.
        let is_pseudo = |magic: u32| PSEUDO_FILE_SYSTEMS.contains(&magic);
        stamp.device.is_some()
            && stamp.device != parent
            && fstatfs(fd).is_ok_and(|found| is_pseudo(found.f_type as u32))
    }

    /// Checks a subdirectory of the deepest open directory, and opens it if that is needed. Fails if this process
    /// lacks resources.
    fn check_directory(&mut self, known: Option<&Record>) -> Result<DirState> {
        match self.try_check(known) {
            Err(errno) if is_resource_error(errno) => Err(resource_error(errno)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(DirState::Gone),
            Err(errno) => Ok(DirState::Unreadable(io::Error::from(errno).to_string())),
            Ok(state) => Ok(state),
        }
    }

    fn try_check(&mut self, known: Option<&Record>) -> Result<DirState, Errno> {
        let parent = self.levels.last().ok_or(Errno::BADF)?.fd.as_fd();
        let name = CStr::from_bytes_with_nul(&self.name).map_err(|_| Errno::INVAL)?;
        let stamp_of = |stat: &Stat| Stamp::new(stat, self.root.st_dev);
        let known = known.filter(|known| !self.full_scan && known.state == State::Settled);
        if let Some(known) = known
            && self.join.has_children()
        {
            let fd = openat(parent, name, PATH_FLAGS, Mode::empty())?;
            let stamp = stamp_of(&fstat(&fd)?);
            if known.is_valid(&stamp) {
                return Ok(DirState::Unchanged(Some(fd)));
            }
            let fd = open_to_read(fd.as_fd(), c".", &mut self.keep_access_times)?;
            return Ok(DirState::ToRead(fd, stamp));
        } else if let Some(known) = known {
            let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Ok(DirState::Gone);
            }
            if known.is_valid(&stamp_of(&stat)) {
                return Ok(DirState::Unchanged(None));
            }
        }
        let fd = open_to_read(parent, name, &mut self.keep_access_times)?;
        let stamp = stamp_of(&fstat(&fd)?);
        Ok(DirState::ToRead(fd, stamp))
    }

    /// Counts an unchanged directory. `fd` is open if it has subdirectories.
    fn keep(&mut self, known: &Record, fd: Option<OwnedFd>, parent_path_bytes: usize) {
        self.totals.metrics += u64::from(known.metrics);
        self.record(known, Some(known));
        if let Some(fd) = fd {
            self.levels.push(Level {
                fd,
                names: None,
                is_known: true,
                is_promised: false,
                device: known.stamp.device,
                parent_path_bytes,
            });
        }
    }

    /// Reads a directory whose stamp was taken before, and counts it.
    fn read(
        &mut self,
        known: Option<Record>,
        fd: OwnedFd,
        stamp: Stamp,
        parent_path_bytes: usize,
    ) -> Result<()> {
        let exclude = Some(self.exclude).filter(|exclude| exclude.concerns(self.levels.is_empty()));
        let step = &mut || self.pace.step(&self.totals);
        let entries = match Entries::read(fd.as_fd(), exclude, &self.path, &mut self.buffer, step)? {
            Ok(entries) => entries,
            // The whisper directory itself is the condition for any result.
            Err(errno) if is_resource_error(errno) || self.levels.is_empty() => {
                return Err(resource_error(errno));
            }
            Err(errno) => return self.skip_unreadable(known, io::Error::from(errno).to_string()),
        };
        let promised = known.filter(|known| known.is_valid(&stamp));
        self.totals.differences += promised.map_or(0, |known| known.metrics.abs_diff(entries.metrics).into());
        self.totals.directories_read += 1;
        self.totals.metrics += u64::from(entries.metrics);
        let state = match stamp.modified_ns.max(stamp.changed_ns) < self.settled_before_ns {
            true => State::Settled,
            false => State::Unsettled,
        };
        let metrics = entries.metrics;
        self.record(
            &Record {
                state,
                stamp,
                metrics,
            },
            known.as_ref(),
        );
        if !entries.directories.is_empty() {
            self.levels.push(Level {
                fd,
                names: Some(entries.directories),
                is_known: known.is_some(),
                is_promised: promised.is_some(),
                device: stamp.device,
                parent_path_bytes,
            });
            return Ok(());
        }
        match known {
            Some(_) => self.remove_below(promised.is_some()),
            None => Ok(()),
        }
    }

    /// Counts a directory as unreadable, with nothing in or below it.
    fn skip_unreadable(&mut self, known: Option<Record>, reason: String) -> Result<()> {
        self.totals.unreadable += 1;
        if known.is_none_or(|known| known.state != State::Unreadable) {
            self.newly_unreadable += 1;
            if self.messages.len() < MAX_REPORTED {
                let path =
                    escape::display_path(&self.settings.whisper_dir.join(OsStr::from_bytes(&self.path)));
                self.messages
                    .push(format!("cannot read {path}, not counted: {reason}"));
            }
        }
        self.record(&Record::UNREADABLE, known.as_ref());
        if known.is_some() {
            self.join.remove_below(self.depth())?;
        }
        Ok(())
    }

    fn record(&mut self, record: &Record, known: Option<&Record>) {
        let name = &self.name[..self.name.len() - 1];
        self.join.record(self.depth(), name, record, known);
    }

    /// The depth of the visited directory: that of the whisper directory is 0.
    fn depth(&self) -> u16 {
        // At most MAX_DEPTH levels are open.
        self.levels.len() as u16
    }
}

/// Opens a directory for reading, if possible without a new access time, which would be written to the disk. The
/// kernel allows that to the directory's owner and to processes with CAP_FOWNER.
fn open_to_read(parent: BorrowedFd<'_>, name: &CStr, keep_access_times: &mut bool) -> Result<OwnedFd, Errno> {
    if *keep_access_times {
        match openat(parent, name, READ_FLAGS | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => *keep_access_times = false,
            opened => return opened,
        }
    }
    openat(parent, name, READ_FLAGS, Mode::empty())
}

/// Whether an error is about this process and not about the directory.
fn is_resource_error(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

fn resource_error(errno: Errno) -> anyhow::Error {
    let error = anyhow::Error::from(io::Error::from(errno));
    match errno {
        Errno::MFILE => error.context(
            "every level of the tree stays open, raise the limit of open files (LimitNOFILE=, ulimit -n)",
        ),
        _ => error.context("reading directories"),
    }
}
