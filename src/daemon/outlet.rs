//! What goes out of a collector: its published file, and its problems, each said once per change of state.

use std::path::PathBuf;

use anyhow::Error;

use crate::logging::Log;
use crate::publish::{self, Durability};

/// Whether something works, remembered so that only changes are logged.
#[derive(Debug, Default)]
pub struct Health {
    problem: Option<String>,
}

impl Health {
    /// It works. Says so if it did not before.
    pub fn works(&mut self, log: &mut Log, collector: &'static str, what: &str) {
        if self.problem.take().is_some() {
            log.info(collector, format_args!("{what} works again"), &[]);
        }
    }

    /// It does not work. Says so unless it already said the same.
    pub fn fails(&mut self, log: &mut Log, collector: &'static str, error: &Error) {
        let problem = format!("{error:#}");
        if self.problem.as_deref() != Some(&problem) {
            log.warn(collector, &problem, &[("error", &problem)]);
            self.problem = Some(problem);
        }
    }
}

/// A published file of a collector.
#[derive(Debug)]
pub struct Outlet {
    collector: &'static str,
    path: PathBuf,
    durability: Durability,
    health: Health,
}

impl Outlet {
    /// An outlet that has published nothing yet.
    pub fn new(collector: &'static str, path: PathBuf, durability: Durability) -> Self {
        Self {
            collector,
            path,
            durability,
            health: Health::default(),
        }
    }

    /// Removes temporary files that killed runs left beside the file.
    pub fn sweep(&self, log: &mut Log) {
        // A directory that can't be read can't be published to either, and that is said then.
        if let Ok(swept @ 1..) = publish::sweep(&self.path) {
            log.info(
                self.collector,
                format_args!("removed {swept} temporary files of a killed run"),
                &[],
            );
        }
    }

    /// Publishes a document. True where that worked.
    pub fn publish(&mut self, log: &mut Log, document: &str) -> bool {
        match publish::publish(&self.path, document, self.durability) {
            Ok(()) => {
                self.health
                    .works(log, self.collector, &format!("publishing {:?}", self.path));
                true
            }
            Err(error) => {
                let error = error.context(format!("publishing {:?}", self.path));
                self.health.fails(log, self.collector, &error);
                false
            }
        }
    }

    /// Takes the file away: what it says no longer holds.
    pub fn remove(&mut self, log: &mut Log) {
        if let Err(error) = publish::remove(&self.path) {
            self.health.fails(log, self.collector, &error);
        }
    }
}
