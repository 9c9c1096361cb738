//! The collectors in the daemon: passes events to their tasks, and publishes what they return.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::publisher::Publisher;
use crate::child::reap_ended;
use crate::collector::{Collector, Event, Outcome, Task};
use crate::collectors::ALL;
use crate::config::Config;
use crate::logging::Log;
use crate::moment::Moment;
use crate::publish::DOCUMENT_MODE;
use crate::report::Report;

/// A change of a document.
#[derive(Debug)]
pub struct Document {
    pub collector: &'static str,
    /// The new document; `None` if it was removed.
    pub report: Option<Box<dyn Report>>,
    /// How long it took the task.
    pub duration: Duration,
}

/// The tasks that run.
#[derive(Debug)]
pub struct Collectors {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    task: Box<dyn Task>,
    publisher: Publisher,
    /// The values of the last document.
    summary: Option<String>,
}

impl Collectors {
    /// Starts the enabled collectors. Their first samples and the first count are due at `now`.
    pub fn new(config: &Config, now: Moment, log: &mut Log) -> Self {
        let mut collectors = Self { running: Vec::new() };
        for collector in ALL {
            collectors.start(collector, config, false, now, log);
        }
        collectors
    }

    /// Passes an event to every task, and returns the changed documents.
    pub fn handle(&mut self, event: &Event, now: Moment, log: &mut Log) -> Vec<Document> {
        let mut documents = Vec::new();
        for running in &mut self.running {
            let at = now.monotonic;
            let begun = Instant::now();
            let outcome = running.task.handle(event, now, log);
            let duration = begun.elapsed();
            let report = match outcome {
                Outcome::Unchanged => continue,
                Outcome::Publish(report) => {
                    running.publisher.publish(&report.line(), at, log);
                    Some(report)
                }
                Outcome::Measured(report) => Some(report),
                Outcome::Remove => {
                    running.publisher.remove(at, log);
                    None
                }
            };
            running.summary = report.as_ref().map(|report| report.summary());
            let collector = running.name;
            documents.push(Document {
                collector,
                report,
                duration,
            });
        }
        self.pass_on_devices();
        documents
    }

    /// Reaps the child processes that have ended, which does not block, and returns the new documents.
    pub fn reap_children(&mut self, now: Moment, log: &mut Log) -> Vec<Document> {
        let exited = reap_ended().into_iter();
        exited
            .flat_map(|(pid, status)| self.handle(&Event::Exited(pid, status), now, log))
            .collect()
    }

    /// Returns when [`Event::Wakeup`] is due without an event.
    pub fn due(&self) -> Option<Instant> {
        self.running.iter().filter_map(|running| running.task.due()).min()
    }

    /// Returns the pipes of the child processes, to wait for beside the deadlines.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.running.iter().filter_map(|running| running.task.pipe())
    }

    /// Returns the latest values, for `systemctl status`.
    pub fn status(&self) -> String {
        let of = |running: &Running| running.task.status().or_else(|| running.summary.clone());
        let texts: Vec<_> = self.running.iter().filter_map(of).collect();
        texts.join("; ")
    }

    /// Applies a new configuration. A collector whose settings are equal keeps its samples and deadlines.
    pub fn reload(&mut self, old: &Config, new: &Config, now: Moment, log: &mut Log) {
        for collector in ALL {
            let name = collector.name();
            let position = self.running.iter().position(|running| running.name == name);
            if let Some(position) = position
                && self.running[position].task.reload(new, now)
            {
                continue;
            }
            if !collector.is_changed(old, new) {
                continue;
            }
            let (before, after) = (old.collector(name), new.collector(name));
            let has_moved = before.outputs != after.outputs;
            let keeps_file = !has_moved && after.enabled && (before.enabled || after.outlives_daemon);
            if let Some(position) = position {
                let mut running = self.running.remove(position);
                running.task.end(now, log);
                // Nothing replaces the old file any more. Disabling a collector has the effect of a stop.
                if has_moved || (!before.outlives_daemon && !keeps_file) {
                    running.publisher.end(log);
                }
            }
            self.start(collector, new, keeps_file, now, log);
        }
        self.pass_on_devices();
    }

    /// Ends all tasks, after removing the files that must not outlive the daemon.
    pub fn end(&mut self, config: &Config, now: Moment, log: &mut Log) {
        for running in &mut self.running {
            if !config.collector(running.name).outlives_daemon {
                running.publisher.end(log);
            }
        }
        // In reverse: the end of the count worker may take a moment.
        for running in self.running.iter_mut().rev() {
            running.task.end(now, log);
        }
    }

    fn start(
        &mut self,
        collector: &'static dyn Collector,
        config: &Config,
        keeps_file: bool,
        now: Moment,
        log: &mut Log,
    ) {
        let name = collector.name();
        let settings = config.collector(name);
        let output = settings.outputs[0].clone();
        let mut publisher = Publisher::new(name, output, collector.durability(), DOCUMENT_MODE);
        let task = collector.start(config, now, log);
        // From an earlier run, or on a machine without such values.
        if settings.enabled && (task.is_none() || !settings.outlives_daemon && !keeps_file) {
            publisher.remove(now.monotonic, log);
        }
        let position = ALL
            .iter()
            .take_while(|other| other.name() != name)
            .filter(|other| self.running.iter().any(|running| running.name == other.name()))
            .count();
        self.running.splice(
            position..position,
            task.map(|task| Running {
                name,
                task,
                publisher,
                summary: None,
            }),
        );
    }

    /// Passes the devices of the tree from the task that finds them to the others.
    fn pass_on_devices(&mut self) {
        let tasks = self.running.iter().map(|running| &running.task);
        let devices: Vec<_> = tasks.flat_map(|task| task.whisper_devices()).cloned().collect();
        for running in &mut self.running {
            running.task.set_whisper_devices(&devices);
        }
    }
}
