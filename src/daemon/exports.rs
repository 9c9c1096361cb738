//! The exports that the daemon writes: all but those made from the count alone.

use std::time::Instant;

use super::collectors::Document;
use super::publisher::Publisher;
use crate::config::{Config, ExportConfig};
use crate::export::Documents;
use crate::logging::Log;
use crate::publish::Durability;
use crate::recurring::Condition;

const COLLECTOR: &str = "export";

/// The exports and the documents that they are made from. Without exports, no document is kept.
#[derive(Debug)]
pub struct Exports {
    documents: Documents,
    exports: Vec<Export>,
}

#[derive(Debug)]
struct Export {
    config: ExportConfig,
    is_short_lived: bool,
    publisher: Publisher,
    rendering: Condition,
}

impl Exports {
    /// Removes the files that must not outlive a daemon: their values are of an earlier one.
    pub fn start(config: &Config, now: Instant, log: &mut Log) -> Self {
        let mut exports = Self {
            documents: Documents::default(),
            exports: Vec::new(),
        };
        exports.reload(config, config, now, log);
        exports
    }

    /// Renders and publishes the exports of changed documents.
    pub fn turn(&mut self, changed: &[Document], now: Instant, log: &mut Log) {
        if self.exports.is_empty() {
            return;
        }
        for document in changed {
            match &document.report {
                Some(report) => self
                    .documents
                    .add(document.collector, &**report, document.duration),
                None => self.documents.remove(document.collector),
            }
        }
        for export in &mut self.exports {
            let used = changed.iter().filter(|document| export.uses(document.collector));
            let are_removed: Vec<_> = used.map(|document| document.report.is_none()).collect();
            if !are_removed.is_empty() {
                export.publish(&self.documents, are_removed.contains(&true), now, log);
            }
        }
    }

    /// Applies a new configuration: removes the file of an export that was removed or moved. An export that the count
    /// worker wrote stays, as the count itself does.
    pub fn reload(&mut self, old: &Config, new: &Config, now: Instant, log: &mut Log) {
        let mut before = std::mem::take(&mut self.exports);
        for config in new.export.iter().filter(|export| !export.is_of_count()) {
            let position = before.iter().position(|export| export.config.path == config.path);
            let kept = position.map(|position| before.swap_remove(position));
            self.exports.push(match kept {
                Some(export) if export.config == *config => export,
                replaced => {
                    let mut export = Export::new(config, new);
                    if export.is_short_lived || replaced.is_some_and(|before| before.is_short_lived) {
                        export.publisher.remove(now, log);
                    }
                    export
                }
            });
        }
        // If another file is published at the path from now on, that has not happened yet.
        for removed in &mut before {
            removed.publisher.end(log);
        }
        for before in old.collectors() {
            let (name, after) = (before.name, new.collector(before.name));
            if after != before || self.exports.is_empty() {
                self.documents.remove(name);
            }
            // As with its own file: disabling a collector has the effect of a stop.
            if before.enabled && !after.enabled {
                let uses_it = |export: &&mut Export| export.is_short_lived && export.uses(name);
                for export in self.exports.iter_mut().filter(uses_it) {
                    export.publisher.end(log);
                }
            }
        }
    }

    /// Removes the files that must not outlive the daemon.
    pub fn end(&mut self, log: &mut Log) {
        for export in self.exports.iter_mut().filter(|export| export.is_short_lived) {
            export.publisher.end(log);
        }
    }
}

impl Export {
    fn new(config: &ExportConfig, all: &Config) -> Self {
        let path = config.path.clone();
        Self {
            config: config.clone(),
            is_short_lived: all.is_short_lived(config),
            publisher: Publisher::new(COLLECTOR, path, Durability::Volatile, config.mode),
            rendering: Condition::new(COLLECTOR),
        }
    }

    fn uses(&self, collector: &str) -> bool {
        self.config.from.iter().any(|name| name == collector)
    }

    /// If rendering fails, removes a file with values that consumers would take for current ones.
    fn publish(&mut self, documents: &Documents, is_removed: bool, now: Instant, log: &mut Log) {
        match self.config.render(documents) {
            Ok(text) => {
                let rendering = format!("rendering {:?}", self.config.path);
                self.rendering.ok(&rendering, now, log);
                self.publisher.publish(&text, now, log);
            }
            Err(error) => {
                self.rendering.failed(&error, now, log);
                if self.is_short_lived || is_removed {
                    self.publisher.remove(now, log);
                }
            }
        }
    }
}
