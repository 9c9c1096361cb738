//! The directories of the whisper tree as the last count saw them: 48 bytes and a name each.
//!
//! Directories live in one array and refer to each other by index; their names share one buffer. That keeps a tree
//! of millions of directories small, and its removal needs no recursion however deep it is.

/// Index of a directory in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirId(u32);

const NONE: u32 = u32::MAX;
/// Dead name bytes below which tidying is not worth the copy.
const TIDY_BYTES: usize = 64 * 1024;

/// What identifies a directory and tells whether its entries may have changed.
///
/// The inode and device say whether it is still the same directory. The modification time changes with its
/// entries; the change time does too, and can't be set back by tools that restore modification times (rsync, tar).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Inode number.
    pub inode: u64,
    /// Device number of its file system.
    pub device: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Change time, nanoseconds since 1970.
    pub changed_ns: i64,
}

impl Stamp {
    /// Whether both are the same directory, changed or not.
    pub fn is_same_directory(&self, other: &Stamp) -> bool {
        (self.inode, self.device) == (other.inode, other.device)
    }
}

/// How far the stored entries of a directory can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Never read, or read too close to its last change: must be read.
    Unsettled,
    /// Read, and unchanged while its stamp is.
    Settled,
    /// Could not be read; this was reported.
    Unreadable,
}

#[derive(Debug)]
struct Dir {
    inode: u64,
    modified_ns: i64,
    changed_ns: i64,
    metrics: u32,
    first_child: u32,
    next_sibling: u32,
    name_start: u32,
    name_len: u16,
    state: State,
    /// Index in `Tree::devices`.
    device: u16,
    /// Set while a directory is read again, on the children it still has.
    kept: bool,
    free: bool,
}

/// All known directories, the whisper directory itself at [`Tree::ROOT`].
#[derive(Debug)]
pub struct Tree {
    dirs: Vec<Dir>,
    first_free: u32,
    /// Removed, with all below them, but not free yet.
    first_doomed: u32,
    names: Vec<u8>,
    dead_name_bytes: usize,
    devices: Vec<u64>,
}

impl Tree {
    /// The whisper directory.
    pub const ROOT: DirId = DirId(0);

    /// A tree of which nothing is known but that it has a root.
    pub fn new() -> Self {
        let mut tree = Self {
            dirs: Vec::new(),
            first_free: NONE,
            first_doomed: NONE,
            names: Vec::new(),
            dead_name_bytes: 0,
            devices: Vec::new(),
        };
        tree.insert(b"");
        tree
    }

    /// Adds a directory that is nobody's child yet. `name` is as the kernel gives it: 255 bytes at most on most
    /// file systems, up to 765 where they count characters.
    pub fn insert(&mut self, name: &[u8]) -> DirId {
        let dir = Dir {
            inode: 0,
            modified_ns: 0,
            changed_ns: 0,
            metrics: 0,
            first_child: NONE,
            next_sibling: NONE,
            name_start: u32::try_from(self.names.len()).expect("under 4 GiB of directory names"),
            name_len: u16::try_from(name.len())
                .expect("a name within a directory entry, which is below 64 KiB"),
            state: State::Unsettled,
            device: 0,
            kept: false,
            free: false,
        };
        self.names.extend_from_slice(name);
        if self.first_free == NONE {
            let id = u32::try_from(self.dirs.len()).expect("under 4 billion directories");
            self.dirs.push(dir);
            return DirId(id);
        }
        let id = DirId(self.first_free);
        self.first_free = self.dir(id).next_sibling;
        *self.dir_mut(id) = dir;
        id
    }

    /// Removes a directory that is no longer anybody's child, and everything below it. Takes no time: `reap` gives
    /// the space back.
    pub fn remove(&mut self, id: DirId) {
        self.dir_mut(id).next_sibling = self.first_doomed;
        self.first_doomed = id.0;
    }

    /// Removes everything below a directory.
    pub fn remove_children(&mut self, id: DirId) {
        if let Some(first) = self.first_child(id) {
            let grave = self.insert(b"");
            self.link(grave, None, Some(first));
            self.link(id, None, None);
            self.remove(grave);
        }
    }

