//! The collectors of the daemon: runs what is due, and passes on what the child processes wrote.

use std::os::fd::BorrowedFd;
use std::time::{Instant, SystemTime};

use super::count::{CountTask, Event};
use super::disks::DisksTask;
use super::vmware::VmwareTask;
use crate::carbon::lines::Measured;
use crate::child::reap_ended;
use crate::config::Config;
use crate::logging::Log;
use crate::scheduler::{Due, Scheduler};

/// The enabled collectors, their deadlines and their latest values.
#[derive(Debug)]
pub struct Collectors {
    scheduler: Scheduler,
    count: CountTask,
    disks: Option<DisksTask>,
    vmware: Option<VmwareTask>,
    status: String,
    measured: Option<Measured>,
}

impl Collectors {
    /// Sets up what is enabled. The first samples and the first count are due at `now`.
    pub fn new(config: &Config, now: Instant, log: &mut Log) -> Self {
        let mut collectors = Self {
            scheduler: Scheduler::new(),
            count: CountTask::new(config, now),
            disks: None,
            vmware: None,
            status: String::new(),
            measured: None,
        };
        collectors.set_up_disks(config, false, now, log);
        collectors.set_up_vmware(config, now, log);
        collectors.update_count();
        collectors
    }

    /// Takes what the child processes wrote, runs the task that is due first, and returns when the next one is due;
    /// `None` for never.
    pub fn run_due(&mut self, now: Instant, wall: SystemTime, log: &mut Log) -> Option<Instant> {
        if let Some(vmware) = &mut self.vmware
            && vmware.receive(now, wall, log)
        {
            self.scheduler.vmware_soon(now);
        }
        self.count.handle(&Event::Wakeup, now, wall, log);
        self.update_count();
        let next = match self.scheduler.due(now) {
            Due::Disks => {
                let first = self
                    .disks
                    .as_mut()
                    .is_some_and(|disks| disks.sample(now, wall, log));
                let report = self.disks.as_mut().and_then(DisksTask::take_report);
                self.measured = report.map(Measured::Disks);
                self.scheduler.disks_done(now, first);
                Some(now)
            }
            Due::Vmware => {
                self.scheduler.vmware_done(now);
                if let Some(vmware) = &mut self.vmware
                    && vmware.ask(now, wall, log)
                {
                    self.scheduler.vmware_soon(now);
                }
                Some(now)
            }
            // It became due by what it was just told: a retry at once.
            Due::Count => Some(now),
            Due::Nothing(next) => {
                let deadline = self.vmware.as_ref().and_then(VmwareTask::waits_for);
                let deadline = deadline.and_then(|(_, deadline)| deadline);
                next.into_iter().chain(deadline).min()
            }
        };
        self.update_status();
        next
    }

    /// The pipes of the child processes, to wait for beside the deadlines.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let vmware = self.vmware.as_ref().and_then(VmwareTask::waits_for);
        vmware.map(|(pipe, _)| pipe).into_iter().chain(self.count.pipe())
    }

    /// Reaps the child processes that have ended, which does not block.
    pub fn reap_children(&mut self, now: Instant, wall: SystemTime, log: &mut Log) {
        for (pid, status) in reap_ended() {
            if let Some(vmware) = &mut self.vmware {
                vmware.ended((pid, status), now, wall, log);
            }
            self.count.handle(&Event::Reaped(pid, status), now, wall, log);
        }
    }

    /// The latest document, once, for other consumers of its values.
    pub fn take_measured(&mut self) -> Option<Measured> {
        // Those of the child processes arrive in turns that may have measured something else.
        let vmware = |task: &mut VmwareTask| task.take_report().map(Measured::Vmware);
        self.measured
            .take()
            .or_else(|| self.count.take_report().map(Measured::Graphite))
            .or_else(|| self.vmware.as_mut().and_then(vmware))
    }

    /// The latest values, for `systemctl status`.
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Applies a new configuration: what did not change keeps its samples and deadlines.
    pub fn reload(&mut self, old: &Config, new: &Config, now: Instant, log: &mut Log) {
        self.count.reload(new, now);
        if (&new.disks, &new.host) != (&old.disks, &old.host) {
            let same_file = new.disks.output == old.disks.output && new.disks.enabled && old.disks.enabled;
            if !same_file {
                self.end_disks(log);
            }
            self.set_up_disks(new, same_file, now, log);
        }
        if (&new.vmware, &new.host) != (&old.vmware, &old.host) {
            if new.vmware.output != old.vmware.output {
                // Nothing replaces it any more. If sampling just ends, the file stays, as it does when the daemon
                // ends: without it, its consumers would report that this is not a VMware VM.
                self.vmware.iter_mut().for_each(|vmware| vmware.remove(log));
            }
            self.set_up_vmware(new, now, log);
        }
        self.update_count();
        self.update_status();
    }

    /// Ends everything: removes the disks file, which must not outlive its samples, and kills the child processes.
    pub fn end(&mut self, log: &mut Log) {
        self.end_disks(log);
        if let Some(vmware) = &mut self.vmware {
            vmware.end();
        }
        self.count.end(Instant::now(), log);
    }

    fn end_disks(&mut self, log: &mut Log) {
        if let Some(disks) = &mut self.disks {
            disks.end(log);
        }
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

    /// Passes on what the count task has learned: its next deadline and the devices of the tree.
    fn update_count(&mut self) {
        self.scheduler.set_count(self.count.due());
        if let Some(disks) = &mut self.disks {
            disks.set_whisper_devices(self.count.devices().to_vec());
        }
    }

    fn update_status(&mut self) {
        let disks = self.disks.as_ref().and_then(DisksTask::status).map(String::from);
        let vmware = self
            .vmware
            .as_ref()
            .and_then(VmwareTask::status)
            .map(String::from);
        self.status = [self.count.status(), disks, vmware]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; ");
    }
}
