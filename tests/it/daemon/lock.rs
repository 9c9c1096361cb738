//! One daemon at a time: the built binary, real locks, and files placed by attackers.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::{Daemon, TestDir, copy_of_binary, skip, stderr_of, wait_for};
use rustix::fs::{FlockOperation, Mode, flock, mknodat};
use rustix::process::Signal;

const LOCK: &str = "run/shinken-gatherer/lock";
const NOBODY: u32 = 65534;
const OTHER_USER: u32 = 12345;
/// Samples once, so that nothing changes from then on.
const ONCE_AN_HOUR: &str = "interval = \"1h\"\nwindow = \"1h\"";

fn quiet_place() -> TestDir {
    let place = TestDir::new();
    place.metrics(["host/a.wsp"]);
    place.configure_with("", "", ONCE_AN_HOUR, "");
    place
}

/// Starts a daemon and waits until all of its files are there.
fn start(place: &TestDir) -> Daemon {
    let daemon = Daemon::start(place);
    wait_for("the disk file", || place.disks());
    wait_for("the count", || place.count());
    daemon
}

fn run(place: &TestDir, arguments: &[&str]) -> Output {
    place.command().args(arguments).output().unwrap()
}

fn kill(mut daemon: Daemon) {
    daemon.signal(Signal::KILL);
    daemon.child.wait().unwrap();
}

fn make_fifo(path: &Path) {
    mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
}

/// Every path below a folder with its inode and modification time.
fn state(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut state = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            state.extend(self::state(&path));
        }
        state.insert(path, (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()));
    }
    state
}

fn replace_in_config(place: &TestDir, old: &str, new: &str) {
    let path = place.path("gatherer.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{text}");
    fs::write(path, text.replace(old, new)).unwrap();
}

#[test]
fn second_run_exits_75_with_pid_and_changes_nothing() {
    let place = quiet_place();
    let daemon = start(&place);
    let before = state(&place.path(""));
    let second = run(&place, &["run"]);
    assert_eq!(second.status.code(), Some(75));
    let expected = format!("already running (pid {}, ", daemon.child.id());
    assert!(stderr_of(&second).contains(&expected), "{}", stderr_of(&second));
    assert_eq!(state(&place.path("")), before);
    daemon.stop();
    // The lock file stays, but not the lock.
    assert!(place.path(LOCK).exists());
    start(&place).stop();
}

#[test]
fn run_waits_for_the_lock_of_a_killed_daemon() {
    let place = quiet_place();
    fs::create_dir_all(place.path(LOCK).parent().unwrap()).unwrap();
    // The process that took the lock ends at once. Another one has inherited it, as a child process has for a moment
    // if the daemon is killed while it starts it.
    let mut heir = Command::new("sh")
        .args(["-c", "umask 077; exec 9<>\"$0\"; flock -x 9; echo; exec sleep 1"])
        .arg(place.path(LOCK))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut locked = [0];
    heir.stdout.as_mut().unwrap().read_exact(&mut locked).unwrap();
    let daemon = start(&place);
    assert_eq!(heir.try_wait().unwrap().and_then(|status| status.code()), Some(0));
    daemon.stop();
}

#[test]
fn ten_runs_at_once_leave_one_daemon() {
    let place = quiet_place();
    let mut daemons: Vec<_> = (0..10).map(|_| Daemon::start(&place)).collect();
    wait_for("nine to end", || {
        daemons.retain_mut(|daemon| match daemon.child.try_wait().unwrap() {
            None => true,
            Some(status) => {
                assert_eq!(status.code(), Some(75));
                false
            }
        });
        (daemons.len() == 1).then_some(())
    });
    wait_for("the disk file", || place.disks());
    daemons.pop().unwrap().stop();
}

