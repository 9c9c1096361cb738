use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;

use super::*;
use crate::report::Report as _;

thread_local! {
    /// The milliseconds that the next reads of the clock return.
    static TIMES: RefCell<(Option<Moment>, VecDeque<u64>)> = const { RefCell::new((None, VecDeque::new())) };
}

fn clock() -> Moment {
    TIMES.with_borrow_mut(|(start, times)| {
        let start = start.get_or_insert_with(Moment::now);
        let passed = Duration::from_millis(times.pop_front().unwrap());
        Moment {
            monotonic: start.monotonic + passed,
            wall: start.wall + passed,
        }
    })
}

/// Returns the window of the sample whose reads of the clock return these milliseconds; 0 for the first one, `None` for one
/// that is skipped.
fn window<const N: usize>(sampler: &mut DisksSampler, times: [u64; N]) -> Option<f64> {
    TIMES.with_borrow_mut(|(_, next)| next.extend(times));
    let sampled = sampler.sample(clock).unwrap();
    TIMES.with_borrow(|(_, next)| assert!(next.is_empty(), "{next:?}"));
    match sampled {
        Sampled::Document(report) => Some(report.window_seconds.get()),
        Sampled::First => Some(0.0),
        Sampled::Skipped => None,
    }
}

#[test]
fn interrupted_reading_is_repeated_then_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let host = HostConfig {
        proc: folder.path().into(),
        sys: folder.path().into(),
        ..HostConfig::default()
    };
    fs::create_dir_all(folder.path().join("block/sda/device")).unwrap();
    fs::write(folder.path().join("diskstats"), "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n").unwrap();
    let mut sampler = DisksSampler::new(&DisksConfig::default(), &host);
    assert_eq!(window(&mut sampler, [0, 15, 20, 35, 40, 55]), None);
    // The time of the second reading.
    assert_eq!(window(&mut sampler, [1000, 1500, 1600, 1610]), Some(0.0));
    assert_eq!(window(&mut sampler, [11_600, 11_690]), Some(10.0));
    assert_eq!(
        window(&mut sampler, [21_600, 21_710, 21_710, 21_820, 21_820, 21_930]),
        None
    );
    // The longer ago the last sample is, the longer the interruption may be.
    assert_eq!(window(&mut sampler, [31_600, 31_790]), Some(30.0));
}

fn report_of(reads: f64, read_bytes: f64, writes: f64, whisper_disks: &str) -> DisksReport {
    let values = format!(
        concat!(
            r#"{{"util_percent":100.0,"reads_per_second":{},"writes_per_second":{},"read_bytes_per_second":{},"#,
            r#""write_bytes_per_second":20480000000.0,"read_await_ms":1.0,"write_await_ms":999.99,"queue_size":2.0}}"#
        ),
        reads, writes, read_bytes
    );
    let json = format!(
        concat!(
            r#"{{"schema":1,"updated_at":0,"interval_seconds":1,"window_seconds":60.0,"disks":{{"sda":{}}},"#,
            r#""whisper_disks":{}}}"#
        ),
        values, whisper_disks
    );
    serde_json::from_str(&json).unwrap()
}

#[test]
fn table_has_as_many_decimals_as_there_is_room_for() {
    let report = report_of(1000.25, 20480000000.0, 1234567.0, "[]");
    let table = table(&report);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(
        lines,
        [
            "1 physical, over 60.0 s",
            "     %util    r/s    w/s   rkB/s   wkB/s r_await w_await aqu-sz",
            "sda 100.00 1000.2 1234567 20000000 20000000    1.00  999.99   2.00",
        ]
    );
}

#[test]
fn long_values_of_the_table_stay_apart() {
    let table = table(&report_of(1234567.0, 20480000000.0, 1234567.0, "[]"));
    let row = table.lines().last().unwrap().split_whitespace();
    let numbers = "100.00 1234567 1234567 20000000 20000000 1.00 999.99 2.00";
    assert_eq!(row.skip(1).collect::<Vec<_>>().join(" "), numbers);
}

#[test]
fn disk_of_the_tree_is_in_the_table_and_the_log() {
    let report = report_of(3.0, 4096.0, 3.0, r#"["sda","sdb"]"#);
    let table = table(&report);
    assert!(
        table.starts_with("1 physical, over 60.0 s; whisper tree is on sda, sdb\n"),
        "{table}"
    );
    let details = "%util sda 100.0 over 60.0 s; whisper tree is on sda, sdb";
    assert_eq!(report.details(), details);
    // It reads as often as it writes.
    assert!(!report.disks["sda"].hangs(report.window_seconds));
}
