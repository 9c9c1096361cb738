//! The old and the new snapshot during a walk. Both are in the order of the walk, so that a merge join of sorted names
//! finds the old record of a directory.

use std::cmp::Ordering;
use std::io;

use super::format::Record;
use super::reader::{Damaged, Reader};
use super::writer::Writer;

/// Both snapshots at the position of a walk. Either may be missing.
#[derive(Debug)]
pub struct Join {
    /// At its start.
    pub old: Option<Reader>,
    /// At its start.
    pub new: Option<Writer>,
}

impl Join {
    /// Takes the next old record if it is at `depth`: the whisper directory, or a child of an unchanged one.
    pub fn take_next(&mut self, depth: u16) -> Result<Option<Record>, Damaged> {
        let Some(old) = &mut self.old else {
            return Ok(None);
        };
        if old.next().is_none_or(|next| next.depth != depth) {
            return Ok(None);
        }
        old.take()?;
        Ok(Some(old.current().record))
    }

    /// Takes the old record of the directory `name` (with NUL) at `depth`. Those before it were removed from the tree;
    /// adds their number to `removed`.
    pub fn find(&mut self, depth: u16, name: &[u8], removed: &mut u64) -> Result<Option<Record>, Damaged> {
        while let Some(next) = self.old.as_ref().and_then(Reader::next)
            && next.depth == depth
        {
            match next.name.as_slice().cmp(name) {
                Ordering::Greater => return Ok(None),
                Ordering::Equal => return self.take_next(depth),
                Ordering::Less => *removed += 1,
            }
            self.remove_next()?;
            self.remove_below(depth)?;
        }
        Ok(None)
    }

    /// Returns the name, with NUL, of the directory that was taken last.
    pub fn name(&self) -> &[u8] {
        self.old.as_ref().map_or(&[0], |old| &old.current().name)
    }

    /// Returns whether the directory that was taken last had subdirectories.
    pub fn has_children(&self) -> bool {
        let next = |old: &Reader| old.next().is_some_and(|next| next.depth > old.current().depth);
        self.old.as_ref().is_some_and(next)
    }

    /// Drops the directory at `depth` that was taken last, and all below it.
    pub fn remove(&mut self, depth: u16) -> Result<(), Damaged> {
        self.start();
        self.remove_below(depth).map(|_| ())
    }

    /// Drops the next records that are deeper than `depth`. Returns how many of them are at `depth + 1`.
    pub fn remove_below(&mut self, depth: u16) -> Result<u64, Damaged> {
        let mut children = 0;
        while let Some(next) = self.old.as_ref().and_then(Reader::next)
            && next.depth > depth
        {
            children += u64::from(next.depth == depth + 1);
            self.remove_next()?;
        }
        Ok(children)
    }

    /// Records a directory of the new snapshot, which is `known` if its old record was taken last.
    pub fn record(&mut self, depth: u16, name: &[u8], record: &Record, known: Option<&Record>) {
        let is_same = known == Some(record);
        if let Some(new) = &mut self.new
            && !(is_same && self.old.as_ref().is_some_and(|old| new.keep(old)))
        {
            new.start(self.old.as_ref());
            new.write(depth, name, record);
        }
    }

    /// Replaces the old snapshot by the new one if they differ.
    pub fn finish(self) -> io::Result<()> {
        self.new.map_or(Ok(()), Writer::finish)
    }

    fn remove_next(&mut self) -> Result<(), Damaged> {
        self.start();
        self.old.as_mut().map_or(Ok(()), Reader::take)
    }

    fn start(&mut self) {
        if let Some(new) = &mut self.new {
            new.start(self.old.as_ref());
        }
    }
}
