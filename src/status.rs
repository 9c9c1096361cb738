//! `status`: the published files, their age and state, for people (and with `--json` for programs).

pub mod args;
mod bars;
mod screen;
mod table;
mod watch;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::collector::Collector;
use crate::collectors::ALL;
use crate::config::Config;
use crate::graphite::collector::GraphiteCollector;
use crate::lock;
use crate::output;
use crate::published::{self, Age, Unread};
use crate::reader::Reader;
use crate::report::{Report, Seconds, to_line};
use crate::trusted_users::TrustedUsers;
use args::StatusArgs;

/// How long reading the published count may take.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The published file of each collector.
#[derive(Debug)]
struct Status {
    entries: Vec<(&'static dyn Collector, Entry)>,
}

/// Whether a published file is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// The document is up to date.
    Fresh,
    /// It is too old.
    Outdated,
    /// There is no file, but there should be one.
    Absent,
    /// There is a file that cannot be read or is malformed.
    Unreadable,
    /// Its collector is disabled.
    Disabled,
    /// This machine has no such values.
    #[serde(rename = "not_vmware")]
    NotHere,
}

impl State {
    fn is_fine(self) -> bool {
        matches!(self, Self::Fresh | Self::Disabled | Self::NotHere)
    }

    fn word(self) -> &'static str {
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
    state: State,
    path: PathBuf,
    /// Seconds since the document was measured; negative if its date is in the future.
    age_seconds: Option<i64>,
    /// The age up to which the document is fresh.
    max_age_seconds: Option<Seconds>,
    /// Why it is not fresh.
    reason: Option<String>,
    document: Option<Box<RawValue>>,
}

impl Entry {
    fn without_document(state: State, path: PathBuf, reason: impl Into<String>) -> Self {
        Self {
            state,
            path,
            age_seconds: None,
            max_age_seconds: None,
            reason: Some(reason.into()),
            document: None,
        }
    }

    fn read(collector: &dyn Collector, config: &Config, trusted: &TrustedUsers, now: SystemTime) -> Self {
        let path = collector.output(config);
        if !config.collector(collector.name()).enabled {
            return Self::without_document(State::Disabled, path, "not enabled in the configuration");
        }
        let read = published::read_bytes(&path, trusted)
            .and_then(|json| collector.parse(&json).map_err(Unread::Refused));
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
            Err(Unread::Absent) => match collector.not_here(config) {
                Some(reason) => Self::without_document(State::NotHere, path, reason),
                None => {
                    let reason = format!("{} is absent", path.display());
                    Self::without_document(State::Absent, path, reason)
                }
            },
            Err(Unread::Refused(reason)) => {
                let reason = format!("{}: {reason}", path.display());
                Self::without_document(State::Unreadable, path, reason)
            }
        }
    }

    fn report(&self, collector: &dyn Collector) -> Option<Box<dyn Report>> {
        let json = self.document.as_ref()?.get();
        collector.parse(json.as_bytes()).ok()
    }
}

impl Status {
    fn read(config: &Config, reader: &mut Reader, trusted: &TrustedUsers, now: SystemTime) -> Self {
        let read = |collector: &'static dyn Collector| {
            let entry = match collector.is_on_tree_storage() {
                true => read_elsewhere(config, reader),
                false => Entry::read(collector, config, trusted, now),
            };
            (collector, entry)
        };
        Self {
            entries: ALL.map(read).into(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        if self.entries.iter().all(|(_, entry)| entry.state.is_fine()) {
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

/// Reads the entry of the count. It may hang with the storage of the tree.
pub fn read_count(config: &Config) -> Entry {
    let mut entry = Entry::read(
        &GraphiteCollector,
        config,
        &TrustedUsers::load(),
        SystemTime::now(),
    );
    if let (false, Some(reason)) = (entry.state.is_fine(), &mut entry.reason)
        && let Some(pid) = config.state_dir.as_deref().and_then(running_worker)
    {
        *reason += &format!("; a count is running (pid {pid})");
    }
    entry
}

/// Returns the pid of the count worker, which holds a lock on the state folder.
fn running_worker(state_dir: &Path) -> Option<u32> {
    lock::holder(&fs::metadata(state_dir).ok()?)
}

/// Reads the entry of the count in a child process.
fn read_elsewhere(config: &Config, reader: &mut Reader) -> Entry {
    let reason = match reader.read(READ_TIMEOUT) {
        Ok(Some(entry)) => return entry,
        Ok(None) => "its storage does not respond".into(),
        Err(error) => format!("{error:#}"),
    };
    // Which directory is counted is unknown without access to the storage.
    let configured = config.graphite.output.clone();
    Entry::without_document(State::Unreadable, configured.unwrap_or_default(), reason)
}

/// Prints the status, once or again and again. Exit code 1 when something enabled is outdated, absent or unreadable.
pub fn run(args: &StatusArgs, config_path: Option<&Path>, config: &Config) -> Result<ExitCode> {
    let trusted = TrustedUsers::load();
    let option = config_path.map(|path| [OsString::from("--config"), path.into()]);
    let command_line = option.into_iter().flatten().chain([OsString::from("status")]);
    let mut reader = Reader::new(command_line.collect());
    let mut read = || Status::read(config, &mut reader, &trusted, SystemTime::now());
    if let Some(interval) = args.watch {
        return watch::run(interval, args.json, read);
    }
    let status = read();
    output::try_print(&if args.json {
        to_line(&status)
    } else {
        let screen = screen::Screen::of_stdout();
        screen.render(&table::lines(&status, &screen, None))
    })?;
    Ok(status.exit_code())
}
