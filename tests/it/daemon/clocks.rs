//! Clocks that jump or fail, and processes that freeze: rates follow the monotonic clock, dates the wall clock.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::{Clocks, Daemon, FAST, TestDir, Watch, children_of, kill, text, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const YEAR: i64 = 365 * 24 * 3600 + 6 * 3600;

fn vm() -> TestDir {
    let dir = TestDir::in_memory();
    dir.configure_vm("", "interval = \"20ms\"", FAST, FAST);
    write_diskstats(&dir, Duration::ZERO);
    dir.metrics(["host/first.wsp"]);
    dir
}

/// A disk that reads 100 times a second for a quarter of the time.
fn write_diskstats(dir: &TestDir, passed: Duration) {
    let ms = passed.as_millis();
    let (reads, ticks) = (ms / 10, ms / 4);
    let sectors = reads * 8;
    let text = format!("8 0 sda {reads} 0 {sectors} {ticks} 0 0 0 0 0 {ticks} {ticks}\n");
    dir.replace("proc/diskstats", &text);
}

/// Runs `test` while the disk works steadily.
fn while_the_disk_works(dir: &TestDir, test: impl FnOnce()) {
    /// Stops the disk, also if an assertion fails: the scope waits for its thread.
    struct StopOnDrop<'a>(&'a AtomicBool);
    impl Drop for StopOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let started = Instant::now();
            while !is_done.load(Ordering::Relaxed) {
                write_diskstats(dir, started.elapsed());
                sleep(Duration::from_millis(5));
            }
        });
        let _stop = StopOnDrop(&is_done);
        wait_until_steady(dir);
        test();
        wait_until_steady(dir);
    });
}

fn number(document: &Value, key: &str) -> f64 {
    let found = document[key].as_f64();
    found.unwrap_or_else(|| panic!("{key} of {document}"))
}

/// Whether the rates are those of the disk, which does not keep its pace on a busy machine. Other rates must still be
/// possible ones.
fn is_steady(document: &Value) -> bool {
    let disk = &document["disks"]["sda"];
    let (reads, util) = (number(disk, "reads_per_second"), number(disk, "util_percent"));
    let is_possible = (0.0..10_000.0).contains(&reads) && (0.0..=100.0).contains(&util);
    assert!(is_possible, "{document}");
    (50.0..200.0).contains(&reads) && (12.0..50.0).contains(&util)
}

fn wait_until_steady(dir: &TestDir) {
    wait_for("the disk's steady rates", || {
        let document = dir.disks()?;
        let window = number(&document, "window_seconds");
        (window > 0.4 && window <= 2.0 && is_steady(&document)).then_some(())
    });
}

/// The only warnings are of a worker that does not use or write its snapshot because the clock was set back.
fn assert_no_warnings(dir: &TestDir) {
    let log = dir.log();
    let is_warning = |line: &&str| line.contains(" WARN disks") || line.contains(" WARN graphite");
    let mut warnings = log.lines().filter(is_warning);
    assert!(warnings.all(|line| line.contains(" snapshot ")), "{log}");
    for line in log.lines() {
        let (time, _) = line.split_once(' ').unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
    }
}

/// Asserts that the next second has as many documents as any other: one each 20 ms, and those that were due before.
fn assert_no_catch_up(watch: &Watch) {
    watch.all();
    let start = Instant::now();
    sleep(Duration::from_secs(1));
    let documents = watch.times("disks.tmp");
    let passed = start.elapsed();
    let limit = passed.as_millis() / 20 + 3;
    assert!(documents as u128 <= limit, "{documents} documents in {passed:?}");
}

