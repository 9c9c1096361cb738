//! One depth-first walk over the whisper tree, beside the snapshot of the last one.
//!
//! A directory whose stamp is unchanged has the same entries: it is only checked, and the walk goes on to the
//! subdirectories that the snapshot has for it. All others are read. No file is ever checked with `stat`.

mod add;

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Result, anyhow};

use super::directory::{Buffer, Names};
use super::open_dir::{DirState, Opener};
use super::pace::Pace;
use super::settings::CountSettings;
use super::snapshot::{Join, Record, Stamp, State};
use super::totals::Totals;
use crate::exclude::Exclude;

/// Levels below the whisper directory. Each stays open, and a path of 4,096 bytes cannot have more.
const MAX_DEPTH: usize = 2047;

/// An open directory on the path from the whisper directory to the one that is visited.
struct Level {
    fd: OwnedFd,
    /// The subdirectories that were read; `None` if the directory is unchanged: they are in the snapshot.
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

/// A walk that is under way.
pub struct Walk<'a, 'b> {
    settings: &'a CountSettings,
    exclude: &'a Exclude,
    full_scan: bool,
    /// Directories that were changed at this time or later are not settled.
    settled_before_ns: i64,
    opener: Opener,
    levels: Vec<Level>,
    /// Relative to the whisper directory.
    path: Vec<u8>,
    /// With NUL.
    name: Vec<u8>,
    buffer: Buffer,
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
        let (opener, fd, stamp) = Opener::open_root(&settings.whisper_dir)?;
        let settling_ns = i64::try_from(settings.settling_time.as_nanos()).unwrap_or(i64::MAX);
        let mut walk = Self {
            settings,
            exclude,
            full_scan,
            settled_before_ns: started_ns.saturating_sub(settling_ns),
            opener,
            levels: Vec::new(),
            path: Vec::new(),
            name: vec![0],
            buffer: Buffer::new(),
            join,
            pace,
            totals: Totals::default(),
            messages: Vec::new(),
            newly_unreadable: 0,
        };
        walk.enter_root(fd, stamp)?;
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
        if !self.opener.is_root(whisper_dir) {
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

    fn enter_root(&mut self, fd: OwnedFd, stamp: Stamp) -> Result<()> {
        let known = self.join.take_next(0)?;
        self.totals.directories = 1;
        match known {
            Some(known) if !self.full_scan && known.is_valid(&stamp) => self.keep(&known, Some(fd), 0),
            known => self.read(known, fd, stamp, 0)?,
        }
        Ok(())
    }

    /// Moves on to the next subdirectory of the deepest open directory. Returns its old record, if it has one; `None` after
    /// the last subdirectory.
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

    /// Leaves a directory whose subdirectories were all visited.
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

    /// Drops the old records below the directory that was visited last.
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
            0..=MAX_DEPTH => self.check_child(known.as_ref())?,
            _ => DirState::Unreadable(format!("more than {MAX_DEPTH} levels deep")),
        };
        if let DirState::Gone = state {
            return known.map_or(Ok(()), |_| Ok(self.join.remove(self.depth())?));
        }
        self.totals.directories += 1;
        self.totals.hosts += u64::from(depth == self.settings.host_depth as usize);
        if let (DirState::Unchanged(None), Some(known)) = (&state, &known) {
            // Nearly all directories: their paths are not needed.
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

    fn check_child(&mut self, known: Option<&Record>) -> Result<DirState> {
        let Some(parent) = self.levels.last() else {
            return Ok(DirState::Gone);
        };
        let name = CStr::from_bytes_with_nul(&self.name)?;
        let known = known.filter(|known| !self.full_scan && known.state == State::Settled);
        let has_children = self.join.has_children();
        self.opener
            .check_directory(parent.fd.as_fd(), parent.device, name, known, has_children)
    }

    /// Returns the depth of the visited directory; that of the whisper directory is 0.
    fn depth(&self) -> u16 {
        // At most MAX_DEPTH levels are open.
        self.levels.len() as u16
    }
}
