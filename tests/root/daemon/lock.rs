//! The lock of the daemon among several users.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::program::{after_mounting, copy_of_binary};
use crate::support::{Daemon, TestDir, root_or_skip, stderr_of, wait_for};

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
    assert!(stderr_of(&second).contains(&expected), "{}", stderr_of(&second));
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
    if !root_or_skip() {
        return;
    }
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
