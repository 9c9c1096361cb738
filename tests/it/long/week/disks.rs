//! Disks with known counters, and the values that a document must have.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::fs;

use serde_json::Value;

use super::machine::SECOND;
use crate::support::{Numbers, TestDir};

const WRAP: u64 = 1 << 32;
/// A window and half an interval.
const LIMIT: i64 = 65 * SECOND;
const SAMPLES: usize = 16;
const VALUES: [&str; 8] = [
    "util_percent",
    "reads_per_second",
    "writes_per_second",
    "read_bytes_per_second",
    "write_bytes_per_second",
    "read_await_ms",
    "write_await_ms",
    "queue_size",
];
/// The values that are sent to carbon.
const SENT: [usize; 4] = [0, 5, 6, 7];

#[derive(Clone, Copy, Default)]
struct Counters {
    reads: u64,
    read_sectors: u64,
    read_ms: u64,
    writes: u64,
    written_sectors: u64,
    write_ms: u64,
    ticks_ms: u64,
    queue_ms: u64,
}

struct Disk {
    counters: Counters,
    /// The samples since the disk was added or reset.
    samples: VecDeque<(i64, Counters)>,
    is_reset: bool,
}

pub struct Disks(BTreeMap<String, Disk>);

impl Disks {
    pub fn new(dir: &TestDir, random: &mut Numbers) -> Self {
        let mut disks = Self(BTreeMap::new());
        for name in ["sda", "sdb", "cciss/c0d0"] {
            disks.add(name, dir, random);
        }
        disks.write(dir);
        disks
    }

