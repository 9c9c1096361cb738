//! The old snapshot and the new one, side by side: both are in the order of the walk, so that a merge join of sorted
//! names finds what is known of a directory.

use std::cmp::Ordering;

use super::{Damaged, Reader, Record, Writer};

/// A walk's view of both snapshots, either of which may be missing.
#[derive(Debug)]
pub struct Join {
    old: Option<Reader>,
    new: Option<Writer>,
}

impl Join {
    /// Joins the two, both at their start.
    pub fn new(old: Option<Reader>, new: Option<Writer>) -> Self {
        Self { old, new }
    }

    /// Takes the record of the whisper directory.
    pub fn take_root(&mut self) -> Result<Option<Record>, Damaged> {
        self.take_at(0)
    }

    /// Takes the next known directory at `depth`, the children of an unchanged one.
    pub fn take_child(&mut self, depth: u16) -> Result<Option<Record>, Damaged> {
        self.take_at(depth)
    }

    /// Takes what is known of the directory `name` (with NUL) at `depth`. Those before it in the order of names are no
    /// longer there; adds their number to `removed`.
    pub fn find_child(
        &mut self,
        depth: u16,
        name: &[u8],
        removed: &mut u64,
    ) -> Result<Option<Record>, Damaged> {
        loop {
            let next = self.old.as_ref().and_then(Reader::next);
            let order = next
                .filter(|entry| entry.depth == depth)
                .map(|entry| entry.name.as_slice().cmp(name));
            match order {
                None | Some(Ordering::Greater) => return Ok(None),
                Some(Ordering::Equal) => return self.take_child(depth),
                Some(Ordering::Less) => {
                    self.remove_next()?;
                    self.remove_below(depth)?;
                    *removed += 1;
                }
            }
        }
    }

    /// The name, with NUL, of the directory that was taken last.
    pub fn name(&self) -> &[u8] {
        self.old.as_ref().map_or(&[0], |old| &old.current().name)
    }

    /// Whether the directory that was taken last had subdirectories.
    pub fn has_children(&self) -> bool {
        let next = |old: &Reader| old.next().is_some_and(|next| next.depth > old.current().depth);
        self.old.as_ref().is_some_and(next)
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

    /// Drops the directory that was taken last.
    pub fn remove(&mut self) {
        self.start();
    }

    /// Records a directory of the new snapshot, which is `known` if its old record was taken last.
    pub fn record(&mut self, depth: u16, name: &[u8], record: &Record, known: Option<&Record>) {
        let Some(new) = &mut self.new else {
            return;
        };
        if let (Some(old), true) = (&self.old, known == Some(record))
            && new.keep(old)
        {
            return;
        }
        new.start(self.old.as_ref());
        new.write(depth, name, record);
    }

    /// Replaces the old snapshot by the new one if they differ.
    pub fn finish(self) -> std::io::Result<()> {
        self.new.map_or(Ok(()), Writer::finish)
    }

    fn take_at(&mut self, depth: u16) -> Result<Option<Record>, Damaged> {
        let Some(old) = &mut self.old else {
            return Ok(None);
        };
        if old.next().is_none_or(|next| next.depth != depth) {
            return Ok(None);
        }
        old.take()?;
        Ok(Some(old.current().record))
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
