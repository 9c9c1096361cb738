//! %ready in the daemon: asks the guest library through the helper process, and logs changes of its state.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use log::Level;

use super::detect::detect;
use super::helper_client::{self, HelperClient};
use super::report::{NAME, VmwareReport};
use super::window::Restart;
use super::{Sample, Vmware};
use crate::collector::{Event, Outcome, Task};
use crate::config::Config;
use crate::deadlines::Deadlines;
use crate::logging::Log;
use crate::moment::Moment;
use crate::recurring::Condition;
use crate::report::Report;

const DENIED: &str =
    "not a VMware virtual machine: DMI names VMware, but the guest library reports otherwise";

/// The samples of %ready.
#[derive(Debug)]
pub struct VmwareTask {
    collector: Vmware,
    helper: HelperClient,
    deadlines: Deadlines,
    state: Condition,
}

impl VmwareTask {
    /// Returns a task whose first sample is due at `now`. `None` if this is not a VMware virtual machine.
    pub fn new(config: &Config, now: Moment, log: &mut Log) -> Option<Self> {
        let detection = detect(&config.host.sys);
        let result = match detection.is_vmware {
            true => "VMware virtual machine detected",
            false => "not a VMware virtual machine",
        };
        log.info(NAME, format_args!("{result} ({})", detection.evidence), &[]);
        detection.is_vmware.then(|| Self {
            collector: Vmware::new(&config.vmware, &config.host, &detection),
            helper: HelperClient::new(&config.vmware.libraries),
            deadlines: Deadlines::new(now.monotonic, config.vmware.interval),
            state: Condition::new(NAME),
        })
    }

    fn answered(&mut self, outcome: &helper_client::Outcome, now: Moment, log: &mut Log) -> Outcome {
        log.debug(NAME, format_args!("guest library result: {outcome:?}"), &[]);
        let at = now.monotonic;
        let report = match self.collector.take(outcome, now) {
            Sample::Value(report) => {
                // All values are one state.
                self.state
                    .changed("measured", Level::Info, &report.details(), at, log);
                report
            }
            Sample::Restarted(report, restart) => {
                if matches!(restart, Restart::First | Restart::Session) {
                    // The counters usually advance: the next sample gives a value.
                    self.deadlines.soon(at);
                }
                self.log_unavailable(&report, Level::Info, at, log);
                report
            }
            Sample::Failed(report) => {
                self.log_unavailable(&report, Level::Warn, at, log);
                report
            }
            Sample::NotVmware => {
                self.state.changed(DENIED, Level::Info, DENIED, at, log);
                return Outcome::Remove;
            }
        };
        Outcome::Publish(Box::new(report))
    }

    fn log_unavailable(&mut self, report: &VmwareReport, level: Level, now: Instant, log: &mut Log) {
        let reason = report.details();
        self.state.changed(&reason, level, &reason, now, log);
    }
}

impl Task for VmwareTask {
    fn handle(&mut self, event: &Event, now: Moment, log: &mut Log) -> Outcome {
        let at = now.monotonic;
        let outcome = match event {
            Event::Exited(pid, status) => self
                .helper
                .handle(helper_client::Event::Reaped(*pid, *status), at),
            Event::Wakeup => self.helper.handle(helper_client::Event::Wakeup, at),
        };
        let is_due = outcome.is_none() && self.deadlines.next() <= at;
        let outcome = outcome.or_else(|| {
            is_due.then(|| {
                self.deadlines.passed(at);
                self.helper.handle(helper_client::Event::Ask, at)
            })?
        });
        outcome.map_or(Outcome::Unchanged, |outcome| self.answered(&outcome, now, log))
    }

    fn due(&self) -> Option<Instant> {
        let answer_due = self.helper.poll_fd().and_then(|(_, deadline)| deadline);
        let next = self.deadlines.next();
        Some(answer_due.map_or(next, |due| due.min(next)))
    }

    fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.helper.poll_fd().map(|(pipe, _)| pipe)
    }

    fn end(&mut self, _now: Moment, _log: &mut Log) {
        self.helper.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use log::LevelFilter;

    use super::*;
    use crate::vmware::answer::Fault;

    #[test]
    fn toggled_library_logs_at_most_20_lines_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let dmi = folder.path().join("class/dmi/id");
        fs::create_dir_all(&dmi).unwrap();
        fs::write(dmi.join("sys_vendor"), "VMware, Inc.\n").unwrap();
        let mut config = Config::default();
        config.host.sys = folder.path().into();
        let mut log = Log::new(LevelFilter::Info, Some(&folder.path().join("log")));
        let mut now = Moment::now();
        let mut task = VmwareTask::new(&config, now, &mut log).unwrap();
        for _ in 0..60 {
            for fault in [Fault::Timeout, Fault::InvalidReply] {
                assert!(matches!(
                    task.answered(&Err(fault), now, &mut log),
                    Outcome::Publish(_)
                ));
            }
            now.monotonic += Duration::from_millis(200);
        }
        let text = fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(text.matches("WARN vmware").count(), 20, "{text}");
    }
}
