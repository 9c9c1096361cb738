//! A count worker that runs: what it reports, and whether it still does.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Pid;

use crate::child::{self, Child, Received};
use crate::graphite::report::NAME;
use crate::logging::Log;
use crate::worker::SUBCOMMAND;
use crate::worker::protocol::{MAX_REPORT_BYTES, Report, Request};

/// A worker reports once a second. If it is silent for this long, the storage hangs.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// The same for short intervals.
const MIN_SILENCE: Duration = Duration::from_secs(5);
/// A silent worker is reported if it writes nothing for this much longer.
const SECOND_CHANCE: Duration = Duration::from_secs(2);

/// If the daemon ends while a worker publishes, the worker has this long to finish: killed, it would leave a temporary
/// file behind.
const PUBLISHING_GRACE: Duration = Duration::from_millis(300);

/// The worker and what its reports have told so far.
#[derive(Debug)]
pub struct Running {
    worker: Child,
    contact: Contact,
    silence: Duration,
    /// When the next worker starts, from the end of this one; `None` until its last report.
    pub next: Option<Duration>,
    /// Whether it has counted and replaces the published file.
    pub is_publishing: bool,
    /// The published file, once it is known.
    pub output: PathBuf,
    /// Whether it reads every directory because the clock was set back, and has not finished.
    pub after_clock_change: bool,
    /// Whether it runs without the state folder that is configured.
    pub no_state: bool,
}

/// Whether a worker reports in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contact {
    Responds,
    /// It missed its deadline. That is not logged yet.
    Late,
    /// It does not respond, which was logged.
    Lost,
}

impl Running {
    /// Starts a worker and sends it its request.
    pub fn start(request: &Request, after_clock_change: bool, now: Instant) -> Result<Self> {
        let mut worker = Child::spawn(&mut child::command(SUBCOMMAND, &[]), MAX_REPORT_BYTES)?;
        worker.send(serde_json::to_string(request)?.as_bytes())?;
        worker.close_input();
        let silence = request.interval.clamp(MIN_SILENCE, MAX_SILENCE);
        worker.set_deadline(Some(now + silence));
        Ok(Self {
            worker,
            contact: Contact::Responds,
            silence,
            next: None,
            is_publishing: false,
            output: PathBuf::new(),
            after_clock_change,
            no_state: false,
        })
    }

    /// Returns the next report, if there is one. Logs if the worker stops or resumes reporting.
    pub fn receive(&mut self, now: Instant, log: &mut Log) -> Option<Report> {
        loop {
            match self.worker.receive(now) {
                Received::Line(line) => {
                    self.heard(now, log);
                    match serde_json::from_str(&line) {
                        // What a killed worker wrote before its end belongs to the old settings.
                        Ok(_) if self.worker.is_killed() => {}
                        Ok(report) => return Some(report),
                        // It is this very program: something is badly wrong with its memory or its pipe.
                        Err(_) => self.worker.kill(),
                    }
                }
                Received::Timeout => self.missed(now, log),
                Received::TooLong => self.worker.kill(),
                Received::Nothing | Received::End => return None,
            }
        }
    }

    fn heard(&mut self, now: Instant, log: &mut Log) {
        if self.contact == Contact::Lost {
            log.info(NAME, "the count worker responds again", &[]);
        }
        self.contact = Contact::Responds;
        self.worker.set_deadline(Some(now + self.silence));
    }

    fn missed(&mut self, now: Instant, log: &mut Log) {
        if self.contact == Contact::Responds {
            // Both processes may have been stopped together, or the machine: the worker gets a second chance.
            self.contact = Contact::Late;
            return self.worker.set_deadline(Some(now + SECOND_CHANCE));
        }
        self.contact = Contact::Lost;
        self.worker.set_deadline(None);
        let pid = self.worker.pid().map_or(0, Pid::as_raw_pid);
        let silence = humantime::format_duration(self.silence);
        log.warn(
            NAME,
            format_args!(
                "the count worker (pid {pid}) has not responded for {silence}, its storage may hang; the next count \
                 starts after its end"
            ),
            &[("worker", &pid)],
        );
    }

    /// Whether it was logged that the worker does not respond.
    pub fn is_lost(&self) -> bool {
        self.contact == Contact::Lost
    }

    /// When it must have reported.
    pub fn deadline(&self) -> Option<Instant> {
        self.worker.deadline()
    }

    /// The pipe to wait for.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.worker.output()
    }

    /// Records that a process was reaped. Returns whether it is the worker.
    pub fn note_reaped(&mut self, pid: Pid) -> bool {
        self.worker.note_reaped(pid)
    }

    /// Whether a worker with this exit status died, instead of ending by itself or being killed by this daemon.
    pub fn has_died(&self, status: ExitStatus) -> bool {
        !status.success() && !self.worker.is_killed()
    }

    /// Kills the worker. The next one starts after its end.
    pub fn cancel(&mut self) {
        self.worker.kill();
        self.next = Some(Duration::ZERO);
    }

    /// Kills the worker and waits for its end, for less than half a second.
    pub fn stop(&mut self) {
        if self.is_publishing {
            self.worker.wait(PUBLISHING_GRACE);
        }
        self.worker.stop();
    }
}
