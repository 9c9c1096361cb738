//! The count by another user than root, and of entries that only root can make.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use crate::support::fixture::{COUNT, Fixture, READY, User};
use crate::support::snapshot::{filled, replaced};
use crate::support::tree::totals_of;
use crate::support::watch::status;
use crate::support::{Daemon, TestDir, root_or_skip, wait_for};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

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
        return;
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
    if !root_or_skip() {
        return;
    }
    let tree = filled();
    chown(&tree.snapshot, Some(65534), None).unwrap();
    replaced(&tree, "it belongs to user 65534");
    assert_eq!(fs::metadata(&tree.snapshot).unwrap().uid(), 0);
}

#[test]
fn worker_keeps_capabilities_after_the_vmware_helper_started() {
    if !root_or_skip() {
        return;
    }
    let machine = Fixture::new(["count", "disks", "ready"]);
    let whisper = machine.path("whisper");
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
    machine.assert_published(COUNT);
    assert!(!machine.log().contains("not counted"), "{}", machine.log());
    assert_eq!(status(&daemon.child, "Threads"), 1);
    daemon.stop();
}

#[test]
fn devices_are_not_counted() {
    let dir = TestDir::in_memory();
    dir.metrics(["host/a.wsp"]);
    for (name, kind, device) in [
        ("zero.wsp", FileType::CharacterDevice, makedev(1, 5)),
        ("loop.wsp", FileType::BlockDevice, makedev(7, 250)),
    ] {
        // In a host, and where hosts are.
        for directory in ["whisper/host", "whisper"] {
            if mknodat(CWD, dir.path(directory).join(name), kind, Mode::RUSR, device).is_err() {
                return;
            }
        }
    }
    assert_eq!(totals_of(&dir.once_json()["graphite"]), (1, 1));
}

#[test]
fn many_unreadable_directories_are_logged_as_a_summary() {
    if !root_or_skip() {
        return;
    }
    let dir = TestDir::new();
    dir.metrics((0..25).map(|host| format!("h{host}/a.wsp")));
    for host in 0..25 {
        let path = dir.path(format!("whisper/h{host}"));
        fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
    }
    let daemon = Daemon::start_as_nobody(&dir).unwrap();
    let count = wait_for("the count", || dir.count());
    assert_eq!(
        (count["hosts"].as_u64(), count["unreadable"].as_u64()),
        (Some(25), Some(25))
    );
    dir.wait_for_log(" WARN graphite: 5 more unreadable directories not counted\n");
    let log = dir.log();
    assert_eq!(
        log.matches(", not counted: Permission denied").count(),
        20,
        "{log}"
    );
    daemon.stop();
}
