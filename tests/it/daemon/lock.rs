//! One daemon at a time: real locks, and files at the path of the lock.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{
    Daemon, TestDir, assert_contains, children_of, make_node, remove, stderr_of, wait_for, wait_until,
};
use rustix::fs::{FileType, FlockOperation, flock};
use rustix::process::Signal;

const LOCK: &str = "run/shinken-gatherer/lock";

/// Samples once, so that nothing changes from then on.
fn quiet_dir() -> TestDir {
    let dir = TestDir::in_memory();
    dir.metrics(["host/a.wsp"]);
    dir.configure_with("", "", "interval = \"1h\"\nwindow = \"1h\"", "");
    dir
}

/// Starts a daemon and waits for its files.
fn start(dir: &TestDir) -> Daemon {
    let daemon = Daemon::start_notifying(dir, None);
    daemon.wait_for_message("READY=1");
    wait_for("the disk file", || dir.disks());
    wait_for("the count", || dir.count());
    daemon
}

/// Returns every path below the directory with its inode and modification time.
fn snapshot(dir: &TestDir) -> String {
    let mut find = Command::new("find");
    let output = find.arg(dir.path("")).args(["-printf", "%p %i %T@\\n"]).output();
    crate::support::text(&output.unwrap().stdout)
}

#[test]
fn second_daemon_is_rejected_with_pid_and_changes_nothing() {
    let dir = quiet_dir();
    let daemon = start(&dir);
    let before = snapshot(&dir);
    for (arguments, code) in [
        (&["run"][..], 75),
        (&["once", "--write", "--window", "10ms"], 1),
        (&["once", "--window", "10ms"], 0),
    ] {
        let output = dir.run(arguments);
        assert_eq!(output.status.code(), Some(code));
        let error = stderr_of(&output);
        let reason = format!("already running (pid {}, ", daemon.child.id());
        assert_eq!(error.contains(&reason), code != 0, "{error}");
        assert_eq!(output.stdout.is_empty(), code != 0, "{arguments:?}");
        assert_eq!(snapshot(&dir), before, "{arguments:?}");
    }
    daemon.stop();
    // The lock file stays, but not the lock.
    assert!(dir.path(LOCK).exists());
    assert!(dir.run(&["once", "--write", "--window", "10ms"]).status.success());
    start(&dir).stop();
}

#[test]
fn run_waits_for_the_lock_of_a_killed_daemon() {
    let dir = quiet_dir();
    dir.write(LOCK, "");
    dir.set_mode(LOCK, 0o600);
    // A process that inherited the lock, as a child process does if the daemon is killed while it starts one.
    let mut heir = Command::new("sh")
        .args(["-c", "exec 9<>\"$0\"; flock -x 9; echo; exec sleep 1"])
        .arg(dir.path(LOCK))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    heir.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let daemon = start(&dir);
    assert!(heir.try_wait().unwrap().is_some_and(|status| status.success()));
    daemon.stop();
}

#[test]
fn ten_runs_at_once_leave_one_daemon() {
    let dir = quiet_dir();
    let mut daemons: Vec<_> = (0..10).map(|_| Daemon::start(&dir)).collect();
    wait_until("nine to end", || {
        daemons.retain_mut(|daemon| {
            let status = daemon.child.try_wait().unwrap();
            assert!(status.is_none_or(|status| status.code() == Some(75)));
            status.is_none()
        });
        daemons.len() == 1
    });
    wait_for("the disk file", || dir.disks());
    daemons.pop().unwrap().stop();
}

#[test]
fn daemon_waits_while_a_command_shares_the_lock() {
    let dir = quiet_dir();
    start(&dir).stop();
    let lock = File::open(dir.path(LOCK)).unwrap();
    flock(&lock, FlockOperation::LockShared).unwrap();
    dir.write("disks.tmp", "of the command");
    let wait_for_open_lock = |daemon: &Daemon| {
        let is_lock = |fd: fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|path| path == dir.path(LOCK));
        wait_for("the daemon to open the lock", || {
            let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).ok()?;
            descriptors.flatten().any(is_lock).then_some(())
        });
    };
    let daemon = Daemon::start(&dir);
    wait_for_open_lock(&daemon);
    assert_eq!(dir.read("disks.tmp"), "of the command");
    // It catches signals before it opens the lock, so one that waits can be stopped.
    let stopped = Daemon::start(&dir);
    wait_for_open_lock(&stopped);
    stopped.stop();
    drop(lock);
    wait_for("the disk file", || {
        let text = fs::read_to_string(dir.path("disks.tmp")).ok()?;
        text.starts_with('{').then_some(())
    });
    daemon.stop();
}

