//! Disks that come and go, and malformed lines, in the log of the daemon.

use std::fs;

use crate::support::{Daemon, TestDir, wait_for};

#[test]
fn log_names_added_and_removed_disks_and_malformed_lines() {
    let dir = TestDir::in_memory();
    let (proc, sys) = (dir.path("proc"), dir.path("sys"));
    fs::create_dir_all(&proc).unwrap();
    for disk in ["sda", "sdb"] {
        fs::create_dir_all(sys.join("block").join(disk).join("device")).unwrap();
    }
    let host = format!("[host]\nproc = {proc:?}\nsys = {sys:?}");
    dir.configure_with("", "", "interval = \"20ms\"\nwindow = \"1s\"", &host);
    let write = |text: &str| {
        fs::write(proc.join("new"), text).unwrap();
        fs::rename(proc.join("new"), proc.join("diskstats")).unwrap();
    };
    let sda = "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n";
    let sdb = "8 16 sdb 1 0 8 1 1 0 8 1 0 1 1\n";
    write(sda);
    let daemon = Daemon::start(&dir);
    wait_for("the disks", || dir.disks());
    write(&[sda, sdb].concat());
    dir.wait_for_log(" INFO disks: disk sdb added\n");
    write(sda);
    dir.wait_for_log(" INFO disks: disk sdb removed\n");
    let malformed: String = (0..9).map(|number| format!("8 16 sd{number} x\n")).collect();
    write(&[sda, &malformed].concat());
    dir.wait_for_log("; device skipped; further ones are not logged\n");
    write(sda);
    dir.wait_for_log(" INFO disks: diskstats has no malformed lines any more\n");
    let log = dir.log();
    let lines = |part: &str| log.matches(part).count();
    assert_eq!(
        (lines("; device skipped"), lines(" added") + lines(" removed")),
        (5, 2),
        "{log}"
    );
    write(&[sda, "8 16 sdb x\n"].concat());
    wait_for("another malformed line", || {
        (dir.log().matches("; device skipped").count() == 6).then_some(())
    });
    daemon.stop();
}