#[test]
fn once_write_is_refused_while_a_daemon_runs() {
    let place = quiet_place();
    let daemon = start(&place);
    let before = state(&place.path(""));
    let refused = run(&place, &["once", "--write", "--window", "10ms"]);
    assert_eq!(refused.status.code(), Some(1));
    let expected = format!("already running (pid {}, ", daemon.child.id());
    assert!(stderr_of(&refused).contains(&expected), "{}", stderr_of(&refused));
    assert!(refused.stdout.is_empty(), "it is refused before the work");
    assert!(run(&place, &["once", "--window", "10ms"]).status.success());
    assert_eq!(state(&place.path("")), before);
    daemon.stop();
    assert!(
        run(&place, &["once", "--write", "--window", "10ms"])
            .status
            .success()
    );
    assert!(place.disks().is_some());
}

#[test]
fn daemon_waits_while_a_command_shares_the_lock() {
    let place = quiet_place();
    start(&place).stop();
    let lock = File::open(place.path(LOCK)).unwrap();
    flock(&lock, FlockOperation::LockShared).unwrap();
    fs::write(place.path("disks.tmp"), "of the command").unwrap();
    let daemon = Daemon::start(&place);
    // It has opened the lock file, and waits.
    let opened = |fd: fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|path| path == place.path(LOCK));
    wait_for("the daemon to open the lock", || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).ok()?;
        descriptors.flatten().any(opened).then_some(())
    });
    assert_eq!(
        fs::read_to_string(place.path("disks.tmp")).unwrap(),
        "of the command"
    );
    // Another one that is stopped meanwhile ends without an error.
    let stopped = Daemon::start(&place);
    wait_for("its signals to be caught", || {
        let status = fs::read_to_string(format!("/proc/{}/status", stopped.child.id())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        (caught & 1 << (Signal::TERM.as_raw() - 1) != 0).then_some(())
    });
    stopped.stop();
    drop(lock);
    wait_for("the disk file", || {
        (fs::read_to_string(place.path("disks.tmp")).ok()?.starts_with('{')).then_some(())
    });
    daemon.stop();
}

#[test]
fn killed_daemon_releases_lock_while_its_helper_hangs() {
    let place = quiet_place();
    let vendor = place.path("sys/class/dmi/id");
    fs::create_dir_all(&vendor).unwrap();
    fs::write(vendor.join("sys_vendor"), "VMware, Inc.\n").unwrap();
    make_fifo(&place.path("hangs.so"));
    let root = place.path("");
    let root = root.display();
    place.configure_with(
        "",
        "",
        ONCE_AN_HOUR,
        &format!("libraries = [\"{root}hangs.so\"]\n[host]\nsys = \"{root}sys\""),
    );
    let daemon = Daemon::start(&place);
    let pid = daemon.child.id();
    let helper = wait_for("the helper", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let helper = children.split_whitespace().next()?.to_string();
        let command = fs::read_to_string(format!("/proc/{helper}/cmdline")).ok()?;
        command.contains("guest-library").then_some(helper)
    });
    let inherited: Vec<_> = fs::read_dir(format!("/proc/{helper}/fd"))
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
        .collect();
    assert!(!inherited.contains(&place.path(LOCK)), "{inherited:?}");
    let killed = Instant::now();
    kill(daemon);
    let next = Daemon::start_notifying(&place, None);
    next.wait_for_message("READY=1");
    assert!(
        killed.elapsed() < Duration::from_secs(1),
        "{:?}",
        killed.elapsed()
    );
    next.stop();
}

#[test]
fn lock_file_is_private_in_a_folder_open_to_all() {
    let place = quiet_place();
    let command = format!(
        "umask 0; exec {} --config {} run",
        env!("CARGO_BIN_EXE_shinken-gatherer"),
        place.path("gatherer.toml").display()
    );
    let daemon = Daemon::spawn(Command::new("sh").args(["-c", &command]), None);
    wait_for("the disk file", || place.disks());
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&place.path(LOCK)), 0o600);
    assert_eq!(mode(place.path(LOCK).parent().unwrap()), 0o755);
    daemon.stop();
}

