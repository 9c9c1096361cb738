//! Counts over the snapshot of the last one: the totals are those of a naive walk, only directories that changed are
//! read, and the snapshot is the one that a full scan would write.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::snapshot::{HOUR, Tree, change, directories, totals};
use crate::support::tree::{Numbers, make_deep, naive, remove_deep};
use crate::support::wait_for;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use shinken_gatherer::config::GraphiteConfig;
use shinken_gatherer::graphite::{CountSettings, FullScan, Totals, count};

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

#[test]
fn unchanged_tree_is_not_read_and_snapshot_not_written() {
    let tree = Tree::of((0..100).map(|number| format!("host{}/check{number}/m.wsp", number % 10)));
    let inode = || fs::metadata(&tree.snapshot).unwrap().ino();
    let count = || {
        let count = tree.count_settled();
        (totals(&count), count.totals.directories_read, count.full_scan)
    };
    assert_eq!(count(), ((10, 100), 111, Some(FullScan::NoSnapshot)));
    let before = inode();
    assert_eq!((count(), inode()), (((10, 100), 0, None), before));
    tree.metric("host3/check3/n.wsp");
    assert_eq!(count(), ((10, 101), 1, None));
    assert_ne!(inode(), before);
    assert_eq!(fs::metadata(&tree.snapshot).unwrap().mode() & 0o777, 0o600);
}

/// File systems round times to as much as 2 s: until then, a change may leave the time as it is.
#[test]
fn directory_is_trusted_only_2_s_after_its_change() {
    let mut tree = Tree::of(["a.wsp"]);
    tree.settings = CountSettings::new(&GraphiteConfig::default(), &tree.whisper);
    let changed = fs::metadata(&tree.whisper).unwrap().modified().unwrap();
    for (after_ms, read) in [(0, 1), (1999, 1), (2000, 1), (2001, 1), (2002, 0), (9999, 0)] {
        let count = tree.count_at(changed + Duration::from_millis(after_ms));
        assert_eq!(count.totals.directories_read, read, "{after_ms} ms later");
    }
}

#[test]
fn restored_modification_time_hides_nothing() {
    let tree = Tree::of(["host/a.wsp"]);
    tree.count_settled();
    let modified = fs::metadata(tree.path("host")).unwrap().modified().unwrap();
    tree.metric("host/b.wsp");
    let host = fs::File::open(tree.path("host")).unwrap();
    host.set_modified(modified).unwrap();
    assert_eq!(totals(&tree.count_settled()), (1, 2));
}

#[test]
fn directory_replaced_by_another_of_its_name_is_read() {
    let tree = Tree::of(["host/x/a.wsp", "spare/x/b.wsp", "spare/x/c.wsp"]);
    assert_eq!(totals(&tree.count_settled()), (2, 3));
    fs::rename(tree.path("host/x"), tree.path("host/y")).unwrap();
    fs::rename(tree.path("spare/x"), tree.path("host/x")).unwrap();
    fs::remove_dir_all(tree.path("host/y")).unwrap();
    assert_eq!(totals(&tree.count_settled()), (2, 2));
}

/// A FIFO, a socket and links that loop take the name of a directory, which takes theirs.
#[test]
fn entries_that_change_their_type_are_counted_right() {
    let tree = Tree::of(["host/check/a.wsp"]);
    let entry = |name: &str| tree.path("host").join(name);
    for (name, kind) in [("fifo.wsp", FileType::Fifo), ("socket.wsp", FileType::Socket)] {
        mknodat(CWD, entry(name), kind, Mode::RUSR, 0).unwrap();
    }
    for (target, name) in [("b.wsp", "c.wsp"), ("c.wsp", "b.wsp"), ("..", "up")] {
        symlink(target, entry(name)).unwrap();
    }
    for name in ["fifo.wsp", "socket.wsp", "b.wsp", "c.wsp", "up"] {
        for _ in 0..2 {
            let exchange = RenameFlags::EXCHANGE;
            renameat_with(CWD, entry("check"), CWD, entry(name), exchange).unwrap();
            assert_eq!(totals(&tree.count_settled()), naive(&tree.whisper), "{name}");
        }
    }
}

#[test]
fn whisper_directory_replaced_during_the_count_is_an_error() {
    let tree = Tree::of((0..5000).map(|number| format!("host-{number}/m.wsp")));
    let (snapshot, now) = (Some(tree.snapshot.as_path()), SystemTime::now());
    let replace = &mut |_: &Totals| {
        let _ = fs::rename(&tree.whisper, tree.beside("away"));
        let _ = fs::create_dir(&tree.whisper);
        Ok(())
    };
    let error = count(&tree.settings, snapshot, true, now, replace).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.ends_with(" was replaced during the count"), "{error}");
    assert_eq!(tree.state_files(), [""; 0]);
}

