//! Counts that follow each other over a snapshot: the result is that of a naive walk, only what changed is read again,
//! and the snapshot is the one that a full scan would write.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::snapshot::{HOUR, Tree, change, directories, figures, settings};
use crate::support::tree::{Numbers, naive};
use crate::support::{Daemon, TestDir, skip, wait_for};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use shinken_gatherer::graphite::{FullScan, Totals, count};

const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

type Stamps = BTreeMap<PathBuf, (u64, u64, i64, i64, i64, i64)>;

/// What tells for each directory whether it has to be read again.
fn stamps(top: &Path) -> Stamps {
    let stamp = |path: &PathBuf| {
        let stat = fs::metadata(path).unwrap();
        let modified = (stat.mtime(), stat.mtime_nsec());
        let changed = (stat.ctime(), stat.ctime_nsec());
        (
            stat.dev(),
            stat.ino(),
            modified.0,
            modified.1,
            changed.0,
            changed.1,
        )
    };
    directories(top)
        .into_iter()
        .map(|path| (path.clone(), stamp(&path)))
        .collect()
}

/// Random changes with counts between them. Directories that did not change must not be read: a wrong merge with the
/// snapshot gives a right count, but reads more.
#[test]
fn random_changes_give_right_count_and_fewest_reads() {
    let mut numbers = Numbers::seeded();
    let tree = Tree::in_memory();
    let mut before = Stamps::new();
    for step in 0..3000 {
        change(&tree.whisper, &mut numbers);
        if directories(&tree.whisper).len() > 60 {
            fs::remove_dir_all(&directories(&tree.whisper)[1]).unwrap();
        }
        if numbers.below(3) > 0 {
            continue;
        }
        match numbers.below(25) {
            // The same as a first start, a count that was killed while it wrote, and a damaged snapshot.
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
        let changed = after
            .iter()
            .filter(|(path, stamp)| before.get(*path) != Some(stamp))
            .count();
        let expected = if count.full_scan.is_some() {
            after.len()
        } else {
            changed
        };
        assert_eq!(figures(&count), naive(&tree.whisper).figures(), "step {step}");
        assert_eq!(count.totals.directories, after.len() as u64, "step {step}");
        assert_eq!(count.totals.directories_read, expected as u64, "step {step}");
        assert_eq!(count.totals.differences, 0, "step {step}");
        let (full, records) = tree.full_scan();
        assert_eq!(figures(&full), figures(&count), "step {step}");
        assert!(
            tree.records() == records,
            "step {step}: the snapshot is not canonical"
        );
        if changed > 0 {
            assert_eq!(tree.state_files(), ["whisper.snapshot"], "step {step}");
        }
        before = after;
    }
}

/// As above with the real settling time: nearly all is read again, and nothing may be missed.
#[test]
fn random_changes_without_waiting_are_all_counted() {
    let mut numbers = Numbers::seeded();
    for settling_time in [Duration::from_secs(2), HOUR] {
        let mut tree = Tree::in_memory();
        tree.settings.settling_time = settling_time;
        for step in 0..1000 {
            change(&tree.whisper, &mut numbers);
            if directories(&tree.whisper).len() > 60 {
                fs::remove_dir_all(&directories(&tree.whisper)[1]).unwrap();
            }
            let count = tree.count();
            assert_eq!(figures(&count), naive(&tree.whisper).figures(), "step {step}");
            // Within the hour nothing settles, so that the snapshot is that of a full scan.
            if settling_time == HOUR {
                assert!(tree.records() == tree.full_scan().1, "step {step}");
            }
        }
    }
}

#[test]
fn unchanged_tree_is_not_read_and_snapshot_not_written() {
    let tree = Tree::new();
    for host in 0..10 {
        for check in 0..10 {
            tree.metric(&format!("host{host}/check{check}/m.wsp"));
        }
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
    assert_eq!((third.totals.directories_read, figures(&third)), (1, (10, 101)));
    assert_ne!(inode(), before);
    assert_eq!(fs::metadata(&tree.snapshot).unwrap().mode() & 0o777, 0o600);
}

/// Each place where a record can come, go or change: at the start, in the middle, at the end, with all below it.
#[test]
fn every_place_of_a_change_reads_only_that_directory() {
    let tree = Tree::in_memory();
    let names = ["a", "b", "b.x", "c"];
    for (one, other) in names.iter().flat_map(|one| names.map(|other| (one, other))) {
        tree.metric(&format!("{one}/{other}/m.wsp"));
    }
    tree.count_settled();
    let check = |reads: u64, change: &str| {
        let count = tree.count_settled();
        assert_eq!(figures(&count), naive(&tree.whisper).figures(), "{change}");
        assert_eq!(count.totals.directories_read, reads, "{change}");
        assert!(tree.records() == tree.full_scan().1, "{change}");
    };
    for directory in directories(&tree.whisper) {
        for name in ["", "A", "b-", "z"] {
            let new = directory.join(name).join("n");
            let change = format!("{new:?}");
            let is_new = !name.is_empty();
            fs::create_dir_all(&new).unwrap();
            check(if is_new { 3 } else { 2 }, &change);
            fs::write(new.join("m.wsp"), "").unwrap();
            check(1, &change);
            fs::remove_dir_all(directory.join(if is_new { name } else { "n" })).unwrap();
            check(1, &change);
        }
        if directory != tree.whisper {
            let aside = tree.beside("aside");
            fs::rename(&directory, &aside).unwrap();
            check(1, &format!("{directory:?} away"));
            fs::rename(&aside, &directory).unwrap();
            let below = directories(&directory).len() as u64;
            check(1 + below, &format!("{directory:?} back"));
        }
    }
}

#[test]
fn change_right_after_a_count_is_counted() {
    for memory in [false, true] {
        let mut tree = if memory { Tree::in_memory() } else { Tree::new() };
        tree.settings.settling_time = Duration::from_secs(2);
        tree.metric("host/a.wsp");
        for number in 0..200 {
            tree.metric(&format!("host/{number}.wsp"));
            assert_eq!(figures(&tree.count()), (1, number + 2));
        }
    }
}

#[test]
fn restored_modification_time_hides_nothing() {
    let tree = Tree::new();
    tree.metric("host/a.wsp");
    tree.count_settled();
    let modified = fs::metadata(tree.path("host")).unwrap().modified().unwrap();
    tree.metric("host/b.wsp");
    fs::File::open(tree.path("host"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_eq!(figures(&tree.count_settled()), (1, 2));
}

#[test]
fn directory_replaced_by_another_of_its_name_is_read() {
    let tree = Tree::new();
    for name in ["host/x/a.wsp", "spare/x/b.wsp", "spare/x/c.wsp"] {
        tree.metric(name);
    }
    assert_eq!(figures(&tree.count_settled()), (2, 3));
    fs::rename(tree.path("host/x"), tree.path("host/y")).unwrap();
    fs::rename(tree.path("spare/x"), tree.path("host/x")).unwrap();
    fs::remove_dir_all(tree.path("host/y")).unwrap();
    assert_eq!(figures(&tree.count_settled()), (2, 2));
}

#[test]
fn permissions_removed_and_restored_are_followed() {
    let place = TestDir::new();
    place.metrics(["host/a.wsp", "host/below/b.wsp"]);
    place.configure("interval = \"10ms\"");
    let Some(daemon) = Daemon::start_as_nobody(&place) else {
        return skip("only root can become another user");
    };
    let host = place.path("whisper/host");
    let counted = |metrics: u64, unreadable: Option<u64>| {
        wait_for("the count to follow", || {
            let count = place.count()?;
            let found = (count["metrics"].as_u64()?, count["unreadable"].as_u64());
            (found == (metrics, unreadable)).then_some(())
        });
    };
    counted(2, None);
    for (mode, metrics, unreadable) in [
        (0o000, 0, Some(1)),
        (0o755, 2, None),
        (0o444, 1, Some(1)),
        (0o755, 2, None),
    ] {
        fs::set_permissions(&host, fs::Permissions::from_mode(mode)).unwrap();
        counted(metrics, unreadable);
    }
    daemon.stop();
}

#[test]
fn full_scan_is_due_after_its_interval_and_reads_all() {
    let tree = Tree::new();
    tree.metric("host/a.wsp");
    let wall = SystemTime::now() + HOUR;
    assert_eq!(tree.count_at(wall).full_scan, Some(FullScan::NoSnapshot));
    // A change in between does not postpone it.
    tree.metric("host/b.wsp");
    let later = tree.count_at(wall + 23 * HOUR);
    assert_eq!((later.full_scan, later.totals.directories_read), (None, 1));
    let full = tree.count_at(wall + 24 * HOUR);
    assert_eq!(
        (full.full_scan, full.totals.directories_read),
        (Some(FullScan::Interval), 2)
    );
    // Recorded, though no record differs.
    assert_eq!(tree.count_at(wall + 25 * HOUR).full_scan, None);
    let asked = count(
        &tree.settings,
        Some(&tree.snapshot),
        false,
        SystemTime::now(),
        &mut |_| Ok(()),
    )
    .unwrap();
    assert_eq!(
        (asked.full_scan, asked.totals.directories_read),
        (Some(FullScan::Requested), 2)
    );
}

#[test]
fn clock_set_back_causes_one_full_scan() {
    let tree = Tree::new();
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

/// Runs a command that only root can, and returns whether that worked.
fn as_root(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn mount_over_a_directory_is_counted_instead_of_it() {
    let tree = Tree::new();
    for name in ["host/a.wsp", "host/b.wsp", "other/x.wsp"] {
        tree.metric(name);
    }
    tree.count_settled();
    let host = tree.path("host");
    if !as_root("mount", &["-t", "tmpfs", "none", host.to_str().unwrap()]) {
        return skip("only root can mount");
    }
    tree.metric("host/c.wsp");
    let over = tree.count_settled();
    let again = tree.count_settled();
    let canonical = tree.records() == tree.full_scan().1;
    assert!(as_root("umount", &[host.to_str().unwrap()]));
    assert_eq!((figures(&over), over.totals.directories_read), ((2, 2), 1));
    assert_eq!((figures(&again), again.totals.directories_read), ((2, 2), 0));
    assert!(canonical);
    let without = tree.count_settled();
    assert_eq!((figures(&without), without.totals.directories_read), ((2, 3), 1));
}

/// Device numbers of NFS, btrfs and overlay change at a remount.
#[test]
fn remount_with_another_device_number_reads_nothing() {
    let tree = Tree::new();
    let (image, at) = (tree.beside("image"), tree.whisper.to_str().unwrap());
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let image = image.to_str().unwrap();
    let mount = || as_root("mount", &["-o", "loop", image, at]);
    if !as_root("mkfs.ext4", &["-q", image]) || !mount() {
        return skip("mounting an image needs root and mkfs.ext4");
    }
    tree.metric("host/a.wsp");
    tree.count_settled();
    let device = || fs::metadata(&tree.whisper).unwrap().dev();
    let before = device();
    assert!(as_root("umount", &[at]));
    // Another file system takes the loop device that was free.
    let other = tree.beside("other");
    fs::File::create(&other).unwrap().set_len(8 << 20).unwrap();
    let output = Command::new("losetup")
        .args(["-f", "--show"])
        .arg(&other)
        .output()
        .unwrap();
    let holder = String::from_utf8(output.stdout).unwrap();
    let again = mount().then(|| (device(), tree.count_settled()));
    assert!(as_root("umount", &[at]) && as_root("losetup", &["-d", holder.trim()]));
    let (after, count) = again.unwrap();
    assert_ne!(before, after, "this mount was to have another device number");
    assert_eq!((figures(&count), count.totals.directories_read), ((1, 1), 0));
}

#[test]
fn whole_second_times_hide_nothing_until_full_scan() {
    let tree = Tree::new();
    let (image, at) = (tree.beside("image"), tree.whisper.to_str().unwrap());
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let image = image.to_str().unwrap();
    // Inodes of 128 bytes have no room for nanoseconds.
    if !as_root("mkfs.ext4", &["-q", "-I", "128", image]) || !as_root("mount", &["-o", "loop", image, at]) {
        return skip("mounting an image needs root and mkfs.ext4");
    }
    let result = std::panic::catch_unwind(|| whole_second_times(&tree));
    assert!(as_root("umount", &[at]), "unmounting the image");
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn whole_second_times(tree: &Tree) {
    let mut settings = tree.settings.clone();
    settings.settling_time = Duration::from_secs(2);
    let snapshot = Some(tree.snapshot.as_path());
    fs::create_dir(tree.path("host")).unwrap();
    assert_eq!(
        fs::metadata(tree.path("host")).unwrap().mtime_nsec(),
        0,
        "this file system was to have whole seconds"
    );
    for number in 0..50 {
        tree.metric(&format!("host/{number}.wsp"));
        let count = count(&settings, snapshot, true, SystemTime::now(), &mut |_| Ok(())).unwrap();
        assert_eq!(figures(&count), (1, number + 1));
    }
    // A clock that is ahead makes the count trust times that it should not: the full scan finds that out.
    let stamp = || fs::metadata(tree.path("host")).unwrap().modified().unwrap();
    let wall = SystemTime::now() + HOUR;
    loop {
        let before = stamp();
        tree.metric("host/x.wsp");
        let _ = fs::remove_file(&tree.snapshot);
        tree.count_at(wall);
        tree.metric("host/missed.wsp");
        if stamp() == before {
            assert_eq!(figures(&tree.count_at(wall)), (1, 51));
            let full = tree.count_at(wall + 25 * HOUR);
            assert_eq!((figures(&full), full.totals.differences), ((1, 52), 1));
            return;
        }
        fs::remove_file(tree.path("host/missed.wsp")).unwrap();
    }
}

/// The tree changes while it is counted. What such a count finds is not defined, but the next one after the last
/// change must be right, on file systems whose times are coarse (tmpfs) and on others.
#[test]
fn changes_during_a_count_are_in_the_next_one() {
    let mut numbers = Numbers::seeded();
    for memory in [false, true] {
        let mut tree = if memory { Tree::in_memory() } else { Tree::new() };
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
                        let name = tree.path(&format!("{check}/{}.wsp", numbers.below(5)));
                        match numbers.below(6) {
                            0 => drop(fs::remove_dir_all(tree.path(&check))),
                            1 => drop(fs::rename(tree.path(&check), tree.path("host-0/moved"))),
                            2 | 3 => drop(fs::remove_file(name)),
                            _ => tree.metric(name.strip_prefix(&tree.whisper).unwrap().to_str().unwrap()),
                        }
                    }
                    is_done.store(true, Ordering::Relaxed);
                });
                while !is_done.load(Ordering::Relaxed) {
                    tree.count();
                }
            });
            let count = tree.count();
            assert_eq!(
                figures(&count),
                naive(&tree.whisper).figures(),
                "round {round}, {memory}"
            );
        }
    }
}

/// The process that the next test kills, which is that test with other variables. Counts until then.
fn count_until_killed(whisper: &Path, snapshot: &Path) {
    fs::write(snapshot.with_extension("started"), "").unwrap();
    for number in 0.. {
        // Every second one writes all of it.
        count(
            &settings(whisper),
            Some(snapshot),
            number % 2 == 0,
            SystemTime::now(),
            &mut |_| Ok(()),
        )
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
    for round in 0..25 {
        let _ = fs::remove_file(&started);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_count_leaves_a_usable_snapshot"])
            .env("COUNT_WHISPER", &tree.whisper)
            .env("COUNT_SNAPSHOT", &tree.snapshot)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the count to start", || started.exists().then_some(()));
        // The moment itself is what varies here.
        std::thread::sleep(Duration::from_micros(numbers.below(40_000) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        tree.metric(&format!("host-{}/check-{round}/new.wsp", round % 10));
        let count = tree.count_settled();
        assert_eq!(figures(&count), naive(&tree.whisper).figures(), "round {round}");
        assert!(count.messages.is_empty(), "round {round}: {:?}", count.messages);
        assert_eq!(tree.count_settled().totals.directories_read, 0, "round {round}");
        assert!(tree.records() == tree.full_scan().1, "round {round}");
    }
}

#[test]
fn unreadable_directory_is_reported_once_and_canonical() {
    let tree = Tree::in_memory();
    for name in ["a/x.wsp", "closed/below/y.wsp", "z/z.wsp"] {
        tree.metric(name);
    }
    // Deeper than any path: unreadable for root, too.
    let mut directory = openat(CWD, tree.path("closed"), READ, Mode::empty()).unwrap();
    for _ in 0..2100 {
        mkdirat(&directory, "d", Mode::RWXU).unwrap();
        directory = openat(&directory, "d", READ, Mode::empty()).unwrap();
    }
    let first = tree.count_settled();
    assert_eq!((figures(&first), first.totals.unreadable), ((3, 3), 1));
    assert_eq!(first.messages.len(), 1);
    let text = &first.messages[0];
    assert!(text.contains("more than 2047 levels deep"), "{text}");
    let second = tree.count_settled();
    assert_eq!((second.totals.unreadable, second.messages.len()), (1, 0));
    assert_eq!(second.totals.directories_read, 0);
    assert!(tree.records() == tree.full_scan().1);
    let removed = Command::new("rm").arg("-rf").arg(tree.path("closed/d")).status();
    assert!(removed.unwrap().success());
    let third = tree.count_settled();
    assert_eq!(
        (
            figures(&third),
            third.totals.unreadable,
            third.totals.directories_read
        ),
        ((3, 3), 0, 1)
    );
}

#[test]
fn progress_is_reported_and_its_error_ends_the_count() {
    let tree = Tree::in_memory();
    for number in 0..5000 {
        fs::create_dir_all(tree.path(&format!("host-{number}"))).unwrap();
    }
    let mut settings = tree.settings.clone();
    settings.max_busy_percent = 20;
    let mut last = Totals::default();
    let counted = count(
        &settings,
        Some(&tree.snapshot),
        true,
        SystemTime::now(),
        &mut |totals| {
            assert!(totals.directories > last.directories);
            last = *totals;
            Ok(())
        },
    );
    let counted = counted.unwrap();
    assert!(
        last.directories > 0 && counted.busy < counted.duration / 2,
        "{counted:?}"
    );
    let before = fs::read(&tree.snapshot).unwrap();
    fs::create_dir(tree.path("another")).unwrap();
    let error = count(
        &settings,
        Some(&tree.snapshot),
        false,
        SystemTime::now(),
        &mut |_| Err(anyhow::anyhow!("enough")),
    )
    .unwrap_err();
    assert!(format!("{error:#}").ends_with(": enough"), "{error:#}");
    assert_eq!(fs::read(&tree.snapshot).unwrap(), before);
    assert_eq!(tree.state_files(), ["whisper.snapshot"]);
}

/// The record of the parent is the same before and after, so that only the removal itself differs.
#[test]
fn removal_within_one_clock_tick_removes_the_record() {
    let mut tree = Tree::in_memory();
    tree.settings.settling_time = HOUR;
    tree.metric("host/a.wsp");
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
