//! Publication: only a regular file is replaced, no directory is listed, and concurrent publishers share one name.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::support::{Daemon, TestDir, document, skip, stderr_of, wait_for};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use shinken_gatherer::publish::{Durability, publish};

/// A place that publishes the disks fast, and to `output`.
fn place_with_output(output: &Path) -> TestDir {
    let place = TestDir::new();
    let text = fs::read_to_string(place.path("gatherer.toml")).unwrap();
    let usual = format!("output = {:?}", place.path("disks.tmp"));
    assert!(text.contains(&usual));
    let fast = format!("output = {output:?}\ninterval = \"20ms\"\nwindow = \"1s\"");
    fs::write(place.path("gatherer.toml"), text.replace(&usual, &fast)).unwrap();
    place
}

/// Runs `once --write` and the daemon with an output that must be rejected, and stay.
fn assert_rejected(output: &Path, what: &str) {
    let before = fs::symlink_metadata(output).unwrap();
    let place = place_with_output(output);
    let once = place
        .command()
        .args(["once", "--write", "--window", "10ms"])
        .output()
        .unwrap();
    let reason = format!("{output:?}: is a {what}, must be a regular file");
    assert_eq!(once.status.code(), Some(1));
    assert!(stderr_of(&once).contains(&reason), "{}", stderr_of(&once));
    let daemon = Daemon::start(&place);
    place.wait_for_log(&reason);
    wait_for("the count", || place.count());
    daemon.stop();
    // At the start and at the stop, when the disks file is removed.
    assert_eq!(place.log().matches(&reason).count(), 2, "{}", place.log());
    let after = fs::symlink_metadata(output).unwrap();
    assert_eq!(
        (before.ino(), before.rdev(), before.file_type()),
        (after.ino(), after.rdev(), after.file_type())
    );
}

#[test]
fn output_that_is_a_device_is_rejected_and_stays() {
    let place = TestDir::new();
    let null = place.path("null");
    if mknodat(
        CWD,
        &null,
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        makedev(1, 3),
    )
    .is_err()
    {
        return skip("only root can create a device");
    }
    assert_rejected(&null, "device");
    assert!(fs::symlink_metadata(&null).unwrap().file_type().is_char_device());
}

#[test]
fn output_that_is_a_socket_is_rejected_and_stays() {
    let place = TestDir::new();
    let path = place.path("socket");
    let _socket = UnixListener::bind(&path).unwrap();
    assert_rejected(&path, "socket");
}

#[test]
fn publishing_lists_no_directory() {
    let strace = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !strace.is_ok_and(|status| status.success()) {
        return skip("strace can't be used");
    }
    let place = TestDir::new();
    fs::create_dir(place.path("out")).unwrap();
    let output = place.path("out/disks");
    let place = place_with_output(&output);
    // It fails first, so that what follows an error is seen, too.
    fs::create_dir(&output).unwrap();
    let trace = place.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-e", "trace=getdents64,renameat", "-o"]);
    command.arg(&trace).arg(env!("CARGO_BIN_EXE_shinken-gatherer"));
    command
        .arg("--config")
        .arg(place.path("gatherer.toml"))
        .arg("run");
    let mut daemon = Daemon::spawn(&mut command, None);
    place.wait_for_log("publishing");
    fs::remove_dir(&output).unwrap();
    let traced = || fs::read_to_string(&trace).unwrap();
    let renames = |text: &str| {
        text.lines()
            .filter(|line| line.contains("renameat") && line.contains("disks"))
            .count()
    };
    wait_for("documents", || (renames(&traced()) > 10).then_some(()));
    // strace ends with the daemon, its child.
    let strace = daemon.child.id();
    let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
    let traced_pid = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(traced_pid, rustix::process::Signal::TERM).unwrap();
    daemon.child.wait().unwrap();
    let listed: Vec<_> = traced()
        .lines()
        .filter(|line| line.contains("getdents64") && line.contains("/out>"))
        .map(String::from)
        .collect();
    assert!(listed.is_empty(), "{listed:#?}");
}

#[test]
fn concurrent_publishers_never_publish_a_part() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("file");
    let documents = ["{\"a\":1}\n", "{\"document\":\"longer\"}\n"];
    publish(&path, documents[0], Durability::Volatile).unwrap();
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..4)
            .map(|number| {
                let path = &path;
                scope.spawn(move || {
                    for turn in 0..5000 {
                        publish(path, documents[(number + turn) % 2], Durability::Volatile).unwrap();
                    }
                })
            })
            .collect();
        let mut reads = 0;
        while publishers.iter().any(|publisher| !publisher.is_finished()) {
            document(&path).expect("a document");
            reads += 1;
        }
        assert!(reads > 100, "{reads} reads");
    });
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn locked_directory_delays_no_publication() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("file");
    let held = fs::File::open(directory.path()).unwrap();
    held.lock().unwrap();
    publish(&path, "{\"a\":1}\n", Durability::Synced).unwrap();
    assert!(document(&path).is_some());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn document_of_ten_thousand_disks_is_read_back() {
    let place = TestDir::in_memory();
    let mut diskstats = String::new();
    for number in 0..10_000 {
        fs::create_dir_all(place.path(format!("sys/block/sd{number}/device"))).unwrap();
        diskstats += &format!("8 {number} sd{number} 1 0 8 1 1 0 8 1 0 1 1\n");
    }
    fs::create_dir(place.path("proc")).unwrap();
    fs::write(place.path("proc/diskstats"), diskstats).unwrap();
    let host = format!(
        "[host]\nproc = {:?}\nsys = {:?}",
        place.path("proc"),
        place.path("sys")
    );
    place.configure_with("", "", "", &host);
    let run = |arguments: &[&str]| place.command().args(arguments).output().unwrap();
    assert_eq!(
        run(&["once", "--write", "--window", "10ms"]).status.code(),
        Some(0)
    );
    let size = fs::metadata(place.path("disks.tmp")).unwrap().len();
    assert!(size > 1 << 20, "{size} bytes");
    let check = run(&["check", "disks"]);
    assert_eq!(
        check.status.code(),
        Some(0),
        "{}",
        crate::support::text(&check.stdout[..200.min(check.stdout.len())])
    );
    let status = crate::support::json_of(&run(&["status", "--json"]));
    assert_eq!(status["disks"]["state"], "fresh");
    assert_eq!(
        status["disks"]["document"]["disks"].as_object().unwrap().len(),
        10_000
    );
}
