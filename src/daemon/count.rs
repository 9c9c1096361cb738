//! The daemon's end of the count worker: when one starts, what it reported, and how it ended. Never blocks.

mod clock;
mod protection;
mod result;
mod running;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Error;
use rustix::process::Pid;

use super::outlet::Health;
use crate::config::Config;
use crate::disks::backing::Device;
use crate::escape;
use crate::logging::Log;
use crate::report::GraphiteReport;
use crate::worker::protocol::{Report, Request};
use clock::WallClock;
use protection::Protection;
use result::ResultLog;
use running::Running;

const COLLECTOR: &str = "graphite";
/// A count that failed or could not be published is retried after this time, if its interval is longer.
const RETRY: Duration = Duration::from_secs(60);
/// Wait before the next worker after one that died, doubled with each further death in a row, up to [`RETRY`].
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// Most doublings: 64 s.
const MAX_DOUBLINGS: u32 = 6;
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
    /// The directory that was logged as the one that is counted.
    whisper_dir: Option<PathBuf>,
    protection: Protection,
    devices: Vec<Device>,
    counting: Health,
    publishing: Health,
    state_folder: Health,
    results: ResultLog,
    last: Option<(u64, u64)>,
    report: Option<GraphiteReport>,
}

#[derive(Debug)]
enum State {
    /// The next worker starts at this time.
    Waiting(Instant),
    Running(Running),
}

/// Something that concerns the counts.
#[derive(Debug)]
pub enum Event {
    /// A deadline has passed, or the worker wrote something.
    Wakeup,
    /// A child process of the daemon was reaped.
    Reaped(Pid, ExitStatus),
}

impl CountTask {
    /// Sets the counts up. The first one is due at `now`.
    pub fn new(config: &Config, now: Instant) -> Self {
        Self {
            request: Request::new(config),
            is_needed: is_needed(config),
            state: State::Waiting(now),
            clock: WallClock::default(),
            clock_set_back: false,
            deaths: 0,
            whisper_dir: None,
            protection: Protection::default(),
            devices: Vec::new(),
            counting: Health::default(),
            publishing: Health::default(),
            state_folder: Health::default(),
            results: ResultLog::default(),
            last: None,
            report: None,
        }
    }

