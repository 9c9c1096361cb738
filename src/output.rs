//! The one place that prints: answers to stdout, everything else to stderr.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};

use anyhow::{Context, Result};

use crate::escape;
use crate::nonblocking::NonBlocking;

/// Prints an answer. Errors are ignored: nobody reads it.
pub fn print(text: &str) {
    let _ = try_print(text);
}

/// Prints an answer. Returns false if the reader has gone (`| head`), and an error if writing failed otherwise.
pub fn try_print(text: &str) -> Result<bool> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("writing the answer"),
    }
}

/// Returns stdout for answers that must not wait for their reader.
pub(crate) fn nonblocking_stdout() -> NonBlocking {
    NonBlocking::new(rustix::stdio::stdout())
}

/// Prints why something did not work, on one line.
pub fn print_error(reason: impl Display) {
    let reason = escape::escape(&reason.to_string());
    let _ = writeln!(stderr().lock(), "shinken-gatherer: {reason}");
}

/// Prints a mistake on the command line and how to do better, as clap words it.
pub fn print_usage_error(usage: &str) {
    let _ = stderr().lock().write_all(usage.as_bytes());
}

/// A line on a terminal's stderr that is overwritten as work goes on, and gone at the end. Nothing elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// A line that shows nothing yet.
    pub fn new() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            shown: false,
        }
    }

    /// Shows the text instead of what was there.
    pub fn show(&mut self, text: &str) {
        if self.terminal {
            self.shown = true;
            let _ = write!(stderr().lock(), "\r\x1b[K{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(stderr().lock(), "\r\x1b[K");
        }
    }
}