#[test]
fn killed_daemon_releases_lock_while_its_helper_hangs() {
    let dir = quiet_dir();
    dir.configure_vm("", "", "", "");
    make_node(&dir.path("none.so"), FileType::Fifo, 0).unwrap();
    let daemon = Daemon::start(&dir);
    let helper = wait_for("the helper", || {
        let has_started = |pid: &i32| {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline"));
            command.is_ok_and(|command| command.contains("guest-library"))
        };
        children_of(daemon.child.id()).into_iter().find(has_started)
    });
    let inherited: Vec<_> = fs::read_dir(format!("/proc/{helper}/fd"))
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
        .collect();
    assert!(!inherited.contains(&dir.path(LOCK)), "{inherited:?}");
    let killed = Instant::now();
    daemon.kill();
    let next = Daemon::start_notifying(&dir, None);
    next.wait_for_message("READY=1");
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    next.stop();
}

#[test]
fn lock_that_is_not_a_regular_file_is_an_error() {
    let dir = quiet_dir();
    let lock = dir.path(LOCK);
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let assert_rejected = |reason: &str| {
        let output = dir.run(&["run"]);
        assert_eq!(output.status.code(), Some(1));
        assert_contains(&stderr_of(&output), reason);
        assert!(!dir.path("disks.tmp").exists() && !dir.path("gatherer.log").exists());
        remove(&lock);
    };
    symlink(dir.path("victim"), &lock).unwrap();
    assert_rejected("is a symbolic link");
    assert!(!dir.path("victim").exists());
    dir.write("victim", "text");
    symlink(dir.path("victim"), &lock).unwrap();
    assert_rejected("is a symbolic link");
    assert_eq!(dir.read("victim"), "text");
    make_node(&lock, FileType::Fifo, 0).unwrap();
    assert_rejected("not a regular file");
    fs::create_dir(&lock).unwrap();
    assert_rejected("not a regular file");
}

#[test]
fn clean_up_removes_disk_file_of_a_killed_daemon_only() {
    let dir = quiet_dir();
    let clean_up = || assert!(dir.run(&["clean-up"]).status.success());
    let daemon = start(&dir);
    clean_up();
    assert!(dir.disks().is_some(), "the daemon runs");
    daemon.kill();
    // The configuration may name other files by then.
    dir.reconfigure("disks.tmp", "elsewhere");
    clean_up();
    assert!(dir.disks().is_none() && dir.count().is_some());
    dir.reconfigure("elsewhere", "disks.tmp");
    // The next start does the same.
    start(&dir).kill();
    dir.reconfigure("disks.tmp", "elsewhere");
    let next = Daemon::start_notifying(&dir, None);
    next.wait_for_message("READY=1");
    assert!(dir.disks().is_none());
    next.stop();
    dir.reconfigure("elsewhere", "disks.tmp");

    // It follows no link, and removes no folder.
    let disks = dir.path("disks.tmp");
    start(&dir).kill();
    dir.write("victim", "text");
    remove(&disks);
    symlink(dir.path("victim"), &disks).unwrap();
    clean_up();
    assert!(!disks.is_symlink() && dir.path("victim").exists());
    make_node(&disks, FileType::Fifo, 0).unwrap();
    clean_up();
    assert!(!disks.exists());
    fs::create_dir(&disks).unwrap();
    clean_up();
    assert!(disks.is_dir());
}

#[test]
fn clean_up_follows_the_disk_file_through_a_reload() {
    let dir = quiet_dir();
    let daemon = start(&dir);
    dir.reconfigure("disks.tmp", "moved");
    daemon.signal(Signal::HUP);
    let moved = dir.path("moved");
    wait_for("the moved disk file", || crate::support::document(&moved));
    assert!(dir.disks().is_none());
    daemon.kill();
    // Another program's by now.
    dir.write("disks.tmp", "other");
    assert!(dir.run(&["clean-up"]).status.success());
    assert!(!moved.exists() && dir.path("disks.tmp").exists());
}
