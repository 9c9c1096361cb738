//! A whisper tree that the library counts repeatedly over its snapshot.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use shinken_gatherer::graphite::{Count, CountSettings, FullScan, count};
use tempfile::TempDir;

use super::{naive, wait_until};

pub const HOUR: Duration = Duration::from_secs(3600);
/// Bytes of the header before the settings: magic, two times and a length.
pub const HEADER_BYTES: usize = 32;

/// A whisper directory, its snapshot, and settings that trust a directory as soon as file times move on.
pub struct Tree {
    dir: TempDir,
    pub whisper: PathBuf,
    pub snapshot: PathBuf,
    pub settings: CountSettings,
}

impl Tree {
    pub fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    pub fn in_memory() -> Self {
        Self::at(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    /// Makes a tree with these metrics in memory.
    pub fn of<N: AsRef<str>>(metrics: impl IntoIterator<Item = N>) -> Self {
        let tree = Self::in_memory();
        metrics.into_iter().for_each(|name| tree.metric(name.as_ref()));
        tree
    }

    fn at(dir: TempDir) -> Self {
        let whisper = dir.path().join("whisper");
        fs::create_dir(&whisper).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let settings = CountSettings {
            whisper_dir: whisper.clone(),
            host_depth: 1,
            exclude: vec!["/lost+found/".into()],
            max_busy_percent: 100,
            full_scan_interval: 24 * HOUR,
            settling_time: Duration::ZERO,
        };
        Self {
            snapshot: dir.path().join("state/whisper.snapshot"),
            settings,
            dir,
            whisper,
        }
    }

    /// Returns a path beside the whisper directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.whisper.join(name)
    }

    pub fn metric(&self, name: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), "").unwrap();
    }

    pub fn count(&self) -> Count {
        self.count_at(SystemTime::now())
    }

    pub fn count_at(&self, wall: SystemTime) -> Count {
        count(&self.settings, Some(&self.snapshot), true, wall, &mut |_, _| {
            Ok(())
        })
        .unwrap()
    }

    /// Counts with every change before it settled: the clock ticks before and after.
    pub fn count_settled(&self) -> Count {
        self.wait_for_tick();
        let count = self.count();
        self.wait_for_tick();
        count
    }

    /// Returns a full scan without the snapshot, and the records that it writes.
    pub fn full_scan(&self) -> (Count, Vec<u8>) {
        let path = self.beside("other.snapshot");
        let now = SystemTime::now();
        let count = count(&self.settings, Some(&path), false, now, &mut |_, _| Ok(()));
        let records = records_of(&path);
        fs::remove_file(path).unwrap();
        (count.unwrap(), records)
    }

    pub fn records(&self) -> Vec<u8> {
        records_of(&self.snapshot)
    }

    /// Waits until file times move on.
    pub fn wait_for_tick(&self) {
        let probe = self.beside("probe");
        let stamp = || {
            fs::write(&probe, "").unwrap();
            fs::metadata(&probe).unwrap().modified().unwrap()
        };
        let first = stamp();
        wait_until("the clock to tick", || stamp() != first);
    }

    /// Returns the names in the folder of the snapshot.
    pub fn state_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.snapshot.parent().unwrap()).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }
}

/// Returns the records of a snapshot, without its header, which has times, and its checksum.
fn records_of(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let settings = u64::from_le_bytes(bytes[HEADER_BYTES - 8..HEADER_BYTES].try_into().unwrap());
    bytes[HEADER_BYTES + settings as usize..bytes.len() - 4].to_vec()
}

pub fn totals(count: &Count) -> (u64, u64) {
    (count.totals.hosts, count.totals.metrics)
}

/// A tree with 30 metrics and a valid snapshot.
pub fn filled() -> Tree {
    let tree = Tree::of((0..30).map(|number| format!("host-{}/check-{number}/m.wsp", number % 4)));
    tree.count_settled();
    tree
}

/// Counts, and checks the totals and that there is one message, on one line, which contains `part`.
pub fn rejected(tree: &Tree, part: &str) -> Count {
    let count = tree.count();
    assert_eq!(totals(&count), naive(&tree.whisper), "{part}");
    assert_eq!(count.messages.len(), 1, "{part}: {:?}", count.messages);
    let text = &count.messages[0];
    let is_line = !text.contains(char::is_control);
    assert!(is_line && text.contains(part), "{text:?}");
    count
}

/// As [`rejected`], with every directory read, and a valid snapshot afterwards.
pub fn replaced(tree: &Tree, part: &str) {
    let count = rejected(tree, part);
    assert_eq!(count.full_scan, Some(FullScan::UnusableSnapshot), "{part}");
    assert_eq!(count.totals.directories_read, count.totals.directories, "{part}");
    let next = tree.count();
    assert_eq!(next.totals.directories_read, 0, "{part}");
    assert!(next.messages.is_empty(), "{part}");
}
