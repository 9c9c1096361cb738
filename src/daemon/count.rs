//! The daemon's end of the count worker: when one starts, what it reported, and how it ended. Never blocks.

mod clock;
mod result;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Error;
use rustix::process::Pid;

use super::outlet::Health;
use crate::child::{Child, Received};
use crate::config::Config;
use crate::disks::backing::Device;
use crate::logging::Log;
use crate::report::GraphiteReport;
use crate::worker::SUBCOMMAND;
use crate::worker::protocol::{MAX_REPORT_BYTES, Report, Request};
use clock::WallClock;
use result::ResultLog;

const COLLECTOR: &str = "graphite";
/// A count that failed or could not be published is retried after this time, if its interval is longer.
const RETRY: Duration = Duration::from_secs(60);
/// Wait before the next worker after one that died, doubled with each further death in a row, up to [`RETRY`].
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// Deaths in a row after which the next worker ignores the snapshot, which may be the cause.
const DEATHS_BY_SNAPSHOT: u32 = 2;
/// If the daemon ends while a worker publishes, the worker has this long to finish: killed, it would leave a temporary
/// file behind.
const PUBLISHING_GRACE: Duration = Duration::from_millis(300);
/// A worker reports once a second. If it is silent for this long, the storage hangs.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// The same for short intervals.
const MIN_SILENCE: Duration = Duration::from_secs(5);
/// A silent worker is reported if it writes nothing for this much longer.
const SECOND_CHANCE: Duration = Duration::from_secs(2);

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
    /// Whether killed workers may have left temporary files behind.
    sweep: bool,
    device: Option<Device>,
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

