//! Outputs that are devices or sockets are not replaced, and leftover temporary files do not accumulate.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::support::attacker::make_node;
use crate::support::{Daemon, FAST, TestDir, root_or_skip, stderr_of, wait_for};
use rustix::fs::{FileType, makedev};

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
    assert!(stderr_of(&once).contains(&reason), "{}", stderr_of(&once));
    let daemon = Daemon::start(&dir);
    dir.wait_for_log(&reason);
    wait_for("the count", || dir.count());
    daemon.stop();
    // At the start, and at the stop, when the disks file is removed.
    assert_eq!(dir.log().matches(&reason).count(), 2, "{}", dir.log());
    assert_eq!(state(), before);
}

#[test]
fn output_that_is_a_device_is_rejected_and_stays() {
    if root_or_skip() {
        assert_rejected("device", FileType::CharacterDevice, makedev(1, 3));
    }
}

#[test]
fn output_that_is_a_socket_is_rejected_and_stays() {
    assert_rejected("socket", FileType::Socket, 0);
}

#[test]
fn own_temporary_file_that_cannot_be_removed_is_an_error() {
    if !root_or_skip() {
        return;
    }
    let dir = TestDir::mounted();
    dir.configure_with("", "", FAST, "");
    let temporary = dir.path(".disks.tmp.tmp");
    fs::write(&temporary, "").unwrap();
    let once = dir.command();
    // A mount point cannot be removed.
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", "mount --bind \"$0\" \"$0\" && exec \"$@\""])
        .arg(&temporary)
        .arg(once.get_program())
        .args(once.get_args())
        .args(["once", "--write", "--window", "10ms"]);
    let output = command.output().unwrap();
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("Device or resource busy"), "{stderr}");
}
