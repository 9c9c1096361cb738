//! The count by another user than root, and of entries that only root can make.

use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use crate::support::fixture::{COUNT, Fixture, READY, User, assert_published, can_be_others};
use crate::support::snapshot::{filled, replaced};
use crate::support::tree::{hostile_names, naive, totals_of};
use crate::support::watch::status;
use crate::support::{Daemon, TestDir, skip, wait_for};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

const NEEDS_ROOT: &str = "only root can become another user";

#[test]
fn unreadable_directories_are_counted_apart_and_named() {
    let dir = TestDir::in_memory();
    dir.metrics([
        "open/a.wsp",
        "closed/b.wsp",
        "open/closed-too/c.wsp",
        "listed/d.wsp",
        "listed/below/e.wsp",
    ]);
    dir.configure("interval = \"10ms\"");
    let set_modes = |modes: [u32; 3]| {
        for (path, mode) in ["closed", "open/closed-too", "listed"].into_iter().zip(modes) {
            let path = dir.path("whisper").join(path);
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
    };
    let wait_for_count = |totals: (u64, u64), unreadable: Option<u64>| {
        wait_for(&format!("{totals:?}, {unreadable:?} unreadable"), || {
            let count = dir.count()?;
            (totals_of(&count) == totals && count["unreadable"].as_u64() == unreadable).then_some(())
        });
    };
    set_modes([0, 0o300, 0o444]);
    let Some(daemon) = Daemon::start_as_nobody(&dir) else {
        return skip(NEEDS_ROOT);
    };
    // "listed" can be listed but not entered: only its own metric counts.
    wait_for_count((3, 2), Some(3));
    for path in ["closed", "open/closed-too", "listed/below"] {
        dir.wait_for_log(&format!("whisper/{path}\""));
    }
    for (modes, metrics, unreadable) in [
        ([0o755, 0o755, 0o755], 5, None),
        ([0o444, 0o755, 0], 3, Some(1)),
        ([0o755, 0o755, 0o755], 5, None),
    ] {
        set_modes(modes);
        wait_for_count((3, metrics), unreadable);
    }
    daemon.stop();
}

#[test]
fn snapshot_of_another_user_is_not_used() {
    let tree = filled();
    if chown(&tree.snapshot, Some(65534), None).is_err() {
        return skip(NEEDS_ROOT);
    }
    replaced(&tree, "it belongs to user 65534");
    assert_eq!(fs::metadata(&tree.snapshot).unwrap().uid(), 0);
}

#[test]
fn worker_keeps_capabilities_after_the_vmware_helper_started() {
    if !can_be_others() {
        return skip(NEEDS_ROOT);
    }
    let machine = Fixture::new(["count", "disks", "ready"]);
    let whisper = machine.place.path("whisper");
    chown(&whisper, Some(0), None).unwrap();
    fs::set_permissions(&whisper, Permissions::from_mode(0o700)).unwrap();
    let daemon = Daemon::spawn(&mut User::Service.command(&machine), None);
    wait_for("the helper's answer", || {
        machine.outputs[READY].exists().then_some(())
    });
    let process = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    assert!(!process.contains("CapAmb:\t0000000000000000"), "{process}");
    let counts = || machine.log().matches(" hosts, ").count();
    let before = counts();
    wait_for("more counts", || (counts() > before + 3).then_some(()));
    assert_published(&machine, COUNT);
    assert!(!machine.log().contains("not counted"), "{}", machine.log());
    assert_eq!(status(&daemon.child, "Threads"), 1);
    daemon.stop();
}

#[test]
fn other_entries_and_link_loops_count_by_their_lstat_type() {
    if !can_be_others() {
        return skip("only root can make devices");
    }
    let dir = TestDir::in_memory();
    let whisper = dir.path("whisper");
    dir.metrics((0..20).map(|number| format!("host-{}/check/m{number}.wsp", number % 5)));
    let host = whisper.join("host-0");
    for (name, kind, device) in [
        ("fifo.wsp", FileType::Fifo, 0),
        ("socket.wsp", FileType::Socket, 0),
        ("zero.wsp", FileType::CharacterDevice, makedev(1, 5)),
        ("loop.wsp", FileType::BlockDevice, makedev(7, 250)),
    ] {
        // In a host, and in the place of one.
        for directory in [&host, &whisper] {
            mknodat(CWD, directory.join(name), kind, Mode::RUSR, device).unwrap();
        }
    }
    for (name, target) in [
        ("a.wsp", "b.wsp"),
        ("b.wsp", "a.wsp"),
        ("self.wsp", "self.wsp"),
        ("up", ".."),
        ("up.wsp", "../.."),
        ("root", "/"),
        ("proc.wsp", "/proc/self/root"),
        ("fd.wsp", "/dev/fd/0"),
        ("stdin.wsp", "/dev/stdin"),
        ("empty-looking.wsp", " "),
    ] {
        symlink(target, host.join(name)).unwrap();
    }
    for name in hostile_names() {
        let metric = [&name[..name.len().min(251)], b".wsp"].concat();
        let directory = whisper.join(std::ffi::OsString::from_vec(name));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(std::ffi::OsString::from_vec(metric)), "").unwrap();
    }
    assert_eq!(naive(&whisper), (5 + 17, 20 + 8 + 17), "the naive walk itself");
    dir.configure("interval = \"10ms\"");
    let daemon = Daemon::start(&dir);
    let wait_for_right_count = |what: &str| {
        let expected = naive(&whisper);
        wait_for(what, || (totals_of(&dir.count()?) == expected).then_some(()));
    };
    wait_for_right_count("the count");
    // A check is replaced by each, and each by a directory.
    let check = whisper.join("host-1/check");
    for name in ["fifo.wsp", "socket.wsp", "zero.wsp", "loop.wsp", "a.wsp", "up"] {
        let entry = host.join(name);
        fs::rename(&check, dir.path("aside")).unwrap();
        fs::rename(&entry, &check).unwrap();
        fs::create_dir(&entry).unwrap();
        fs::write(entry.join("in.wsp"), "").unwrap();
        wait_for_right_count(name);
        fs::remove_dir_all(&entry).unwrap();
        fs::rename(&check, &entry).unwrap();
        fs::rename(dir.path("aside"), &check).unwrap();
        wait_for_right_count("the count as before");
    }
    daemon.stop();
}
