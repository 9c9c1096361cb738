//! The disks' values from fixtures of two instants, ten seconds apart: `tests/cases/NN-name/{t0,t1}/{proc,sys}`.
//!
//! `expected.json` holds the `disks` of the document after the second instant; `under.json`, where there is one, the
//! physical disks under block devices.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use shinken_gatherer::config::{DisksConfig, HostConfig};
use shinken_gatherer::device::Device;
use shinken_gatherer::disks::Disks;
use shinken_gatherer::disks::backing::disks_of_device;
use shinken_gatherer::moment::Moment;

const ELAPSED: Duration = Duration::from_secs(10);

/// Makes `now/proc` and `now/sys` of a folder of its own be those of an instant.
fn switch_to(now: &Path, instant: &Path) {
    for part in ["proc", "sys"] {
        let link = now.join(part);
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(instant.join(part), link).unwrap();
    }
}

fn disks_at_second_instant(case: &Path) -> Value {
    let now = tempfile::tempdir().unwrap();
    let host = HostConfig {
        proc: now.path().join("proc"),
        sys: now.path().join("sys"),
        ..HostConfig::default()
    };
    let mut disks = Disks::new(&DisksConfig::default(), &host);
    let start = Instant::now();
    switch_to(now.path(), &case.join("t0"));
    disks.sample(at(start)).unwrap();
    switch_to(now.path(), &case.join("t1"));
    let sample = disks.sample(at(start + ELAPSED)).unwrap();
    let report = serde_json::to_value(sample.report.expect("a document")).unwrap();
    assert_eq!(report["window_seconds"], json!(10.0));
    report["disks"].clone()
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(cases.len() >= 19, "the fixtures are missing");
    cases
}

#[test]
fn every_case_gives_its_expected_values() {
    let mut wrong = String::new();
    for case in cases() {
        let expected: Value = serde_json::from_slice(&fs::read(case.join("expected.json")).unwrap()).unwrap();
        let found = disks_at_second_instant(&case);
        if found != expected {
            wrong += &format!("{}:\n  expected {expected}\n  found    {found}\n", case.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn disks_under_stacked_devices_are_found() {
    let mut checked = 0;
    for case in cases() {
        let Ok(text) = fs::read(case.join("under.json")) else {
            continue;
        };
        let expected: BTreeMap<String, Vec<String>> = serde_json::from_slice(&text).unwrap();
        for (device, disks) in expected {
            let (major, minor) = device.split_once(':').unwrap();
            let device_number = Device {
                major: major.parse().unwrap(),
                minor: minor.parse().unwrap(),
            };
            let found = disks_of_device(&case.join("t1/sys"), device_number);
            assert_eq!(
                found.into_iter().collect::<Vec<_>>(),
                disks,
                "{device} of {}",
                case.display()
            );
            checked += 1;
        }
    }
    assert!(checked >= 5);
}

#[test]
fn a_malformed_line_is_named() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/15-short-lines/t1");
    let host = HostConfig {
        proc: case.join("proc"),
        sys: case.join("sys"),
        ..HostConfig::default()
    };
    let sample = Disks::new(&DisksConfig::default(), &host)
        .sample(at(Instant::now()))
        .unwrap();
    let skipped: Vec<_> = sample.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(
        skipped,
        [
            r#"diskstats line 2: device "sdb" has 6 columns, expected at least 14"#,
            r#"diskstats line 3: column 8 of device "sdc" is not a number: "many""#
        ]
    );
}

#[test]
fn the_window_grows_to_its_length_and_slides() {
    let now = tempfile::tempdir().unwrap();
    let (proc, sys) = (now.path().join("proc"), now.path().join("sys"));
    fs::create_dir_all(&proc).unwrap();
    fs::create_dir_all(sys.join("block/sda/device")).unwrap();
    let mut disks = Disks::new(
        &DisksConfig::default(),
        &HostConfig {
            proc: proc.clone(),
            sys,
            ..HostConfig::default()
        },
    );
    let start = Instant::now();
    // Busy for half of the first minute, idle in the next.
    let mut sample_at = |seconds: u64| {
        let ticks_ms = seconds.min(60) * 500;
        fs::write(
            proc.join("diskstats"),
            format!("8 0 sda 0 0 0 0 0 0 0 0 0 {ticks_ms} 0\n"),
        )
        .unwrap();
        let sample = disks.sample(at(start + Duration::from_secs(seconds))).unwrap();
        sample.report.map(|report| {
            (
                report.window_seconds.get(),
                report.disks["sda"].util_percent.get(),
            )
        })
    };
    assert_eq!(sample_at(0), None);
    assert_eq!(sample_at(1), Some((1.0, 50.0)));
    assert_eq!(sample_at(10), Some((10.0, 50.0)));
    for seconds in [20, 30, 40, 50] {
        sample_at(seconds);
    }
    assert_eq!(sample_at(60), Some((60.0, 50.0)));
    assert_eq!(sample_at(70), Some((60.0, 41.667)));
    for seconds in [80, 90, 100, 110] {
        sample_at(seconds);
    }
    assert_eq!(sample_at(120), Some((60.0, 0.0)));
    // Stopped for an hour: the values span that hour, because nothing newer is known.
    assert_eq!(sample_at(3720), Some((3600.0, 0.0)));
    // The samples right after it make no window of their own: what happened in those moments would stand for it.
    assert_eq!(sample_at(3730), Some((3610.0, 0.0)));
    for seconds in [3740, 3750] {
        sample_at(seconds);
    }
    assert_eq!(sample_at(3760), Some((40.0, 0.0)));
}

fn at(monotonic: Instant) -> Moment {
    Moment {
        monotonic,
        wall: SystemTime::now(),
    }
}
