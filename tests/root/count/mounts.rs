//! Trees with file systems mounted on them, below them, or under the state folder; a tree on btrfs, and one of a million entries.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, linkat, mkdirat, mknodat, openat, symlinkat};
use shinken_gatherer::disks::backing::{devices_under, disks_of_device};

use crate::support::{
    Daemon, Mounted, TestDir, Tree, after_mounting, filled, json_of, rejected, run, totals, totals_of,
    wait_until,
};

#[test]
fn pseudo_file_systems_below_the_tree_are_not_counted() {
    let dir = TestDir::in_memory();
    dir.metrics(["host-1/a.wsp", "mounted/b.wsp"]);
    let mount = |(kind, name): (&str, &str)| {
        let directory = dir.path("whisper").join(name);
        fs::create_dir_all(&directory).unwrap();
        Mounted::new(&format!("-t {kind} none"), &directory)
    };
    let mounts = [
        ("proc", "proc"),
        ("proc", "host-1/proc"),
        ("sysfs", "sys"),
        ("tmpfs", "mounted"),
    ];
    let Some(_mounted) = mounts.into_iter().map(mount).collect::<Option<Vec<_>>>() else {
        return;
    };
    dir.metrics(["mounted/c.wsp"]);
    assert_eq!(totals_of(&dir.once_json()["graphite"]), (2, 2));
}

#[test]
fn file_system_without_entry_types_is_counted() {
    let dir = TestDir::in_memory();
    let whisper = dir.path("whisper");
    let Some(_mounted) = Mounted::ext4("-O ^filetype", &dir.path("image"), &whisper) else {
        return;
    };
    dir.metrics(["host-1/a.wsp", "host-1/sub/b.wsp", "host-2/c.txt", "d.wsp"]);
    fs::create_dir(whisper.join("x.wsp")).unwrap();
    symlink("/nowhere", whisper.join("host-1/link.wsp")).unwrap();
    let fifo = whisper.join("host-1/fifo.wsp");
    mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let mut entries = Dir::read_from(fs::File::open(&whisper).unwrap()).unwrap();
    assert!(entries.all(|entry| entry.unwrap().file_type() == FileType::Unknown));
    // lost+found is excluded.
    assert_eq!(totals_of(&dir.once_json()["graphite"]), (3, 4));
}

#[test]
fn mount_over_a_directory_is_counted_instead_of_it() {
    let tree = Tree::of(["host/a.wsp", "host/b.wsp", "other/x.wsp"]);
    tree.count_settled();
    let Some(mounted) = Mounted::new("-t tmpfs none", &tree.path("host")) else {
        return;
    };
    tree.metric("host/c.wsp");
    let count = |expected, read| {
        let count = tree.count_settled();
        assert_eq!((totals(&count), count.totals.directories_read), (expected, read));
    };
    count((2, 2), 1);
    count((2, 2), 0);
    assert!(tree.records() == tree.full_scan().1);
    drop(mounted);
    count((2, 3), 1);
}

/// Device numbers of NFS, btrfs and overlay change at a remount.
#[test]
fn remount_with_another_device_number_reads_nothing() {
    let tree = Tree::new();
    let image = tree.beside("image");
    let Some(mounted) = Mounted::ext4("", &image, &tree.whisper) else {
        return;
    };
    tree.metric("host/a.wsp");
    tree.count_settled();
    let device = || fs::metadata(&tree.whisper).unwrap().dev();
    let before = device();
    drop(mounted);
    // Uses the loop device that is free again.
    let mut other = Mounted::none().unwrap();
    other.attach(&tree.beside("other"));
    let _mounted = Mounted::new(&format!("-o loop {}", image.display()), &tree.whisper).unwrap();
    assert_ne!(device(), before, "the new mount needs another device number");
    let count = tree.count_settled();
    assert_eq!((totals(&count), count.totals.directories_read), ((1, 1), 0));
}

#[test]
fn read_only_or_full_state_folder_is_reported() {
    let tree = filled();
    let state = tree.beside("state");
    let good = fs::read(&tree.snapshot).unwrap();
    let Some(_mounted) = Mounted::new("-t tmpfs -o size=4k,mode=700 none", &state) else {
        return;
    };
    // One page, used by another file.
    fs::write(state.join("filler"), [0; 4096]).unwrap();
    for _ in 0..2 {
        rejected(&tree, "cannot write snapshot");
        assert_eq!(tree.state_files(), ["filler"]);
    }
    fs::remove_file(state.join("filler")).unwrap();
    fs::write(&tree.snapshot, &good).unwrap();
    assert_eq!(tree.count().totals.directories_read, 0);
    run(&format!("mount -o remount,ro {}", state.display()));
    assert!(tree.count().messages.is_empty(), "there is nothing to write");
    tree.metric("host-0/new.wsp");
    tree.wait_for_tick();
    for _ in 0..2 {
        let count = rejected(&tree, "cannot write snapshot");
        assert_eq!(count.totals.directories_read, 1);
    }
}

