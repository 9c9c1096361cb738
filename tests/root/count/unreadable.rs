//! Directories that the daemon cannot read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::support::{Daemon, TestDir, root_or_skip, wait_for};

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
