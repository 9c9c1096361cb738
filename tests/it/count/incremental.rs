//! Counts over the snapshot of the last one: the totals are those of a naive walk, only directories that changed are
//! read, and the snapshot is the one that a full scan would write.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::snapshot::{HOUR, Tree, change, directories, settings, totals};
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
        let to_read = if count.full_scan.is_some() {
            after.len()
        } else {
            changed
        };
        let expected = Totals {
            hosts: naive(&tree.whisper).0,
            metrics: naive(&tree.whisper).1,
            unreadable: 0,
            directories: after.len() as u64,
            directories_read: to_read as u64,
            differences: 0,
        };
        assert_eq!(count.totals, expected, "step {step}");
        let (full, records) = tree.full_scan();
        assert_eq!(totals(&full), totals(&count), "step {step}");
        assert!(
            tree.records() == records,
            "step {step}: other records than a full scan"
        );
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
    let tree = Tree::in_memory();
    for number in 0..100 {
        tree.metric(&format!("host{}/check{number}/m.wsp", number % 10));
    }
    let first = tree.count_settled();
    assert_eq!(
        (first.totals.directories_read, first.full_scan),
        (111, Some(FullScan::NoSnapshot))
    );
    let inode = || fs::metadata(&tree.snapshot).unwrap().ino();
    let before = inode();
    let second = tree.count_settled();
    assert_eq!(
        (second.totals.directories, second.totals.directories_read),
        (111, 0)
    );
    assert_eq!((second.full_scan, inode()), (None, before));
    tree.metric("host3/check3/n.wsp");
    let third = tree.count_settled();
    assert_eq!((third.totals.directories_read, totals(&third)), (1, (10, 101)));
    assert_ne!(inode(), before);
    assert_eq!(fs::metadata(&tree.snapshot).unwrap().mode() & 0o777, 0o600);
}

/// File systems round times to as much as 2 s: until then, a change may leave the time as it is.
#[test]
fn directory_is_trusted_only_2_s_after_its_change() {
    let mut tree = Tree::in_memory();
    tree.settings = CountSettings::new(&GraphiteConfig::default(), &tree.whisper);
    tree.metric("a.wsp");
    let changed = fs::metadata(&tree.whisper).unwrap().modified().unwrap();
    for (after_ms, directories_read) in [(0, 1), (1999, 1), (2000, 1), (2001, 1), (2002, 0), (9999, 0)] {
        let count = tree.count_at(changed + Duration::from_millis(after_ms));
        assert_eq!(
            count.totals.directories_read, directories_read,
            "{after_ms} ms later"
        );
    }
}

#[test]
fn restored_modification_time_hides_nothing() {
    let tree = Tree::new();
    tree.metric("host/a.wsp");
    tree.count_settled();
    let modified = fs::metadata(tree.path("host")).unwrap().modified().unwrap();
    tree.metric("host/b.wsp");
    let host = fs::File::open(tree.path("host")).unwrap();
    host.set_modified(modified).unwrap();
    assert_eq!(totals(&tree.count_settled()), (1, 2));
}

#[test]
fn directory_replaced_by_another_of_its_name_is_read() {
    let tree = Tree::new();
    for name in ["host/x/a.wsp", "spare/x/b.wsp", "spare/x/c.wsp"] {
        tree.metric(name);
    }
    assert_eq!(totals(&tree.count_settled()), (2, 3));
    fs::rename(tree.path("host/x"), tree.path("host/y")).unwrap();
    fs::rename(tree.path("spare/x"), tree.path("host/x")).unwrap();
    fs::remove_dir_all(tree.path("host/y")).unwrap();
    assert_eq!(totals(&tree.count_settled()), (2, 2));
}

/// A FIFO, a socket and links that loop take the name of a directory, which takes theirs.
#[test]
fn entries_that_change_their_type_are_counted_right() {
    let tree = Tree::in_memory();
    tree.metric("host/check/a.wsp");
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
    let tree = Tree::in_memory();
    for number in 0..5000 {
        fs::create_dir(tree.path(&format!("host-{number}"))).unwrap();
    }
    let (snapshot, now) = (Some(tree.snapshot.as_path()), SystemTime::now());
    let replace = &mut |_: &Totals| {
        let _ = fs::rename(&tree.whisper, tree.beside("away"));
        let _ = fs::create_dir(&tree.whisper);
        Ok(())
    };
    let error = count(&tree.settings, snapshot, true, now, replace).unwrap_err();
    assert!(
        format!("{error:#}").ends_with(" was replaced during the count"),
        "{error:#}"
    );
    assert_eq!(tree.state_files(), [""; 0]);
}

