//! Counts that follow each other: what did not change is not read again, and the result is that of a naive walk.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use common::tree::{Numbers, naive};
use common::{Daemon, Place, skip, wait_for};
use shinken_gatherer::config::GraphiteConfig;
use shinken_gatherer::graphite::{Count, Graphite, Progress};

const HOUR: Duration = Duration::from_secs(3600);

/// A whisper tree and the collector that counts it again and again.
struct Tree {
    dir: tempfile::TempDir,
    whisper: PathBuf,
    graphite: Graphite,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let whisper = dir.path().join("whisper");
        fs::create_dir(&whisper).unwrap();
        let graphite = collector(&whisper);
        Self {
            dir,
            whisper,
            graphite,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.whisper.join(name)
    }

    fn metric(&self, name: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), "").unwrap();
    }

    /// Counts at the time it is.
    fn count(&mut self) -> Count {
        count_at(&mut self.graphite, Instant::now(), SystemTime::now())
    }

    /// Counts as if all changes were long ago, so that caches are trusted wherever stamps are unchanged.
    fn count_trusting(&mut self) -> Count {
        wait_for_tick(self.dir.path());
        let count = count_at(&mut self.graphite, Instant::now(), SystemTime::now() + HOUR);
        wait_for_tick(self.dir.path());
        count
    }
}

fn collector(whisper: &Path) -> Graphite {
    Graphite::new(&GraphiteConfig::default(), whisper).unwrap()
}

fn count_at(graphite: &mut Graphite, now: Instant, wall: SystemTime) -> Count {
    loop {
        if let Progress::Done(count) = graphite.work(now, wall, HOUR).unwrap() {
            return *count;
        }
    }
}

/// Waits until the clock of the file system's times has moved on.
fn wait_for_tick(near: &Path) {
    let probe = near.join("probe");
    let stamp = || {
        fs::write(&probe, "").unwrap();
        fs::metadata(&probe).unwrap().modified().unwrap()
    };
    let first = stamp();
    wait_for("the clock to tick", || (stamp() != first).then_some(()));
}

fn figures(count: &Count) -> (u64, u64) {
    (count.report.hosts, count.report.metrics)
}

fn directories(top: &Path) -> Vec<PathBuf> {
    let mut found = vec![top.to_path_buf()];
    let mut next = 0;
    while next < found.len() {
        let below = fs::read_dir(&found[next]).unwrap().map(|entry| entry.unwrap());
        let below: Vec<_> = below
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.path())
            .collect();
        found.extend(below);
        next += 1;
    }
    found
}

/// One random change somewhere in the tree.
fn change(top: &Path, numbers: &mut Numbers) {
    let all = directories(top);
    let directory = &all[numbers.below(all.len())];
    let name = ["a.wsp", "b.wsp", "c.txt", "d", "e", "f.wsp"][numbers.below(6)];
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
            // Another directory in the place of one of the same name, with other contents.
            if target.is_dir() {
                fs::remove_dir_all(&target).unwrap();
                fs::create_dir(&target).unwrap();
                fs::write(target.join("g.wsp"), "").unwrap();
            }
        }
    }
}

#[test]
fn random_changes_are_all_seen() {
    let mut numbers = Numbers::seeded();
    let mut tree = Tree::new();
    let mut saved = 0;
    for step in 0..3000 {
        change(&tree.whisper, &mut numbers);
        if directories(&tree.whisper).len() > 60 {
            fs::remove_dir_all(&directories(&tree.whisper)[1]).unwrap();
        }
        if numbers.below(3) == 0 {
            let count = if numbers.below(20) == 0 {
                tree.count()
            } else {
                tree.count_trusting()
            };
            assert_eq!(figures(&count), naive(&tree.whisper).figures(), "step {step}");
            assert_eq!(count.totals.differences, 0, "step {step}");
            saved += count.totals.directories - count.totals.directories_read;
        }
    }
    assert!(saved > 1000, "the caches were never used: {saved} reads saved");
}

