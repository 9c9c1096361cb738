//! The daemon's side of the disks' activity.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime};

use super::outlet::{Health, Outlet};
use crate::config::Config;
use crate::disks::backing::Device;
use crate::disks::{Disks, Sample};
use crate::logging::Log;
use crate::publish::Durability;
use crate::report::{DisksReport, to_line};

const COLLECTOR: &str = "disks";
/// Malformed lines that are said one by one.
const MAX_SAID: usize = 5;
/// Samples without trouble after which it counts as over: trouble that comes and goes is said once.
const CALM_SAMPLES: u32 = 6;

/// The samples of the disks, their published file and their problems.
#[derive(Debug)]
pub struct DisksTask {
    collector: Disks,
    outlet: Outlet,
    sampling: Health,
    /// Devices whose malformed lines were said.
    left_out: BTreeSet<String>,
    /// Disks whose windows began anew, which was said.
    restarted: BTreeSet<String>,
    /// Samples since the last malformed line, and since a window last began anew.
    well_formed: u32,
    undisturbed: u32,
    names: BTreeSet<String>,
    sampled: bool,
    published: bool,
    status: Option<String>,
    report: Option<DisksReport>,
}

impl DisksTask {
    /// Sets the samples up. A file that is there is of an earlier run, whose values no longer hold; after a reload it
    /// is this daemon's own, and kept until the next values.
    pub fn new(config: &Config, keep_file: bool, log: &mut Log) -> Self {
        let mut outlet = Outlet::new(COLLECTOR, config.disks.output.clone(), Durability::Volatile);
        if !keep_file {
            outlet.remove(log);
        }
        Self {
            collector: Disks::new(&config.disks, &config.host),
            outlet,
            sampling: Health::default(),
            left_out: BTreeSet::new(),
            restarted: BTreeSet::new(),
            well_formed: 0,
            undisturbed: 0,
            names: BTreeSet::new(),
            sampled: false,
            published: false,
            status: None,
            report: None,
        }
    }

    /// Sets the devices of the whisper tree's file system; empty if they are unknown.
    pub fn set_whisper_devices(&mut self, devices: Vec<Device>) {
        self.collector.set_whisper_devices(devices);
    }

    /// Takes a sample and publishes what the window gives. True for the first sample.
    pub fn sample(&mut self, now: Instant, wall: SystemTime, log: &mut Log) -> bool {
        match self.collector.sample(now, wall) {
            Ok(sample) => {
                self.sampling.works(log, COLLECTOR, "sampling");
                self.say(&sample, log);
                match &sample.report {
                    Some(report) => self.publish(report, log),
                    // Every disk was replaced: the values published are of others.
                    None if self.sampled => self.outlet.remove(log),
                    None => {}
                }
                self.report = sample.report;
            }
            Err(error) => {
                self.sampling.fails(log, COLLECTOR, &error);
                // Old values would pass for current ones; without the file its reader says UNKNOWN.
                self.outlet.remove(log);
                self.status = None;
            }
        }
        !std::mem::replace(&mut self.sampled, true)
    }

    /// The latest document, once.
    pub fn take_report(&mut self) -> Option<DisksReport> {
        self.report.take()
    }

    /// The latest figures in words.
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// The values end with the samples: takes the file away.
    pub fn end(&mut self, log: &mut Log) {
        self.outlet.end(log);
    }

    fn publish(&mut self, report: &DisksReport, log: &mut Log) {
        let figures = report
            .disks
            .iter()
            .map(|(name, disk)| format!("{name} {:.1}", disk.util_percent.get()));
        let figures = figures.collect::<Vec<_>>().join(", ");
        let figures = if figures.is_empty() {
            "no physical disks".into()
        } else {
            format!("%util {figures}")
        };
        let window = report.window_seconds.get();
        log.debug(
            COLLECTOR,
            format_args!("{figures} over {window:.1} s"),
            &[("window_seconds", &window)],
        );
        let worked = self.outlet.publish(log, &to_line(report));
        if worked && !std::mem::replace(&mut self.published, true) {
            let under = match report.whisper_disks.is_empty() {
                true => "not known".to_string(),
                false => report.whisper_disks.join(", "),
            };
            log.info(
                COLLECTOR,
                format_args!("{figures} over {window:.1} s; disks under the whisper tree: {under}"),
                &[],
            );
        }
        self.status = Some(figures);
    }

    fn say(&mut self, sample: &Sample, log: &mut Log) {
        let names: BTreeSet<_> = self.collector.names().map(String::from).collect();
        if self.sampled {
            for name in names.difference(&self.names) {
                log.info(COLLECTOR, format_args!("{name} appeared"), &[("disk", name)]);
            }
            for name in self.names.difference(&names) {
                log.info(COLLECTOR, format_args!("{name} vanished"), &[("disk", name)]);
            }
        }
        self.names = names;
        self.undisturbed += 1;
        if !sample.restarted.is_empty() {
            self.undisturbed = 0;
        } else if self.undisturbed >= CALM_SAMPLES {
            self.restarted.clear();
        }
        for name in &sample.restarted {
            if self.restarted.insert(name.clone()) {
                let message =
                    format_args!("{name} was replaced or its counters went back: its window starts anew");
                log.info(COLLECTOR, message, &[("disk", name)]);
            }
        }
        for malformed in &sample.left_out {
            // Said once for each device, and not without end where the file is noise.
            if self.left_out.len() < MAX_SAID && self.left_out.insert(malformed.device.clone()) {
                log.warn(
                    COLLECTOR,
                    format_args!("{malformed}; this device is left out"),
                    &[("error", malformed)],
                );
                if self.left_out.len() == MAX_SAID {
                    log.warn(COLLECTOR, "further malformed lines are not named", &[]);
                }
            }
        }
        self.well_formed += 1;
        if !sample.left_out.is_empty() {
            self.well_formed = 0;
        } else if self.well_formed >= CALM_SAMPLES && !self.left_out.is_empty() {
            log.info(COLLECTOR, "all lines are well-formed again", &[]);
            self.left_out.clear();
        }
    }
}
