//! Any file in the place of the snapshot: the count is correct unless the checksum is right, and it never fails.
//!
//! The first byte of the input selects how the file is made of the rest:
//! 0: it is the file; 1: records behind a good header, with a right checksum; 2: changes of a good snapshot, each an
//! offset (u16) and a byte to XOR; 3: the same with a right checksum.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use shinken_gatherer::graphite::{Count, CountSettings, FullScan, count};
use tempfile::TempDir;

const DIRECTORIES: [&str; 9] = ["", "a", "a/1", "a/2", "a/2/x", "b", "b.c", "b.c/1", "d"];
const METRICS: [&str; 5] = ["a/1/m.wsp", "a/2/x/m.wsp", "b/m.wsp", "b/n.wsp", "d/m.wsp"];
const CHECKSUM_BYTES: usize = 4;
/// Offset of the length of the settings in the header.
const SETTINGS_LENGTH: usize = 24;
const SMALLEST_RECORD: usize = 32;

/// A tree, made once because that takes longer than all the rest.
struct Tree {
    folder: TempDir,
    settings: CountSettings,
    good: Vec<u8>,
    records: usize,
}

/// Panics if one of the properties does not hold for the snapshot that this input makes.
pub fn hold(input: &[u8]) {
    thread_local!(static TREE: Tree = tree());
    TREE.with(|tree| {
        let [how, rest @ ..] = input else { return };
        let is_checksum_right = how % 4 == 1 || how % 4 == 3;
        let mut file = match how % 4 {
            0 => rest.to_vec(),
            1 => [&tree.good[..tree.records], rest, &[0; CHECKSUM_BYTES]].concat(),
            _ => tree.changed(rest),
        };
        if is_checksum_right && let Some(payload) = file.len().checked_sub(CHECKSUM_BYTES) {
            let checksum = crc32fast::hash(&file[..payload]);
            file[payload..].copy_from_slice(&checksum.to_le_bytes());
        }
        let is_good = file == tree.good;
        fs::write(tree.path(), &file).expect("writing the snapshot");
        let found = tree.count(true);
        // A record takes its bytes: what a snapshot makes up is bounded by its length.
        let most = DIRECTORIES.len() + file.len() / SMALLEST_RECORD;
        assert!(found.totals.directories <= most as u64, "{found:?}");
        if !is_checksum_right {
            is_correct(&found);
            let rejected = found.full_scan == Some(FullScan::UnusableSnapshot);
            assert_eq!(
                (rejected, found.messages.len()),
                (!is_good, usize::from(!is_good))
            );
        }
        if found.full_scan == Some(FullScan::UnusableSnapshot) {
            is_correct(&found);
            assert_eq!(found.totals.directories_read, DIRECTORIES.len() as u64);
            assert_eq!(tree.count(true).totals.directories_read, 0);
            tree.is_canonical();
        }
        let full = tree.count(false);
        is_correct(&full);
        assert!(full.messages.is_empty(), "{full:?}");
        tree.is_canonical();
    });
}

fn is_correct(count: &Count) {
    let totals = &count.totals;
    assert_eq!(
        (
            totals.hosts,
            totals.metrics,
            totals.directories,
            totals.unreadable
        ),
        (4, METRICS.len() as u64, DIRECTORIES.len() as u64, 0)
    );
}

impl Tree {
    fn path(&self) -> PathBuf {
        self.folder.path().join("snapshot")
    }

    fn count(&self, use_old: bool) -> Count {
        count(
            &self.settings,
            Some(&self.path()),
            use_old,
            SystemTime::now(),
            &mut |_, _| Ok(()),
        )
        .expect("a count never fails")
    }

    fn changed(&self, changes: &[u8]) -> Vec<u8> {
        let mut file = self.good.clone();
        for change in changes.chunks_exact(3) {
            let offset = usize::from(u16::from_le_bytes([change[0], change[1]]));
            let length = file.len();
            file[offset % length] ^= change[2];
        }
        file
    }

    /// The records must be those of the first full scan, whatever was there before.
    fn is_canonical(&self) {
        let file = fs::read(self.path()).expect("a snapshot");
        let records = self.records..self.good.len() - CHECKSUM_BYTES;
        assert_eq!(file.len(), self.good.len());
        assert_eq!(file[records.clone()], self.good[records]);
    }
}

fn tree() -> Tree {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder for the tree");
    let whisper = folder.path().join("whisper");
    for name in DIRECTORIES {
        fs::create_dir(whisper.join(name)).expect("a directory");
    }
    for name in METRICS {
        fs::write(whisper.join(name), "").expect("a metric");
    }
    // Until the clock has ticked: directories changed at the time of the count are not settled.
    std::thread::sleep(Duration::from_millis(50));
    let mut tree = Tree {
        settings: CountSettings {
            whisper_dir: whisper,
            host_depth: 1,
            exclude: vec!["/lost+found/".into()],
            max_busy_percent: 100,
            full_scan_interval: Duration::from_secs(365 * 24 * 3600),
            settling_time: Duration::ZERO,
        },
        folder,
        good: Vec::new(),
        records: 0,
    };
    is_correct(&tree.count(false));
    tree.good = fs::read(tree.path()).expect("a snapshot");
    let length = &tree.good[SETTINGS_LENGTH..SETTINGS_LENGTH + 8];
    let settings = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    tree.records = SETTINGS_LENGTH + 8 + settings as usize;
    assert_eq!(tree.count(true).totals.directories_read, 0, "nothing changed");
    tree
}
