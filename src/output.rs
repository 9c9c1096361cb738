//! The one place that prints: answers to stdout, everything else to stderr.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};

/// Prints an answer. A reader that has gone (`| head`) is no error of ours; false then, for whoever would go on.
pub fn print(text: &str) -> bool {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Prints why something did not work.
pub fn complain(reason: impl Display) {
    let _ = writeln!(stderr().lock(), "shinken-gatherer: {reason}");
}

/// Prints a mistake on the command line and how to do better, as clap words it.
pub fn complain_usage(usage: &str) {
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
