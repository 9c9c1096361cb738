//! The machine around the daemon: its time, what it has done by then, and what the daemon must publish next.

mod changes;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;

use super::carbon::Carbon;
use super::disks::Disks;
use super::guest::Guest;
use super::log::ExpectedLog;
use crate::support::{
    Clocks, Daemon, Numbers, PATIENCE, TestDir, Watch, assert_valid, children_of, descriptors, json_line,
    naive, totals_of, wait_for, wait_until,
};

pub const SECOND: i64 = 1_000_000_000;
/// The daemon usually wakes up this late at most.
pub const LATENESS: i64 = SECOND / 4;
/// The monotonic clock when the daemon starts.
const START: i64 = 1_000_000 * SECOND;
const INTERVAL: i64 = 10 * SECOND;
const COUNT_INTERVAL: i64 = 900 * SECOND;
const WATCHDOG: Duration = Duration::from_secs(30);
/// One of so many documents is validated with the schema.
const VALIDATED: usize = 500;

pub struct Machine {
    carbon: Carbon,
    pub max_lateness: i64,
    disks: Disks,
    guest: Guest,
    log: ExpectedLog,
    now: i64,
    /// Seconds from the monotonic clock to the wall clock.
    wall: i64,
    disks_due: i64,
    guest_due: i64,
    count_due: i64,
    last_heartbeat: i64,
    until: i64,
    has_helper: bool,
    is_flapping: bool,
    /// The descriptors of the idle daemon while carbon is away.
    descriptors_without_carbon: Option<usize>,
    published: usize,
    random: Numbers,
    watch: Watch,
    daemon: Daemon,
    clocks: Clocks,
    dir: TestDir,
}

impl Machine {
    pub fn start() -> Self {
        let dir = TestDir::in_memory();
        // The helper runs as nobody.
        dir.set_mode("", 0o755);
        let carbon = Carbon::new();
        let guest = Guest::new(&dir);
        dir.configure_vm("", "", "", "");
        dir.reconfigure("none.so", "guest.so");
        let keys = format!("\n[carbon]\nenabled = true\naddress = \"{}\"\n", carbon.address);
        dir.write("gatherer.toml", &(dir.read("gatherer.toml") + &keys));
        dir.metrics((0..60).map(|number| format!("host-{}/check-{number}/m.wsp", number % 6)));
        let clocks = Clocks::new(&dir);
        clocks.stand_at(START);
        // The files of the tree are older than any time of the daemon.
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
        let wall = (today as i64 + 2) * 86_400 - START / SECOND;
        clocks.shift_wall(wall);
        let mut random = Numbers::seeded();
        let disks = Disks::new(&dir, &mut random);
        let watch = Watch::replaced(&dir.path(""));
        let mut command = dir.command();
        let daemon = Daemon::spawn_notifying(&dir, Some(WATCHDOG), clocks.given_to(command.arg("run")));
        let mut machine = Self {
            carbon,
            max_lateness: LATENESS,
            disks,
            guest,
            log: ExpectedLog::of_a_start(),
            now: START,
            wall,
            disks_due: START,
            guest_due: START,
            count_due: START,
            last_heartbeat: START,
            until: START,
            has_helper: true,
            is_flapping: false,
            descriptors_without_carbon: None,
            published: 0,
            random,
            watch,
            daemon,
            clocks,
            dir,
        };
        machine.check_documents(false);
        machine
    }

    /// Runs from deadline to deadline.
    pub fn run_for(&mut self, duration: i64) {
        self.until = self.until.max(self.now) + duration;
        loop {
            let due = self.disks_due.min(self.guest_due).min(self.count_due);
            if due >= self.until {
                return;
            }
            let lateness = self.random.below(self.max_lateness as usize) as i64;
            self.set_time(due.max(self.now) + lateness);
            self.check_documents(true);
        }
    }