/// The service's sandbox makes the tree read-only for one process.
#[test]
fn tree_that_is_no_longer_read_only_is_one_warning() {
    needs_root!();
    for change in ["none", "mounted over", "replaced"] {
        let dir = TestDir::in_memory();
        let whisper = dir.path("whisper");
        dir.metrics(["h/a.wsp"]);
        dir.configure("interval = \"20ms\"");
        let lines = |part: &str| dir.logged(part);
        let path = whisper.display();
        let sandbox = format!("mount --bind {path} {path} && mount -o remount,bind,ro {path}");
        let daemon = match change {
            "none" => Daemon::start(&dir),
            _ => Daemon::spawn(&mut after_mounting(&sandbox, dir.command().arg("run")), None),
        };
        wait_until("some counts", || lines(" 1 hosts, ") > 3);
        assert_eq!(lines("no longer read-only"), 0, "{}", dir.log());
        let pid = daemon.child.id();
        let mount = format!("nsenter -m -t {pid} mount -t tmpfs none {path}");
        match change {
            "none" => {}
            "mounted over" => drop(run(&mount)),
            _ => {
                fs::rename(&whisper, dir.path("whisper.old")).unwrap();
                fs::create_dir(&whisper).unwrap();
            }
        }
        if change != "none" {
            dir.wait_for_log("\" is no longer read-only; if it was replaced or mounted over, restart");
            wait_until("some counts", || lines(" 0 hosts, ") > 3);
            assert_eq!(lines("no longer read-only"), 1, "{}", dir.log());
            assert_eq!(totals_of(&dir.count().unwrap()), (0, 0));
        }
        daemon.stop();
    }
}

/// Makes a million entries in one directory, and a million directories in another.
fn make_wide(whisper: &Path) {
    let open = |name: &str| {
        fs::create_dir(whisper.join(name)).unwrap();
        openat(CWD, whisper.join(name), OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let (many, wide) = (&open("many"), open("wide"));
    fs::write(whisper.join("many/first.wsp"), "").unwrap();
    let link = |name: String| linkat(many, "first.wsp", many, name, AtFlags::empty());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..1_000_000 {
                mkdirat(&wide, format!("{number}"), Mode::RWXU).unwrap();
            }
        });
        for number in 0..1_000_000 {
            let made = match number % 100 {
                0 => symlinkat("first.wsp", many, format!("{number}.wsp")),
                1 => link(format!("{number}.txt")),
                _ => link(format!("{number}.wsp")),
            };
            made.unwrap();
        }
    });
}

#[test]
fn directories_of_a_million_entries_count_in_24_mb() {
    let dir = TestDir::new();
    // By default, a file system in memory may have too few inodes.
    let Some(_mounted) = Mounted::new("-t tmpfs -o nr_inodes=0 none", &dir.path("whisper")) else {
        return;
    };
    make_wide(&dir.path("whisper"));
    // The packaged unit limits the same memory: what a process allocates, without its stack.
    let output = dir.once_limited("-d 24576");
    assert_eq!(totals_of(&json_of(&output)["graphite"]), (2, 990_001));
}

#[test]
fn btrfs_on_two_devices_has_both_disks() {
    let Some(mut mounted) = Mounted::none() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let devices = ["a", "b"].map(|name| mounted.attach(&dir.path().join(name)));
    run(&format!("mkfs.btrfs --quiet --data raid0 {}", devices.join(" ")));
    mounted.mount(&devices[0], &mount);
    run(&format!("btrfs subvolume create {}/tree", mount.display()));
    let expected = BTreeSet::from(devices.map(|device| device.replace("/dev/", "")));
    for tree in [mount.clone(), mount.join("tree")] {
        let (proc, sys) = (Path::new("/proc"), Path::new("/sys"));
        let found = devices_under(proc, sys, &tree).into_iter();
        let disks = found.flat_map(|device| disks_of_device(sys, device));
        assert_eq!(disks.collect::<BTreeSet<_>>(), expected, "{tree:?}");
    }
}