#[derive(Debug)]
struct Running {
    worker: Child,
    /// When the next worker starts, from its end, according to its last report; `None` if it sent none.
    next: Option<Duration>,
    /// Whether it has counted and replaces the published file.
    is_publishing: bool,
    /// The published file, once it is known.
    output: PathBuf,
    /// Whether it reads every directory because the clock was set back, and has not finished.
    after_clock_change: bool,
    /// Whether it runs without the state folder that is configured.
    no_state: bool,
    /// Whether it missed a deadline.
    is_late: bool,
    /// Whether it was logged that the worker is silent.
    is_overdue: bool,
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
            sweep: true,
            device: None,
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
            State::Running(running) => running.worker.deadline(),
        }
    }

    /// The pipe to wait for.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Waiting(_) => None,
            State::Running(running) => running.worker.output(),
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
                if running.worker.note_reaped(*pid) {
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
            (self.last, self.device) = (None, None);
            self.publishing = Health::default();
        }
        self.request = request;
        self.counting = Health::default();
        match &mut self.state {
            State::Waiting(due) => *due = now,
            State::Running(running) => {
                running.worker.kill();
                running.next = Some(Duration::ZERO);
                self.sweep = true;
            }
        }
    }

    /// Kills the worker: the daemon ends.
    pub fn end(&mut self) {
        if let State::Running(running) = &mut self.state {
            running.worker.stop(match running.is_publishing {
                true => PUBLISHING_GRACE,
                false => Duration::ZERO,
            });
        }
    }

    /// The latest document, once.
    pub fn take_report(&mut self) -> Option<GraphiteReport> {
        self.report.take()
    }

    /// The device of the tree's file system, if it is known.
    pub fn device(&self) -> Option<Device> {
        self.device
    }

    /// The latest values, for people; `None` if nothing is counted.
    pub fn status(&self) -> Option<String> {
        let counted = match self.last {
            _ if !self.request.counts => return None,
            Some((hosts, metrics)) => format!("{hosts} hosts, {metrics} metrics"),
            None => "first count under way".into(),
        };
        Some(match &self.state {
            State::Running(running) if running.is_overdue => format!("{counted}, the count does not respond"),
            _ => counted,
        })
    }

    fn start(&mut self, now: Instant, log: &mut Log) {
        let after_clock_change = std::mem::take(&mut self.clock_set_back);
        let worker = Child::start(SUBCOMMAND, &[], MAX_REPORT_BYTES).and_then(|mut worker| {
            let request = Request {
                use_snapshot: self.deaths < DEATHS_BY_SNAPSHOT && !after_clock_change,
                sweep: self.sweep,
                ..self.request.clone()
            };
            worker.send(serde_json::to_string(&request)?.as_bytes())?;
            worker.close_input();
            worker.set_deadline(Some(now + self.silence()));
            Ok(worker)
        });
        match worker {
            Ok(worker) => {
                self.state = State::Running(Running {
                    worker,
                    next: None,
                    is_publishing: false,
                    output: PathBuf::new(),
                    after_clock_change,
                    no_state: false,
                    is_late: false,
                    is_overdue: false,
                });
            }
            Err(error) => {
                let error = error.context("starting the count worker");
                self.counting.fails(log, COLLECTOR, &error);
                self.clock_set_back |= after_clock_change;
                self.state = State::Waiting(now + self.retry());
            }
        }
    }

    fn receive(&mut self, now: Instant, log: &mut Log) {
        let silence = self.silence();
        while let State::Running(running) = &mut self.state {
            match running.worker.receive(now) {
                Received::Line(line) => {
                    running.worker.set_deadline(Some(now + silence));
                    running.is_late = false;
                    if std::mem::take(&mut running.is_overdue) {
                        log.info(COLLECTOR, "the count worker responds again", &[]);
                    }
                    match serde_json::from_str(&line) {
                        // What a killed worker wrote before its end belongs to the old settings.
                        Ok(_) if running.worker.is_killed() => {}
                        Ok(report) => self.take(report, log),
                        // It is this very program: something is badly wrong with its memory or its pipe.
                        Err(_) => running.worker.kill(),
                    }
                }
                Received::TooLong => return running.worker.kill(),
                Received::Timeout if !running.is_late => {
                    // Both processes may have been stopped together, or the machine: the worker gets a second chance.
                    running.is_late = true;
                    running.worker.set_deadline(Some(now + SECOND_CHANCE));
                }
                Received::Timeout => {
                    running.worker.set_deadline(None);
                    running.is_overdue = true;
                    let pid = running.worker.pid().map_or(0, Pid::as_raw_pid);
                    let silence = humantime::format_duration(silence);
                    log.warn(
                        COLLECTOR,
                        format_args!(
                            "the count worker (pid {pid}) has not responded for {silence}, its storage may hang; \
                             the next count starts after its end"
                        ),
                        &[("worker", &pid)],
                    );
                    return;
                }
                Received::Nothing | Received::End => return,
            }
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
                self.device = tree.device;
                running.output = tree.output;
                if !self.request.counts {
                    self.deaths = 0;
                    running.next = Some(interval);
                }
            }
            Report::Counted(count, document) => {
                self.counting.works(log, COLLECTOR, "counting");
                self.results.log(&count, log);
                self.last = Some((document.hosts, document.metrics));
                running.after_clock_change = false;
                running.is_publishing = true;
                self.deaths = 0;
                self.report = Some(document);
            }
            Report::Swept(files) => {
                log.info(
                    COLLECTOR,
                    format_args!("removed {files} left-over temporary files"),
                    &[],
                );
            }
            Report::Published => {
                self.publishing
                    .works(log, COLLECTOR, &publishing(&running.output));
                self.sweep = false;
                running.next = Some(interval);
            }
            Report::NotPublished { error, cause } => {
                self.publishing
                    .fails_as(cause, log, COLLECTOR, &Error::msg(error));
                self.sweep = true;
                running.next = Some(retry);
            }
            Report::Failed(error) => {
                self.deaths = 0;
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
        if running.is_overdue {
            log.info(COLLECTOR, "the count worker that did not respond has ended", &[]);
        }
        let wait = running.next.unwrap_or_else(|| {
            self.sweep = true;
            let wait = (FIRST_BACK_OFF * (1 << self.deaths.min(6))).min(self.retry());
            self.deaths = self.deaths.saturating_add(1);
            let ignored = match self.deaths {
                DEATHS_BY_SNAPSHOT.. => ", the next one ignores the snapshot",
                _ => "",
            };
            let error = Error::msg(format!("the count worker died ({status}), trying again{ignored}"));
            self.counting.fails(log, COLLECTOR, &error);
            wait
        });
        self.state = State::Waiting(now + wait);
    }

    fn retry(&self) -> Duration {
        self.request.interval.min(RETRY)
    }

    fn silence(&self) -> Duration {
        self.request.interval.clamp(MIN_SILENCE, MAX_SILENCE)
    }
}

fn is_needed(config: &Config) -> bool {
    config.graphite.enabled || config.disks.enabled
}

fn publishing(output: &Path) -> String {
    format!("publishing {output:?}")
}
