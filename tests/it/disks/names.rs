//! Names of devices and in the configuration that would control a terminal, and more disks than fit a message.

use std::fs;
use std::time::Duration;

use crate::support::tree::is_plain;
use crate::support::watch::Watch;
use crate::support::{Daemon, TestDir, stderr_of, text, wait_for};
use rustix::process::Signal;

/// Returns a folder whose configuration has these disks.
pub(super) fn with_disks(names: &[String], interval: &str) -> TestDir {
    let dir = TestDir::in_memory();
    dir.make_disks(names);
    dir.configure_with("", "", &format!("interval = \"{interval}\"\nwindow = \"1s\""), "");
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
fn log_names_added_and_removed_disks_and_malformed_lines() {
    let dir = with_disks(&["sda".into(), "sdb".into()], "5ms");
    let both = dir.read("proc/diskstats");
    let sda = both.split_inclusive('\n').next().unwrap();
    let reads = Watch::read(&dir.path("proc"));
    let write = |text: &str| {
        dir.replace("proc/diskstats", text);
        reads.wait_for("diskstats", 20);
    };
    dir.replace("proc/diskstats", sda);
    let daemon = Daemon::start(&dir);
    wait_for("the disks", || dir.disks());
    write(&both);
    write(sda);
    let malformed: String = (0..1000)
        .map(|number| format!("8 16 sd{number} 1 2 3\n"))
        .collect();
    write(&(sda.to_string() + &malformed));
    write(sda);
    write(&(sda.to_string() + "8 16 sdb x\n"));
    daemon.stop();
    for (part, times) in [
        (" INFO disks: disk sdb added\n", 1),
        (" INFO disks: disk sdb removed\n", 1),
        (" added\n", 1),
        ("; device skipped; further ones are not logged\n", 1),
        (" INFO disks: diskstats has no malformed lines any more\n", 1),
        // Five of the thousand, and one later.
        ("; device skipped", 6),
        (" WARN ", 6),
    ] {
        assert_eq!(dir.logged(part), times, "{part}: {}", dir.log());
    }
}
