//! The log file in a folder of another user.

use std::os::unix::fs::chown;

use crate::support::{Daemon, FAST, TestDir, root_or_skip, wait_for};

#[test]
fn log_of_another_user_in_a_shared_folder_is_not_written() {
    if !root_or_skip() {
        return;
    }
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
