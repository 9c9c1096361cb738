//! Publishes the documents of a collector, and logs its problems.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Error;

use crate::logging::Log;
use crate::publish::{self, Durability};
use crate::recurring::Condition;

/// A published file of a collector.
#[derive(Debug)]
pub struct Publisher {
    collector: &'static str,
    path: PathBuf,
    durability: Durability,
    mode: u32,
    publishing: Condition,
}

impl Publisher {
    /// Returns a publisher that has published nothing yet. `collector` is the name in the log.
    pub fn new(collector: &'static str, path: PathBuf, durability: Durability, mode: u32) -> Self {
        Self {
            collector,
            path,
            durability,
            mode,
            publishing: Condition::new(collector),
        }
    }

    /// Publishes a document.
    pub fn publish(&mut self, document: &str, now: Instant, log: &mut Log) {
        match publish::publish(&self.path, document, self.durability, self.mode) {
            Ok(()) => self
                .publishing
                .ok(&format!("publishing {:?}", self.path), now, log),
            Err(error) => self.failed(error.context(format!("publishing {:?}", self.path)), now, log),
        }
    }

    /// Removes the file: its values do not apply any more.
    pub fn remove(&mut self, now: Instant, log: &mut Log) {
        if let Err(error) = publish::remove(&self.path) {
            self.failed(error, now, log);
        }
    }

    /// Removes the file at the end. Always logs an error, even if it was logged before: there is no retry.
    pub fn end(&mut self, log: &mut Log) {
        if let Err(error) = publish::remove(&self.path) {
            let error = format!("{error:#}");
            let message = format_args!("{error}; the file is stale from now on");
            log.warn(self.collector, message, &[("error", &error)]);
        }
    }

    /// Treats one cause as one problem, whichever step it affects.
    fn failed(&mut self, error: Error, now: Instant, log: &mut Log) {
        let cause = error.root_cause().to_string();
        self.publishing.failed_by(&cause, &error, now, log);
    }
}

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;
    use crate::publish::DOCUMENT_MODE;

    #[test]
    fn failed_removal_at_the_end_is_always_logged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "").unwrap();
        let mut log = Log::new(LevelFilter::Info, Some(&path));
        let now = Instant::now();
        // The log file is not a folder: nothing can be published or removed below it.
        let mut publisher = Publisher::new("disks", path.join("file"), Durability::Volatile, DOCUMENT_MODE);
        publisher.publish("{}\n", now, &mut log);
        publisher.remove(now, &mut log);
        publisher.end(&mut log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().last().unwrap().contains("stale"), "{text}");
    }
}
