//! Files in /proc and /sys that the kernel would not write: malformed, huge, truncated or replaced by something else.
//! The disk in question is skipped and logged. All others keep right values.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::cases::Host;
use super::devices::with_disks;
use crate::support::{Daemon, status, wait_for, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use shinken_gatherer::disks::diskstats::Malformed;
use shinken_gatherer::vmware::detect::detect;

/// Most memory of the daemon: a debug build uses 6 MB, and the largest text of /proc/diskstats has 4 MiB.
const MAX_MEMORY_KIB: u64 = 32 << 10;

/// Replaces a file in /proc or /sys.
fn plant(path: &Path, kind: &str) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir_all(path);
    match kind {
        "nothing" => {}
        "a directory" => fs::create_dir(path).unwrap(),
        "a FIFO" => mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        "a dangling link" => symlink("/nowhere", path).unwrap(),
        "a link to itself" => symlink(path.file_name().unwrap(), path).unwrap(),
        "a device without end" => symlink("/dev/zero", path).unwrap(),
        "10 MB" => fs::write(path, vec![b'7'; 10 << 20]).unwrap(),
        text => fs::write(path, text).unwrap(),
    }
}

/// What is planted. The first eight cannot be read as a file.
const PLANTED: &str = "nothing|a directory|a FIFO|a socket|a dangling link|a link to itself|a device without end|10 MB|\
                       |\n|invalid \u{1b}[31m\n|-1\n|99999999999999999999\n|\0\0\0\0";

/// Returns the line of a disk after so many turns.
fn line(name: &str, turn: u64) -> String {
    let (reads, sectors, ms, queue) = (100 * turn, 800 * turn, 200 * turn, 300 * turn);
    format!("8 0 {name} {reads} 0 {sectors} {ms} 0 0 0 0 0 {turn} {queue}")
}

/// A truncated number is another number.
#[test]
fn truncated_diskstats_gives_right_values_or_none() {
    // Truncated after its 14th column, a line of 18 or 20 still looks whole.
    let text = |turn: u64| {
        let [a, b, c] = ["sda", "sdb", "sdc"].map(|name| line(name, turn));
        format!("{a}\n{b} 0 0 0 0\n{c} 0 0 0 0 0 0\n")
    };
    let (before, now) = (text(12_345), text(12_445));
    for length in 0..=now.len() {
        let mut host = Host::new("disks: sda, sdb, sdc");
        host.sample(0, &before);
        let sample = host.sample(10, &now[..length]);
        let whole = now[..length].matches('\n').count();
        assert_eq!(host.disks.names().count(), whole, "the first {length} bytes");
        for (name, disk) in sample.report.into_iter().flat_map(|report| report.disks) {
            let (util, reads) = (disk.util_percent.get(), disk.reads_per_second.get());
            let values = [util, reads, disk.read_await_ms.get(), disk.queue_size.get()];
            assert_eq!(values, [1.0, 1000.0, 2.0, 3.0], "{name}, {length} bytes");
        }
    }
}

#[test]
fn malformed_diskstats_line_skips_only_that_disk() {
    let good = line("sda", 1) + "\n";
    let and = |text: &str| (good.clone() + text + "\n").into_bytes();
    let sdb = |columns: &str| and(&format!("8 16 sdb {columns}"));
    let lines = |names: &[&str]| names.iter().map(|name| line(name, 1) + "\n").collect::<String>();
    let noise = |number: u64| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    let noise = [(0..65_536).map(noise).collect(), b"\n".to_vec(), and("")].concat();
    let mut texts = vec![
        ("blank lines", b"\n\n \t \n".to_vec(), ""),
        ("NULs", vec![0; 1 << 20], ""),
        ("noise", noise, "sda"),
        ("too few columns", sdb("1 0 8 2 0 0 0 0 0 1"), "sda"),
        ("no columns", sdb(""), "sda"),
        ("a column of 1 MB", sdb(&"9".repeat(1 << 20)), "sda"),
        ("a line of 1 MB", sdb(&"9 ".repeat(1 << 19)), "sda sdb"),
        ("a name of 1 MB", and(&line(&"n".repeat(1 << 20), 1)), "sda"),
        ("the same line twice", and(&good), "sda"),
        ("DOS line ends", good.replace('\n', "\r\n").into_bytes(), "sda"),
        ("10,000 other devices", and(&lines(&["loop0"; 10_000])), "sda"),
        ("a million malformed lines", and(&"x\n".repeat(1_000_000)), "sda"),
    ];
    for number in ["-1", "+1", "0x1", "1.5", "1e3", "１", "18446744073709551616"] {
        texts.push((number, sdb(&format!("{number} 0 8 2 0 0 0 0 0 1 3")), "sda"));
    }
    let paths = [".", "..", "/", "../..", "../block/sda", "sda/..", "sda/device"];
    texts.push(("names that are paths", and(&lines(&paths)), "sda"));
    let invalid = [&and("")[..], b"8 16 sd\xff 1 0 8 2 0 0 0 0 0 1 3\n"].concat();
    texts.push(("a name that is not text", invalid, "sda"));
    for (what, text, disks) in texts {
        let mut host = Host::new("disks: sda, sdb");
        for seconds in [0, 10] {
            let sample = host.sample(seconds, &text);
            let names: Vec<_> = host.disks.names().collect();
            assert_eq!(
                (names.join(" ").as_str(), sample.restarted.len()),
                (disks, 0),
                "{what}"
            );
            let is_short = |malformed: &Malformed| malformed.to_string().len() < 250;
            assert!(sample.skipped.iter().all(is_short), "{what}");
            assert!(sample.skipped.len() <= 64, "{what}");
        }
    }
}

