//! Random changes between and during counts: the totals are those of a naive walk, only directories that changed are
//! read, and the snapshot is the one that a full scan would write. Random damage to a snapshot causes a full scan.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{HEADER_BYTES, HOUR, Numbers, Tree, filled, naive, replaced, totals};
use shinken_gatherer::graphite::Totals;

fn directories(top: &Path) -> Vec<PathBuf> {
    let mut found = vec![top.to_path_buf()];
    let mut next = 0;
    while let Some(directory) = found.get(next) {
        let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
        let below = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        found.extend(below.map(|entry| entry.path()).collect::<Vec<_>>());
        next += 1;
    }
    found
}

/// Makes one random change somewhere in the tree.
fn change(top: &Path, numbers: &mut Numbers) {
    let all = directories(top);
    let directory = &all[numbers.below(all.len())];
    let name = ["a.wsp", "b.wsp", "c.txt", "d", "e", "f.wsp", "d.x", "d-"][numbers.below(8)];
    let target = directory.join(name);
    match numbers.below(8) {
        0 | 1 => drop(fs::write(&target, "")),
        2 | 3 => drop(fs::create_dir(&target)),
        4 => drop(fs::remove_file(&target)),
        5 => drop(fs::remove_dir_all(&target)),
        6 => {
            let source = &all[numbers.below(all.len())];
            if source != top {
                drop(fs::rename(source, &target));
            }
        }
        _ => {
            // Replaced by another directory of the same name.
            if target.is_dir() {
                fs::remove_dir_all(&target).unwrap();
                fs::create_dir(&target).unwrap();
                fs::write(target.join("g.wsp"), "").unwrap();
            }
        }
    }
}

/// Returns for each directory what tells whether it has to be read again.
fn stamps(top: &Path) -> BTreeMap<PathBuf, [i64; 6]> {
    let stamp = |path: &PathBuf| {
        let stat = fs::metadata(path).unwrap();
        let identity = [stat.dev().cast_signed(), stat.ino().cast_signed()];
        let times = [stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec()];
        [&identity[..], &times].concat().try_into().unwrap()
    };
    let all = directories(top).into_iter();
    all.map(|path| (path.clone(), stamp(&path))).collect()
}

fn change_small(tree: &Tree, numbers: &mut Numbers) {
    change(&tree.whisper, numbers);
    if directories(&tree.whisper).len() > 60 {
        fs::remove_dir_all(&directories(&tree.whisper)[1]).unwrap();
    }
}

/// A wrong merge with the snapshot gives right totals, but reads more.
#[test]
fn random_changes_give_right_count_and_fewest_reads() {
    let mut numbers = Numbers::seeded();
    let tree = Tree::in_memory();
    let mut before = BTreeMap::new();
    for step in 0..3000 {
        change_small(&tree, &mut numbers);
        if numbers.below(3) > 0 {
            continue;
        }
        match numbers.below(25) {
            // As before a first count, after a count that was killed, and with a damaged snapshot.
            0 => drop(fs::remove_file(&tree.snapshot)),
            1 => fs::write(tree.beside("state/whisper.snapshot.tmp"), "part of a snapshot").unwrap(),
            2 => {
                let bytes = fs::read(&tree.snapshot).unwrap_or_default();
                fs::write(&tree.snapshot, &bytes[..numbers.below(bytes.len().max(1))]).unwrap();
            }
            _ => {}
        }
        let count = tree.count_settled();
        let after = stamps(&tree.whisper);
        let is_changed = |(path, stamp): &(&PathBuf, &[i64; 6])| before.get(*path) != Some(*stamp);
        let changed = after.iter().filter(is_changed).count();
        let (hosts, metrics) = naive(&tree.whisper);
        let expected = Totals {
            hosts,
            metrics,
            directories: after.len() as u64,
            directories_read: count.full_scan.map_or(changed, |_| after.len()) as u64,
            ..Totals::default()
        };
        assert_eq!(count.totals, expected, "step {step}");
        let (full, records) = tree.full_scan();
        assert_eq!(totals(&full), totals(&count), "step {step}");
        assert!(tree.records() == records, "step {step}: not as a full scan");
        if changed > 0 {
            assert_eq!(tree.state_files(), ["whisper.snapshot"], "step {step}");
        }
        before = after;
    }
}

/// With the real settling time, nearly all directories are read again.
#[test]
fn random_changes_without_waiting_are_all_counted() {
    let mut numbers = Numbers::seeded();
    for settling_time in [Duration::from_secs(2), HOUR] {
        let mut tree = Tree::in_memory();
        tree.settings.settling_time = settling_time;
        for step in 0..1000 {
            change_small(&tree, &mut numbers);
            assert_eq!(totals(&tree.count()), naive(&tree.whisper), "step {step}");
            // Within the hour nothing settles, so that the snapshot is that of a full scan.
            if settling_time == HOUR {
                assert!(tree.records() == tree.full_scan().1, "step {step}");
            }
        }
    }
}

/// The totals of a count during changes are not defined. The next one after the last change must be right, on file
/// systems with coarse (tmpfs) and other times.
#[test]
fn changes_during_a_count_are_in_the_next_one() {
    let mut numbers = Numbers::seeded();
    for mut tree in [Tree::in_memory(), Tree::new()] {
        tree.settings.settling_time = Duration::from_secs(2);
        for number in 0..200 {
            tree.metric(&format!("host-{}/check-{number}/m.wsp", number % 10));
        }
        for round in 0..100 {
            let is_done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..3 + numbers.below(30) {
                        let check = numbers.below(200);
                        let check = format!("host-{}/check-{check}", check % 10);
                        let name = format!("{check}/{}.wsp", numbers.below(5));
                        match numbers.below(6) {
                            0 => drop(fs::remove_dir_all(tree.path(&check))),
                            1 => drop(fs::rename(tree.path(&check), tree.path("host-0/moved"))),
                            2 | 3 => drop(fs::remove_file(tree.path(&name))),
                            _ => tree.metric(&name),
                        }
                    }
                    is_done.store(true, Ordering::Relaxed);
                });
                while !is_done.load(Ordering::Relaxed) {
                    tree.count();
                }
            });
            let naive = naive(&tree.whisper);
            assert_eq!(totals(&tree.count()), naive, "round {round}, {:?}", tree.whisper);
        }
    }
}

#[test]
fn damaged_file_causes_full_scan() {
    let mut numbers = Numbers::seeded();
    let tree = filled();
    let good = fs::read(&tree.snapshot).unwrap();
    let write = |bytes: &[u8]| {
        fs::write(&tree.snapshot, bytes).unwrap();
        replaced(&tree, "cannot use snapshot");
    };
    for index in 0..good.len() {
        write(&good[..index]);
        // The dates are in the header: one that is too late would postpone the next full scan for years.
        let mut bytes = good.clone();
        bytes[index] ^= 1 << numbers.below(8);
        write(&bytes);
    }
    for round in 0..300 {
        let length = numbers.below(2000);
        let random: Vec<u8> = (0..length).map(|_| numbers.below(256) as u8).collect();
        write(&match round % 3 {
            0 => [&good[..HEADER_BYTES + numbers.below(200)], &random].concat(),
            1 => [&good[..], &[1], &random].concat(),
            _ => random,
        });
    }
    // Large, without a used block.
    let file = fs::File::create(&tree.snapshot).unwrap();
    file.set_len(1 << 40).unwrap();
    let started = Instant::now();
    replaced(&tree, "it is not a snapshot");
    assert!(started.elapsed() < Duration::from_secs(1));
}
