//! The collectors of the daemon and what is due of them.

use std::os::fd::BorrowedFd;
use std::time::{Instant, SystemTime};

use anyhow::Result;

use super::count::{CountTask, Next};
use super::disks::DisksTask;
use super::vmware::VmwareTask;
use crate::carbon::lines::Measured;
use crate::config::Config;
use crate::logging::Log;
use crate::scheduler::{Due, Scheduler};
use crate::vmware::process::reap;

/// The enabled collectors, their deadlines and their latest figures.
#[derive(Debug)]
pub struct Collectors {
    scheduler: Scheduler,
    count: Option<CountTask>,
    disks: Option<DisksTask>,
    vmware: Option<VmwareTask>,
    status: String,
    measured: Option<Measured>,
}

impl Collectors {
    /// Sets up what is enabled. The first samples and the first count are due at `now`.
    pub fn new(config: &Config, now: Instant, log: &mut Log) -> Result<Self> {
        let mut collectors = Self {
            scheduler: Scheduler::new(),
            count: None,
            disks: None,
            vmware: None,
            status: String::new(),
            measured: None,
        };
        collectors.set_up_count(config, now)?;
        collectors.set_up_disks(config, false, now, log);
        collectors.set_up_vmware(config, now, log);
        collectors.share_whisper_dir();
        Ok(collectors)
    }

    /// Takes what the helper of VMware's samples wrote, does the one thing that is due most, and returns when the next
    /// one is; `None` for never.
    pub fn turn(&mut self, now: Instant, wall: SystemTime, log: &mut Log) -> Option<Instant> {
        if let Some(vmware) = &mut self.vmware
            && vmware.receive(now, wall, log)
        {
            self.scheduler.vmware_soon(now);
        }
        match self.scheduler.due(now) {
            Due::Disks => {
                let first = self
                    .disks
                    .as_mut()
                    .is_some_and(|disks| disks.sample(now, wall, log));
                let report = self.disks.as_mut().and_then(DisksTask::take_report);
                self.measured = report.map(Measured::Disks);
                self.scheduler.disks_done(now, first);
            }
            Due::Vmware => {
                self.scheduler.vmware_done(now);
                if let Some(vmware) = &mut self.vmware
                    && vmware.ask(now, wall, log)
                {
                    self.scheduler.vmware_soon(now);
                }
            }
            Due::Count(slice) => {
                let next = self.count.as_mut().map(|count| count.work(now, wall, slice, log));
                match next {
                    Some(Next::Pause(worked)) => self.scheduler.count_pauses(Instant::now(), worked),
                    Some(Next::After(interval)) => {
                        self.scheduler.count_done(Instant::now(), interval);
                        let report = self.count.as_mut().and_then(CountTask::take_report);
                        self.measured = report.map(Measured::Graphite);
                        self.share_whisper_dir();
                    }
                    None => self.scheduler.set_count(None, 100),
                }
            }
            Due::Nothing(next) => {
                self.update_status();
                let deadline = self.waits_for().and_then(|(_, deadline)| deadline);
                return next.into_iter().chain(deadline).min();
            }
        }
        self.update_status();
        Some(now)
    }

    /// The pipe to wait for beside the deadlines.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.waits_for().map(|(pipe, _)| pipe)
    }

    /// Child processes ended: waits for them, which does not block, and draws the conclusions.
    pub fn children_ended(&mut self, now: Instant, wall: SystemTime, log: &mut Log) {
        for ended in reap() {
            if let Some(vmware) = &mut self.vmware {
                vmware.ended(ended, now, wall, log);
            }
        }
    }

    /// The document that the last turn measured, if it did, for whoever wants its figures besides its readers.
    pub fn take_measured(&mut self) -> Option<Measured> {
        // VMware's comes when its helper answers, which may be in a turn that measured something else.
        let vmware = |task: &mut VmwareTask| task.take_report().map(Measured::Vmware);
        self.measured
            .take()
            .or_else(|| self.vmware.as_mut().and_then(vmware))
    }

    /// The latest figures in words, for `systemctl status`.
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Takes up a new configuration: what did not change keeps its samples, caches and deadlines.
    pub fn reload(&mut self, old: &Config, new: &Config, now: Instant, log: &mut Log) -> Result<()> {
        if new.graphite != old.graphite {
            self.set_up_count(new, now)?;
        }
        if (&new.disks, &new.host) != (&old.disks, &old.host) {
            let same_file = new.disks.output == old.disks.output && new.disks.enabled && old.disks.enabled;
            if !same_file {
                self.end_disks(log);
            }
            self.set_up_disks(new, same_file, now, log);
        }
        self.share_whisper_dir();
        if (&new.vmware, &new.host) != (&old.vmware, &old.host) {
            if new.vmware.output != old.vmware.output {
                // Nothing replaces it any more. Where sampling just ends the file stays, as it does when the daemon
                // ends: without it readers would say that this is no VMware machine.
                self.vmware.iter_mut().for_each(|vmware| vmware.remove(log));
            }
            self.set_up_vmware(new, now, log);
        }
        self.update_status();
        Ok(())
    }

    /// The daemon ends: the disks' values must not outlive it, the other files stay.
    pub fn end(&mut self, log: &mut Log) {
        self.end_disks(log);
        if let Some(vmware) = &mut self.vmware {
            vmware.end();
        }
    }

    fn end_disks(&mut self, log: &mut Log) {
        if let Some(disks) = &mut self.disks {
            disks.end(log);
        }
    }

    fn set_up_count(&mut self, config: &Config, now: Instant) -> Result<()> {
        self.count = config
            .graphite
            .enabled
            .then(|| CountTask::new(&config.graphite))
            .transpose()?;
        self.scheduler.set_count(
            self.count.is_some().then_some(now),
            config.graphite.max_busy_percent,
        );
        Ok(())
    }

    fn set_up_disks(&mut self, config: &Config, keep_file: bool, now: Instant, log: &mut Log) {
        self.disks = config
            .disks
            .enabled
            .then(|| DisksTask::new(config, keep_file, log));
        self.scheduler
            .set_disks(self.disks.is_some().then_some(now), config.disks.interval);
    }

    fn set_up_vmware(&mut self, config: &Config, now: Instant, log: &mut Log) {
        self.vmware = config
            .vmware
            .enabled
            .then(|| VmwareTask::new(config, log))
            .flatten();
        self.scheduler
            .set_vmware(self.vmware.is_some().then_some(now), config.vmware.interval);
    }

    fn waits_for(&self) -> Option<(BorrowedFd<'_>, Option<Instant>)> {
        self.vmware.as_ref()?.waits_for()
    }

    /// Tells the disks where the tree is, to find those under it.
    fn share_whisper_dir(&mut self) {
        if let Some(disks) = &mut self.disks {
            disks.set_whisper_dir(self.count.as_ref().map(|count| count.collector().whisper_dir()));
        }
    }

    fn update_status(&mut self) {
        let count = self
            .count
            .as_ref()
            .map(|count| count.status().unwrap_or("first count under way".into()));
        let disks = self.disks.as_ref().and_then(DisksTask::status).map(String::from);
        let vmware = self
            .vmware
            .as_ref()
            .and_then(VmwareTask::status)
            .map(String::from);
        self.status = [count, disks, vmware]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; ");
    }
}
