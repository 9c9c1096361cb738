//! SIGHUP with a bad configuration: refused in one line of the log, and the running one stays.

use std::fs;

use rustix::process::Signal;

use super::cases;
use crate::support::{Daemon, TestDir, wait_for};

/// What the log said of refused configurations so far.
fn refused(place: &TestDir) -> Vec<String> {
    let log = place.log();
    // Only whole lines: the last one may be read while it is written.
    let lines = log
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    let lines = lines.filter(|line| line.contains("reload failed"));
    lines.map(String::from).collect()
}

#[test]
fn every_bad_text_leaves_the_running_configuration() {
    let place = TestDir::new();
    place.metrics(["host-1/a.wsp"]);
    place.configure_with(
        "",
        "interval = \"20ms\"",
        "interval = \"20ms\"\nwindow = \"1s\"",
        "",
    );
    let good = fs::read_to_string(place.path("gatherer.toml")).unwrap();
    let file = place.path("gatherer.toml");
    let daemon = Daemon::start(&place);
    wait_for("the count", || place.count());
    let before = place.disks().is_some();
    let bad = cases::all(&place);
    for (number, case) in bad.iter().enumerate() {
        fs::write(&file, &case.text).unwrap();
        daemon.signal(Signal::HUP);
        let said = wait_for(&format!("a refusal of {:.200}", case.text), || {
            refused(&place).into_iter().nth(number)
        });
        let expected = format!(
            " ERROR daemon: reload failed, keeping the current configuration: {}{}",
            file.display(),
            case.expected
        );
        assert!(
            said.contains(&expected),
            "{:.200}: {expected} is not in {said}",
            case.text
        );
        assert!(said.len() < 2000 && !said.contains(char::is_control), "{said:?}");
    }
    let log = place.log();
    assert_eq!(refused(&place).len(), bad.len(), "one line each");
    assert!(!log.contains(" reloaded\n"), "one of them was taken");
    // As it was configured before: its intervals, its files, its log.
    assert!(before || place.disks().is_some());
    place.metrics(["host-2/b.wsp"]);
    wait_for("a count after all that", || {
        place.count().filter(|count| count["hosts"] == 2)
    });
    let disks = place.disks().unwrap();
    assert_eq!(disks["interval_seconds"], 0.02);
    wait_for("the disks after all that", || {
        place.disks().filter(|later| *later != disks)
    });
    fs::write(
        &file,
        good.replace("interval = \"20ms\"\nwindow", "interval = \"30ms\"\nwindow"),
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    place.wait_for_log(" INFO daemon: configuration reloaded\n");
    wait_for("the new interval", || {
        place.disks().filter(|disks| disks["interval_seconds"] == 0.03)
    });
    daemon.stop();
}
