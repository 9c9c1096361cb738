//! The activity of each physical disk, from samples of /proc/diskstats.
//!
//! `diskstats` parses the kernel's file, `physical` finds the physical disks in it, `history` keeps the samples of each
//! over the window, `rates` computes iostat's values. `backing` finds the disks that hold the whisper tree, `mounts` those
//! of btrfs.

pub mod backing;
mod check;
pub mod collector;
pub mod diskstats;
mod history;
mod mounts;
pub mod physical;
pub mod rates;
pub mod report;
mod sampler;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use crate::config::{DisksConfig, HostConfig};
use crate::device::Device;
use crate::kernel;
use crate::moment::Moment;
use crate::report::{Rounded, SCHEMA, Seconds, unix_seconds};
use diskstats::{Counters, Malformed};
use history::{History, Members};
use physical::Kind;
pub use report::{DiskReport, DisksReport};

/// Largest /proc/diskstats that is read: some ten thousand lines. A real one has some dozens.
const MAX_BYTES: u64 = 4 << 20;
/// Malformed lines that are kept: a file of invalid input must not take many times its size.
const MAX_MALFORMED: usize = 64;

/// The collector of disk activity, with the samples of the window.
#[derive(Debug)]
pub struct Disks {
    host: HostConfig,
    interval: Duration,
    window: Duration,
    whisper_devices: Vec<Device>,
    histories: BTreeMap<String, History>,
}

/// The result of a sample.
#[derive(Debug)]
pub struct Sample {
    /// The document to publish; `None` at the first sample.
    pub report: Option<DisksReport>,
    /// Disks that were replaced or whose counters were reset: their windows restarted.
    pub restarted: Vec<String>,
    /// The first malformed lines of the file, whose devices are skipped.
    pub skipped: Vec<Malformed>,
}

impl Disks {
    /// Creates a collector without samples.
    pub fn new(config: &DisksConfig, host: &HostConfig) -> Self {
        Self {
            host: host.clone(),
            interval: config.interval,
            window: config.window,
            whisper_devices: Vec::new(),
            histories: BTreeMap::new(),
        }
    }

    /// Sets the devices of the whisper tree's file system; empty if they are unknown. Each sample finds their disks.
    pub fn set_whisper_devices(&mut self, devices: Vec<Device>) {
        self.whisper_devices = devices;
    }

    /// Returns the physical disks of the last sample.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.histories.keys().map(String::as_str)
    }

    /// Takes a sample at `now`. Fails if /proc/diskstats or /sys/block cannot be read.
    pub fn sample(&mut self, now: Moment) -> Result<Sample> {
        let text = self.read()?;
        self.add(now, &text)
    }

    /// Reads /proc/diskstats.
    pub fn read(&self) -> Result<Vec<u8>> {
        let path = self.host.proc.join("diskstats");
        kernel::read(&path, MAX_BYTES).with_context(|| format!("reading {path:?}"))
    }

    /// Adds the sample that was read at `now`. Fails if /sys/block cannot be read.
    pub fn add(&mut self, now: Moment, text: &[u8]) -> Result<Sample> {
        // Without sysfs, every device would look virtual: the result would be "no disks".
        let block = self.host.sys.join("block");
        kernel::open_folder(&block).with_context(|| format!("reading {block:?}"))?;
        let mut skipped = Vec::new();
        let seen = physical_disks(text, &self.host.sys, &mut skipped);
        let restarted = self.remember(now.monotonic, seen);
        Ok(Sample {
            report: self.report(now.wall),
            restarted,
            skipped,
        })
    }

    fn remember(&mut self, now: Instant, seen: BTreeMap<String, Members>) -> Vec<String> {
        // Half an interval more than the window, for a sample that is a little late.
        let limit = self.window + self.interval / 2;
        let mut restarted = Vec::new();
        self.histories.retain(|name, _| seen.contains_key(name));
        for (name, members) in seen {
            match self.histories.get_mut(&name) {
                None => {
                    self.histories.insert(name, History::new(now, members));
                }
                Some(history) => {
                    if !history.add(now, members, limit) {
                        restarted.push(name);
                    }
                }
            }
        }
        restarted
    }

    fn report(&self, wall: SystemTime) -> Option<DisksReport> {
        let windows: Vec<_> = self
            .histories
            .iter()
            .filter_map(|(name, history)| Some((name, history.window()?)))
            .collect();
        let longest = windows.iter().map(|(_, (window, _))| *window).max();
        // A machine without physical disks has an empty document.
        let longest = match longest {
            Some(longest) => longest,
            None if self.histories.is_empty() => Duration::ZERO,
            None => return None,
        };
        let disks = windows.into_iter().map(|(name, (window, growth))| {
            let mut disk = rates::report(&growth, window);
            disk.window_seconds = (window < longest).then(|| window.into());
            (name.clone(), disk)
        });
        Some(DisksReport {
            schema: SCHEMA,
            updated_at: unix_seconds(wall),
            interval_seconds: Seconds(self.interval),
            window_seconds: Rounded::from(longest),
            disks: disks.collect(),
            whisper_disks: self.whisper_disks(),
        })
    }

    fn whisper_disks(&self) -> Vec<String> {
        let devices = self.whisper_devices.iter();
        let under: BTreeSet<_> = devices
            .flat_map(|device| backing::disks_of_device(&self.host.sys, *device))
            .collect();
        under
            .into_iter()
            .filter(|name| self.histories.contains_key(name))
            .collect()
    }
}

/// Returns the physical disks in the text of /proc/diskstats, each with the counters to use.
fn physical_disks(text: &[u8], sys: &Path, skipped: &mut Vec<Malformed>) -> BTreeMap<String, Members> {
    let mut disks: BTreeMap<String, Members> = BTreeMap::new();
    let mut paths: BTreeMap<String, Members> = BTreeMap::new();
    for line in diskstats::parse(text) {
        let line = match line {
            Ok(line) => line,
            Err(malformed) => {
                if skipped.len() < MAX_MALFORMED {
                    skipped.push(malformed);
                }
                continue;
            }
        };
        let (of, sequence) = match physical::kind(sys, line.name) {
            Kind::Other => continue,
            Kind::Physical { sequence } => (disks.entry(line.name.to_string()), sequence),
            Kind::PathOf(head) => (paths.entry(head), None),
        };
        let members = of.or_default();
        // A device that appears while the file is read can make the kernel print another line twice.
        if members.iter().all(|(name, _, _)| name != line.name) {
            members.push((line.name.to_string(), sequence, line.counters));
        }
    }
    for (head, mut members) in paths {
        // Older kernels count only on the paths of an NVMe multipath device, not on its head.
        if let Some(disk) = disks.get_mut(&head)
            && disk
                .iter()
                .all(|(_, _, counters)| *counters == Counters::default())
        {
            members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            *disk = members;
        }
    }
    disks
}