#[test]
fn anything_but_a_trusted_file_at_the_lock_is_an_error() {
    let place = quiet_place();
    let lock = place.path(LOCK);
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let rejected = |expected: &str| {
        let output = run(&place, &["run"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr_of(&output).contains(expected), "{}", stderr_of(&output));
        assert!(!place.path("disks.tmp").exists() && !place.path("gatherer.log").exists());
    };
    symlink(place.path("victim"), &lock).unwrap();
    rejected("is a symbolic link");
    assert!(!place.path("victim").exists());
    fs::write(place.path("victim"), "text").unwrap();
    rejected("is a symbolic link");
    assert_eq!(fs::read_to_string(place.path("victim")).unwrap(), "text");
    fs::remove_file(&lock).unwrap();
    make_fifo(&lock);
    rejected("not a regular file");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    rejected("not a regular file");
    fs::remove_dir(&lock).unwrap();
    fs::write(&lock, "[\"/etc/passwd\"]\n").unwrap();
    if chown(&lock, Some(OTHER_USER), None).is_err() {
        return skip("needs root");
    }
    rejected("owned by uid 12345");
    assert!(Path::new("/etc/passwd").exists());
}

/// An ordinary user's daemon, whose `host.run` can't be created.
fn as_nobody(place: &TestDir) -> Command {
    let mut command = Command::new(place.path("gatherer"));
    command
        .arg("--config")
        .arg(place.path("gatherer.toml"))
        .arg("run")
        .uid(NOBODY)
        .gid(NOBODY);
    command
}

fn ordinary_users_place() -> Option<TestDir> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let place = quiet_place();
    copy_of_binary(&place);
    let set_mode = |name: &str, mode| fs::set_permissions(place.path(name), Permissions::from_mode(mode));
    set_mode("", 0o1777).unwrap();
    set_mode("gatherer.toml", 0o644).unwrap();
    fs::create_dir(place.path("closed")).unwrap();
    set_mode("closed", 0o700).unwrap();
    replace_in_config(&place, "/run\"", "/closed/run\"");
    Some(place)
}

#[test]
fn ordinary_users_lock_is_in_state_or_beside_disk_file() {
    let Some(place) = ordinary_users_place() else {
        return skip("needs root");
    };
    chown(place.path("state"), Some(NOBODY), Some(NOBODY)).unwrap();
    for lock in ["state/lock", ".disks.tmp.lock"] {
        let daemon = Daemon::spawn(&mut as_nobody(&place), None);
        wait_for("the disk file", || place.disks());
        assert!(place.path(lock).exists(), "{lock}");
        let second = as_nobody(&place).output().unwrap();
        assert_eq!(second.status.code(), Some(75));
        let expected = format!("already running (pid {}, ", daemon.child.id());
        assert!(stderr_of(&second).contains(&expected), "{}", stderr_of(&second));
        daemon.stop();
        let _ = fs::remove_dir_all(place.path("state"));
    }
}

#[test]
fn lock_file_of_another_user_in_a_shared_folder_is_an_error() {
    let Some(place) = ordinary_users_place() else {
        return skip("needs root");
    };
    let lock = place.path(".disks.tmp.lock");
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, Permissions::from_mode(0o666)).unwrap();
    chown(&lock, Some(OTHER_USER), None).unwrap();
    let output = as_nobody(&place).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr_of(&output);
    assert!(
        said.contains("owned by uid 12345") && said.contains(".disks.tmp.lock"),
        "{said}"
    );
}

#[test]
fn ordinary_users_run_names_the_pid_of_roots_daemon() {
    let Some(place) = ordinary_users_place() else {
        return skip("needs root");
    };
    replace_in_config(&place, "/closed/run\"", "/run\"");
    let daemon = start(&place);
    let second = as_nobody(&place).output().unwrap();
    assert_eq!(second.status.code(), Some(75));
    let expected = format!("already running (pid {}, ", daemon.child.id());
    assert!(stderr_of(&second).contains(&expected), "{}", stderr_of(&second));
    daemon.stop();
}

