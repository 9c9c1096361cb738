//! The disks under a whisper tree, from the links of a sysfs: partitions, LVM, LUKS, md and btrfs; added and removed disks; names
//! that would control a terminal, and more disks than fit a message.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::process::Signal;
use shinken_gatherer::device::Device;
use shinken_gatherer::disks::backing::{devices_under, disks_of_device};

use crate::support::{Daemon, TestDir, Watch, assert_contains, is_plain, stderr_of, text, wait_for};

/// A sysfs, and a whisper directory in memory: with an anonymous device number, as on btrfs.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    /// Each word is a device, `=` and the devices that it consists of. Its minor number is its position, from 0.
    fn new(devices: &str) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let host = Self { dir };
        for folder in ["whisper", "proc/self", "sys/class/block", "sys/dev/block"] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        for (number, device) in devices.split(' ').enumerate() {
            let (device, slaves) = device.split_once('=').unwrap_or((device, ""));
            let directory = host.path("sys/devices").join(device);
            let name = directory.file_name().unwrap();
            fs::create_dir_all(directory.join("slaves")).unwrap();
            fs::write(directory.join("dev"), format!("7:{number}\n")).unwrap();
            if device.contains('/') {
                fs::write(directory.join("partition"), "1\n").unwrap();
            }
            symlink(&directory, host.path(&format!("sys/dev/block/7:{number}"))).unwrap();
            symlink(&directory, host.path("sys/class/block").join(name)).unwrap();
            for slave in slaves.split_terminator('+') {
                let target = fs::canonicalize(host.path("sys/class/block").join(slave)).unwrap();
                symlink(target, directory.join("slaves").join(slave)).unwrap();
            }
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn disks_of(&self, minor: u32) -> Vec<String> {
        let disks = disks_of_device(&self.path("sys"), Device { major: 7, minor });
        disks.into_iter().collect()
    }

    /// Lists the file system of the whisper directory as btrfs on `source`, and returns its disks.
    fn disks_of_btrfs(&self, source: &str) -> Vec<String> {
        let whisper = self.path("whisper");
        let mount = statx(CWD, &whisper, AtFlags::empty(), StatxFlags::MNT_ID).unwrap();
        let mountinfo = format!(
            "1 1 8:1 / / rw shared:1 - ext4 /dev/sdz1 rw\n\
             {} 1 0:99 /@opt /opt/graphite rw shared:2 - btrfs {source} rw,subvolid=256,subvol=/@opt\n",
            mount.stx_mnt_id
        );
        fs::write(self.path("proc/self/mountinfo"), mountinfo).unwrap();
        let (proc, sys) = (self.path("proc"), self.path("sys"));
        let devices = devices_under(&proc, &sys, &whisper).into_iter();
        let disks = devices.flat_map(|device| disks_of_device(&sys, device));
        disks.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Lists a btrfs file system with these devices.
    fn file_system(&self, uuid: &str, devices: &[&str]) {
        let folder = self.path("sys/fs/btrfs").join(uuid).join("devices");
        fs::create_dir_all(&folder).unwrap();
        for device in devices {
            symlink(self.path("sys/class/block").join(device), folder.join(device)).unwrap();
        }
    }
}

#[test]
fn disks_under_stacked_devices_are_found() {
    // LUKS on a mirror, and a logical volume on that.
    let devices = "sda sda/sda1 sdb sdb/sdb1 sdc cciss!c0d0 md0=sda1+sdb1 dm-0=md0 dm-1=dm-0 dm-2=sda1+sdc";
    let host = Host::new(devices);
    let disks: Vec<_> = (0..11).map(|minor| host.disks_of(minor).join("+")).collect();
    assert_eq!(
        disks.join(" "),
        "sda sda sdb sdb sdc cciss/c0d0 sda+sdb sda+sdb sda+sdb sda+sdc "
    );
}

#[test]
fn disks_under_btrfs_are_those_of_all_its_devices() {
    let host = Host::new("sda sda/sda2 sdb sdc dm-0=sdc");
    for source in "/dev/sdx none /dev/mapper/other /dev/../sda /dev/ ".split(' ') {
        assert_eq!(host.disks_of_btrfs(source), [""; 0], "{source}");
    }
    assert_eq!(host.disks_of_btrfs("/dev/sdb"), ["sdb"], "nothing is listed");
    host.file_system("0b7ad0c3-1111-4bb5-8c2f-1a1e5a6d6ac9", &["sdb"]);
    host.file_system("f2a9b7c0-2222-4d43-9a15-5b9e7c1b8d11", &["sda2", "dm-0"]);
    fs::create_dir_all(host.path("sys/fs/btrfs/features")).unwrap();
    assert_eq!(host.disks_of_btrfs("/dev/sda2"), ["sda", "sdc"]);
    // A mapped device is found by its name.
    fs::create_dir(host.path("sys/devices/dm-0/dm")).unwrap();
    fs::write(host.path("sys/devices/dm-0/dm/name"), "vg-whisper\n").unwrap();
    assert_eq!(host.disks_of_btrfs("/dev/mapper/vg-whisper"), ["sda", "sdc"]);
}

#[test]
fn devices_that_are_made_of_each_other_end() {
    let names: Vec<_> = (0..12).map(|number| format!("dm-{number}")).collect();
    let host = Host::new(&format!("sda {}", names.join(" ")));
    for device in &names {
        let slaves = host.path(&format!("sys/devices/{device}/slaves"));
        for other in names.iter().filter(|other| *other != device) {
            symlink(host.path(&format!("sys/devices/{other}")), slaves.join(other)).unwrap();
        }
        symlink("nowhere", slaves.join("sdx")).unwrap();
        symlink("itself", slaves.join("itself")).unwrap();
    }
    assert_eq!(host.disks_of(1), [""; 0]);
    symlink(
        host.path("sys/devices/sda"),
        host.path("sys/devices/dm-11/slaves/sda"),
    )
    .unwrap();
    assert_eq!(host.disks_of(1), ["sda"]);
    // A device number that leads to something else.
    symlink("/nowhere", host.path("sys/dev/block/7:20")).unwrap();
    symlink("7:21", host.path("sys/dev/block/7:21")).unwrap();
    assert_eq!([20, 21, 22].map(|minor| host.disks_of(minor).len()), [0, 0, 0]);
}

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
    assert_contains(&once, "%util");
    assert_contains(&once, "diskstats line 2");
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
fn values_of_replaced_disks_are_removed() {
    let dir = with_disks(&["sda".into()], "1s");
    let daemon = Daemon::start(&dir);
    wait_for("the disks", || dir.disks());
    let before = dir.read("proc/diskstats");
    let after = before.replace(" sda ", " sda 0 0 0 0 0 0 0 0 0 0 0 ");
    let after: Vec<_> = after.split_whitespace().take(14).collect();
    dir.replace("proc/diskstats", &(after.join(" ") + "\n"));
    dir.wait_until_removed("disks.tmp");
    wait_for("the disks", || dir.disks());
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