    /// Gives back the space of removed directories, in at most `steps` small steps. True when none is left.
    pub fn reap(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            let Some(id) = some(self.first_doomed) else {
                return true;
            };
            if let Some(child) = self.first_child(id) {
                let rest = self.next_sibling(child);
                self.link(id, None, rest);
                self.remove(child);
                continue;
            }
            let first_free = self.first_free;
            let dir = self.dir_mut(id);
            let next_doomed = dir.next_sibling;
            dir.free = true;
            dir.next_sibling = first_free;
            self.dead_name_bytes += usize::from(self.dir(id).name_len);
            self.first_doomed = next_doomed;
            self.first_free = id.0;
        }
        self.first_doomed == NONE
    }

    /// The last component of the directory's path.
    pub fn name(&self, id: DirId) -> &[u8] {
        let dir = self.dir(id);
        let start = dir.name_start as usize;
        &self.names[start..start + usize::from(dir.name_len)]
    }

    /// The first of its subdirectories, in no particular order.
    pub fn first_child(&self, id: DirId) -> Option<DirId> {
        some(self.dir(id).first_child)
    }

    /// The next subdirectory of the same parent.
    pub fn next_sibling(&self, id: DirId) -> Option<DirId> {
        some(self.dir(id).next_sibling)
    }

    /// Puts `child` behind `previous` among the children of `parent`; first where there is no previous.
    /// What followed there before is no longer linked.
    pub fn link(&mut self, parent: DirId, previous: Option<DirId>, child: Option<DirId>) {
        let index = child.map_or(NONE, |child| child.0);
        match previous {
            Some(previous) => self.dir_mut(previous).next_sibling = index,
            None => self.dir_mut(parent).first_child = index,
        }
    }

    /// What was seen of the directory when it was last read.
    pub fn stamp(&self, id: DirId) -> Stamp {
        let dir = self.dir(id);
        Stamp {
            inode: dir.inode,
            device: self.devices.get(usize::from(dir.device)).copied().unwrap_or(0),
            modified_ns: dir.modified_ns,
            changed_ns: dir.changed_ns,
        }
    }

    /// How far its entries can be relied on.
    pub fn state(&self, id: DirId) -> State {
        self.dir(id).state
    }

    /// Metrics directly in this directory.
    pub fn metrics(&self, id: DirId) -> u32 {
        self.dir(id).metrics
    }

    /// Notes what was just seen of a directory.
    pub fn update(&mut self, id: DirId, stamp: Stamp, state: State, metrics: u32) {
        let device = self.device_index(stamp.device);
        let dir = self.dir_mut(id);
        dir.inode = stamp.inode;
        dir.modified_ns = stamp.modified_ns;
        dir.changed_ns = stamp.changed_ns;
        dir.device = device.unwrap_or(0);
        // Without a place for its device the directory can't be recognised, so it is read every time.
        dir.state = if device.is_none() && state == State::Settled {
            State::Unsettled
        } else {
            state
        };
        dir.metrics = metrics;
    }

    /// Marks or unmarks a child as still there, while its parent is read again.
    pub fn set_kept(&mut self, id: DirId, kept: bool) {
        self.dir_mut(id).kept = kept;
    }

    /// Whether the child is marked.
    pub fn is_kept(&self, id: DirId) -> bool {
        self.dir(id).kept
    }

    /// Gives back the space of removed names once they are most of the buffer.
    pub fn tidy(&mut self) {
        if self.dead_name_bytes < TIDY_BYTES || self.dead_name_bytes * 2 < self.names.len() {
            return;
        }
        let mut names = Vec::with_capacity(self.names.len() - self.dead_name_bytes);
        for dir in self.dirs.iter_mut().filter(|dir| !dir.free) {
            let start = dir.name_start as usize;
            dir.name_start = names.len() as u32;
            names.extend_from_slice(&self.names[start..start + usize::from(dir.name_len)]);
        }
        self.names = names;
        self.dead_name_bytes = 0;
    }

    fn device_index(&mut self, device: u64) -> Option<u16> {
        let found = self.devices.iter().position(|known| *known == device);
        let index = found.unwrap_or_else(|| {
            self.devices.push(device);
            self.devices.len() - 1
        });
        u16::try_from(index).ok()
    }

    fn dir(&self, id: DirId) -> &Dir {
        &self.dirs[id.0 as usize]
    }

    fn dir_mut(&mut self, id: DirId) -> &mut Dir {
        &mut self.dirs[id.0 as usize]
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

fn some(index: u32) -> Option<DirId> {
    (index != NONE).then_some(DirId(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_file_systems_that_count_characters_fit() {
        let mut tree = Tree::new();
        let name = "目".repeat(255);
        let id = tree.insert(name.as_bytes());
        assert_eq!(tree.name(id), name.as_bytes());
    }

    #[test]
    fn removed_directories_give_their_space_back() {
        let mut tree = Tree::new();
        for _ in 0..3 {
            let parent = tree.insert(b"parent");
            let mut previous = None;
            for number in 0..20_000 {
                let child = tree.insert(format!("child{number}").as_bytes());
                tree.link(parent, previous, Some(child));
                previous = Some(child);
            }
            let kept = tree.insert(b"kept");
            tree.remove(parent);
            let mut calls = 1;
            while !tree.reap(1000) {
                calls += 1;
            }
            assert!(calls >= 20, "{calls} calls");
            tree.tidy();
            assert_eq!(tree.name(kept), b"kept");
            tree.remove(kept);
            assert!(tree.reap(2));
            assert!(
                tree.names.len() < TIDY_BYTES,
                "{} bytes of names",
                tree.names.len()
            );
        }
        assert!(tree.dirs.len() < 20_010, "{} directories", tree.dirs.len());
    }
}