#[test]
fn only_changed_directories_are_read_again() {
    let mut tree = Tree::new();
    for host in 0..10 {
        for check in 0..10 {
            tree.metric(&format!("host{host}/check{check}/m.wsp"));
        }
    }
    assert_eq!(tree.count_trusting().totals.directories_read, 111);
    let unchanged = tree.count_trusting();
    assert_eq!(
        (unchanged.totals.directories, unchanged.totals.directories_read),
        (111, 0)
    );
    tree.metric("host3/check3/n.wsp");
    let changed = tree.count_trusting();
    assert_eq!(
        (changed.totals.directories_read, figures(&changed)),
        (1, (10, 101))
    );
    fs::rename(tree.path("host4"), tree.path("host-moved")).unwrap();
    let renamed = tree.count_trusting();
    assert_eq!(figures(&renamed), (10, 101));
}

#[test]
fn a_change_right_after_a_count_is_seen_whatever_the_clock_says() {
    let mut tree = Tree::new();
    tree.metric("host/a.wsp");
    for number in 0..200 {
        tree.metric(&format!("host/{number}.wsp"));
        assert_eq!(figures(&tree.count()), (1, number + 2));
    }
}

#[test]
fn restored_modification_times_hide_nothing() {
    let mut tree = Tree::new();
    tree.metric("host/a.wsp");
    tree.count_trusting();
    let modified = fs::metadata(tree.path("host")).unwrap().modified().unwrap();
    tree.metric("host/b.wsp");
    fs::File::open(tree.path("host"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_eq!(figures(&tree.count_trusting()), (1, 2));
}

#[test]
fn a_directory_replaced_by_another_of_the_same_name_is_another() {
    let mut tree = Tree::new();
    tree.metric("host/x/a.wsp");
    tree.metric("spare/x/b.wsp");
    tree.metric("spare/x/c.wsp");
    assert_eq!(figures(&tree.count_trusting()), (2, 3));
    fs::rename(tree.path("host/x"), tree.path("host/y")).unwrap();
    fs::rename(tree.path("spare/x"), tree.path("host/x")).unwrap();
    fs::remove_dir_all(tree.path("host/y")).unwrap();
    assert_eq!(figures(&tree.count_trusting()), (2, 2));
}

#[test]
fn permissions_withdrawn_and_given_back_are_followed() {
    let name = "permissions_withdrawn_and_given_back_are_followed";
    let place = Place::new();
    place.metrics(["host/a.wsp", "host/below/b.wsp"]);
    place.configure("interval = \"10ms\"");
    let Some(daemon) = Daemon::start_as_nobody(&place) else {
        return skip(name, "only root can become another user");
    };
    let host = place.path("whisper/host");
    let counted = |hosts: u64, metrics: u64, unreadable: Option<u64>| {
        wait_for("the count to follow", || {
            let count = place.count()?;
            let found = (
                count["hosts"].as_u64()?,
                count["metrics"].as_u64()?,
                count["unreadable"].as_u64(),
            );
            (found == (hosts, metrics, unreadable)).then_some(())
        });
    };
    let set = |mode| fs::set_permissions(&host, fs::Permissions::from_mode(mode)).unwrap();
    counted(1, 2, None);
    for (mode, metrics, unreadable) in [
        (0o000, 0, Some(1)),
        (0o755, 2, None),
        (0o444, 1, Some(1)),
        (0o755, 2, None),
    ] {
        set(mode);
        counted(1, metrics, unreadable);
    }
    daemon.stop();
    let said = place.log();
    assert_eq!(
        said.matches("can't be read and is not counted").count(),
        2,
        "{said}"
    );
}

#[test]
fn a_clock_set_back_has_everything_read_again() {
    let mut tree = Tree::new();
    tree.metric("host/a.wsp");
    let start = Instant::now();
    let wall = SystemTime::now() + HOUR;
    count_at(&mut tree.graphite, start, wall);
    let second = Duration::from_secs(1);
    assert_eq!(
        count_at(&mut tree.graphite, start + second, wall + second)
            .totals
            .directories_read,
        0
    );
    let back = count_at(&mut tree.graphite, start + 2 * second, wall - 60 * second);
    assert_eq!(back.totals.directories_read, 2);
    assert_eq!(
        count_at(&mut tree.graphite, start + 3 * second, wall - 59 * second)
            .totals
            .directories_read,
        0
    );
}

#[test]
fn everything_is_read_again_after_the_full_scan_interval() {
    let mut tree = Tree::new();
    tree.metric("host/a.wsp");
    let (start, wall) = (Instant::now(), SystemTime::now() + HOUR);
    assert!(count_at(&mut tree.graphite, start, wall).everything);
    assert!(!count_at(&mut tree.graphite, start + 23 * HOUR, wall + 23 * HOUR).everything);
    let full = count_at(&mut tree.graphite, start + 24 * HOUR, wall + 24 * HOUR);
    assert!(full.everything);
    assert_eq!(full.totals.directories_read, 2);
}

/// Runs a command that only root can, and says whether that worked.
fn as_root(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn a_mount_over_a_directory_is_counted_instead_of_it() {
    let mut tree = Tree::new();
    tree.metric("host/a.wsp");
    tree.metric("host/b.wsp");
    tree.count_trusting();
    let host = tree.path("host");
    if !as_root("mount", &["-t", "tmpfs", "none", host.to_str().unwrap()]) {
        return skip(
            "a_mount_over_a_directory_is_counted_instead_of_it",
            "only root can mount",
        );
    }
    tree.metric("host/c.wsp");
    let over = figures(&tree.count_trusting());
    assert!(as_root("umount", &[host.to_str().unwrap()]));
    assert_eq!(over, (1, 1));
    assert_eq!(figures(&tree.count_trusting()), (1, 2));
}

#[test]
fn whole_second_times_hide_nothing_and_a_full_scan_tells_what_caches_missed() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let mount = tempfile::tempdir().unwrap();
    image.as_file().set_len(8 << 20).unwrap();
    let (file, at) = (image.path().to_str().unwrap(), mount.path().to_str().unwrap());
    // Inodes of 128 bytes have no room for nanoseconds.
    if !as_root("mkfs.ext4", &["-q", "-I", "128", file]) || !as_root("mount", &["-o", "loop", file, at]) {
        let name = "whole_second_times_hide_nothing_and_a_full_scan_tells_what_caches_missed";
        return skip(name, "mounting an image needs root and mkfs.ext4");
    }
    let result = std::panic::catch_unwind(|| {
        let whisper = mount.path().join("whisper");
        fs::create_dir_all(whisper.join("host")).unwrap();
        assert_eq!(
            fs::metadata(&whisper).unwrap().mtime_nsec(),
            0,
            "this file system was to have whole seconds"
        );
        let mut graphite = collector(&whisper);
        for number in 0..50 {
            fs::write(whisper.join(format!("host/{number}.wsp")), "").unwrap();
            let count = count_at(&mut graphite, Instant::now(), SystemTime::now());
            assert_eq!(figures(&count), (1, number + 1));
        }
        // A clock far ahead makes the count trust times that it should not: the full scan finds that out.
        let stamp = || fs::metadata(whisper.join("host")).unwrap().modified().unwrap();
        let (start, wall) = (Instant::now(), SystemTime::now() + HOUR);
        loop {
            let before = stamp();
            fs::write(whisper.join("host/x.wsp"), "").unwrap();
            let mut graphite = collector(&whisper);
            count_at(&mut graphite, start, wall);
            fs::write(whisper.join("host/missed.wsp"), "").unwrap();
            if stamp() == before {
                assert_eq!(figures(&count_at(&mut graphite, start, wall)), (1, 51));
                let full = count_at(&mut graphite, start + 25 * HOUR, wall + 25 * HOUR);
                assert_eq!((figures(&full), full.totals.differences), ((1, 52), 1));
                break;
            }
            fs::remove_file(whisper.join("host/missed.wsp")).unwrap();
        }
    });
    assert!(as_root("umount", &[at]), "unmounting the image");
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