#[test]
fn wall_clock_jumps_change_dates_and_no_value() {
    let dir = vm();
    let clocks = Clocks::new(&dir);
    let daemon = Daemon::spawn(clocks.given_to(dir.command().arg("run")), None);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let until = |date: &str| {
        let date = humantime::parse_rfc3339_weak(date)
            .unwrap()
            .duration_since(UNIX_EPOCH);
        date.unwrap().as_secs().cast_signed() - now().cast_signed()
    };
    let shifts = [
        5 * YEAR,
        -5 * YEAR,
        -1,
        90,
        until("1970-01-01 00:00:10"),
        until("2038-01-19 03:14:05"),
        // Linux cannot be set to these.
        -100 * YEAR,
        until("9999-12-31 23:59:58"),
        0,
    ];
    while_the_disk_works(&dir, || {
        for (turn, shift) in (0..).zip(shifts) {
            let before = dir.disks().unwrap();
            clocks.shift_wall(shift);
            let is_now = |document: &Value| {
                let shifted_now = (now().cast_signed() + shift).max(0);
                (document["updated_at"].as_i64().unwrap() - shifted_now).abs() <= 3
            };
            // Also the first documents after the jump are right.
            for _ in 0..20 {
                let document = dir.disks().expect("the disk values stay");
                assert!(number(&document, "window_seconds") < 5.0, "{document}");
                assert!(is_steady(&document) || !is_steady(&before), "{before} {document}");
                sleep(Duration::from_millis(5));
            }
            wait_for("the disks' date", || dir.disks().filter(is_now));
            wait_for("the count's date", || dir.count().filter(is_now));
            wait_for("VMware's date", || dir.vmware().filter(is_now));
            // The second change is in a directory that was read after the jump.
            for change in 0..2 {
                dir.metrics([format!("host-{turn}/sub/m{change}.wsp")]);
                dir.wait_for_metrics(2 + 2 * turn + change);
            }
            let reason = match shift {
                3600.. => " in the future",
                ..-3600 => " old, the limit is ",
                0 => "",
                _ => continue,
            };
            for words in [["check", "disks"], ["check", "graphite"], ["status", "--json"]] {
                let output = dir.run(&words);
                let (answer, is_ok) = (text(&output.stdout), output.status.success());
                assert!(answer.contains(reason) && is_ok == reason.is_empty(), "{answer}");
            }
        }
    });
    assert_no_warnings(&dir);
    daemon.stop();
}

#[test]
fn frozen_daemon_continues_with_right_values_and_no_catch_up() {
    let dir = vm();
    let watchdog = Duration::from_millis(800);
    let daemon = Daemon::start_notifying(&dir, Some(watchdog));
    while_the_disk_works(&dir, || {
        let watch = Watch::replaced(&dir.path(""));
        for helper_too in [false, true] {
            // The helper is the oldest child.
            let helper = children_of(daemon.child.id())[0];
            let signal = |signal| {
                daemon.signal(signal);
                if helper_too {
                    kill(helper, signal);
                }
            };
            signal(Signal::STOP);
            let frozen = Instant::now();
            sleep(Duration::from_secs(2));
            daemon.drain_messages();
            watch.all();
            dir.metrics([format!("host/while-frozen-{helper_too}.wsp")]);
            signal(Signal::CONT);
            let thawed = Instant::now();
            daemon.wait_for_message("WATCHDOG=1");
            let waited = thawed.elapsed();
            assert!(waited < watchdog, "a heartbeat after {waited:?}");
            // The frozen time and its reads are in the window, also if it was frozen between reading and the clock.
            let longest = 1.7 + frozen.elapsed().as_secs_f64();
            wait_for("a document over the frozen time", || {
                let document = dir.disks()?;
                let window = number(&document, "window_seconds");
                ((2.0..=longest).contains(&window) && is_steady(&document)).then_some(())
            });
            assert_no_catch_up(&watch);
            dir.wait_for_metrics(2 + u64::from(helper_too));
            wait_until_steady(&dir);
            dir.wait_for_helper();
        }
    });
    let warnings = dir.logged(" WARN ");
    assert!(warnings <= 3, "{}", dir.log());
    daemon.stop();
}

#[test]
fn days_that_passed_in_a_moment_cause_no_catch_up() {
    let dir = vm();
    let clocks = Clocks::new(&dir);
    let daemon = Daemon::spawn(clocks.given_to(dir.command().arg("run")), None);
    while_the_disk_works(&dir, || {
        let watch = Watch::replaced(&dir.path(""));
        let before = dir.disks();
        clocks.advance(3 * 24 * 3600);
        wait_for("a later document", || {
            dir.disks().filter(|_| dir.disks() != before)
        });
        assert_no_catch_up(&watch);
        dir.metrics(["host/later.wsp"]);
        dir.wait_for_metrics(2);
    });
    assert_no_warnings(&dir);
    daemon.stop();
}

#[test]
fn panic_removes_the_disks_file() {
    let dir = vm();
    let clocks = Clocks::new(&dir);
    let mut daemon = Daemon::spawn(clocks.given_to(dir.command().arg("run")), None);
    wait_for("both", || dir.disks().and(dir.count()));
    clocks.fail();
    let ended = wait_for("the end", || daemon.child.try_wait().unwrap());
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{ended}");
    assert!(dir.disks().is_none() && dir.count().is_some());
}