#[test]
fn full_scan_is_due_after_its_interval_and_reads_all() {
    let tree = Tree::in_memory();
    tree.metric("host/a.wsp");
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
    let (settings, snapshot) = (&tree.settings, Some(tree.snapshot.as_path()));
    let requested = count(settings, snapshot, false, SystemTime::now(), &mut |_| Ok(())).unwrap();
    assert_eq!(requested.full_scan, Some(FullScan::Requested));
    assert_eq!(requested.totals.directories_read, 2);
}

#[test]
fn clock_set_back_causes_one_full_scan() {
    let tree = Tree::in_memory();
    tree.metric("host/a.wsp");
    let wall = SystemTime::now() + HOUR;
    tree.count_at(wall);
    assert_eq!(tree.count_at(wall + HOUR).totals.directories_read, 0);
    let back = tree.count_at(wall - Duration::from_secs(60));
    assert_eq!(
        (back.full_scan, back.totals.directories_read),
        (Some(FullScan::UnusableSnapshot), 2)
    );
    assert!(
        back.messages[0].contains("dated in the future"),
        "{:?}",
        back.messages
    );
    let after = tree.count_at(wall - Duration::from_secs(59));
    assert_eq!((after.totals.directories_read, after.messages.len()), (0, 0));
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

/// Counts forever: what `killed_count_leaves_a_usable_snapshot` starts as another process and kills.
fn count_until_killed(whisper: &Path, snapshot: &Path) {
    fs::write(snapshot.with_extension("started"), "").unwrap();
    for number in 0.. {
        // Every second one writes the whole snapshot.
        let (settings, use_old) = (settings(whisper), number % 2 == 0);
        count(&settings, Some(snapshot), use_old, SystemTime::now(), &mut |_| {
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn killed_count_leaves_a_usable_snapshot() {
    if let (Ok(whisper), Ok(snapshot)) = (std::env::var("COUNT_WHISPER"), std::env::var("COUNT_SNAPSHOT")) {
        return count_until_killed(whisper.as_ref(), snapshot.as_ref());
    }
    let mut numbers = Numbers::seeded();
    let tree = Tree::in_memory();
    for number in 0..2000 {
        tree.metric(&format!("host-{}/check-{number}/m.wsp", number % 10));
    }
    let started = tree.snapshot.with_extension("started");
    let this_test = std::thread::current().name().unwrap().to_string();
    for round in 0..25 {
        let _ = fs::remove_file(&started);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &this_test])
            .env("COUNT_WHISPER", &tree.whisper)
            .env("COUNT_SNAPSHOT", &tree.snapshot)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the count to start", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the counting process ended: {ended:?}");
            started.exists().then_some(())
        });
        // The moment varies.
        std::thread::sleep(Duration::from_micros(numbers.below(40_000) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        tree.metric(&format!("host-{}/check-{round}/new.wsp", round % 10));
        let count = tree.count_settled();
        assert_eq!(totals(&count), naive(&tree.whisper), "round {round}");
        assert!(count.messages.is_empty(), "round {round}: {:?}", count.messages);
        assert_eq!(tree.count_settled().totals.directories_read, 0, "round {round}");
        assert!(tree.records() == tree.full_scan().1, "round {round}");
    }
}

#[test]
fn unreadable_directory_is_reported_once() {
    let tree = Tree::in_memory();
    for name in ["a/x.wsp", "closed/below/y.wsp", "z/z.wsp"] {
        tree.metric(name);
    }
    // Too deep for any path, so that root cannot read it either.
    make_deep(&tree.path("closed"), vec!["d"; 2047]);
    let first = tree.count_settled();
    assert_eq!((totals(&first), first.totals.unreadable), ((3, 3 + 2046), 1));
    assert_eq!(first.messages.len(), 1);
    assert!(
        first.messages[0].contains("more than 2047 levels deep"),
        "{:?}",
        first.messages
    );
    let second = tree.count_settled();
    assert_eq!((second.totals.unreadable, second.messages.len()), (1, 0));
    assert_eq!(second.totals.directories_read, 0);
    assert!(tree.records() == tree.full_scan().1);
    remove_deep(&tree.path("closed/d"));
    let third = tree.count_settled();
    assert_eq!((totals(&third), third.totals.unreadable), ((3, 3), 0));
    assert_eq!(third.totals.directories_read, 1);
}

#[test]
fn progress_is_reported_and_its_error_ends_the_count() {
    let tree = Tree::in_memory();
    for number in 0..5000 {
        fs::create_dir(tree.path(&format!("host-{number}"))).unwrap();
    }
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
