//! The only module that prints: results to stdout, everything else to stderr.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};

use anyhow::{Context, Result};
use rustix::termios::tcgetwinsize;

use crate::escape;
use crate::nonblocking::NonBlocking;

/// Prints a result. Ignores errors.
pub fn print(text: &str) {
    let _ = try_print(text);
}

/// Prints a result. It is not an error if the reader has closed the pipe (`| head`).
pub fn try_print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("writing to stdout"),
        _ => Ok(()),
    }
}

/// Returns stdout for writing without blocking.
pub(crate) fn nonblocking_stdout() -> NonBlocking {
    NonBlocking::new(rustix::stdio::stdout())
}

/// Prints an error on one line.
pub fn print_error(reason: impl Display) {
    let reason = escape::escape(&reason.to_string());
    let _ = writeln!(stderr().lock(), "shinken-gatherer: {reason}");
}

/// Prints the usage error that clap formatted.
pub fn print_usage_error(usage: &str) {
    let _ = stderr().lock().write_all(usage.as_bytes());
}

/// A progress line on stderr, erased when dropped. Prints nothing if stderr is not a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// Creates an empty line.
    pub fn new() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            shown: false,
        }
    }

    /// Replaces the text of the line, which is truncated to the width of the terminal: a second line would stay.
    pub fn show(&mut self, text: &str) {
        if self.terminal {
            self.shown = true;
            let columns = tcgetwinsize(stderr()).map_or(0, |size| size.ws_col);
            // A terminal of unknown size reports 0.
            let room = usize::from(columns.wrapping_sub(1));
            let text: String = text.chars().take(room).collect();
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
