//! Storage that hangs under the tree, its output or the state folder: the count waits, and nothing else does.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{
    Daemon, PATIENCE, Storage, TestDir, Watch, assert_is_row, document, text, wait_for, wait_until,
    workers_of,
};

const HOSTS: u64 = 20;
const DISKS_INTERVAL: Duration = Duration::from_millis(500);
const WATCHDOG: Duration = Duration::from_secs(4);
/// A worker that is silent for this long is reported.
const SILENCE: Duration = Duration::from_secs(5);
/// How long `status` and `check` wait for the storage of the tree.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

fn new_dir() -> TestDir {
    let dir = TestDir::in_memory();
    fs::create_dir(dir.path("out")).unwrap();
    let output = dir.path("out/count");
    let graphite = format!("output = {output:?}\ninterval = \"300ms\"");
    let disks = "interval = \"500ms\"\nwindow = \"5s\"";
    dir.configure_with("", &graphite, disks, "enabled = false");
    dir
}

fn wait_for_count(dir: &TestDir, metrics: u64) {
    wait_for("the count", || {
        let count = document(&dir.path("out/count"))?;
        (count["hosts"] == HOSTS && count["metrics"] == metrics).then_some(())
    });
}

fn wait_for_no_workers(daemon: u32) {
    wait_until("the worker's end", || workers_of(daemon).is_empty());
}