#[test]
fn full_scan_is_due_after_its_interval_and_reads_all() {
    let tree = Tree::of(["host/a.wsp"]);
    let wall = SystemTime::now() + HOUR;
    let count_after = |hours: u32| {
        let count = tree.count_at(wall + hours * HOUR);
        (count.full_scan, count.totals.directories_read)
    };
    assert_eq!(count_after(0), (Some(FullScan::NoSnapshot), 2));
    // A change does not postpone it.
    tree.metric("host/b.wsp");
    assert_eq!(count_after(23), (None, 1));
    assert_eq!(count_after(24), (Some(FullScan::Interval), 2));
    // Recorded, though no record differs.
    assert_eq!(count_after(25), (None, 0));
    let (full, _) = tree.full_scan();
    assert_eq!(full.full_scan, Some(FullScan::Requested));
}

#[test]
fn clock_set_back_causes_one_full_scan() {
    let tree = Tree::of(["host/a.wsp"]);
    let wall = SystemTime::now() + HOUR;
    let count_at = |wall| {
        let count = tree.count_at(wall);
        (count.totals.directories_read, count.full_scan, count.messages)
    };
    count_at(wall);
    assert_eq!(count_at(wall + HOUR), (0, None, vec![]));
    let (read, full_scan, messages) = count_at(wall - Duration::from_secs(60));
    assert_eq!((read, full_scan), (2, Some(FullScan::UnusableSnapshot)));
    assert!(messages[0].contains("dated in the future"), "{messages:?}");
    assert_eq!(count_at(wall - Duration::from_secs(59)), (0, None, vec![]));
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
fn unreadable_directory_is_reported_once() {
    let tree = Tree::of(["a/x.wsp", "closed/below/y.wsp", "z/z.wsp"]);
    // Too deep for any path, so that root cannot read it either.
    make_deep(&tree.path("closed"), vec!["d"; 2047]);
    let count = || {
        let count = tree.count_settled();
        (
            totals(&count),
            count.totals.unreadable,
            count.totals.directories_read,
            count.messages,
        )
    };
    let (totals, unreadable, _, messages) = count();
    assert_eq!((totals, unreadable, messages.len()), ((3, 2049), 1, 1));
    assert!(messages[0].contains("more than 2047 levels deep"), "{messages:?}");
    assert_eq!(count(), ((3, 2049), 1, 0, vec![]));
    assert!(tree.records() == tree.full_scan().1);
    remove_deep(&tree.path("closed/d"));
    assert_eq!(count(), ((3, 3), 0, 1, vec![]));
}

#[test]
fn progress_is_reported_and_its_error_ends_the_count() {
    let tree = Tree::of((0..5000).map(|number| format!("host-{number}/m.wsp")));
    let mut settings = tree.settings.clone();
    settings.max_busy_percent = 20;
    let (snapshot, now) = (Some(tree.snapshot.as_path()), SystemTime::now());
    let mut last = 0;
    let counted = count(&settings, snapshot, true, now, &mut |totals| {
        assert!(totals.directories > last);
        last = totals.directories;
        Ok(())
    });
    let counted = counted.unwrap();
    assert!(last > 0 && counted.busy < counted.duration / 2, "{counted:?}");
    let before = fs::read(&tree.snapshot).unwrap();
    fs::create_dir(tree.path("another")).unwrap();
    let fail = &mut |_: &Totals| Err(anyhow::anyhow!("enough"));
    let error = count(&settings, snapshot, false, now, fail).unwrap_err();
    assert!(format!("{error:#}").ends_with(": enough"), "{error:#}");
    assert_eq!(fs::read(&tree.snapshot).unwrap(), before);
    assert_eq!(tree.state_files(), ["whisper.snapshot"]);
}

/// The record of the parent is the same before and after, so that only the removal itself differs.
#[test]
fn removal_within_one_clock_tick_removes_the_record() {
    let mut tree = Tree::of(["host/a.wsp"]);
    tree.settings.settling_time = HOUR;
    let stamp = || fs::metadata(tree.path("host")).unwrap().modified().unwrap();
    wait_for("a removal at the time of the last change", || {
        fs::create_dir(tree.path("host/z")).unwrap();
        let before = stamp();
        tree.count();
        fs::remove_dir(tree.path("host/z")).unwrap();
        (stamp() == before).then_some(())
    });
    tree.count();
    assert!(tree.records() == tree.full_scan().1);
}
