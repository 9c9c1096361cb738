//! The log: journald with structured fields, `gatherer.log`, and stderr for whoever watches.
//!
//! Each sink fails on its own: a log that can't be written never stops the daemon, and it is said once, through the
//! sinks that are left, when one fails and when it works again.

use std::fmt::{self, Display};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, ensure};
use log::{Level, LevelFilter, Record, kv};
use systemd_journal_logger::JournalLog;

use crate::gate;

/// A structured field: its name (in upper case in the journal) and its value.
pub type Field<'a> = (&'static str, &'a dyn Display);

/// Where journald listens: the same path that systemd-journal-logger sends to.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// Where lines go, and from which level on.
pub struct Log {
    level: LevelFilter,
    journal: Option<JournalLog>,
    file: Option<LogFile>,
    to_stderr: bool,
}

/// The log file, kept open for appending.
struct LogFile {
    path: PathBuf,
    open: Option<File>,
    /// Set while lines can't be written, until one is again.
    failing: bool,
    lost_lines: u64,
    /// Whether the file ends inside a line.
    torn: bool,
    /// Whether the file has to be opened, for the first time or anew.
    stale: bool,
}

impl Log {
    /// Opens the sinks there are. `file` is `None` for no log file.
    pub fn open(level: LevelFilter, file: Option<&Path>) -> Self {
        let mut log = Self {
            level,
            journal: connect_journal(),
            file: None,
            to_stderr: std::io::stderr().is_terminal(),
        };
        log.reopen(level, file);
        log
    }

    /// Takes up a new level and a new or rotated file. A file that can't be opened leaves the one in use as it is.
    pub fn reopen(&mut self, level: LevelFilter, path: Option<&Path>) {
        self.level = level;
        if self.journal.is_none() {
            self.journal = connect_journal();
        }
        let previous = self.file.take().filter(|file| Some(file.path.as_path()) == path);
        let Some(path) = path else { return };
        let mut file = previous.unwrap_or_else(|| LogFile::new(path));
        let was_failing = file.failing;
        let opened = file.reopen();
        file.failing |= opened.is_err();
        self.file = Some(file);
        if let Err(error) = opened
            && !was_failing
        {
            self.report_failure(&error);
        }
    }

    /// Logs an error: something is not published.
    pub fn error(&mut self, collector: &'static str, message: impl Display, fields: &[Field]) {
        self.write(Level::Error, collector, &message, fields);
    }

    /// Logs a warning: something is missing from what is published.
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
        let text = one_line(&message.to_string());
        let in_journal = self.to_journal(level, collector, &text, fields);
        let line = format!(
            "{} {level} {collector}: {text}\n",
            humantime::format_rfc3339_seconds(SystemTime::now())
        );
        let in_file = self.append_to_file(&line);
        if self.to_stderr || !(in_journal || in_file) {
            to_stderr(&line);
        }
    }

    fn to_journal(&self, level: Level, collector: &'static str, text: &str, fields: &[Field]) -> bool {
        let Some(journal) = &self.journal else {
            return false;
        };
        if !gate::takes_datagram(Path::new(JOURNAL_SOCKET)) {
            return false;
        }
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

    /// True where the line is in the log file. A failure is said once, when the file begins to fail.
    fn append_to_file(&mut self, line: &str) -> bool {
        let Some(file) = &mut self.file else { return false };
        let was_failing = file.failing;
        let Err(error) = file.append(line) else {
            return true;
        };
        file.failing = true;
        file.lost_lines += 1;
        if !was_failing {
            self.report_failure(&error);
        }
        false
    }

    fn report_failure(&mut self, error: &anyhow::Error) {
        let Some(file) = &self.file else { return };
        let text = one_line(&format!(
            "writing the log file {:?}: {error:#}; tried again at each line",
            file.path
        ));
        let in_journal = self.to_journal(Level::Error, "log", &text, &[("error", &format!("{error:#}"))]);
        if self.to_stderr || !in_journal {
            to_stderr(&format!(
                "{} ERROR log: {text}\n",
                humantime::format_rfc3339_seconds(SystemTime::now())
            ));
        }
    }
}

