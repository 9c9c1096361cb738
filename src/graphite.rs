//! How many hosts and metrics the whisper tree holds.
//!
//! `walk` goes through the tree in small steps, `read` says which entries of a directory count, `children` which
//! directories it still has, `tree` remembers the directories between two counts, `exclude` says what is left out. This
//! file puts a count together from that.

pub mod adaptor;
mod children;
pub mod exclude;
mod levels;
mod read;
pub mod tree;
pub mod walk;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use rustix::io::Errno;

use crate::config::GraphiteConfig;
use crate::report::{GraphiteReport, Rounded, SCHEMA, Seconds, unix_seconds};
use exclude::Exclude;
use tree::Tree;
use walk::{Totals, Walk};

/// A wall clock set back by more than this makes times that were seen before the change come again.
const CLOCK_SET_BACK: i128 = 1_000_000_000;

/// The collector of the count: what to count, and what the last count saw.
#[derive(Debug)]
pub struct Graphite {
    whisper_dir: PathBuf,
    host_depth: u32,
    interval: Duration,
    full_scan_interval: Duration,
    exclude: Exclude,
    tree: Tree,
    running: Option<Running>,
    last_full: Option<Instant>,
    clock: Option<ClockOffset>,
}

#[derive(Debug)]
struct Running {
    walk: Walk,
    started: Instant,
    everything: bool,
    slices: u32,
    busy: Duration,
    longest_slice: Duration,
}

/// A finished count.
#[derive(Debug, Clone)]
pub struct Count {
    /// The document to publish.
    pub report: GraphiteReport,
    /// What the walk went through.
    pub totals: Totals,
    /// From start to end, pauses included.
    pub duration: Duration,
    /// Time spent working.
    pub busy: Duration,
    /// Pieces the work was done in.
    pub slices: u32,
    /// The longest of them.
    pub longest_slice: Duration,
    /// Whether every directory was read though caches might have done.
    pub everything: bool,
    /// Directories that turned unreadable since the last count.
    pub newly_unreadable: u64,
    /// The first few of them with the reasons.
    pub reported: Vec<(PathBuf, Errno)>,
}

/// How a slice of a count ended.
#[derive(Debug)]
pub enum Progress {
    /// There is more to do.
    Running,
    /// The count is complete.
    Done(Box<Count>),
}

/// The wall clock against the monotonic one, to notice when it is set back.
#[derive(Debug, Clone, Copy)]
struct ClockOffset {
    monotonic: Instant,
    wall_ns: i128,
}

impl Graphite {
    /// A collector that has counted nothing yet.
    pub fn new(config: &GraphiteConfig) -> Result<Self> {
        Ok(Self {
            whisper_dir: config.whisper_dir(),
            host_depth: config.host_depth,
            interval: config.interval,
            full_scan_interval: config.full_scan_interval,
            exclude: Exclude::new(&config.exclude)?,
            tree: Tree::new(),
            running: None,
            last_full: None,
            clock: None,
        })
    }

    /// The directory that is counted.
    pub fn whisper_dir(&self) -> &Path {
        &self.whisper_dir
    }

    /// Whether a count is under way.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// What the count under way has found so far.
    pub fn so_far(&self) -> Option<Totals> {
        self.running.as_ref().map(|running| running.walk.totals)
    }

    /// Works on the count, starting one where none is under way, for at most `slice` but for the system call it is
    /// in. An error ends the count without a result: what was published before stays.
    pub fn work(&mut self, now: Instant, wall: SystemTime, slice: Duration) -> Result<Progress> {
        let wall_ns = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as i64);
        self.watch_clock(now, wall_ns);
        let running = match self.running.take() {
            Some(running) => running,
            None => self.start(now, wall_ns)?,
        };
        let result = self.slice(running, now, wall, wall_ns, slice);
        if result.is_err() {
            // A walk that ended half-way leaves a half-linked tree.
            self.tree = Tree::new();
            self.last_full = None;
        }
        result
    }

    fn slice(
        &mut self,
        mut running: Running,
        now: Instant,
        wall: SystemTime,
        wall_ns: i64,
        slice: Duration,
    ) -> Result<Progress> {
        let finished = loop {
            let finished = running
                .walk
                .step(&mut self.tree, &self.exclude, wall_ns)
                .with_context(|| format!("counting {:?}", self.whisper_dir))?;
            if finished || now.elapsed() >= slice {
                break finished;
            }
        };
        let worked = now.elapsed();
        running.slices += 1;
        running.busy += worked;
        running.longest_slice = running.longest_slice.max(worked);
        if !finished {
            self.running = Some(running);
            return Ok(Progress::Running);
        }
        self.finish(running, wall + worked)
            .map(|count| Progress::Done(Box::new(count)))
    }

    fn start(&mut self, now: Instant, wall_ns: i64) -> Result<Running> {
        let everything = self
            .last_full
            .is_none_or(|last| now.duration_since(last) >= self.full_scan_interval);
        let walk = Walk::start(
            &mut self.tree,
            &self.whisper_dir,
            self.host_depth,
            everything,
            wall_ns,
        )
        .with_context(|| format!("opening the whisper directory {:?}", self.whisper_dir))?;
        if everything {
            self.last_full = Some(now);
        }
        Ok(Running {
            walk,
            started: now,
            everything,
            slices: 0,
            busy: Duration::ZERO,
            longest_slice: Duration::ZERO,
        })
    }

    fn finish(&mut self, running: Running, wall: SystemTime) -> Result<Count> {
        let Running {
            walk,
            started,
            everything,
            slices,
            busy,
            longest_slice,
        } = running;
        if !walk.is_still_at(&self.whisper_dir) {
            return Err(anyhow!(
                "{:?} was replaced while it was counted",
                self.whisper_dir
            ));
        }
        self.tree.tidy();
        let duration = started.elapsed();
        let totals = walk.totals;
        let path_of = |path: &[u8]| self.whisper_dir.join(OsStr::from_bytes(path));
        Ok(Count {
            report: GraphiteReport {
                schema: SCHEMA,
                updated_at: unix_seconds(wall),
                interval_seconds: Seconds(self.interval),
                hosts: totals.hosts,
                metrics: totals.metrics,
                unreadable: totals.unreadable,
                scan_seconds: Rounded::microseconds(duration),
            },
            totals,
            duration,
            busy,
            slices,
            longest_slice,
            everything,
            newly_unreadable: walk.newly_unreadable,
            reported: walk
                .reported
                .iter()
                .map(|unreadable| (path_of(&unreadable.path), unreadable.errno))
                .collect(),
        })
    }

    /// Forgets all that earlier counts saw when the wall clock went back: a directory could be changed at the very
    /// time that it was already changed at before, and keep its stamp.
    fn watch_clock(&mut self, now: Instant, wall_ns: i64) {
        let wall_ns = i128::from(wall_ns);
        let set_back = self.clock.is_some_and(|clock| {
            let expected = clock.wall_ns + now.duration_since(clock.monotonic).as_nanos() as i128;
            wall_ns < expected - CLOCK_SET_BACK
        });
        if set_back {
            self.last_full = None;
        }
        self.clock = Some(ClockOffset {
            monotonic: now,
            wall_ns,
        });
    }
}
