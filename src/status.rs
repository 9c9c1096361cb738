//! `status`: what is published, how old it is and whether it still holds, for people (and `--json` for programs).

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
use serde::{Deserialize, Serialize};

use crate::config::{Config, WhisperPaths};
use crate::lock;
use crate::output;
use crate::published::{self, Age, Document, Unread};
use crate::reader::Reader;
use crate::report::{DisksReport, GraphiteReport, Seconds, VmwareReport, to_line};
use crate::trusted_users::TrustedUsers;
use crate::vmware::detect::detect;
use args::StatusArgs;

/// How long reading the published count may take.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// All there is to tell.
#[derive(Debug, Serialize)]
struct Status {
    graphite: Entry<GraphiteReport>,
    disks: Entry<DisksReport>,
    vmware: Entry<VmwareReport>,
}

/// Whether a published file is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// The document holds.
    Fresh,
    /// It is too old: the gatherer does not run, or does not get this far.
    Outdated,
    /// There is no file though there should be one.
    Absent,
    /// There is a file that is not read or makes no sense.
    Unreadable,
    /// The configuration does not want it.
    Disabled,
    /// This machine has no such figures: it is not a VMware virtual machine.
    NotVmware,
}

impl State {
    fn is_fine(self) -> bool {
        matches!(self, Self::Fresh | Self::Disabled | Self::NotVmware)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Outdated => "outdated",
            Self::Absent => "absent",
            Self::Unreadable => "unreadable",
            Self::Disabled => "disabled",
            Self::NotVmware => "none",
        }
    }
}

/// One published file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry<T> {
    state: State,
    path: PathBuf,
    /// Seconds since the document was measured; negative where it is dated ahead of the clock.
    age_seconds: Option<i64>,
    /// The age up to which the document is fresh.
    max_age_seconds: Option<Seconds>,
    /// Why it is not fresh.
    reason: Option<String>,
    document: Option<T>,
}

impl<T: Document> Entry<T> {
    fn without_document(state: State, path: &Path, reason: impl Into<String>) -> Self {
        Self {
            state,
            path: path.to_path_buf(),
            age_seconds: None,
            max_age_seconds: None,
            reason: Some(reason.into()),
            document: None,
        }
    }

    fn read(enabled: bool, path: &Path, trusted: &TrustedUsers, now: SystemTime) -> Self {
        let mut entry = Self::without_document(State::Disabled, path, "not enabled in the configuration");
        if !enabled {
            return entry;
        }
        match published::read::<T>(path, trusted) {
            Ok(document) => {
                let age = Age::of(&document, now, None);
                entry.reason = age.outdated();
                entry.state = if entry.reason.is_none() {
                    State::Fresh
                } else {
                    State::Outdated
                };
                entry.age_seconds = Some(age.seconds);
                entry.max_age_seconds = Some(Seconds(age.limit));
                entry.document = Some(document);
            }
            Err(Unread::Absent) => {
                entry.state = State::Absent;
                entry.reason = Some(format!("{} is absent", path.display()));
            }
            Err(Unread::Refused(reason)) => {
                entry.state = State::Unreadable;
                entry.reason = Some(format!("{}: {reason}", path.display()));
            }
        }
        entry
    }
}

impl Status {
    fn read(config: &Config, reader: &mut Reader, trusted: &TrustedUsers, now: SystemTime) -> Self {
        let (disks, vmware) = (&config.disks, &config.vmware);
        let mut status = Self {
            graphite: read_elsewhere(config, reader),
            disks: Entry::read(disks.enabled, &disks.output, trusted, now),
            vmware: Entry::read(vmware.enabled, &vmware.output, trusted, now),
        };
        if status.vmware.state == State::Absent && !detect(&config.host.sys).is_vmware {
            status.vmware.state = State::NotVmware;
            status.vmware.reason = Some("not a VMware VM".into());
        }
        status
    }

    fn exit_code(&self) -> ExitCode {
        let states = [self.graphite.state, self.disks.state, self.vmware.state];
        if states.into_iter().all(State::is_fine) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Reads the entry of the count. It may hang with the storage of the tree.
pub fn read_count(config: &Config) -> Entry<GraphiteReport> {
    let graphite = &config.graphite;
    let path = WhisperPaths::choose(graphite).output;
    let mut entry = Entry::read(graphite.enabled, &path, &TrustedUsers::load(), SystemTime::now());
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
fn read_elsewhere(config: &Config, reader: &mut Reader) -> Entry<GraphiteReport> {
    let reason = match reader.read(READ_TIMEOUT) {
        Ok(Some(entry)) => return entry,
        Ok(None) => "its storage does not respond".into(),
        Err(error) => format!("{error:#}"),
    };
    // Without looking for the directory, only a configured path is known.
    let configured = config.graphite.output.as_deref();
    Entry::without_document(State::Unreadable, configured.unwrap_or(Path::new("")), reason)
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
