//! Other users than root: what their daemon counts, entries that only root can make, and the lock of the daemon among users.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::support::{
    COUNT, Daemon, Fixture, READY, TestDir, User, after_mounting, as_user, assert_contains, copy_of_binary,
    filled, replaced, root_or_skip, status, stderr_of, totals_of, wait_for, wait_until,
};

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
    needs_root!();
    let tree = filled();
    chown(&tree.snapshot, Some(65534), None).unwrap();
    replaced(&tree, "it belongs to user 65534");
    assert_eq!(fs::metadata(&tree.snapshot).unwrap().uid(), 0);
    // Root's is used by every user.
    for path in [tree.beside(""), tree.path("")] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    chown(tree.beside("state"), Some(65534), None).unwrap();
    fs::set_permissions(&tree.snapshot, Permissions::from_mode(0o644)).unwrap();
    let count = as_user(65534, || tree.count());
    assert_eq!((count.messages, count.full_scan), (Vec::new(), None));
}

#[test]
fn worker_keeps_capabilities_after_the_vmware_helper_started() {
    needs_root!();
    let machine = Fixture::new(["count", "disks", "ready"]);
    let whisper = machine.path("whisper");
    chown(&whisper, Some(0), None).unwrap();
    fs::set_permissions(&whisper, Permissions::from_mode(0o700)).unwrap();
    let daemon = Daemon::spawn(&mut User::Service.command(&machine), None);
    wait_until("the helper's answer", || machine.outputs[READY].exists());
    let process = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    assert!(!process.contains("CapAmb:\t0000000000000000"), "{process}");
    let counts = || machine.log().matches(" hosts, ").count();
    let before = counts();
    wait_until("more counts", || counts() > before + 3);
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
    needs_root!();
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

const LOCK: &str = "run/shinken-gatherer/lock";
const NOBODY: u32 = 65534;
const OTHER_USER: u32 = 12345;

/// A directory in which nobody cannot create `host.run`; `None`, reported as skipped, without root.
fn dir_for_nobody() -> Option<TestDir> {
    if !root_or_skip() {
        return None;
    }
    let dir = TestDir::new();
    copy_of_binary(&dir);
    dir.write("closed/file", "");
    for (name, mode) in [("", 0o1777), ("gatherer.toml", 0o644), ("closed", 0o700)] {
        dir.set_mode(name, mode);
    }
    dir.reconfigure("/run\"", "/closed/run\"");
    Some(dir)
}

fn as_nobody(dir: &TestDir) -> Command {
    let mut command = Command::new(dir.path("gatherer"));
    command.arg("--config").arg(dir.path("gatherer.toml"));
    command.arg("run").uid(NOBODY).gid(NOBODY);
    command
}

fn assert_second_run_is_rejected(dir: &TestDir, first: &Daemon) {
    let second = as_nobody(dir).output().unwrap();
    assert_eq!(second.status.code(), Some(75));
    let expected = format!("already running (pid {}, ", first.child.id());
    assert_contains(&stderr_of(&second), &expected);
}

#[test]
fn ordinary_users_lock_is_in_state_or_beside_disk_file() {
    let Some(dir) = dir_for_nobody() else { return };
    chown(dir.path("state"), Some(NOBODY), Some(NOBODY)).unwrap();
    for lock in ["state/lock", ".disks.tmp.lock"] {
        let daemon = Daemon::spawn(&mut as_nobody(&dir), None);
        wait_for("the disk file", || dir.disks());
        assert!(dir.path(lock).exists(), "{lock}");
        assert_second_run_is_rejected(&dir, &daemon);
        daemon.stop();
        let _ = fs::remove_dir_all(dir.path("state"));
    }
}

#[test]
fn ordinary_users_run_names_the_pid_of_roots_daemon() {
    let Some(dir) = dir_for_nobody() else { return };
    dir.reconfigure("/closed/run\"", "/run\"");
    let daemon = Daemon::start(&dir);
    wait_for("the disk file", || dir.disks());
    assert_second_run_is_rejected(&dir, &daemon);
    daemon.stop();
}

#[test]
fn lock_file_of_another_user_is_an_error() {
    let Some(dir) = dir_for_nobody() else { return };
    let assert_rejected = |lock: &str, command: &mut Command| {
        dir.write(lock, "[\"/etc/passwd\"]\n");
        dir.set_mode(lock, 0o666);
        chown(dir.path(lock), Some(OTHER_USER), None).unwrap();
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = stderr_of(&output);
        assert!(
            error.contains("owned by uid 12345") && error.contains(lock),
            "{error}"
        );
    };
    assert_rejected(".disks.tmp.lock", &mut as_nobody(&dir));
    dir.reconfigure("/closed/run\"", "/run\"");
    assert_rejected(LOCK, dir.command().arg("run"));
    assert!(fs::exists("/etc/passwd").unwrap());
}

#[test]
fn clean_up_ignores_a_list_that_another_user_may_have_written() {
    needs_root!();
    const SERVICE_USER: u32 = 65432;
    let dir = TestDir::in_memory();
    dir.write("victim", "text");
    dir.write("disks.tmp", "{}");
    dir.write(LOCK, &format!("[{:?}]\n", dir.path("victim")));
    chown(dir.path(LOCK), Some(SERVICE_USER), None).unwrap();
    let user = format!("shinken-gatherer:x:{SERVICE_USER}:{SERVICE_USER}::/:/bin/false");
    dir.write("passwd", &format!("root:x:0:0::/root:/bin/sh\n{user}\n"));
    // This one process has that user in its /etc/passwd.
    let mount = format!("mount --bind {} /etc/passwd", dir.path("passwd").display());
    let output = after_mounting(&mount, dir.command().arg("clean-up"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr_of(&output));
    assert!(!dir.path("disks.tmp").exists(), "the configured file is removed");
    assert!(dir.path("victim").exists());
}