impl LogFile {
    fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            open: None,
            failing: false,
            lost_lines: 0,
            torn: false,
            stale: true,
        }
    }

    /// Opens the file anew; until that works, lines go to the one that was open, which may have been rotated away.
    fn reopen(&mut self) -> Result<()> {
        self.stale = true;
        let file = open(&self.path)?;
        let is_same = |open: &File| identity(open) == identity(&file);
        // A line that was torn is still the last one where the file is the same, or is one of a run that was killed.
        self.torn = if self.open.as_ref().is_some_and(is_same) {
            self.torn
        } else {
            ends_inside_a_line(&file)
        };
        self.open = Some(file);
        self.stale = false;
        Ok(())
    }

    fn append(&mut self, line: &str) -> Result<()> {
        if self.stale {
            let reopened = self.reopen();
            if self.open.is_none() {
                reopened?;
            }
        }
        let Some(file) = &mut self.open else { return Ok(()) };
        if self.torn {
            file.write_all(b"\n")?;
            self.torn = false;
        }
        if self.failing && !self.stale {
            let lost = self.lost_lines;
            let now = humantime::format_rfc3339_seconds(SystemTime::now());
            file.write_all(format!("{now} WARN log: writable again, {lost} lines were lost\n").as_bytes())?;
            (self.failing, self.lost_lines) = (false, 0);
        }
        // One write for the whole line: other writers of the file and a full disk can't part it unnoticed.
        match file.write(line.as_bytes()) {
            Ok(written) if written == line.len() => Ok(()),
            Ok(written) => {
                self.torn = written > 0;
                Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a log file for appending. It may be in a folder that others write to: a link or a FIFO planted there is
/// refused, not followed or waited for.
fn open(path: &Path) -> Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    ensure!(file.metadata()?.is_file(), "not a regular file");
    Ok(file)
}

fn connect_journal() -> Option<JournalLog> {
    if !gate::takes_datagram(Path::new(JOURNAL_SOCKET)) {
        return None;
    }
    let journal = JournalLog::new().ok()?;
    Some(journal.with_syslog_identifier("shinken-gatherer".into()))
}

fn identity(file: &File) -> Option<(u64, u64)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Whether a killed run, or a full disk, left a part of a line at the end.
fn ends_inside_a_line(file: &File) -> bool {
    let mut last = [0];
    let end = file.metadata().map_or(0, |metadata| metadata.len());
    end > 0 && file.read_exact_at(&mut last, end - 1).is_ok() && last[0] != b'\n'
}

/// The level by which the journal's crate comes to syslog's priority of the same name: it takes INFO for "notice" and
/// DEBUG for "info", and `journalctl -p info` would show every detail.
fn journal_level(level: Level) -> Level {
    match level {
        Level::Info => Level::Debug,
        Level::Debug => Level::Trace,
        other => other,
    }
}

fn to_stderr(line: &str) {
    // A terminal whose output is paused would make the daemon wait. With stderr gone too, there is no one left to tell.
    if gate::takes_more(std::io::stderr()) {
        let _ = std::io::stderr().write(line.as_bytes());
    }
}

/// The text as one plain line: names in a whisper tree, for one, may hold newlines and terminal escapes.
pub fn one_line(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_string();
    }
    let escape = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The fields of a line as the `log` crate passes them on to the journal.
struct Fields<'a> {
    collector: &'static str,
    fields: &'a [Field<'a>],
}

impl kv::Source for Fields<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn kv::VisitSource<'kvs>) -> Result<(), kv::Error> {
        visitor.visit_pair("collector".into(), kv::Value::from(self.collector))?;
        self.fields.iter().try_for_each(|(name, value)| {
            visitor.visit_pair((*name).into(), kv::Value::from_dyn_display(value))
        })
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}
