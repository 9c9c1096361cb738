//! The log: journald with structured fields, `gatherer.log`, and stderr if it is a terminal or the others fail.
//!
//! A failing sink never stops the daemon or the other sinks. A failure of the log file and its end are logged once each,
//! to the other sinks.

mod file;
mod stderr;
mod timestamp;

use std::fmt::Display;
use std::io::IsTerminal;
use std::path::Path;

use log::{Level, LevelFilter, Record, kv};
use systemd_journal_logger::JournalLog;

use crate::escape;
use crate::writable;
use file::{Appended, LogFile};
use stderr::Stderr;
use timestamp::timestamp;

/// A structured field: name (in upper case in the journal) and value.
pub type Field<'a> = (&'static str, &'a dyn Display);

/// The socket that systemd-journal-logger sends to.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// The sinks of the log and its level.
pub struct Log {
    level: LevelFilter,
    journal: Option<JournalLog>,
    file: Option<LogFile>,
    stderr: Stderr,
    to_stderr: bool,
}

impl Log {
    /// Logs to the available sinks. `file` is `None` for no log file.
    pub fn new(level: LevelFilter, file: Option<&Path>) -> Self {
        Self {
            level,
            journal: None,
            file: file.map(LogFile::new),
            stderr: Stderr::new(),
            to_stderr: std::io::stderr().is_terminal(),
        }
    }

    /// Applies a new level and path.
    pub fn configure(&mut self, level: LevelFilter, path: Option<&Path>) {
        self.level = level;
        if self.file.as_ref().map(LogFile::path) != path {
            self.file = path.map(LogFile::new);
        }
    }

    /// Logs a failure because of which something is not published.
    pub fn error(&mut self, collector: &'static str, message: impl Display, fields: &[Field]) {
        self.write(Level::Error, collector, &message, fields);
    }

    /// Logs that something is missing from a published file.
    pub fn warn(&mut self, collector: &'static str, message: impl Display, fields: &[Field]) {
        self.write(Level::Warn, collector, &message, fields);
    }

    /// Logs a change of state or a result.
    pub fn info(&mut self, collector: &'static str, message: impl Display, fields: &[Field]) {
        self.write(Level::Info, collector, &message, fields);
    }

    /// Logs a detail.
    pub fn debug(&mut self, collector: &'static str, message: impl Display, fields: &[Field]) {
        self.write(Level::Debug, collector, &message, fields);
    }

    fn write(&mut self, level: Level, collector: &'static str, message: &dyn Display, fields: &[Field]) {
        if level > self.level {
            return;
        }
        let text = escape::escape(&message.to_string());
        let in_journal = self.send_to_journal(level, collector, &text, fields);
        let line = format!("{} {level} {collector}: {text}\n", timestamp());
        let in_file = self.append_to_file(&line);
        if self.to_stderr || !(in_journal || in_file) {
            self.stderr.write_line(&line);
        }
    }

    fn send_to_journal(
        &mut self,
        level: Level,
        collector: &'static str,
        text: &str,
        fields: &[Field],
    ) -> bool {
        if !writable::datagram_socket_writable(Path::new(JOURNAL_SOCKET)) {
            return false;
        }
        self.journal = self.journal.take().or_else(connect_journal);
        let Some(journal) = &self.journal else {
            return false;
        };
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, escape::escape(&value.to_string())))
            .collect();
        let fields = Fields { collector, fields };
        let mut record = Record::builder();
        record
            .level(journal_level(level))
            .target("shinken_gatherer")
            .key_values(&fields);
        journal
            .journal_send(&record.args(format_args!("{collector}: {text}")).build())
            .is_ok()
    }

    /// Returns whether the line is in the log file. Logs to the other sinks when it begins to fail and works again.
    fn append_to_file(&mut self, line: &str) -> bool {
        let Some(file) = &mut self.file else { return false };
        match file.append(line) {
            Appended::Written => true,
            Appended::Recovered => {
                let text = format!("log file {:?} is writable again", file.path());
                self.log_elsewhere(Level::Info, &text, &[]);
                true
            }
            Appended::Pending(error) => {
                if let Some(error) = error {
                    let path = file.path();
                    let text = format!("writing log file {path:?}: {error:#}; retrying on every line");
                    self.log_elsewhere(Level::Error, &text, &[("error", &format!("{error:#}"))]);
                }
                false
            }
        }
    }

    /// Logs to the sinks other than the log file.
    fn log_elsewhere(&mut self, level: Level, text: &str, fields: &[Field]) {
        let text = escape::escape(text);
        let in_journal = self.send_to_journal(level, "log", &text, fields);
        if self.to_stderr || !in_journal {
            self.stderr
                .write_line(&format!("{} {level} log: {text}\n", timestamp()));
        }
    }
}

fn connect_journal() -> Option<JournalLog> {
    let journal = JournalLog::new().ok()?;
    Some(journal.with_syslog_identifier("shinken-gatherer".into()))
}

/// Returns the level that systemd-journal-logger maps to the syslog priority of the same name: it maps INFO to "notice"
/// and DEBUG to "info".
fn journal_level(level: Level) -> Level {
    match level {
        Level::Info => Level::Debug,
        Level::Debug => Level::Trace,
        other => other,
    }
}

/// The fields of a line, as a source for the `log` crate.
struct Fields {
    collector: &'static str,
    fields: Vec<(&'static str, String)>,
}

impl kv::Source for Fields {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn kv::VisitSource<'kvs>) -> Result<(), kv::Error> {
        visitor.visit_pair("collector".into(), kv::Value::from(self.collector))?;
        self.fields
            .iter()
            .try_for_each(|(name, value)| visitor.visit_pair((*name).into(), kv::Value::from(value.as_str())))
    }
}
