//! Files of an attacker or another user at the path of the log. Outputs that are devices or sockets, and files that cannot be
//! removed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{FileType, makedev};
use rustix::process::Signal;

use crate::support::{
    ALL, ATTACKER, Daemon, FAST, FOREIGN_FILE, Fixture, HIDE_JOURNAL, Leased, OBSTACLES, READY, TestDir,
    USERS, User, Victims, after_mounting, as_user, assert_contains, make_node, remove, stderr_of, wait_for,
    wait_until,
};

fn fixture_with_open_log() -> Fixture {
    let fixture = Fixture::under(TestDir::mounted(), ["out"; 3], "open/gatherer.log");
    fixture.set_mode("open", 0o1777);
    fixture.set_mode("out", 0o1777);
    fixture
}

/// Starts the daemon without a journal, so that log lines that are not in the file go to stderr.
fn start(user: User, fixture: &Fixture) -> Daemon {
    let daemon = user.command(fixture);
    // The folder belongs to root: the attacker may create files in it, as in /tmp.
    chown(fixture.path("open"), Some(0), None).unwrap();
    Daemon::spawn(&mut after_mounting(HIDE_JOURNAL, &daemon), None)
}

/// Stops the daemon, whose stderr must report this many failures of the log file and this many ends of one.
fn stop(daemon: Daemon, failures: usize, ends: usize, context: &str) {
    let stderr = daemon.stop_and_read_stderr();
    let lines = |part: &str| stderr.matches(part).count();
    let found = (
        lines(" ERROR log: writing log file"),
        lines(" INFO log: log file"),
    );
    assert_eq!(found, (failures, ends), "{context}: {stderr}");
}

fn wait_for_log_line(fixture: &Fixture) {
    wait_until("the log", || fixture.log().contains(" hosts, "));
}

fn attack(user: User) {
    for obstacle in &OBSTACLES {
        let fixture = fixture_with_open_log();
        let log_file = fixture.log_file();
        let victims = Victims::new(&fixture);
        obstacle.create_as_attacker(&log_file, &victims.folder).unwrap();
        let daemon = start(user, &fixture);
        fixture.wait_for_all();
        if obstacle.name == FOREIGN_FILE {
            assert_eq!(fixture.log(), "foreign\n");
        }
        remove(&log_file);
        wait_for_log_line(&fixture);
        // In the place of the open file: the daemon finds it when it opens the path again.
        wait_for("a moment without the log", || {
            remove(&log_file);
            obstacle.create_as_attacker(&log_file, &victims.folder).ok()
        });
        daemon.signal(Signal::HUP);
        ALL.iter().for_each(|which| remove(&fixture.outputs[*which]));
        fixture.wait_for_all();
        let context = format!("{user:?}, {}", obstacle.name);
        stop(daemon, 2, 1, &context);
        victims.assert_unchanged(&context);
    }
    // A hard link to a file of the daemon's own user.
    let fixture = fixture_with_open_log();
    fixture.write("own", "precious\n");
    fixture.set_mode("own", 0o666);
    chown(fixture.path("own"), Some(user.uid()), None).unwrap();
    let link = |path: &Path| fs::hard_link(fixture.path("own"), path);
    fs::set_permissions(fixture.path(""), Permissions::from_mode(0o755)).unwrap();
    as_user(ATTACKER, || link(&fixture.log_file())).unwrap();
    let daemon = start(user, &fixture);
    fixture.wait_for_all();
    remove(&fixture.log_file());
    wait_for_log_line(&fixture);
    stop(daemon, 1, 1, "hard link to an own file");
    assert_eq!(fixture.read("own"), "precious\n");
}

#[test]
fn hostile_file_at_the_log_is_not_written() {
    needs_root!();
    USERS.into_iter().for_each(attack);
}

#[test]
fn lease_held_by_another_user_delays_nothing() {
    needs_root!();
    let fixture = fixture_with_open_log();
    fixture.set_mode("", 0o755);
    let leased_log = Leased::at(&fixture.log_file());
    let _leased_output = Leased::at(&fixture.outputs[READY]);
    let daemon = start(User::Root, &fixture);
    fixture.wait_for_more(READY, User::Root, 1);
    fixture.wait_for_all();
    stop(daemon, 1, 0, "leased");
    assert_eq!(fs::metadata(&leased_log.path).unwrap().len(), 0);
}

#[test]
fn log_of_another_user_in_a_shared_folder_is_not_written() {
    needs_root!();
    let (root, shinken, other) = (Some(0), Some(4242), Some(4243));
    for (folder, mode, owner, is_written) in [
        (shinken, 0o755, shinken, true),
        (shinken, 0o755, root, true),
        (shinken, 0o755, other, false),
        (root, 0o755, other, true),
        (root, 0o775, other, false),
        (root, 0o1777, other, false),
    ] {
        let dir = TestDir::in_memory();
        dir.configure_with("", "", FAST, "");
        dir.write("gatherer.log", "");
        chown(dir.path(""), folder, folder).unwrap();
        dir.set_mode("", mode);
        chown(dir.path("gatherer.log"), owner, owner).unwrap();
        let daemon = Daemon::start(&dir);
        wait_for("the disks", || dir.disks());
        daemon.stop();
        let is_in_log = dir.log().contains("started");
        assert_eq!(is_in_log, is_written, "{folder:?}, {mode:o}, {owner:?}");
    }
}

/// Runs `once --write` and the daemon with an output that must be rejected, and must stay.
fn assert_rejected(kind: &str, file_type: FileType, device: u64) {
    let dir = TestDir::mounted();
    let output = dir.path("disks.tmp");
    dir.configure_with("", "", FAST, "");
    make_node(&output, file_type, device).unwrap();
    let state = || {
        let metadata = fs::symlink_metadata(&output).unwrap();
        (metadata.ino(), metadata.rdev(), metadata.file_type())
    };
    let before = state();
    let once = dir.run(&["once", "--write", "--window", "10ms"]);
    let reason = format!("{output:?}: is a {kind}, must be a regular file");
    assert_eq!(once.status.code(), Some(1));
    assert_contains(&stderr_of(&once), &reason);
    let daemon = Daemon::start(&dir);
    dir.wait_for_log(&reason);
    wait_for("the count", || dir.count());
    daemon.stop();
    // At the start, and at the stop, when the disks file is removed.
    assert_eq!(dir.logged(&reason), 2, "{}", dir.log());
    assert_eq!(state(), before);
}

#[test]
fn output_that_is_a_device_is_rejected_and_stays() {
    needs_root!();
    assert_rejected("device", FileType::CharacterDevice, makedev(1, 3));
}

#[test]
fn output_that_is_a_socket_is_rejected_and_stays() {
    assert_rejected("socket", FileType::Socket, 0);
}

#[test]
fn own_temporary_file_that_cannot_be_removed_is_an_error() {
    needs_root!();
    let dir = TestDir::mounted();
    dir.configure_with("", "", FAST, "");
    let temporary = dir.path(".disks.tmp.tmp");
    fs::write(&temporary, "").unwrap();
    let mut once = dir.command();
    once.args(["once", "--write", "--window", "10ms"]);
    // A mount point cannot be removed.
    let mount = format!("mount --bind {0} {0}", temporary.display());
    let output = after_mounting(&mount, &once).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_contains(&stderr_of(&output), "Device or resource busy");
}