#[test]
fn clean_up_removes_disk_file_of_a_killed_daemon_only() {
    let place = quiet_place();
    let daemon = start(&place);
    assert!(run(&place, &["clean-up"]).status.success());
    assert!(place.disks().is_some(), "the daemon runs");
    kill(daemon);
    // The configuration may name other files by then, or be rejected.
    replace_in_config(&place, "disks.tmp", "elsewhere");
    assert!(run(&place, &["clean-up"]).status.success());
    assert!(place.disks().is_none() && place.count().is_some());
}

#[test]
fn clean_up_follows_no_link_and_removes_no_folder() {
    let place = quiet_place();
    let disks = place.path("disks.tmp");
    fs::write(place.path("victim"), "text").unwrap();
    kill(start(&place));
    fs::remove_file(&disks).unwrap();
    symlink(place.path("victim"), &disks).unwrap();
    assert!(run(&place, &["clean-up"]).status.success());
    assert!(!disks.is_symlink() && place.path("victim").exists());
    make_fifo(&disks);
    assert!(run(&place, &["clean-up"]).status.success());
    assert!(!disks.exists());
    fs::create_dir(&disks).unwrap();
    assert!(run(&place, &["clean-up"]).status.success());
    assert!(disks.is_dir());
}

#[test]
fn clean_up_follows_the_disk_file_through_a_reload() {
    let place = quiet_place();
    let daemon = start(&place);
    replace_in_config(&place, "disks.tmp", "moved");
    daemon.signal(Signal::HUP);
    wait_for("the moved disk file", || {
        crate::support::document(&place.path("moved"))
    });
    assert!(place.disks().is_none());
    kill(daemon);
    // Another program's by now.
    fs::write(place.path("disks.tmp"), "other").unwrap();
    assert!(run(&place, &["clean-up"]).status.success());
    assert!(!place.path("moved").exists() && place.path("disks.tmp").exists());
}

#[test]
fn next_start_removes_files_of_a_killed_daemon_elsewhere() {
    let place = quiet_place();
    kill(start(&place));
    replace_in_config(&place, "disks.tmp", "elsewhere");
    let daemon = Daemon::start_notifying(&place, None);
    daemon.wait_for_message("READY=1");
    assert!(place.disks().is_none());
    daemon.stop();
}

#[test]
fn clean_up_ignores_a_list_that_another_user_may_have_written() {
    const SERVICE_USER: u32 = 65432;
    let place = quiet_place();
    fs::write(place.path("victim"), "text").unwrap();
    fs::write(place.path("disks.tmp"), "{}").unwrap();
    fs::create_dir_all(place.path(LOCK).parent().unwrap()).unwrap();
    fs::write(place.path(LOCK), format!("[{:?}]\n", place.path("victim"))).unwrap();
    if chown(place.path(LOCK), Some(SERVICE_USER), None).is_err() {
        return skip("needs root");
    }
    let passwd = format!(
        "root:x:0:0::/root:/bin/sh\nshinken-gatherer:x:{SERVICE_USER}:{SERVICE_USER}::/:/bin/false\n"
    );
    fs::write(place.path("passwd"), passwd).unwrap();
    // A mount of its own puts that user into /etc/passwd for this one process.
    let shell = "mount --bind \"$0\" /etc/passwd && exec \"$@\"";
    let clean_up = place.command();
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", shell])
        .arg(place.path("passwd"))
        .arg(clean_up.get_program())
        .args(clean_up.get_args())
        .arg("clean-up")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr_of(&output));
    assert!(
        !place.path("disks.tmp").exists(),
        "the configured file is removed"
    );
    assert!(place.path("victim").exists());
}