#[test]
fn diskstats_that_is_not_a_file_is_an_error_without_delay() {
    let dir = with_disks(&["sda".into()], "5ms");
    let diskstats = dir.path("proc/diskstats");
    let good = fs::read_to_string(&diskstats).unwrap();
    let daemon = Daemon::start(&dir);
    let warnings = || dir.logged(" WARN disks: ");
    for kind in PLANTED.split('|').take(8) {
        wait_for("the disks", || dir.disks());
        plant(&dir.path("proc/new"), kind);
        let before = warnings();
        match kind {
            "nothing" | "a directory" => plant(&diskstats, kind),
            _ => fs::rename(dir.path("proc/new"), &diskstats).unwrap(),
        }
        let is_logged = || dir.disks().is_none() && warnings() > before;
        wait_until(kind, is_logged);
        // A reader may have found nothing before the directory was there.
        assert!(warnings() <= before + 2, "{kind}: {}", dir.log());
        plant(&dir.path("proc/new"), "nothing");
        plant(&diskstats, "nothing");
        fs::write(&diskstats, &good).unwrap();
    }
    let log = dir.log();
    let mut warnings = log.lines().filter(|line| line.contains(" WARN "));
    let is_named = |line: &str| line.contains("reading ") && line.contains("proc/diskstats");
    assert!(warnings.all(is_named), "{log}");
    let memory_kib = status(&daemon.child, "VmHWM");
    assert!(memory_kib < MAX_MEMORY_KIB, "{memory_kib} KiB");
    daemon.stop();
}

#[test]
fn missing_or_invalid_sysfs_does_not_affect_other_disks() {
    let host = || {
        let mut host = Host::new("disks: sda, sdb");
        host.sample(0, format!("{}\n{}\n", line("sda", 1), line("sdb", 1)));
        host
    };
    let files = "/hidden /size /dev /diskseq /device/type /device/media /device/devtype /device ".split(' ');
    for (file, kind) in files.flat_map(|file| PLANTED.split('|').map(move |kind| (file, kind))) {
        let mut host = host();
        plant(&host.path(&format!("sys/block/sdb{file}")), kind);
        let sample = host.sample(10, format!("{}\n{}\n", line("sda", 2), line("sdb", 2)));
        let report = sample.report.unwrap();
        let reads = report.disks["sda"].reads_per_second.get();
        assert_eq!((reads, sample.skipped.len()), (10.0, 0), "{file}: {kind:?}");
        let is_gone = kind == "nothing" && ["/device", ""].contains(&file);
        assert!(
            !is_gone || report.disks.len() == 1,
            "no {file:?}, and sdb is published"
        );
    }
    for kind in PLANTED.split('|').filter(|kind| *kind != "a directory") {
        let mut host = host();
        plant(&host.path("sys/block"), kind);
        let error = host.try_sample(10, &(line("sda", 2) + "\n")).unwrap_err();
        assert!(format!("{error:#}").contains("sys/block\": "), "{error:#}");
    }
}

#[test]
fn invalid_firmware_is_not_vmware() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let vendor = dir.path().join("class/dmi/id/sys_vendor");
    fs::create_dir_all(vendor.parent().unwrap()).unwrap();
    for kind in PLANTED.split('|') {
        plant(&vendor, kind);
        let found = detect(dir.path());
        let evidence = &found.evidence;
        assert!(!found.is_vmware && evidence.len() < 300, "{kind:?}: {evidence}");
        assert!(!evidence.contains(char::is_control), "{kind:?}: {evidence}");
    }
}
