//! Storage that hangs under the tree, its output or the state folder of a running daemon: the count waits, and nothing
//! else does.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::check_fixture::assert_is_row;
use crate::support::storage::{Storage, workers_of};
use crate::support::watch::Watch;
use crate::support::{Daemon, TestDir, skip, stderr_of, text, wait_for};
use rustix::process::Signal;

const HOSTS: u64 = 20;
const DISKS_INTERVAL: Duration = Duration::from_secs(1);
const WATCHDOG: Duration = Duration::from_secs(4);
/// For how long a worker is silent before it is reported, with short intervals.
const SILENCE: Duration = Duration::from_secs(5);
/// How long `status` and `check` wait for the storage of the tree.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

fn place() -> TestDir {
    let place = TestDir::in_memory();
    fs::create_dir(place.path("out")).unwrap();
    place.configure_with(
        "",
        &format!("output = {:?}\ninterval = \"300ms\"", place.path("out/count")),
        "interval = \"1s\"\nwindow = \"5s\"",
        "enabled = false",
    );
    place
}

fn fill(place: &TestDir) {
    place.metrics((0..HOSTS).map(|host| format!("host-{host}/a.wsp")));
}

fn wait_for_count(place: &TestDir, metrics: u64) {
    wait_for("the count", || {
        let count = crate::support::document(&place.path("out/count"))?;
        (count["hosts"] == HOSTS && count["metrics"] == metrics).then_some(())
    });
}

