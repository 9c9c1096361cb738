//! The state of each published file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::collector::Collector;
use crate::config::Config;
use crate::published::{self, Age, ReadError};
use crate::report::{Report, Seconds};
use crate::trusted_users::TrustedUsers;

/// The published file of each collector.
#[derive(Debug)]
pub struct Status {
    /// In the order of the collectors.
    pub entries: Vec<(&'static dyn Collector, Entry)>,
}

/// Whether a published file is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The document is up to date.
    Fresh,
    /// The document is too old.
    Outdated,
    /// The file does not exist, but should.
    Absent,
    /// The file cannot be read or is malformed.
    Unreadable,
    /// The collector is disabled.
    Disabled,
    /// This machine has no such values.
    #[serde(rename = "not_vmware")]
    NotHere,
}

impl State {
    /// Returns whether nothing needs attention.
    pub fn is_ok(self) -> bool {
        matches!(self, Self::Fresh | Self::Disabled | Self::NotHere)
    }

    /// Returns the state for the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Outdated => "outdated",
            Self::Absent => "absent",
            Self::Unreadable => "unreadable",
            Self::Disabled => "disabled",
            Self::NotHere => "none",
        }
    }
}

/// One published file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Whether the file is as it should be.
    pub state: State,
    path: PathBuf,
    /// Seconds since the document was measured; negative if the timestamp is in the future.
    pub age_seconds: Option<i64>,
    /// The age up to which the document is fresh.
    max_age_seconds: Option<Seconds>,
    /// Why it is not fresh.
    pub reason: Option<String>,
    document: Option<Box<RawValue>>,
}

impl Entry {
    /// Returns an entry of a file that has no readable document.
    pub fn without_document(state: State, path: PathBuf, reason: impl Into<String>) -> Self {
        Self {
            state,
            path,
            age_seconds: None,
            max_age_seconds: None,
            reason: Some(reason.into()),
            document: None,
        }
    }

    /// Reads the published file of `collector`.
    pub fn read(collector: &dyn Collector, config: &Config, trusted: &TrustedUsers, now: SystemTime) -> Self {
        let path = collector.output(config);
        if !config.collector(collector.name()).enabled {
            return Self::without_document(State::Disabled, path, "disabled in the configuration");
        }
        let read = published::read_bytes(&path, trusted)
            .and_then(|json| collector.parse(&json).map_err(ReadError::Rejected));
        match read {
            Ok(report) => {
                let age = Age::of(&*report, now, None);
                let reason = age.outdated();
                Self {
                    state: match reason {
                        None => State::Fresh,
                        Some(_) => State::Outdated,
                    },
                    path,
                    age_seconds: Some(age.seconds),
                    max_age_seconds: Some(Seconds(age.limit)),
                    reason,
                    document: RawValue::from_string(report.line()).ok(),
                }
            }
            Err(ReadError::NotFound) => match collector.not_here(config) {
                Some(reason) => Self::without_document(State::NotHere, path, reason),
                None => {
                    let reason = format!("{} does not exist", path.display());
                    Self::without_document(State::Absent, path, reason)
                }
            },
            Err(ReadError::Rejected(reason)) => {
                let reason = format!("{}: {reason}", path.display());
                Self::without_document(State::Unreadable, path, reason)
            }
        }
    }

    /// Returns the parsed document.
    pub fn report(&self, collector: &dyn Collector) -> Option<Box<dyn Report>> {
        let json = self.document.as_ref()?.get();
        collector.parse(json.as_bytes()).ok()
    }
}

impl Status {
    /// Returns 1 if an entry needs attention.
    pub fn exit_code(&self) -> ExitCode {
        if self.entries.iter().all(|(_, entry)| entry.state.is_ok()) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.entries
                .iter()
                .map(|(collector, entry)| (collector.name(), entry)),
        )
    }
}
