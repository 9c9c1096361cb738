//! The published values, from the kernel files of two instants: the cases of `cases.txt`.
//!
//! A case has a name and four paragraphs: a description and the devices in sysfs, two texts of /proc/diskstats, and the
//! expected values. `disks:` and `virtual:` list devices with and without hardware, each with its files in sysfs. A file
//! `NAME=A|B` has the text A at the first instant and B at the second.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use serde_json::{Value, json};
use shinken_gatherer::config::{DisksConfig, HostConfig};
use shinken_gatherer::disks::{Disks, Sample};
use shinken_gatherer::moment::Moment;
use tempfile::TempDir;

/// The columns of the expected values.
const VALUES: &str = "util_percent reads_per_second writes_per_second read_bytes_per_second write_bytes_per_second \
                      read_await_ms write_await_ms queue_size";

/// Kernel files, and the disks that are sampled from them.
pub(super) struct Host {
    dir: TempDir,
    pub(super) disks: Disks,
    start: Instant,
}

impl Host {
    pub(super) fn new(devices: &str) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let (proc, sys) = (dir.path().join("proc"), dir.path().join("sys"));
        fs::create_dir_all(&proc).unwrap();
        let host = HostConfig {
            proc,
            sys,
            ..HostConfig::default()
        };
        let host = Self {
            disks: Disks::new(&DisksConfig::default(), &host),
            start: Instant::now(),
            dir,
        };
        host.make_devices(devices, 0);
        host
    }

    /// Makes the devices of a line of a case at an instant, 0 or 1.
    fn make_devices(&self, line: &str, instant: usize) {
        let (kind, devices) = line.split_once(": ").unwrap();
        for device in devices.split(", ") {
            let mut words = device.split(' ');
            let block = self.path("sys/block").join(words.next().unwrap());
            let hardware = if kind == "disks" { "device" } else { "" };
            fs::create_dir_all(block.join(hardware)).unwrap();
            for (file, text) in words.map(|word| word.split_once('=').unwrap()) {
                let text = text.split('|').nth(instant).unwrap_or(text);
                fs::write(block.join(file), format!("{text}\n")).unwrap();
            }
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn try_sample(&mut self, seconds: u64, diskstats: impl AsRef<[u8]>) -> Result<Sample> {
        fs::write(self.path("proc/diskstats"), diskstats).unwrap();
        let now = Moment {
            monotonic: self.start + Duration::from_secs(seconds),
            wall: SystemTime::now(),
        };
        self.disks.sample(now)
    }

    /// Takes a sample of this text of /proc/diskstats, so many seconds after the start.
    pub(super) fn sample(&mut self, seconds: u64, diskstats: impl AsRef<[u8]>) -> Sample {
        self.try_sample(seconds, diskstats).unwrap()
    }
}

/// Returns the expected values of a case, and those that are published.
fn values(case: &str) -> (Value, Value) {
    let paragraphs: Vec<_> = case.trim_end().split("\n\n").collect();
    let [head, first, second, table] = paragraphs.try_into().expect("four paragraphs");
    let devices: Vec<_> = head.lines().skip(2).collect();
    let mut host = Host::new(devices[0]);
    let mut sample = |instant: usize, text: &str| {
        let (_, lines) = text.split_once('\n').unwrap();
        for line in &devices {
            host.make_devices(line, instant);
        }
        host.sample(10 * instant as u64, format!("{lines}\n"))
    };
    sample(0, first);
    let report = serde_json::to_value(sample(1, second).report.expect("a document")).unwrap();
    assert_eq!(report["window_seconds"], json!(10.0));
    let rows = table.lines().skip(1).map(|row| {
        let mut columns = row.split_whitespace();
        let disk = columns.next().unwrap().to_string();
        let numbers = columns.map(|number| json!(number.parse::<f64>().unwrap()));
        (disk, VALUES.split(' ').map(String::from).zip(numbers).collect())
    });
    (Value::Object(rows.collect()), report["disks"].clone())
}

#[test]
fn every_case_gives_its_expected_values() {
    let cases: Vec<_> = include_str!("cases.txt").split("== ").skip(1).collect();
    assert!(cases.len() >= 9, "cases are missing");
    for case in cases {
        let (expected, found) = values(case);
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn malformed_line_is_reported_by_number_and_column() {
    let text = "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n8 16 sdb 1 2 3\n8 32 sdc 1 0 8 1 many 0 8 1 0 1 1\n";
    let mut host = Host::new("disks: sda, sdb, sdc");
    let skipped = host.sample(0, text).skipped;
    assert_eq!(
        skipped.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            r#"diskstats line 2: device "sdb" has 6 columns, expected at least 14"#,
            r#"diskstats line 3: column 8 of device "sdc" is not a number: "many""#
        ]
    );
}

#[test]
fn window_grows_to_its_length_then_moves() {
    let mut host = Host::new("disks: sda");
    for (seconds, expected) in [
        // Busy for half of the first minute, then idle.
        (0, None),
        (1, Some((1.0, 50.0))),
        (10, Some((10.0, 50.0))),
        (20, Some((20.0, 50.0))),
        (30, Some((30.0, 50.0))),
        (40, Some((40.0, 50.0))),
        (50, Some((50.0, 50.0))),
        (60, Some((60.0, 50.0))),
        (70, Some((60.0, 41.667))),
        (80, Some((60.0, 33.333))),
        (90, Some((60.0, 25.0))),
        (100, Some((60.0, 16.667))),
        (110, Some((60.0, 8.333))),
        (120, Some((60.0, 0.0))),
        // Stopped for an hour. The next samples alone would be too short a window.
        (3720, Some((3600.0, 0.0))),
        (3730, Some((3610.0, 0.0))),
        (3740, Some((3620.0, 0.0))),
        (3750, Some((3630.0, 0.0))),
        (3760, Some((40.0, 0.0))),
    ] {
        let ticks_ms = seconds.min(60) * 500;
        let sample = host.sample(seconds, format!("8 0 sda 0 0 0 0 0 0 0 0 0 {ticks_ms} 0\n"));
        let found = sample.report.map(|report| {
            let util = report.disks["sda"].util_percent.get();
            (report.window_seconds.get(), util)
        });
        assert_eq!(found, expected, "after {seconds} s");
    }
}

#[test]
fn sample_at_the_limit_of_the_window_is_kept() {
    let mut host = Host::new("disks: sda");
    let mut window = |seconds| {
        let sample = host.sample(seconds, "8 0 sda 0 0 0 0 0 0 0 0 0 0 0\n");
        sample.report.map(|report| report.window_seconds.get())
    };
    // The window and half an interval.
    assert_eq!([0, 30, 65].map(&mut window), [None, Some(30.0), Some(65.0)]);
}

#[test]
fn machine_without_disks_has_an_empty_document() {
    let mut host = Host::new("virtual: loop0");
    let sample = host.sample(0, "7 0 loop0 1 0 8 1 1 0 8 1 0 1 1\n");
    let report = sample.report.expect("a document");
    assert!(report.disks.is_empty());
    assert_eq!(report.window_seconds.get(), 0.0);
}

#[test]
fn added_disk_has_its_own_window() {
    let mut host = Host::new("disks: sda, sdb");
    let (sda, sdb) = (
        "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n",
        "8 16 sdb 1 0 8 1 1 0 8 1 0 1 1\n",
    );
    host.sample(0, sda);
    host.sample(10, [sda, sdb].concat());
    let report = host.sample(30, [sda, sdb].concat()).report.unwrap();
    assert_eq!(report.window_seconds.get(), 30.0);
    let own = |disk: &str| report.disks[disk].window_seconds.map(|window| window.get());
    assert_eq!((own("sda"), own("sdb")), (None, Some(20.0)));
}
