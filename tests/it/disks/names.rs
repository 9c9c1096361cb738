//! Names of devices and in the configuration that would control a terminal, and more disks than fit a message.

use std::fs;
use std::time::Duration;

use crate::support::tree::is_plain;
use crate::support::watch::Watch;
use crate::support::{Daemon, TestDir, stderr_of, text};
use rustix::process::Signal;

/// Returns a folder whose configuration has these disks.
pub(super) fn with_disks(names: &[String], interval: &str) -> TestDir {
    let dir = TestDir::in_memory();
    let (proc, sys) = (dir.path("proc"), dir.path("sys"));
    fs::create_dir(&proc).unwrap();
    let mut lines = String::new();
    for (minor, name) in names.iter().enumerate() {
        fs::create_dir_all(sys.join("block").join(name).join("device")).unwrap();
        lines += &format!("8 {minor} {name} 1 0 8 1 1 0 8 1 0 1 1\n");
    }
    fs::write(proc.join("diskstats"), lines).unwrap();
    let disks = format!("interval = \"{interval}\"\nwindow = \"1s\"");
    dir.configure_with("", "", &disks, &format!("[host]\nproc = {proc:?}\nsys = {sys:?}"));
    dir
}

#[test]
fn names_in_configuration_and_devices_are_escaped() {
    let disk = "sd\u{1b}[31m\u{202e}a".to_string();
    let dir = with_disks(&[disk], "20ms");
    let diskstats = dir.path("proc/diskstats");
    let lines = fs::read_to_string(&diskstats).unwrap() + "8 0 b\u{1b}\u{7}d 1\n";
    fs::write(diskstats, lines).unwrap();
    let whisper = dir.path("whisper\u{1b}[2J\n");
    fs::create_dir(&whisper).unwrap();
    let daemon = Daemon::start_notifying(&dir, None);
    let status = daemon.wait_for_message("STATUS=0 hosts, 0 metrics; %util sd");
    assert!(status.lines().all(is_plain), "{status:?}");
    dir.wait_for_log("disks: diskstats line 2");
    let run = |args: &[&str]| {
        let output = dir.command().args(args).output().unwrap();
        let printed = text(&output.stdout) + &stderr_of(&output);
        assert!(printed.lines().all(is_plain), "{args:?}: {printed:?}");
        printed
    };
    assert!(run(&["status"]).contains("util"));
    assert!(run(&["check", "disks"]).contains("%util"));
    let whisper = whisper.to_str().unwrap();
    let once = run(&["once", "--window=10ms", "--whisper-dir", whisper]);
    assert!(once.contains("%util"), "{once}");
    assert!(once.contains("diskstats line 2"), "{once}");
    // An invalid configuration, at a reload and at a start.
    let invalid = "\"log\\u001b[31m\\nlevel\\u202e\" = 1\n";
    fs::write(dir.path("gatherer.toml"), invalid).unwrap();
    daemon.signal(Signal::HUP);
    dir.wait_for_log("reload failed");
    assert!(dir.log().lines().all(is_plain), "{:?}", dir.log());
    assert_eq!(run(&["once"]).lines().count(), 1);
    run(&["check", "disks"]);
    daemon.stop();
}

#[test]
fn thousand_disks_are_published_without_delaying_the_watchdog() {
    let names: Vec<_> = (0..1000).map(|number| format!("a-disk-{number}")).collect();
    let dir = with_disks(&names, "500ms");
    let daemon = Daemon::start_notifying(&dir, Some(Duration::from_secs(2)));
    let status = daemon.wait_for_message("STATUS=0 hosts, 0 metrics; %util a-disk-0 0.0, ");
    // systemd drops a message of more than 4096 bytes as a whole, with the heartbeat in it.
    assert!(status.len() < 2000, "{} bytes", status.len());
    assert!(status.trim_end().ends_with('…'), "{status}");
    for _ in 0..3 {
        let message = daemon.wait_for_message("WATCHDOG=1");
        assert!(message.len() < 2000, "{} bytes", message.len());
    }
    assert_eq!(dir.disks().unwrap()["disks"].as_object().unwrap().len(), 1000);
    daemon.stop();
}

#[test]
fn many_malformed_lines_are_logged_once_and_so_is_their_end() {
    let dir = with_disks(&["sda".into()], "5ms");
    let (new, diskstats) = (dir.path("proc/new"), dir.path("proc/diskstats"));
    let good = fs::read_to_string(&diskstats).unwrap();
    let malformed: String = (0..1000)
        .map(|number| format!("8 16 sd{number} 1 2 3\n"))
        .collect();
    let reads = Watch::read(&dir.path("proc"));
    let daemon = Daemon::start(&dir);
    for text in [good.clone() + &malformed, good] {
        fs::write(&new, text).unwrap();
        fs::rename(&new, &diskstats).unwrap();
        reads.wait_for("diskstats", 20);
    }
    dir.wait_for_log(" INFO disks: diskstats has no malformed lines any more");
    daemon.stop();
    let log = dir.log();
    assert_eq!(log.matches(" WARN ").count(), 5, "{log}");
    assert_eq!(log.matches("; further ones are not logged\n").count(), 1, "{log}");
    assert_eq!(log.matches("no malformed lines").count(), 1, "{log}");
}