    fn set_time(&mut self, now: i64) {
        if let Some(descriptors) = self.descriptors_without_carbon {
            // The kernel refuses a connection after some milliseconds if the closed one had the same ports. To the daemon, it
            // would time out in them.
            wait_until("carbon is refused", || self.descriptors() <= descriptors);
        }
        let messages = self.daemon.drain_messages();
        if messages.iter().any(|message| message.contains("WATCHDOG=1")) {
            self.last_heartbeat = self.now;
        }
        let age = self.now - self.last_heartbeat;
        assert!(age < WATCHDOG.as_nanos() as i64 / 4, "no heartbeat for {age} ns");
        if self.is_flapping && self.disks_due <= now {
            self.disks.flap(&self.dir);
        }
        self.disks.work(now - self.now, &mut self.random);
        self.guest.work(now - self.now, &mut self.random);
        self.disks.write(&self.dir);
        self.guest.write(&self.dir);
        self.now = now;
        self.clocks.stand_at(now);
        // Wakes the daemon, which computes deadlines by the clock that stands still.
        self.daemon.signal(Signal::CHILD);
    }

    /// Waits for the documents that are due, which must be right, and for no others.
    fn check_documents(&mut self, has_disks: bool) {
        let samples = self.disks_due <= self.now;
        let asks = self.guest_due <= self.now;
        let counts = self.count_due <= self.now;
        let due = [
            ("disks.tmp", samples && has_disks),
            ("vmware.dat", asks),
            ("whisper.nb_metrics", counts),
        ];
        self.wait_for_documents(
            due.into_iter()
                .filter(|(_, is_due)| *is_due)
                .map(|(name, _)| name),
        );
        let next = START + ((self.now - START) / INTERVAL + 1) * INTERVAL;
        let (now, wall) = (self.now, self.now / SECOND + self.wall);
        if samples {
            self.disks_due = next;
            self.disks.sample(now);
            if has_disks {
                let document = self.read("disks.tmp");
                self.carbon.expect(self.disks.check(&document, now, wall));
            } else {
                self.disks_due = next.min(now + SECOND);
            }
        }
        if asks {
            let document = self.read("vmware.dat");
            let has_value = self.guest.check(&document, wall, &mut self.carbon, &mut self.log);
            self.guest_due = if has_value { next } else { next.min(now + SECOND) };
            self.has_helper = true;
        }
        if counts {
            let document = self.read("whisper.nb_metrics");
            let (hosts, metrics) = naive(&self.dir.path("whisper"));
            assert_eq!(totals_of(&document), (hosts, metrics));
            assert_eq!(document["updated_at"], wall, "{document}");
            let values = [("hosts", hosts), ("metrics", metrics), ("scan_seconds", 0)];
            self.carbon
                .expect(values.map(|(key, value)| format!("graphite.{key} {value} {wall}")));
            self.log
                .expect(&format!("INFO graphite: {hosts} hosts, {metrics} metrics in "));
            self.wait_for_children();
            self.count_due = now + COUNT_INTERVAL;
        }
        self.carbon.receive();
    }

    fn wait_for_documents<'a>(&self, due: impl Iterator<Item = &'a str>) {
        let mut missing: Vec<_> = due.collect();
        let deadline = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            self.watch.wait();
            for name in self
                .watch
                .all()
                .iter()
                .filter(|name| !name.starts_with("gatherer.log"))
            {
                let position = missing.iter().position(|missing| missing == name);
                missing.remove(position.unwrap_or_else(|| panic!("{name} is published, but not due")));
            }
            assert!(
                Instant::now() < deadline,
                "{missing:?} at {}\n{}",
                self.now,
                self.dir.log()
            );
        }
    }

    fn read(&mut self, name: &str) -> Value {
        let document = json_line(&self.dir.path(name)).unwrap();
        self.published += 1;
        if self.published.is_multiple_of(VALIDATED) {
            assert_valid(&document);
        }
        document
    }

    fn descriptors(&self) -> usize {
        descriptors(&self.daemon.child)
    }

    /// Waits until the helper is the only child.
    fn wait_for_children(&self) {
        wait_for("the end of the other children", || {
            (children_of(self.daemon.child.id()).len() == usize::from(self.has_helper)).then_some(())
        });
    }
}