/// Asserts that samples and heartbeats are on time until the condition holds.
fn assert_on_time(dir: &TestDir, daemon: &Daemon, mut condition: impl FnMut() -> bool) {
    let watch = Watch::replaced(&dir.path(""));
    let (mut sample, mut heartbeat) = (Instant::now(), Instant::now());
    let end = Instant::now() + 3 * PATIENCE;
    while !condition() {
        if watch.times("disks.tmp") > 0 {
            sample = Instant::now();
        }
        let messages = daemon.drain_messages();
        if messages.iter().any(|message| message.contains("WATCHDOG=1")) {
            heartbeat = Instant::now();
        }
        let (samples, heartbeats) = (sample.elapsed(), heartbeat.elapsed());
        assert!(samples < 2 * DISKS_INTERVAL, "{samples:?} between two samples");
        assert!(
            heartbeats < WATCHDOG * 3 / 4,
            "{heartbeats:?} between two heartbeats"
        );
        assert!(Instant::now() < end, "waited in vain\n{}", dir.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command that must end in time. Returns what it prints.
fn answer(dir: &TestDir, arguments: &[&str], limit: Duration) -> String {
    let asked = Instant::now();
    let output = dir.run(arguments);
    let took = asked.elapsed();
    assert!(
        took < limit + Duration::from_secs(2),
        "{arguments:?} took {took:?}"
    );
    text(&output.stdout)
}

struct Scenario {
    /// The folder of the test directory that hangs.
    hangs: &'static str,
    /// Whether a hung worker survives its daemon.
    is_unkillable: bool,
    /// Whether the count hangs with it.
    count_hangs: bool,
    /// Whether `status` and `check` cannot read the published count.
    is_unreadable: bool,
}

impl Scenario {
    fn run(&self) {
        let dir = new_dir();
        let storage = match self.is_unkillable {
            true => Storage::ext4(&dir, self.hangs),
            false => Storage::fuse(&dir, self.hangs),
        };
        let Some(mut storage) = storage else { return };
        dir.metrics((0..HOSTS).map(|host| format!("host-{host}/a.wsp")));
        let daemon = Daemon::start_notifying(&dir, Some(WATCHDOG));
        wait_for_count(&dir, HOSTS);
        wait_for("the disks", || dir.disks());

        storage.hang();
        let is_tree = self.hangs == "whisper";
        if !is_tree {
            dir.metrics(["host-0/new.wsp"]);
        }
        let hung = Instant::now();
        let reports = || dir.logged("has not responded");
        assert_on_time(&dir, &daemon, || match self.count_hangs {
            true => dir.log().contains("has not responded for 5s"),
            false => hung.elapsed() > SILENCE,
        });
        let status = answer(&dir, &["status"], READ_TIMEOUT);
        let reason = "its storage does not respond";
        assert_eq!(status.contains(reason), self.is_unreadable, "{status}");
        let shown = answer(&dir, &["config", "show"], READ_TIMEOUT);
        let is_silent_tree = self.hangs == "whisper" && !self.is_unkillable;
        assert_eq!(shown.contains(reason), is_silent_tree, "{shown}");
        let check = ["check", "graphite", "--timeout", "1s"];
        let check = answer(&dir, &check, Duration::from_secs(1) + READ_TIMEOUT);
        let reason = "has not responded for 2s";
        assert_eq!(check.contains(reason), self.is_unreadable, "{check}");
        if self.is_unreadable {
            let row = "GRAPHITE UNKNOWN: the storage of the whisper tree has not responded for …";
            assert_is_row(row, &check);
        }
        assert!(workers_of(daemon.child.id()).len() <= 1);
        // More counts are due meanwhile, and nothing is repeated.
        let later = Instant::now() + Duration::from_secs(1);
        assert_on_time(&dir, &daemon, || Instant::now() > later);
        assert_eq!(reports(), usize::from(self.count_hangs));

        self.restart(&dir, daemon);
        let daemon = Daemon::start_notifying(&dir, Some(WATCHDOG));
        storage.thaw();
        dir.metrics(["host-0/newer.wsp"]);
        wait_for_count(&dir, HOSTS + 1 + u64::from(!is_tree));
        let waits = dir.logged("another count worker has not ended");
        assert!(waits <= 2, "{}", dir.log());
        for folder in ["out", "state"] {
            // The next worker removes the temporary file of a killed one.
            wait_until("no temporary files", || {
                let mut names = fs::read_dir(dir.path(folder)).unwrap();
                let is_temporary =
                    |name: fs::DirEntry| name.path().extension().is_some_and(|end| end == "tmp");
                !names.any(|name| is_temporary(name.unwrap()))
            });
        }
        daemon.stop_at_once();
    }

    /// Stops the daemon while the storage hangs. If its worker survives it, another daemon has to work beside it.
    fn restart(&self, dir: &TestDir, daemon: Daemon) {
        let old = daemon.child.id();
        daemon.stop_at_once();
        if !(self.is_unkillable && self.count_hangs) {
            return wait_for_no_workers(old);
        }
        assert_eq!(workers_of(old).len(), 1, "it cannot be killed");
        let daemon = Daemon::start_notifying(dir, Some(WATCHDOG));
        let new = daemon.child.id();
        dir.wait_for_log("WARN graphite: another count worker has not ended yet");
        let later = Instant::now() + Duration::from_secs(1);
        assert_on_time(dir, &daemon, || {
            assert!(workers_of(old).len() == 1 && workers_of(new).len() <= 1);
            Instant::now() > later
        });
        daemon.stop_at_once();
        wait_for_no_workers(new);
    }
}

/// A frozen file system blocks writes only, in a way that no signal ends.
#[test]
fn frozen_storage_delays_only_the_count() {
    for (hangs, count_hangs) in [("out", true), ("state", true), ("whisper", false)] {
        let scenario = Scenario {
            hangs,
            is_unkillable: true,
            count_hangs,
            is_unreadable: false,
        };
        scenario.run();
    }
}

#[test]
fn silent_storage_delays_only_the_count() {
    for (hangs, is_unreadable) in [("out", true), ("state", false), ("whisper", false)] {
        let scenario = Scenario {
            hangs,
            is_unkillable: false,
            count_hangs: true,
            is_unreadable,
        };
        scenario.run();
    }
}

#[test]
fn hung_worker_does_not_outlive_a_killed_daemon() {
    let dir = new_dir();
    let Some(mut storage) = Storage::fuse(&dir, "whisper") else {
        return;
    };
    storage.hang();
    let daemon = Daemon::start(&dir);
    let id = daemon.child.id();
    wait_for("a worker", || workers_of(id).first().copied());
    // It holds the lock once it has read its request.
    wait_until("the worker to hang", || {
        let status = text(&dir.run(&["status"]).stdout);
        status.contains("a count is running")
    });
    daemon.kill();
    wait_for_no_workers(id);
}
