//! Logs what the count workers report: each change of a condition once, the place of the tree if it is another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Error;

use super::protection::Protection;
use super::result::ResultLog;
use super::running::Running;
use crate::escape::display_path;
use crate::graphite::report::NAME;
use crate::logging::Log;
use crate::recurring::Condition;
use crate::worker::protocol::{Report, Tree};

/// The conditions of the count, and what was logged about them.
#[derive(Debug)]
pub struct ReportLog {
    counting: Condition,
    publishing: Condition,
    exporting: BTreeMap<PathBuf, Condition>,
    state_folder: Condition,
    results: ResultLog,
    /// The directory that was logged as the one that is counted.
    whisper_dir: Option<PathBuf>,
    protection: Protection,
}

impl Default for ReportLog {
    fn default() -> Self {
        Self {
            counting: Condition::new(NAME),
            publishing: Condition::new(NAME),
            exporting: BTreeMap::new(),
            state_folder: Condition::new(NAME),
            results: ResultLog::default(),
            whisper_dir: None,
            protection: Protection::default(),
        }
    }
}

impl ReportLog {
    /// Logs a report of `running`, before the task acts on it. `counts` is false if only the disks are asked for.
    pub fn log(&mut self, report: &Report, running: &Running, counts: bool, now: Instant, log: &mut Log) {
        match report {
            Report::Progress => {}
            Report::Busy => {
                let error = Error::msg("another count worker has not ended yet, waiting for it");
                self.count_failed(&error, now, log);
            }
            Report::NoState(error) => {
                let error = Error::msg(format!("{error}; without it, each count reads every directory"));
                self.state_folder.failed(&error, now, log);
            }
            Report::Tree(tree) => {
                if !running.no_state {
                    self.state_folder.ok("using the state folder", now, log);
                }
                if counts {
                    self.tree(tree, log);
                }
            }
            Report::Counted(count, _) => {
                self.counting.ok("counting", now, log);
                self.results.log(count, log);
            }
            Report::Exported(path, error) => self.exported(path, error.as_deref(), now, log),
            Report::Published => {
                let publishing = format!("publishing {:?}", running.output);
                self.publishing.ok(&publishing, now, log);
            }
            Report::NotPublished { error, cause } => {
                self.publishing
                    .failed_by(cause, &Error::msg(error.clone()), now, log);
            }
            Report::Failed(error) => self.count_failed(&Error::msg(error.clone()), now, log),
        }
    }

    /// Logs that there is no count.
    pub fn count_failed(&mut self, error: &Error, now: Instant, log: &mut Log) {
        self.counting.failed(error, now, log);
    }

    /// Logs the next failed count even if it fails as the last one.
    pub fn forget_counting(&mut self) {
        self.counting = Condition::new(NAME);
    }

    /// Logs the next failed publication even if it fails as the last one.
    pub fn forget_publishing(&mut self) {
        self.publishing = Condition::new(NAME);
    }

    fn exported(&mut self, path: &Path, error: Option<&str>, now: Instant, log: &mut Log) {
        let condition = self.exporting.entry(path.to_path_buf());
        let condition = condition.or_insert_with(|| Condition::new(NAME));
        match error {
            None => condition.ok(&format!("exporting {path:?}"), now, log),
            Some(error) => condition.failed(&Error::msg(error.to_string()), now, log),
        }
    }

    fn tree(&mut self, tree: &Tree, log: &mut Log) {
        if self.whisper_dir.as_ref() != Some(&tree.whisper_dir) {
            let (from, to) = (display_path(&tree.whisper_dir), display_path(&tree.output));
            log.info(NAME, format_args!("counting {from}, publishing {to}"), &[]);
            self.whisper_dir = Some(tree.whisper_dir.clone());
            self.protection = Protection::default();
        }
        self.protection.check(tree, log);
    }
}
