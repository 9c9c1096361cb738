//! A task that takes a sample at each deadline, of values that can be read without waiting.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Event, Found, Gather, Outcome, Task};
use crate::deadlines::Deadlines;
use crate::device::Device;
use crate::logging::Log;
use crate::moment::Moment;
use crate::recurring::Condition;
use crate::report::Report;

/// Tries of `once` to take a sample.
const ONCE_TRIES: usize = 10;

/// A source of samples, which keeps those of its window.
pub trait Sampler: Debug {
    /// The document of the samples.
    type Report: Report + 'static;

    /// Takes a sample. `clock` reads the time.
    fn sample(&mut self, clock: fn() -> Moment) -> Result<Sampled<Self::Report>>;

    /// Logs what the last sample found besides its values.
    fn log_findings(&mut self, _now: Instant, _log: &mut Log) {}

    /// Returns what is incomplete in the last sample.
    fn notes(&self) -> Vec<String>;

    /// Returns the values of a document for people.
    fn text(&self, report: &Self::Report) -> String;

    /// Sets the devices of the tree's file system; empty if they are unknown.
    fn set_whisper_devices(&mut self, _devices: &[Device]) {}
}

/// The result of a sample.
#[derive(Debug)]
pub enum Sampled<R> {
    /// The document of the window.
    Document(R),
    /// The window has only this sample.
    First,
    /// There is no sample: the process was interrupted, so it is unknown of which time the values are.
    Skipped,
}

/// A sampler in the daemon.
#[derive(Debug)]
pub struct SampledTask<S> {
    collector: &'static str,
    sampler: S,
    deadlines: Deadlines,
    sampling: Condition,
    has_sample: bool,
    has_document: bool,
}

impl<S: Sampler> SampledTask<S> {
    /// Returns a task whose first sample is due at `now`. `collector` is the name in the log.
    pub fn new(collector: &'static str, sampler: S, interval: Duration, now: Moment) -> Self {
        Self {
            collector,
            sampler,
            deadlines: Deadlines::new(now.monotonic, interval),
            sampling: Condition::new(collector),
            has_sample: false,
            has_document: false,
        }
    }

    fn sample(&mut self, now: Moment, log: &mut Log) -> Outcome {
        // Not `now`: other tasks may have worked since then.
        let sample = self.sampler.sample(Moment::now);
        let had_sample = self.has_sample;
        if !had_sample {
            self.deadlines.soon(now.monotonic);
        }
        self.has_sample |= !matches!(sample, Ok(Sampled::Skipped));
        let report = match sample {
            Ok(Sampled::Document(report)) => Some(report),
            Ok(Sampled::First) => None,
            Ok(Sampled::Skipped) => {
                log.debug(self.collector, "sample skipped, the process was interrupted", &[]);
                return Outcome::Unchanged;
            }
            Err(error) => {
                self.sampling.failed(&error, now.monotonic, log);
                // Consumers would take old values for current ones.
                return Outcome::Remove;
            }
        };
        self.sampling.ok("sampling", now.monotonic, log);
        self.sampler.log_findings(now.monotonic, log);
        match report {
            Some(report) => {
                let details = report.details();
                if std::mem::replace(&mut self.has_document, true) {
                    log.debug(self.collector, details, &[]);
                } else {
                    log.info(self.collector, details, &[]);
                }
                Outcome::Publish(Box::new(report))
            }
            // All sources were replaced: the published values do not apply any more.
            None if had_sample => Outcome::Remove,
            None => Outcome::Unchanged,
        }
    }
}

impl<S: Sampler> Task for SampledTask<S> {
    fn handle(&mut self, event: &Event, now: Moment, log: &mut Log) -> Outcome {
        if !matches!(event, Event::Wakeup) || self.deadlines.next() > now.monotonic {
            return Outcome::Unchanged;
        }
        self.deadlines.passed(now.monotonic);
        self.sample(now, log)
    }

    fn due(&self) -> Option<Instant> {
        Some(self.deadlines.next())
    }

    fn set_whisper_devices(&mut self, devices: &[Device]) {
        self.sampler.set_whisper_devices(devices);
    }
}

/// A sampler that runs for `once`.
struct TwoSamples<S> {
    sampler: S,
    first: Result<()>,
}

/// Takes the first sample for `once`.
pub fn begin<S: Sampler + 'static>(mut sampler: S, clock: fn() -> Moment) -> Box<dyn Gather> {
    let first = sample(&mut sampler, clock).map(drop);
    Box::new(TwoSamples { sampler, first })
}

/// Returns the document; `None` after the first sample.
fn sample<S: Sampler>(sampler: &mut S, clock: fn() -> Moment) -> Result<Option<S::Report>> {
    for _ in 0..ONCE_TRIES {
        match sampler.sample(clock)? {
            Sampled::Document(report) => return Ok(Some(report)),
            Sampled::First => return Ok(None),
            Sampled::Skipped => {}
        }
    }
    bail!("interrupted each time while it was sampled")
}

impl<S: Sampler> Gather for TwoSamples<S> {
    fn finish(mut self: Box<Self>, clock: fn() -> Moment) -> Found {
        let report = self.first.and_then(|()| sample(&mut self.sampler, clock));
        let report = match report {
            Ok(Some(report)) => report,
            Ok(None) => return Found::failed(anyhow::anyhow!("replaced while it was sampled")),
            Err(error) => return Found::failed(error),
        };
        Found {
            text: self.sampler.text(&report),
            report: Some(Box::new(report)),
            errors: Vec::new(),
            notes: self.sampler.notes(),
            is_absent: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;
    use crate::collector::Collector as _;
    use crate::config::Config;
    use crate::disks::collector::DisksCollector;

    #[test]
    fn sample_is_taken_exactly_at_its_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.host.proc = folder.path().into();
        let mut log = Log::new(LevelFilter::Off, None);
        let mut now = Moment::now();
        let mut task = DisksCollector.start(&config, now, &mut log).unwrap();
        for _ in 0..3 {
            // There are no counters, so each sample fails.
            let outcome = task.handle(&Event::Wakeup, now, &mut log);
            assert!(matches!(outcome, Outcome::Remove), "{outcome:?}");
            let due = task.due().unwrap();
            now.monotonic = due.checked_sub(Duration::from_nanos(1)).unwrap();
            let outcome = task.handle(&Event::Wakeup, now, &mut log);
            assert!(matches!(outcome, Outcome::Unchanged), "{outcome:?}");
            now.monotonic = due;
        }
    }
}
