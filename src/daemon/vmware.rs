//! The daemon's side of VMware's %ready.

use std::os::fd::BorrowedFd;
use std::process::ExitStatus;
use std::time::{Instant, SystemTime};

use rustix::process::Pid;

use super::outlet::Outlet;
use crate::config::Config;
use crate::logging::Log;
use crate::publish::Durability;
use crate::report::{VmwareReport, to_line};
use crate::vmware::detect::detect;
use crate::vmware::helper_client::{Event, HelperClient, Outcome};
use crate::vmware::window::Restart;
use crate::vmware::{Sample, Vmware};

const COLLECTOR: &str = "vmware";
const DENIED: &str =
    "not a VMware virtual machine: the firmware's tables say so, but the VMware guest library denies it";

/// The samples of %ready, their published file and their problems.
#[derive(Debug)]
pub struct VmwareTask {
    collector: Vmware,
    client: HelperClient,
    outlet: Outlet,
    /// What was last said, so that only changes are logged.
    state: State,
    status: Option<String>,
    report: Option<VmwareReport>,
}

#[derive(Debug, PartialEq)]
enum State {
    Unknown,
    Measured,
    Without(String),
}

impl VmwareTask {
    /// Sets the samples up, or returns `None` where this is no VMware virtual machine: a file that says otherwise
    /// is then removed.
    pub fn new(config: &Config, log: &mut Log) -> Option<Self> {
        let mut outlet = Outlet::new(COLLECTOR, config.vmware.output.clone(), Durability::Volatile);
        let detection = detect(&config.host.sys);
        if !detection.is_vmware {
            log.info(
                COLLECTOR,
                format_args!("not a VMware virtual machine ({})", detection.evidence),
                &[],
            );
            outlet.remove(log);
            return None;
        }
        log.info(
            COLLECTOR,
            format_args!("a VMware virtual machine ({})", detection.evidence),
            &[],
        );
        Some(Self {
            collector: Vmware::new(&config.vmware, &config.host, &detection),
            client: HelperClient::new(&config.vmware.libraries),
            outlet,
            state: State::Unknown,
            status: None,
            report: None,
        })
    }

    /// Asks for a sample. True where the next one should follow soon.
    pub fn ask(&mut self, now: Instant, wall: SystemTime, log: &mut Log) -> bool {
        let outcome = self.client.handle(Event::Ask, now);
        self.publish(outcome, now, wall, log)
    }

    /// Takes the answer, where there is one, and publishes what the window gives. True where the next sample should
    /// follow soon.
    pub fn receive(&mut self, now: Instant, wall: SystemTime, log: &mut Log) -> bool {
        let outcome = self.client.handle(Event::Wakeup, now);
        self.publish(outcome, now, wall, log)
    }

    /// A child process of the daemon ended.
    pub fn ended(&mut self, (pid, status): (Pid, ExitStatus), now: Instant, wall: SystemTime, log: &mut Log) {
        let outcome = self.client.handle(Event::Reaped(pid, status), now);
        self.publish(outcome, now, wall, log);
    }

    /// The pipe to wait for, and until when to wait for it at most.
    pub fn waits_for(&self) -> Option<(BorrowedFd<'_>, Option<Instant>)> {
        self.client.poll_fd()
    }

    /// The values will be published elsewhere or no more: takes the file away.
    pub fn remove(&mut self, log: &mut Log) {
        self.outlet.remove(log);
    }

    /// The daemon ends, and its helper before it.
    pub fn end(&mut self) {
        self.client.stop();
    }

    /// The latest document, once.
    pub fn take_report(&mut self) -> Option<VmwareReport> {
        self.report.take()
    }

    /// The latest figures in words.
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    fn publish(&mut self, outcome: Option<Outcome>, now: Instant, wall: SystemTime, log: &mut Log) -> bool {
        let Some(outcome) = outcome else { return false };
        log.debug(COLLECTOR, format_args!("the guest library: {outcome:?}"), &[]);
        match self.collector.take(&outcome, now, wall) {
            Sample::Value(report) => {
                self.measured(&report, log);
                self.put_out(report, log);
            }
            Sample::Restarted(report, restart) => {
                self.without(&report, false, log);
                self.put_out(report, log);
                // Its counters advance as a rule: the next sample makes a value.
                return matches!(restart, Restart::First | Restart::Session);
            }
            Sample::Failed(report) => {
                self.without(&report, true, log);
                self.put_out(report, log);
            }
            Sample::NotVmware => {
                if self.changes_to(State::Without(DENIED.into())) {
                    log.info(COLLECTOR, DENIED, &[]);
                }
                self.status = None;
                self.outlet.remove(log);
            }
        }
        false
    }

    fn put_out(&mut self, report: VmwareReport, log: &mut Log) {
        self.outlet.publish(log, &to_line(&report));
        self.report = Some(report);
    }

    fn measured(&mut self, report: &VmwareReport, log: &mut Log) {
        let ready = report.cpu_ready_percent.map_or(0.0, |ready| ready.get());
        let window = report.window_seconds.get();
        self.status = Some(format!("%ready {ready:.1}"));
        if self.changes_to(State::Measured) {
            log.info(
                COLLECTOR,
                format_args!("%ready {ready:.1} over {window:.1} s"),
                &[],
            );
        }
    }

    fn without(&mut self, report: &VmwareReport, is_problem: bool, log: &mut Log) {
        let reason = report.error.clone().unwrap_or_default();
        self.status = Some("%ready unknown".into());
        if self.changes_to(State::Without(reason.clone())) {
            match is_problem {
                true => log.warn(COLLECTOR, &reason, &[("error", &reason)]),
                false => log.info(COLLECTOR, &reason, &[]),
            }
        }
    }

    fn changes_to(&mut self, state: State) -> bool {
        let changes = self.state != state;
        self.state = state;
        changes
    }
}
