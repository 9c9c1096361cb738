//! Adds a visited directory to the totals and to the new snapshot.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::Result;

use super::{Level, Walk};
use crate::escape;
use crate::graphite::directory::Entries;
use crate::graphite::open_dir::{is_resource_error, resource_error};
use crate::graphite::snapshot::{Record, Stamp, State};

/// Unreadable directories that are reported by path; the others are only counted.
const MAX_REPORTED: usize = 20;

impl Walk<'_, '_> {
    /// Counts an unchanged directory. `fd` is open if it has subdirectories.
    pub(super) fn keep(&mut self, known: &Record, fd: Option<OwnedFd>, parent_path_bytes: usize) {
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
    pub(super) fn read(
        &mut self,
        known: Option<Record>,
        fd: OwnedFd,
        stamp: Stamp,
        parent_path_bytes: usize,
    ) -> Result<()> {
        let exclude = Some(self.exclude).filter(|exclude| exclude.may_match(self.levels.is_empty()));
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
    pub(super) fn skip_unreadable(&mut self, known: Option<Record>, reason: String) -> Result<()> {
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
}
