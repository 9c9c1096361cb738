//! Counts over the snapshot of the last one: only directories that changed are read.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, SystemTime};

use crate::support::{HOUR, Tree, make_deep, naive, remove_deep, totals, wait_until};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use shinken_gatherer::config::GraphiteConfig;
use shinken_gatherer::graphite::{CountSettings, FullScan, Totals, count};

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
    let replace = &mut |_: &Totals, _: Duration| {
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
    let counted = count(&settings, snapshot, true, now, &mut |totals, _| {
        assert!(totals.directories > last);
        last = totals.directories;
        Ok(())
    });
    let counted = counted.unwrap();
    assert!(last > 0 && !counted.busy.is_zero(), "{counted:?}");
    assert!(counted.busy < counted.duration / 2, "{counted:?}");
    let before = fs::read(&tree.snapshot).unwrap();
    fs::create_dir(tree.path("another")).unwrap();
    let fail = &mut |_: &Totals, _: Duration| Err(anyhow::anyhow!("enough"));
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
    wait_until("a removal at the time of the last change", || {
        fs::create_dir(tree.path("host/z")).unwrap();
        let before = stamp();
        tree.count();
        fs::remove_dir(tree.path("host/z")).unwrap();
        stamp() == before
    });
    tree.count();
    assert!(tree.records() == tree.full_scan().1);
}
