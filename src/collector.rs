//! The interface between the program and its collectors.
//!
//! `collectors.rs` lists them. The daemon, `once`, `status`, `check` and the carbon feed iterate over that list.

pub mod sampled;

use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Error, Result};
use clap::ArgMatches;
use rustix::process::Pid;

use crate::config::{Config, WhisperPaths};
use crate::device::Device;
use crate::logging::Log;
use crate::moment::Moment;
use crate::plugin::Answer;
use crate::publish::Durability;
use crate::report::Report;
use crate::trusted_users::TrustedUsers;

/// A kind of values that are collected, published in one file, and read back.
pub trait Collector: Debug + Sync {
    /// Returns the name: a table of the configuration, and the name in the log, in Graphite and in `--json`.
    fn name(&self) -> &'static str;

    /// Returns how the document is published.
    fn durability(&self) -> Durability {
        Durability::Volatile
    }

    /// Starts the collector in the daemon. `None` if it is disabled or if this machine has no such values.
    fn start(&self, config: &Config, now: Moment, log: &mut Log) -> Option<Box<dyn Task>>;

    /// Returns whether a task must be started again for its new configuration.
    fn is_changed(&self, old: &Config, new: &Config) -> bool;

    /// Starts to collect for `once`, the collector being enabled.
    fn begin(&self, once: &Once) -> Box<dyn Gather>;

    /// Parses a published document. Returns why it is malformed.
    fn parse(&self, json: &[u8]) -> Result<Box<dyn Report>, String>;

    /// Returns the path of the published file. May access the storage of the tree.
    fn output(&self, config: &Config) -> PathBuf {
        config.collector(self.name()).outputs.swap_remove(0)
    }

    /// Returns the reason if this machine has no such values and needs no file.
    fn not_here(&self, _config: &Config) -> Option<&'static str> {
        None
    }

    /// Returns whether the published file is on the storage of the tree, which may hang.
    fn is_on_tree_storage(&self) -> bool {
        false
    }

    /// Returns the subcommand of `check`.
    fn check_command(&self) -> clap::Command;

    /// Answers a subcommand of `check`. `args` are those of [`Collector::check_command`].
    fn check(&self, args: &ArgMatches, published: &Published) -> Answer;

    /// Returns how long the answer may take apart from reading the file.
    fn check_timeout(&self, _args: &ArgMatches) -> Duration {
        Duration::ZERO
    }

    /// Returns the JSON Schema of the document, derived from its type.
    #[cfg(test)]
    fn schema(&self, generator: schemars::SchemaGenerator) -> schemars::Schema;

    /// Returns a document with every value, of the time 7, and its lines for Graphite without prefix and time.
    #[cfg(test)]
    fn example(&self) -> (&'static str, &'static [&'static str]);
}

/// A collector that runs in the daemon. Nothing in it blocks.
pub trait Task: Debug {
    /// Acts on an event, and does what is due.
    fn handle(&mut self, event: &Event, now: Moment, log: &mut Log) -> Outcome;

    /// Returns when [`Event::Wakeup`] is due without an event.
    fn due(&self) -> Option<Instant>;

    /// Returns the pipe of a child process. [`Event::Wakeup`] is due if it is readable.
    fn pipe(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Returns a status for `systemctl status` that replaces [`Report::summary`] of the last document.
    fn status(&self) -> Option<String> {
        None
    }

    /// Applies a new configuration. False if the task must be started again instead.
    fn reload(&mut self, _config: &Config, _now: Moment) -> bool {
        false
    }

    /// Ends the child processes.
    fn end(&mut self, _now: Moment, _log: &mut Log) {}

    /// Returns the devices of the tree's file system, if this is the task that finds them.
    fn whisper_devices(&self) -> &[Device] {
        &[]
    }

    /// Sets the devices of the tree's file system; empty if they are unknown.
    fn set_whisper_devices(&mut self, _devices: &[Device]) {}
}

/// An event for a task.
#[derive(Debug)]
pub enum Event {
    /// A deadline has passed, or a child process wrote something, of this task or of another one.
    Wakeup,
    /// A child process of the daemon was reaped.
    Exited(Pid, ExitStatus),
}

/// The effect of an event on the published file.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing.
    Unchanged,
    /// The document is to be published.
    Publish(Box<dyn Report>),
    /// The document was measured; a child process publishes it.
    Measured(Box<dyn Report>),
    /// The published values do not apply any more: the file is to be removed.
    Remove,
}

/// The input of `once`.
#[derive(Debug)]
pub struct Once<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Time between the start and the end.
    pub window: Duration,
    /// Reads the time.
    pub clock: fn() -> Moment,
    /// The tree and the file of its count.
    pub paths: &'a WhisperPaths,
}

/// A collector that runs for `once`.
pub trait Gather {
    /// Returns whether there must be time between the start and the end.
    fn needs_window(&self) -> bool {
        true
    }

    /// Ends the window, and returns the result.
    fn finish(self: Box<Self>, clock: fn() -> Moment) -> Found;
}

/// The result of a collector for `once`.
#[derive(Debug)]
pub struct Found {
    /// The document that would be published.
    pub report: Option<Box<dyn Report>>,
    /// The values for people; further lines are indented by the caller.
    pub text: String,
    /// The failures.
    pub errors: Vec<Error>,
    /// What is missing although nothing failed.
    pub notes: Vec<String>,
    /// Whether this machine has no such values: a published file would be wrong.
    pub is_absent: bool,
}

impl Found {
    /// Returns that there are no values because of `error`.
    pub fn failed(error: Error) -> Self {
        Self {
            report: None,
            text: "unknown".into(),
            errors: vec![error],
            notes: Vec::new(),
            is_absent: false,
        }
    }
}

/// The published files as `check` sees them.
#[derive(Debug)]
pub struct Published<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The users whose files are accepted.
    pub trusted: &'a TrustedUsers,
    /// The current time.
    pub now: SystemTime,
}
