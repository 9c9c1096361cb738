//! Clocks that jump and processes that freeze, under the built binary: rates are of the monotonic clock, dates of the
//! wall clock, and nothing is made up for.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::clocks::Clocks;
use crate::support::watch::Watch;
use crate::support::{Daemon, TestDir, document, text, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const YEAR: i64 = 365 * 24 * 3600 + 6 * 3600;

/// A place with one disk, on firmware that says VMware, whose guest library is missing.
fn place() -> TestDir {
    let place = TestDir::in_memory();
    let (proc, sys) = (place.path("proc"), place.path("sys"));
    for folder in ["block/sda/device", "class/dmi/id"] {
        fs::create_dir_all(sys.join(folder)).unwrap();
    }
    fs::create_dir_all(&proc).unwrap();
    fs::write(sys.join("class/dmi/id/sys_vendor"), "VMware, Inc.\n").unwrap();
    place.configure_with(
        "",
        "interval = \"20ms\"",
        "interval = \"20ms\"\nwindow = \"1s\"",
        &format!(
            "interval = \"20ms\"\nwindow = \"1s\"\nlibraries = [\"/nowhere\"]\n\
             [host]\nproc = {proc:?}\nsys = {sys:?}"
        ),
    );
    write_diskstats(&place, Duration::ZERO);
    place
}

/// A disk that reads 100 times a second for a quarter of the time.
fn write_diskstats(place: &TestDir, passed: Duration) {
    let ms = passed.as_millis();
    let (reads, ticks) = (ms / 10, ms / 4);
    let text = format!(
        "8 0 sda {reads} 0 {} {ticks} 0 0 0 0 0 {ticks} {ticks}\n",
        reads * 8
    );
    fs::write(place.path("proc/new"), text).unwrap();
    fs::rename(place.path("proc/new"), place.path("proc/diskstats")).unwrap();
}

/// Runs `test` while the disk works steadily.
fn while_the_disk_works(place: &TestDir, test: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            while !done.load(Ordering::Relaxed) {
                write_diskstats(place, began.elapsed());
                sleep(Duration::from_millis(5));
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn number(document: &Value, key: &str) -> f64 {
    document[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} of {document}"))
}

/// Whether the document's rates are the disk's. On a busy machine this test's disk does not keep its pace either; what
/// they must not be is those of another time.
fn is_steady(document: &Value) -> bool {
    let disk = &document["disks"]["sda"];
    let (reads, util) = (number(disk, "reads_per_second"), number(disk, "util_percent"));
    assert!(
        (0.0..10_000.0).contains(&reads) && (0.0..=100.0).contains(&util),
        "{document}"
    );
    (50.0..200.0).contains(&reads) && (12.0..50.0).contains(&util)
}

fn wait_until_steady(place: &TestDir, longest_window: f64) -> Value {
    wait_for("the disk's steady rates", || {
        place.disks().filter(|document| {
            number(document, "window_seconds") <= longest_window
                && number(document, "window_seconds") > 0.4
                && is_steady(document)
        })
    })
}

fn now_shifted(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now.cast_signed() + seconds
}

#[test]
fn the_wall_clock_may_jump_by_years() {
    let place = place();
    place.metrics(["host/first.wsp"]);
    let clocks = Clocks::new(&place);
    let daemon = Daemon::spawn(clocks.given_to(place.command().arg("run")), None);
    while_the_disk_works(&place, || {
        wait_until_steady(&place, 2.0);
        let to = |date: &str| {
            let date = humantime::parse_rfc3339_weak(date).unwrap();
            date.duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed() - now_shifted(0)
        };
        let shifts = [
            5 * YEAR,
            -5 * YEAR,
            20 * YEAR,
            -1,
            0,
            1,
            90,
            -90,
            to("1970-01-01 00:00:10"),
            to("2038-01-19 03:14:05"),
            // No Linux can be set to these, but a library like this test's can say so.
            -100 * YEAR,
            to("9999-12-31 23:59:58"),
            0,
        ];
        for (turn, shift) in shifts.into_iter().enumerate() {
            let before = place.disks().unwrap();
            clocks.shift_wall(shift);
            let is_now = |document: &Value| {
                let updated_at = document["updated_at"].as_i64().unwrap();
                (updated_at - now_shifted(shift).max(0)).abs() <= 3
            };
            // From the very first document after the jump on.
            for _ in 0..20 {
                let document = place.disks().expect("the disks' values stay");
                assert!(number(&document, "window_seconds") < 5.0, "{document}");
                assert!(is_steady(&document) || !is_steady(&before), "{before} {document}");
                sleep(Duration::from_millis(5));
            }
            wait_for("the disks' date to follow", || place.disks().filter(is_now));
            wait_for("the count's date to follow", || place.count().filter(is_now));
            wait_for("the date of VMware's file to follow", || {
                document(&place.path("vmware.dat")).filter(is_now)
            });
            // Changes are seen: of the tree, twice, the second time in a directory that was read after the jump.
            for change in 0..2 {
                place.metrics([format!("host-{turn}/sub/m{change}.wsp")]);
                let metrics = 1 + 2 * turn as u64 + change + 1;
                wait_for("the count of one more", || {
                    place.count().filter(|count| count["metrics"] == metrics)
                });
            }
            // What readers with the right time say of it.
            let said = |args: &[&str]| {
                let output = place.command().args(args).output().unwrap();
                (output.status.code(), text(&output.stdout))
            };
            if shift > 3600 {
                let (code, line) = said(&["check", "disks"]);
                assert!(code == Some(3) && line.contains(" in the future"), "{line}");
                let (_, line) = said(&["check", "graphite"]);
                assert!(line.contains(" in the future"), "{line}");
                let (code, table) = said(&["status"]);
                assert!(code == Some(1) && table.contains(" in the future"), "{table}");
            } else if shift < -3600 {
                let (code, line) = said(&["check", "disks"]);
                assert!(code == Some(3) && line.contains(" old, the limit is "), "{line}");
                let (code, table) = said(&["status"]);
                assert!(
                    code == Some(1) && table.contains(" old, the limit is "),
                    "{table}"
                );
            } else if shift == 0 {
                assert_eq!(said(&["check", "disks"]).0, Some(0));
            }
        }
        wait_until_steady(&place, 2.0);
    });
    let log = place.log();
    // A worker that runs while the clock is set back does not use its snapshot, or does not write one.
    let is_warning = |line: &&str| line.contains(" WARN disks") || line.contains(" WARN graphite");
    let mut warnings = log.lines().filter(is_warning);
    assert!(warnings.all(|line| line.contains(" snapshot ")), "{log}");
    for line in log.lines() {
        let (time, _) = line.split_once(' ').unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
    }
    daemon.stop();
}

/// Documents of the disks in the second that follows.
fn published_within_a_second(watch: &Watch) -> usize {
    watch.times("disks.tmp");
    let until = Instant::now() + Duration::from_secs(1);
    let mut times = 0;
    while Instant::now() < until {
        times += watch.times("disks.tmp");
        sleep(Duration::from_millis(1));
    }
    times
}

/// At most one each 20 ms, and the one that was due before.
const MAX_A_SECOND: usize = 53;

#[test]
fn frozen_daemon_continues_with_right_values_and_no_catch_up() {
    let place = place();
    place.metrics(["host/first.wsp"]);
    let watchdog = Duration::from_millis(800);
    let daemon = Daemon::start_notifying(&place, Some(watchdog));
    while_the_disk_works(&place, || {
        wait_until_steady(&place, 2.0);
        let watch = Watch::replaced(&place.path(""));
        for helper_too in [false, true] {
            let helper = Command::new("pgrep")
                .args(["-P", &daemon.child.id().to_string()])
                .output()
                .unwrap();
            let helper = text(&helper.stdout).trim().parse().expect("one helper");
            let helper = rustix::process::Pid::from_raw(helper).unwrap();
            let signal_helper = |signal| {
                if helper_too {
                    rustix::process::kill_process(helper, signal).unwrap();
                }
            };
            daemon.signal(Signal::STOP);
            signal_helper(Signal::STOP);
            let frozen = Instant::now();
            sleep(Duration::from_secs(3));
            daemon.drain_messages();
            watch.all();
            place.metrics([format!("host/while-frozen-{helper_too}.wsp")]);
            daemon.signal(Signal::CONT);
            signal_helper(Signal::CONT);
            let thawed = Instant::now();
            daemon.wait_for_message("WATCHDOG=1");
            assert!(
                thawed.elapsed() < watchdog,
                "a heartbeat after {:?}",
                thawed.elapsed()
            );
            let first = wait_for("the first document", || {
                (watch.times("disks.tmp") > 0).then(|| place.disks().unwrap())
            });
            // What happened meanwhile is in it, and the time in which it did.
            let window = number(&first, "window_seconds");
            assert!(
                (3.0..=1.7 + frozen.elapsed().as_secs_f64()).contains(&window),
                "{first}"
            );
            assert!(is_steady(&first), "{first}");
            let times = published_within_a_second(&watch);
            assert!(times <= MAX_A_SECOND, "{times} documents in a second");
            let metrics = 2 + u64::from(helper_too);
            wait_for("the count of what changed meanwhile", || {
                place.count().filter(|count| count["metrics"] == metrics)
            });
            wait_until_steady(&place, 2.0);
            wait_for("the helper to answer as before", || {
                document(&place.path("vmware.dat"))
                    .filter(|vmware| vmware["error"].as_str().unwrap().contains("library not found"))
            });
        }
    });
    let log = place.log();
    assert!(
        log.lines().filter(|line| line.contains(" WARN ")).count() <= 3,
        "{log}"
    );
    daemon.stop();
}

#[test]
fn minutes_skipped_by_monotonic_clock_stay_in_the_window() {
    let place = place();
    place.metrics(["host/first.wsp"]);
    let clocks = Clocks::new(&place);
    let daemon = Daemon::spawn(clocks.given_to(place.command().arg("run")), None);
    while_the_disk_works(&place, || {
        wait_until_steady(&place, 2.0);
        let watch = Watch::replaced(&place.path(""));
        let mut skipped = 0;
        for seconds in [300, 86_400, 40 * 86_400] {
            watch.all();
            skipped += seconds;
            clocks.shift_monotonic(skipped);
            let long = wait_for("a document over the gap", || {
                let document = place.disks()?;
                (number(&document, "window_seconds") > seconds as f64).then_some(document)
            });
            // A disk that did next to nothing in all that time: the truth over that window, which the document names.
            assert!(number(&long, "window_seconds") < seconds as f64 + 5.0, "{long}");
            assert!(number(&long["disks"]["sda"], "reads_per_second") < 2.0, "{long}");
            let times = published_within_a_second(&watch);
            assert!(times <= MAX_A_SECOND, "{times} documents in a second");
            wait_until_steady(&place, 2.0);
            place.metrics([format!("host/{seconds}.wsp")]);
            let metrics = 1
                + [300, 86_400, 40 * 86_400]
                    .iter()
                    .position(|one| *one == seconds)
                    .unwrap()
                + 1;
            wait_for("the count of one more", || {
                place.count().filter(|count| count["metrics"] == metrics)
            });
        }
    });
    let log = place.log();
    // A worker that runs while the clock is set back does not use its snapshot, or does not write one.
    let is_warning = |line: &&str| line.contains(" WARN disks") || line.contains(" WARN graphite");
    let mut warnings = log.lines().filter(is_warning);
    assert!(warnings.all(|line| line.contains(" snapshot ")), "{log}");
    daemon.stop();
}