/// Watches a daemon until the condition holds. Returns the longest gaps between two documents of the disks and between
/// two heartbeats.
fn longest_gaps(
    place: &TestDir,
    daemon: &Daemon,
    mut condition: impl FnMut() -> bool,
) -> (Duration, Duration) {
    let watch = Watch::replaced(&place.path(""));
    let (mut last, mut longest) = ([Instant::now(); 2], [Duration::ZERO; 2]);
    let end = Instant::now() + 3 * crate::support::PATIENCE;
    loop {
        let beats = daemon.drain_messages();
        let seen = [
            watch.times("disks.tmp") > 0,
            beats.iter().any(|message| message.contains("WATCHDOG=1")),
        ];
        for kind in 0..2 {
            longest[kind] = longest[kind].max(last[kind].elapsed());
            if seen[kind] {
                last[kind] = Instant::now();
            }
        }
        if condition() {
            return (longest[0], longest[1]);
        }
        assert!(Instant::now() < end, "waited in vain\n{}", place.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lines(place: &TestDir, part: &str) -> usize {
    place.log().lines().filter(|line| line.contains(part)).count()
}

/// `status` and `check graphite` answer in time. Returns what they print.
fn answers(place: &TestDir) -> (String, String) {
    let run = |args: &[&str], limit: Duration| {
        let asked = Instant::now();
        let output = place.command().args(args).output().unwrap();
        let took = asked.elapsed();
        assert!(took < limit + Duration::from_secs(2), "{args:?} took {took:?}");
        assert!(output.stderr.is_empty(), "{}", stderr_of(&output));
        text(&output.stdout)
    };
    (
        run(&["status"], READ_TIMEOUT),
        run(
            &["check", "graphite", "--timeout", "1s"],
            Duration::from_secs(1) + READ_TIMEOUT,
        ),
    )
}

/// What hangs, and what is then known of it.
struct Scenario {
    /// The directory of the fixture.
    hangs: &'static str,
    /// Whether the count hangs with it.
    count_hangs: bool,
    /// Whether a hung worker survives its daemon.
    is_unkillable: bool,
    /// Whether `status` and `check` cannot read the published count.
    is_unreadable: bool,
}

impl Scenario {
    fn run(&self) {
        let place = place();
        let storage = match self.is_unkillable {
            true => Storage::ext4(&place, self.hangs),
            false => Storage::fuse(&place, self.hangs),
        };
        let Some(mut storage) = storage else {
            return skip("file systems cannot be mounted here");
        };
        fill(&place);
        let daemon = Daemon::start_notifying(&place, Some(WATCHDOG));
        wait_for_count(&place, HOSTS);
        wait_for("the disks", || place.disks());

        storage.hang();
        if self.hangs != "whisper" {
            place.metrics(["host-0/new.wsp"]);
        }
        let hung = Instant::now();
        let is_over = || match self.count_hangs {
            true => lines(&place, "has not responded for 5s") > 0,
            false => hung.elapsed() > SILENCE,
        };
        let (disks, heartbeat) = longest_gaps(&place, &daemon, is_over);
        assert!(disks < DISKS_INTERVAL * 3 / 2, "{disks:?} between two samples");
        assert!(
            heartbeat < WATCHDOG * 3 / 4,
            "{heartbeat:?} between two heartbeats"
        );
        let (status, check) = answers(&place);
        assert_eq!(
            status.contains("its storage does not respond"),
            self.is_unreadable,
            "{status}"
        );
        assert_eq!(
            check.contains("has not responded for 3s"),
            self.is_unreadable,
            "{check}"
        );
        if self.is_unreadable {
            let row = "GRAPHITE UNKNOWN: the storage of the whisper tree has not responded for …";
            assert_is_row(row, &check);
        }
        assert!(workers_of(daemon.child.id()).len() <= 1);
        // It stays like that for some more counts, and nothing is repeated.
        longest_gaps(&place, &daemon, || {
            hung.elapsed() > SILENCE + Duration::from_secs(4)
        });
        assert_eq!(lines(&place, "has not responded"), usize::from(self.count_hangs));

        self.restart(&place, daemon);
        let daemon = Daemon::start_notifying(&place, Some(WATCHDOG));
        let again = lines(&place, "another count worker has not ended yet");
        assert!(again <= 1, "{}", place.log());
        storage.thaw();
        place.metrics(["host-0/newer.wsp"]);
        let metrics = if self.hangs == "whisper" {
            HOSTS + 1
        } else {
            HOSTS + 2
        };
        wait_for_count(&place, metrics);
        for folder in ["out", "state"] {
            // A killed worker leaves its temporary file until the next one has swept.
            wait_for("no temporary files", || {
                let mut names = fs::read_dir(place.path(folder)).unwrap();
                names
                    .all(|name| !name.unwrap().file_name().to_str().unwrap().ends_with(".tmp"))
                    .then_some(())
            });
        }
        let stopped = daemon.stop();
        assert!(stopped < Duration::from_secs(1), "{stopped:?}");
    }

    /// Stops the daemon while the storage hangs, and runs another one for a while.
    fn restart(&self, place: &TestDir, daemon: Daemon) {
        let old = daemon.child.id();
        let stopped = daemon.stop();
        assert!(stopped < Duration::from_secs(1), "stopped in {stopped:?}");
        if !(self.is_unkillable && self.count_hangs) {
            wait_for("the worker's end", || workers_of(old).is_empty().then_some(()));
            return;
        }
        assert_eq!(workers_of(old).len(), 1, "it cannot be killed");
        let daemon = Daemon::start_notifying(place, Some(WATCHDOG));
        let new = daemon.child.id();
        place.wait_for_log("WARN graphite: another count worker has not ended yet");
        let end = Instant::now() + Duration::from_secs(1);
        longest_gaps(place, &daemon, || {
            assert!(workers_of(old).len() == 1 && workers_of(new).len() <= 1);
            Instant::now() > end
        });
        daemon.signal(Signal::TERM);
        let stopped = daemon.stop();
        assert!(stopped < Duration::from_secs(1), "stopped in {stopped:?}");
        wait_for("the new worker's end", || {
            workers_of(new).is_empty().then_some(())
        });
    }
}

#[test]
fn frozen_output_delays_only_the_count() {
    Scenario {
        hangs: "out",
        count_hangs: true,
        is_unkillable: true,
        is_unreadable: false,
    }
    .run();
}

#[test]
fn frozen_state_folder_delays_only_the_count() {
    Scenario {
        hangs: "state",
        count_hangs: true,
        is_unkillable: true,
        is_unreadable: false,
    }
    .run();
}

#[test]
fn frozen_tree_delays_nothing() {
    Scenario {
        hangs: "whisper",
        // Reading is what a frozen file system still does.
        count_hangs: false,
        is_unkillable: true,
        is_unreadable: false,
    }
    .run();
}

#[test]
fn silent_output_delays_only_the_count() {
    Scenario {
        hangs: "out",
        count_hangs: true,
        is_unkillable: false,
        is_unreadable: true,
    }
    .run();
}

#[test]
fn silent_tree_delays_only_the_count() {
    Scenario {
        hangs: "whisper",
        count_hangs: true,
        is_unkillable: false,
        is_unreadable: false,
    }
    .run();
}

#[test]
fn silent_state_folder_delays_only_the_count() {
    Scenario {
        hangs: "state",
        count_hangs: true,
        is_unkillable: false,
        is_unreadable: false,
    }
    .run();
}

#[test]
fn hung_worker_does_not_outlive_a_killed_daemon() {
    let place = place();
    let Some(mut storage) = Storage::fuse(&place, "whisper") else {
        return skip("file systems cannot be mounted here");
    };
    storage.hang();
    let mut daemon = Daemon::start_notifying(&place, None);
    daemon.wait_for_message("READY=1");
    let id = daemon.child.id();
    wait_for("a worker", || workers_of(id).first().copied());
    // It has read its request by now: it holds the lock.
    wait_for("the worker to hang", || {
        let status = place.command().arg("status").output().unwrap();
        text(&status.stdout).contains("a count is running").then_some(())
    });
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    wait_for("the worker's end", || workers_of(id).is_empty().then_some(()));
}

#[test]
fn thawed_worker_finishes_its_count_once() {
    let place = place();
    let output = place.path("out/count");
    place.configure_with(
        "",
        &format!("output = {output:?}\ninterval = \"1h\""),
        "",
        "enabled = false",
    );
    let Some(mut storage) = Storage::ext4(&place, "out") else {
        return skip("file systems cannot be mounted here");
    };
    fill(&place);
    storage.hang();
    let daemon = Daemon::start_notifying(&place, None);
    place.wait_for_log("INFO graphite: 20 hosts, 20 metrics");
    let watch = Watch::replaced(&place.path("out"));
    storage.thaw();
    wait_for_count(&place, HOSTS);
    wait_for("the worker's end", || {
        workers_of(daemon.child.id()).is_empty().then_some(())
    });
    assert_eq!(watch.times("count"), 1);
    assert_eq!(lines(&place, "20 hosts, 20 metrics"), 1);
    assert_eq!(lines(&place, " WARN graphite"), 0, "{}", place.log());
    daemon.stop();
}
