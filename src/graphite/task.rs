//! The daemon's side of the count worker: when one starts, what it reported, and how it ended. Never blocks.

mod clock;
mod protection;
mod report_log;
mod result;
mod retry;
mod running;

use std::os::fd::BorrowedFd;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Error;

use super::report::{GraphiteReport, NAME};
use crate::collector::{Event, Outcome, Task};
use crate::config::Config;
use crate::device::Device;
use crate::logging::Log;
use crate::moment::Moment;
use crate::report::Report as _;
use crate::worker::protocol::{Report, Request};
use clock::WallClock;
use report_log::ReportLog;
use running::Running;

/// Deaths in a row after which the next worker ignores the snapshot, which may be the cause.
const DEATHS_BY_SNAPSHOT: u32 = 2;

/// The counts, one worker at a time, and their problems.
#[derive(Debug)]
pub struct CountTask {
    request: Request,
    /// Whether anything depends on the tree: its count, or the list of its disks.
    is_needed: bool,
    state: State,
    clock: WallClock,
    /// Whether the clock was set back since the last full scan that it called for.
    clock_set_back: bool,
    /// Workers in a row that ended without a result.
    deaths: u32,
    devices: Vec<Device>,
    reports: ReportLog,
    last: Option<String>,
}

#[derive(Debug)]
enum State {
    /// The next worker starts at this time.
    Waiting(Instant),
    Running(Running),
}

impl CountTask {
    /// Returns a task whose first count is due at `now`.
    pub fn new(config: &Config, now: Moment) -> Self {
        Self {
            request: Request::new(config),
            is_needed: is_needed(config),
            state: State::Waiting(now.monotonic),
            clock: WallClock::default(),
            clock_set_back: false,
            deaths: 0,
            devices: Vec::new(),
            reports: ReportLog::default(),
            last: None,
        }
    }

    fn start(&mut self, now: Instant, log: &mut Log) {
        let after_clock_change = std::mem::take(&mut self.clock_set_back);
        let request = Request {
            use_snapshot: self.deaths < DEATHS_BY_SNAPSHOT && !after_clock_change,
            ..self.request.clone()
        };
        self.state = match Running::start(&request, after_clock_change, now) {
            Ok(running) => State::Running(running),
            Err(error) => {
                let error = error.context("starting the count worker");
                self.reports.count_failed(&error, now, log);
                self.clock_set_back |= after_clock_change;
                State::Waiting(now + retry::after_failure(self.request.interval))
            }
        };
    }

    /// Returns the document if the worker has reported one.
    fn receive(&mut self, now: Instant, log: &mut Log) -> Option<GraphiteReport> {
        let mut document = None;
        while let State::Running(running) = &mut self.state
            && let Some(report) = running.receive(now, log)
        {
            document = self.reported(report, now, log).or(document);
        }
        document
    }

    fn reported(&mut self, report: Report, now: Instant, log: &mut Log) -> Option<GraphiteReport> {
        let interval = self.request.interval;
        let retry = retry::after_failure(interval);
        let State::Running(running) = &mut self.state else {
            return None;
        };
        self.reports.log(&report, running, self.request.counts, now, log);
        match report {
            Report::Progress | Report::Exported(..) => {}
            Report::NoState(_) => running.no_state = true,
            Report::Tree(tree) => {
                self.devices = tree.devices;
                running.output = tree.output;
                running.next = (!self.request.counts).then_some(interval);
            }
            Report::Counted(_, document) => {
                self.last = Some(document.summary());
                running.after_clock_change = false;
                running.is_publishing = true;
                return Some(document);
            }
            Report::Published => running.next = Some(interval),
            Report::Busy | Report::NotPublished { .. } | Report::Failed(_) => running.next = Some(retry),
        }
        None
    }

    fn ended(&mut self, status: ExitStatus, now: Instant, log: &mut Log) {
        let State::Running(running) = &self.state else {
            return;
        };
        self.clock_set_back |= running.after_clock_change;
        if running.is_lost() {
            log.info(NAME, "the count worker that did not respond has ended", &[]);
        }
        let next = match running.next {
            Some(next) if !running.has_died(status) => {
                self.deaths = 0;
                next
            }
            _ => self.died(status, now, log),
        };
        self.state = State::Waiting(now + next);
    }

    /// Logs a death, and returns after which time the next worker starts.
    fn died(&mut self, status: ExitStatus, now: Instant, log: &mut Log) -> Duration {
        self.deaths = self.deaths.saturating_add(1);
        let ignored = match self.deaths {
            DEATHS_BY_SNAPSHOT.. => ", the next one ignores the snapshot",
            _ => "",
        };
        let error = Error::msg(format!("the count worker died ({status}), trying again{ignored}"));
        self.reports.count_failed(&error, now, log);
        retry::after_deaths(self.deaths, self.request.interval)
    }
}

impl Task for CountTask {
    fn handle(&mut self, event: &Event, now: Moment, log: &mut Log) -> Outcome {
        self.clock_set_back |= self.clock.was_set_back(now);
        let now = now.monotonic;
        let document = match (&mut self.state, event) {
            (State::Waiting(due), Event::Wakeup) if self.is_needed && *due <= now => {
                self.start(now, log);
                None
            }
            (State::Waiting(_), _) => None,
            (State::Running(_), Event::Wakeup) => self.receive(now, log),
            (State::Running(running), Event::Exited(pid, status)) => {
                if !running.note_reaped(*pid) {
                    return Outcome::Unchanged;
                }
                // Its last reports may still be in the pipe.
                let document = self.receive(now, log);
                self.ended(*status, now, log);
                document
            }
        };
        document.map_or(Outcome::Unchanged, |report| Outcome::Measured(Box::new(report)))
    }

    fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(due) => self.is_needed.then_some(*due),
            State::Running(running) => running.deadline(),
        }
    }

    fn pipe(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Waiting(_) => None,
            State::Running(running) => running.pipe(),
        }
    }

    fn status(&self) -> Option<String> {
        if !self.request.counts {
            return None;
        }
        let counted = self.last.as_deref().unwrap_or("first count in progress");
        Some(match &self.state {
            State::Running(running) if running.is_lost() => format!("{counted}, the count does not respond"),
            _ => counted.into(),
        })
    }

    /// A running worker is killed if it has other settings, and the next one starts once it has ended: never two at a
    /// time.
    fn reload(&mut self, config: &Config, now: Moment) -> bool {
        self.is_needed = is_needed(config);
        let request = Request::new(config);
        if request == self.request {
            return true;
        }
        if !request.counts
            || request.output != self.request.output
            || request.whisper_dir != self.request.whisper_dir
        {
            (self.last, self.devices) = (None, Vec::new());
            self.reports.forget_publishing();
        }
        self.request = request;
        self.reports.forget_counting();
        match &mut self.state {
            State::Waiting(due) => *due = now.monotonic,
            State::Running(running) => running.cancel(),
        }
        true
    }

    fn end(&mut self, now: Moment, log: &mut Log) {
        // It may be publishing since its last report was read.
        self.receive(now.monotonic, log);
        if let State::Running(running) = &mut self.state {
            running.stop();
        }
    }

    fn whisper_devices(&self) -> &[Device] {
        &self.devices
    }
}

fn is_needed(config: &Config) -> bool {
    let mut collectors = config.collectors().into_iter();
    collectors.any(|settings| settings.enabled && settings.uses_tree)
}

#[cfg(test)]
mod tests;
