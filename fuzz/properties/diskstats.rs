//! Whatever /proc/diskstats holds, from instant to instant: each line is taken or named, and no published value is wild.
//!
//! The input is one text after the other, each begun by a line `@MILLISECONDS` with the time since the one before.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use shinken_gatherer::config::{DisksConfig, HostConfig};
use shinken_gatherer::disks::Disks;
use shinken_gatherer::disks::diskstats::parse;
use shinken_gatherer::disks::{DiskReport, DisksReport};
use shinken_gatherer::moment::Moment;
use shinken_gatherer::report::to_line;
use tempfile::TempDir;

/// The disks that sysfs knows, the last two of them the paths of the one before.
const DISKS: [&str; 6] = ["sda", "sdb", "cciss!c0d0", "nvme0n1", "nvme0c0n1", "nvme0c1n1"];
const PATHS: [&str; 2] = ["nvme0c0n1", "nvme0c1n1"];
/// Texts of more instants than this prove nothing more.
const MAX_INSTANTS: usize = 12;

/// Panics where one of the properties does not hold for these texts of /proc/diskstats.
pub fn hold(input: &[u8]) {
    thread_local!(static HOST: TempDir = host());
    HOST.with(|host| in_host(host.path(), input));
}

/// A folder with what the collector reads; made once, because that takes longer than all the rest.
fn host() -> TempDir {
    let host = tempfile::tempdir_in("/dev/shm").expect("a folder for /proc and /sys");
    fs::create_dir(host.path().join("proc")).expect("a folder for /proc");
    for disk in DISKS {
        let block = host.path().join("sys/block").join(disk);
        fs::create_dir_all(block.join("device")).expect("a disk in /sys");
        if PATHS.contains(&disk) {
            fs::write(block.join("hidden"), "1\n").expect("a path in /sys");
        }
    }
    host
}

fn in_host(root: &Path, input: &[u8]) {
    let host = HostConfig {
        proc: root.join("proc"),
        sys: root.join("sys"),
        ..HostConfig::default()
    };
    let mut disks = Disks::new(&DisksConfig::default(), &host);
    let mut now = Instant::now();
    let mut samples = 0;
    for (step, text) in instants(input).into_iter().take(MAX_INSTANTS) {
        every_line_is_taken_or_named(text);
        now += step;
        samples += 1;
        fs::write(host.proc.join("diskstats"), text).expect("writing the text");
        let sample = disks
            .sample(Moment {
                monotonic: now,
                wall: SystemTime::UNIX_EPOCH,
            })
            .expect("a sample");
        let names: BTreeSet<String> = disks.names().map(String::from).collect();
        assert_eq!(
            names,
            well_formed_disks(text),
            "well-formed lines of disks make a disk"
        );
        if let Some(report) = sample.report {
            is_plausible(&report, samples, &names);
        }
    }
}

/// The texts, each with the time since the one before. What comes before the first mark is an instant too.
fn instants(input: &[u8]) -> Vec<(Duration, &[u8])> {
    let mut instants = Vec::new();
    let (mut begin, mut end, mut step) = (0, 0, 0);
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        if let Some(mark) = line.strip_prefix(b"@") {
            instants.push((step, &input[begin..end]));
            let mark = String::from_utf8_lossy(mark);
            step = mark.trim().parse().unwrap_or(1000);
            begin = end + line.len();
        }
        end += line.len();
    }
    instants.push((step, &input[begin..]));
    // Up to eleven days, more than any suspended machine; the clock itself never stands still.
    let time = |step: u64| Duration::from_millis(step.clamp(1, 1_000_000_000));
    instants
        .into_iter()
        .map(|(step, text)| (time(step), text))
        .collect()
}

/// What the kernel's documentation calls a line: text, a name in the third column, eleven numbers behind it. It ends
/// with a newline: without, there may be more to its last number.
fn is_well_formed(line: &[u8]) -> bool {
    let Some(Ok(line)) = line.strip_suffix(b"\n").map(std::str::from_utf8) else {
        return false;
    };
    let columns: Vec<_> = line.split_ascii_whitespace().collect();
    let number =
        |column: &&str| column.bytes().all(|byte| byte.is_ascii_digit()) && column.parse::<u64>().is_ok();
    columns.len() >= 14 && columns[3..14].iter().all(number)
}

fn well_formed_disks(text: &[u8]) -> BTreeSet<String> {
    let lines = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| is_well_formed(line));
    let names = lines.filter_map(|line| std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(2));
    names
        .filter(|name| {
            let name = name.replace('/', "!");
            DISKS.contains(&name.as_str()) && !PATHS.contains(&name.as_str())
        })
        .map(String::from)
        .collect()
}

fn every_line_is_taken_or_named(text: &[u8]) {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut blank = lines
        .iter()
        .filter(|line| line.iter().all(u8::is_ascii_whitespace))
        .count();
    for parsed in parse(text) {
        blank += 1;
        match parsed {
            Ok(line) => {
                assert!(!line.name.is_empty() && !line.name.contains(|c: char| c.is_ascii_whitespace()))
            }
            Err(malformed) => {
                assert!(!is_well_formed(lines[malformed.line - 1]), "{malformed}");
                let said = malformed.to_string();
                assert!(!said.contains(char::is_control) && said.len() < 800, "{said:?}");
            }
        }
    }
    assert_eq!(blank, lines.len(), "each line is blank, taken or named");
}

fn is_plausible(report: &DisksReport, samples: u32, names: &BTreeSet<String>) {
    let line = to_line(report);
    assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
    let read: DisksReport = serde_json::from_str(&line).expect("what is published can be read");
    assert_eq!(read.disks.len(), report.disks.len());
    for (name, disk) in &report.disks {
        assert!(names.contains(name), "{name}");
        let window = disk.window_seconds.unwrap_or(report.window_seconds).get();
        assert!(window > 0.0 && window <= report.window_seconds.get(), "{window}");
        disk_is_plausible(disk, window, f64::from(samples));
    }
}

/// No rate of these values is beyond what any disk could do, allowing each sample a second more than it spans.
fn disk_is_plausible(disk: &DiskReport, window: f64, samples: f64) {
    let most = |per_second: f64| per_second * (window + samples) / window * 1.001;
    let (requests, bytes) = (most(2f64.powi(30)), most(2f64.powi(36) * 512.0));
    let in_flight = 2f64.powi(20);
    for (value, largest) in [
        (disk.util_percent, 100.0),
        (disk.reads_per_second, requests),
        (disk.writes_per_second, requests),
        (disk.read_bytes_per_second, bytes),
        (disk.write_bytes_per_second, bytes),
        (disk.read_await_ms, in_flight * 1000.0 * (window + samples)),
        (disk.write_await_ms, in_flight * 1000.0 * (window + samples)),
        (disk.queue_size, most(in_flight)),
    ] {
        let value = value.get();
        // NVMe's paths are added up: two of them here, as often as their lines are repeated.
        assert!(value.is_finite() && value >= 0.0, "{value}: {disk:?}");
        assert!(value <= largest.max(100.0), "{value} above {largest}: {disk:?}");
    }
    assert!(disk.util_percent.get() <= 100.0);
}
