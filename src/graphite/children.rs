//! The subdirectories of a directory that is read again: those it still has are recognised by name and keep what is
//! known of them, new ones are added, the others let go.
//!
//! A directory may have had hundreds of thousands, so noting them and letting them go take many small steps.

use std::collections::{HashMap, hash_map};
use std::hash::{BuildHasher, RandomState};
use std::mem;

use super::tree::{DirId, Tree};

/// Former children that are noted, or let go, in one step.
const CHILDREN_PER_STEP: usize = 1000;

/// The children of one directory, from those it had to those it has.
#[derive(Debug)]
pub struct Children {
    parent: DirId,
    /// The next of the former children to count, and how many were counted: a map that grows as it fills would take
    /// its time in one step.
    to_count: Option<DirId>,
    counted: usize,
    /// The next of the former children to note.
    to_note: Option<DirId>,
    /// The former children by the hashes of their names.
    noted: HashMap<u64, DirId>,
    /// Those of them that were not looked at yet since the end of the directory.
    to_let_go: hash_map::IntoIter<u64, DirId>,
    last: Option<DirId>,
    /// How many there are more than before.
    pub new: u64,
    /// How many of the former ones are gone.
    pub gone: u64,
}

impl Children {
    /// The children that `parent` had until now.
    pub fn of(tree: &Tree, parent: DirId) -> Self {
        Self {
            parent,
            to_count: tree.first_child(parent),
            counted: 0,
            to_note: tree.first_child(parent),
            noted: HashMap::new(),
            to_let_go: hash_map::IntoIter::default(),
            last: None,
            new: 0,
            gone: 0,
        }
    }

    /// Notes some of the former children. True when all are noted; from then on the parent has those that are taken.
    pub fn note(&mut self, tree: &mut Tree, hasher: &RandomState) -> bool {
        for _ in 0..CHILDREN_PER_STEP {
            if let Some(child) = self.to_count {
                self.counted += 1;
                self.to_count = tree.next_sibling(child);
                if self.to_count.is_none() {
                    self.noted.reserve(self.counted);
                }
                continue;
            }
            let Some(child) = self.to_note else {
                break;
            };
            self.to_note = tree.next_sibling(child);
            match self.noted.entry(hasher.hash_one(tree.name(child))) {
                hash_map::Entry::Vacant(place) => _ = place.insert(child),
                // It will be taken for a new one.
                hash_map::Entry::Occupied(_) => tree.remove(child),
            }
            if self.to_note.is_none() {
                tree.link(self.parent, None, None);
            }
        }
        self.to_note.is_none()
    }

    /// Takes a child that is there, recognised or new.
    pub fn take(&mut self, tree: &mut Tree, name: &[u8], hasher: &RandomState) {
        let child = match self.recognise(tree, name, hasher) {
            // The same name twice: the directory changes while it is read, and will be read again. A new name that is
            // listed twice is taken twice until then.
            Some(child) if tree.is_kept(child) => return,
            Some(child) => {
                tree.set_kept(child, true);
                child
            }
            None => {
                self.new += 1;
                tree.insert(name)
            }
        };
        tree.link(self.parent, self.last, Some(child));
        tree.link(self.parent, Some(child), None);
        self.last = Some(child);
    }

    fn recognise(&self, tree: &Tree, name: &[u8], hasher: &RandomState) -> Option<DirId> {
        if self.noted.is_empty() {
            return None;
        }
        let child = self.noted.get(&hasher.hash_one(name)).copied()?;
        (tree.name(child) == name).then_some(child)
    }

    /// No more children will be taken.
    pub fn end(&mut self) {
        self.to_let_go = mem::take(&mut self.noted).into_iter();
    }

    /// Lets some of the children go that were not taken. True when there are no more.
    pub fn let_go(&mut self, tree: &mut Tree) -> bool {
        for (_, child) in self.to_let_go.by_ref().take(CHILDREN_PER_STEP) {
            if tree.is_kept(child) {
                tree.set_kept(child, false);
            } else {
                tree.remove(child);
                self.gone += 1;
            }
        }
        self.to_let_go.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `parent` again, which now holds `names`.
    fn read_again(tree: &mut Tree, parent: DirId, names: &[&[u8]]) -> Children {
        let hasher = RandomState::new();
        let mut children = Children::of(tree, parent);
        while !children.note(tree, &hasher) {}
        for name in names {
            children.take(tree, name, &hasher);
        }
        children.end();
        while !children.let_go(tree) {}
        children
    }

    fn names_of(tree: &Tree, parent: DirId) -> Vec<Vec<u8>> {
        let children = std::iter::successors(tree.first_child(parent), |child| tree.next_sibling(*child));
        children.map(|child| tree.name(child).to_vec()).collect()
    }

    #[test]
    fn children_are_recognised_added_and_let_go() {
        let mut tree = Tree::new();
        read_again(&mut tree, Tree::ROOT, &[b"a", b"b", b"c"]);
        let b = tree.next_sibling(tree.first_child(Tree::ROOT).unwrap()).unwrap();
        let children = read_again(&mut tree, Tree::ROOT, &[b"c", b"b", b"d", b"c"]);
        assert_eq!((children.new, children.gone), (1, 1));
        assert_eq!(names_of(&tree, Tree::ROOT), [b"c", b"b", b"d"]);
        assert_eq!(tree.next_sibling(tree.first_child(Tree::ROOT).unwrap()), Some(b));
        read_again(&mut tree, Tree::ROOT, &[]);
        assert_eq!(tree.first_child(Tree::ROOT), None);
    }

    #[test]
    fn a_hundred_thousand_children_take_hundreds_of_steps() {
        let mut tree = Tree::new();
        let names: Vec<_> = (0..100_000)
            .map(|number| format!("host{number}").into_bytes())
            .collect();
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        read_again(&mut tree, Tree::ROOT, &names);
        let hasher = RandomState::new();
        let mut children = Children::of(&tree, Tree::ROOT);
        let mut steps = 1;
        while !children.note(&mut tree, &hasher) {
            steps += 1;
        }
        children.end();
        while !children.let_go(&mut tree) {
            steps += 1;
        }
        assert!(steps >= 299, "{steps} steps");
        assert_eq!(children.gone, 100_000);
    }
}
