//! `status`: the published files, their age and state, for people (and with `--json` for programs).

pub mod args;
mod bars;
mod details;
mod entry;
mod histories;
mod last_errors;
mod process;
mod screen;
mod table;
mod watch;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::collector::Collector;
use crate::collectors::ALL;
use crate::config::{Config, ConfigError};
use crate::graphite::collector::GraphiteCollector;
use crate::lock;
use crate::output;
use crate::reader::Reader;
use crate::report::to_line;
use crate::trusted_users::TrustedUsers;
use args::StatusArgs;
use entry::{Entry, State, Status};

/// How long reading the published count may take.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads the published file of each collector.
fn read_all(config: &Config, reader: &mut Reader, trusted: &TrustedUsers, now: SystemTime) -> Status {
    let read = |collector: &'static dyn Collector| {
        let entry = match collector.is_on_tree_storage() {
            true => read_elsewhere(config, reader),
            false => Entry::read(collector, config, trusted, now),
        };
        (collector, entry)
    };
    Status {
        entries: ALL.map(read).into(),
    }
}

/// Reads the entry of the count. Blocks if the storage of the tree does not respond.
pub fn read_count(config: &Config) -> Entry {
    let mut entry = Entry::read(
        &GraphiteCollector,
        config,
        &TrustedUsers::load(),
        SystemTime::now(),
    );
    if let (false, Some(reason)) = (entry.state.is_ok(), &mut entry.reason)
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
    // The default path depends on directories on the storage.
    let configured = config.graphite.output.clone();
    Entry::without_document(State::Unreadable, configured.unwrap_or_default(), reason)
}

/// Prints the status, once or repeatedly. Exit code 1 if an enabled file is outdated, missing or unreadable; 2 if the
/// configuration is rejected.
pub fn run(
    args: &StatusArgs,
    config_path: Option<&Path>,
    config: Result<Config, ConfigError>,
) -> Result<ExitCode> {
    let config = &match config {
        Err(error) if args.verbose => {
            let screen = screen::Screen::of_stdout();
            output::try_print(&screen.render(&details::rejected(&error, &screen)))?;
            return Ok(ExitCode::from(2));
        }
        config => config?,
    };
    let trusted = TrustedUsers::load();
    let option = config_path.map(|path| [OsString::from("--config"), path.into()]);
    let command_line = option.into_iter().flatten().chain([OsString::from("status")]);
    let mut reader = Reader::new(command_line.collect());
    let mut read = || read_all(config, &mut reader, &trusted, SystemTime::now());
    if let Some(interval) = args.watch {
        return watch::run(interval, args.json, read);
    }
    let status = read();
    output::try_print(&if args.json {
        to_line(&status)
    } else {
        let screen = screen::Screen::of_stdout();
        screen.render(&match args.verbose {
            true => details::lines(&status, config_path, config, &screen),
            false => table::lines(&status, &screen, None, usize::MAX),
        })
    })?;
    Ok(status.exit_code())
}