    /// When [`Event::Wakeup`] is due, even if the worker writes nothing.
    pub fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(due) => self.is_needed.then_some(*due),
            State::Running(running) => running.deadline(),
        }
    }

    /// The pipe to wait for.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Waiting(_) => None,
            State::Running(running) => running.pipe(),
        }
    }

    /// Acts on an event.
    pub fn handle(&mut self, event: &Event, now: Instant, wall: SystemTime, log: &mut Log) {
        self.clock_set_back |= self.clock.was_set_back(now, wall);
        match (&mut self.state, event) {
            (State::Waiting(due), Event::Wakeup) if self.is_needed && *due <= now => self.start(now, log),
            (State::Waiting(_), _) => {}
            (State::Running(_), Event::Wakeup) => self.receive(now, log),
            (State::Running(running), Event::Reaped(pid, status)) => {
                if running.note_reaped(*pid) {
                    // Its last reports may still be in the pipe.
                    self.receive(now, log);
                    self.ended(*status, now, log);
                }
            }
        }
    }

    /// Applies a new configuration. A running worker is killed if it has other settings, and the next one starts once
    /// it has ended: never two at a time.
    pub fn reload(&mut self, config: &Config, now: Instant) {
        self.is_needed = is_needed(config);
        let request = Request::new(config);
        if request == self.request {
            return;
        }
        if !request.counts
            || request.output != self.request.output
            || request.whisper_dir != self.request.whisper_dir
        {
            (self.last, self.devices) = (None, Vec::new());
            self.publishing = Health::default();
        }
        self.request = request;
        self.counting = Health::default();
        match &mut self.state {
            State::Waiting(due) => *due = now,
            State::Running(running) => {
                running.cancel();
            }
        }
    }

    /// Kills the worker: the daemon ends.
    pub fn end(&mut self, now: Instant, log: &mut Log) {
        // It may be publishing since it was last heard.
        self.receive(now, log);
        if let State::Running(running) = &mut self.state {
            running.stop();
        }
    }

    /// The latest document, once.
    pub fn take_report(&mut self) -> Option<GraphiteReport> {
        self.report.take()
    }

    /// The devices of the tree's file system; empty if they are unknown.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The latest values, for people; `None` if nothing is counted.
    pub fn status(&self) -> Option<String> {
        let counted = match self.last {
            _ if !self.request.counts => return None,
            Some((hosts, metrics)) => format!("{hosts} hosts, {metrics} metrics"),
            None => "first count under way".into(),
        };
        Some(match &self.state {
            State::Running(running) if running.is_lost() => format!("{counted}, the count does not respond"),
            _ => counted,
        })
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
                self.counting.fails(log, COLLECTOR, &error);
                self.clock_set_back |= after_clock_change;
                State::Waiting(now + self.retry())
            }
        };
    }

    fn receive(&mut self, now: Instant, log: &mut Log) {
        while let State::Running(running) = &mut self.state
            && let Some(report) = running.receive(now, log)
        {
            self.take(report, log);
        }
    }

    fn take(&mut self, report: Report, log: &mut Log) {
        let (interval, retry) = (self.request.interval, self.retry());
        let State::Running(running) = &mut self.state else {
            return;
        };
        match report {
            Report::Progress => {}
            Report::Busy => {
                let error = Error::msg("another count worker has not ended yet, waiting for it");
                self.counting.fails(log, COLLECTOR, &error);
                running.next = Some(retry);
            }
            Report::NoState(error) => {
                let error = Error::msg(format!("{error}; without it, each count reads every directory"));
                running.no_state = true;
                self.state_folder.fails(log, COLLECTOR, &error);
            }
            Report::Tree(tree) => {
                if !running.no_state {
                    self.state_folder.works(log, COLLECTOR, "using the state folder");
                }
                if self.request.counts && self.whisper_dir.as_ref() != Some(&tree.whisper_dir) {
                    let (from, to) = (
                        escape::display_path(&tree.whisper_dir),
                        escape::display_path(&tree.output),
                    );
                    log.info(COLLECTOR, format_args!("counting {from}, publishing {to}"), &[]);
                    self.whisper_dir = Some(tree.whisper_dir.clone());
                    self.protection = Protection::default();
                }
                if self.request.counts {
                    self.protection.check(&tree, log);
                }
                self.devices = tree.devices;
                running.output = tree.output;
                if !self.request.counts {
                    running.next = Some(interval);
                }
            }
            Report::Counted(count, document) => {
                self.counting.works(log, COLLECTOR, "counting");
                self.results.log(&count, log);
                self.last = Some((document.hosts, document.metrics));
                running.after_clock_change = false;
                running.is_publishing = true;
                self.report = Some(document);
            }
            Report::Published => {
                self.publishing
                    .works(log, COLLECTOR, &publishing(&running.output));
                running.next = Some(interval);
            }
            Report::NotPublished { error, cause } => {
                self.publishing
                    .fails_as(cause, log, COLLECTOR, &Error::msg(error));
                running.next = Some(retry);
            }
            Report::Failed(error) => {
                self.counting.fails(log, COLLECTOR, &Error::msg(error));
                running.next = Some(retry);
            }
        }
    }

    fn ended(&mut self, status: ExitStatus, now: Instant, log: &mut Log) {
        let State::Running(running) = &self.state else {
            return;
        };
        self.clock_set_back |= running.after_clock_change;
        if running.is_lost() {
            log.info(COLLECTOR, "the count worker that did not respond has ended", &[]);
        }
        let next = match running.next {
            Some(next) if !running.has_died(status) => {
                self.deaths = 0;
                next
            }
            _ => self.died(status, log),
        };
        self.state = State::Waiting(now + next);
    }

    /// Logs a death, and returns after which time the next worker starts.
    fn died(&mut self, status: ExitStatus, log: &mut Log) -> Duration {
        let back_off = FIRST_BACK_OFF * (1 << self.deaths.min(MAX_DOUBLINGS));
        self.deaths = self.deaths.saturating_add(1);
        let ignored = match self.deaths {
            DEATHS_BY_SNAPSHOT.. => ", the next one ignores the snapshot",
            _ => "",
        };
        let error = Error::msg(format!("the count worker died ({status}), trying again{ignored}"));
        self.counting.fails(log, COLLECTOR, &error);
        back_off.min(self.retry())
    }

    fn retry(&self) -> Duration {
        self.request.interval.min(RETRY)
    }
}

fn is_needed(config: &Config) -> bool {
    config.graphite.enabled || config.disks.enabled
}

fn publishing(output: &Path) -> String {
    format!("publishing {output:?}")
}
