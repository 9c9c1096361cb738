//! The privileges of a daemon that root started without a sandbox.

use std::fs;

use crate::support::{Daemon, TestDir, root_or_skip, wait_for};

#[test]
fn daemon_of_root_keeps_only_needed_capabilities() {
    if !root_or_skip() {
        return;
    }
    let dir = TestDir::new();
    let daemon = Daemon::start(&dir);
    wait_for("the disk file", || dir.disks());
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    // DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SETPCAP.
    for line in [
        "CapPrm:\t00000000000001ea",
        "CapEff:\t00000000000001ea",
        "CapBnd:\t00000000000001ea",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.lines().any(|found| found == line), "{line} in {status}");
    }
    daemon.stop();
}