    pub fn add(&mut self, name: &str, dir: &TestDir, random: &mut Numbers) {
        fs::create_dir_all(folder(name, dir).join("device")).unwrap();
        // All numbers of 32 bits wrap within the first day.
        let before_wrap = WRAP - 1 - random.below(1_000_000) as u64;
        let counters = Counters {
            reads: random.below(1 << 40) as u64,
            writes: random.below(1 << 40) as u64,
            read_sectors: before_wrap,
            read_ms: before_wrap,
            written_sectors: before_wrap,
            write_ms: before_wrap,
            ticks_ms: before_wrap,
            queue_ms: before_wrap,
        };
        let disk = Disk {
            counters,
            samples: VecDeque::new(),
            is_reset: false,
        };
        assert!(self.0.insert(name.into(), disk).is_none());
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn remove(&mut self, name: &str, dir: &TestDir) {
        self.0.remove(name).unwrap();
        fs::remove_dir_all(folder(name, dir)).unwrap();
    }

    /// Replaces a disk by one of the same name.
    pub fn reset(&mut self, name: &str) {
        let disk = self.0.get_mut(name).unwrap();
        (disk.counters, disk.is_reset) = (Counters::default(), true);
    }

    /// Adds a disk, or removes it if it exists.
    pub fn flap(&mut self, dir: &TestDir) {
        match self.has("flap") {
            true => self.remove("flap", dir),
            false => self.add("flap", dir, &mut Numbers(1)),
        }
    }

    pub fn work(&mut self, passed: i64, random: &mut Numbers) {
        let ms = (passed / 1_000_000) as u64;
        for disk in self.0.values_mut() {
            let mut part = |most: u64| ms * random.below(most as usize + 1) as u64 / 1000;
            let (reads, writes, ticks) = (part(300), part(300), part(1000));
            let counters = &mut disk.counters;
            counters.reads += reads;
            counters.writes += writes;
            counters.read_sectors += reads * (8 + part(8) % 64);
            counters.written_sectors += writes * (8 + part(8) % 64);
            counters.read_ms += reads * 3 + ticks / 9;
            counters.write_ms += writes * 5 + ticks / 7;
            counters.ticks_ms += ticks;
            counters.queue_ms += ticks * 4 + reads;
        }
    }

    /// Writes /proc/diskstats. The kernel prints times as numbers of 32 bits. On the disk `sda`, sectors have 32 bits too.
    pub fn write(&self, dir: &TestDir) {
        let mut text = String::from("7 0 loop0 1 0 8 1 1 0 8 1 0 1 1 0 0 0 0 0 0\n");
        for (name, disk) in &self.0 {
            let Counters { reads, writes, .. } = disk.counters;
            let sectors = |number: u64| if name == "sda" { number % WRAP } else { number };
            let [read, written] = [disk.counters.read_sectors, disk.counters.written_sectors].map(sectors);
            let Counters {
                read_ms,
                write_ms,
                ticks_ms,
                queue_ms,
                ..
            } = disk.counters;
            let [read_ms, write_ms, ticks_ms, queue_ms] =
                [read_ms, write_ms, ticks_ms, queue_ms].map(|number| number % WRAP);
            writeln!(
                text,
                "8 0 {name} {reads} 0 {read} {read_ms} {writes} 0 {written} {write_ms} 0 {ticks_ms} {queue_ms} 0 0 0 0 0 0"
            )
            .unwrap();
        }
        fs::write(dir.path("proc/diskstats"), text).unwrap();
    }

    /// Records that the daemon takes a sample.
    pub fn sample(&mut self, now: i64) {
        for disk in self.0.values_mut() {
            if std::mem::take(&mut disk.is_reset) {
                disk.samples.clear();
            }
            disk.samples.push_back((now, disk.counters));
            if disk.samples.len() > SAMPLES {
                disk.samples.pop_front();
            }
        }
    }

    /// Checks a document of the last sample, and returns its lines for carbon.
    pub fn check(&self, document: &Value, now: i64, wall: i64) -> Vec<String> {
        assert_eq!(document["updated_at"], wall, "{document}");
        let published = document["disks"].as_object().unwrap();
        let with_values = self.0.iter().filter(|(_, disk)| disk.samples.len() > 1);
        let (mut lines, mut disks) = (Vec::new(), 0);
        for (name, disk) in with_values {
            let values = &published[name];
            let window = values
                .get("window_seconds")
                .unwrap_or(&document["window_seconds"]);
            let expected = disk.values_over(window.as_f64().unwrap(), now);
            for (key, expected) in VALUES.into_iter().zip(expected) {
                let value = values[key].as_f64().unwrap();
                assert!(
                    (value - expected).abs() < 0.000_51,
                    "{name} {key}, expected {expected}: {document}"
                );
            }
            lines.extend(SENT.map(|index| {
                let (name, key) = (name.replace('/', "_"), VALUES[index]);
                format!("disks.{name}.{key} {} {wall}", values[key].as_f64().unwrap())
            }));
            disks += 1;
        }
        assert_eq!(published.len(), disks, "{document}");
        lines
    }
}

impl Disk {
    /// The values over the window that a document states, which must be one of the allowed ones.
    fn values_over(&self, window: f64, now: i64) -> [f64; 8] {
        let covers = |(taken, _): &&(i64, Counters)| ((now - taken) as f64 / 1e9 - window).abs() < 0.000_51;
        let position = self.samples.iter().position(|sample| covers(&sample));
        let position = position.unwrap_or_else(|| panic!("no sample was taken {window} s before {now}"));
        let is_in_limit = |position: usize| now - self.samples[position].0 <= LIMIT;
        // All samples within the limit; an older one only if the others cover less than half of it, as after a pause.
        let is_allowed = match is_in_limit(position) {
            true => position == 0 || !is_in_limit(position - 1),
            false => now - self.samples[position + 1].0 < LIMIT / 2,
        };
        assert!(is_allowed, "a window of {window} s at {now}");
        let (taken, first) = self.samples[position];
        let (_, last) = *self.samples.back().unwrap();
        let seconds = (now - taken) as f64 / 1e9;
        let grown = |counter: fn(&Counters) -> u64| (counter(&last) - counter(&first)) as f64;
        let ratio = |ms: f64, requests: f64| if requests == 0.0 { 0.0 } else { ms / requests };
        let (reads, writes) = (grown(|c| c.reads), grown(|c| c.writes));
        [
            grown(|c| c.ticks_ms) / 10.0 / seconds,
            reads / seconds,
            writes / seconds,
            grown(|c| c.read_sectors) * 512.0 / seconds,
            grown(|c| c.written_sectors) * 512.0 / seconds,
            ratio(grown(|c| c.read_ms), reads),
            ratio(grown(|c| c.write_ms), writes),
            grown(|c| c.queue_ms) / 1000.0 / seconds,
        ]
    }
}

fn folder(name: &str, dir: &TestDir) -> std::path::PathBuf {
    dir.path("sys/block").join(name.replace('/', "!"))
}
