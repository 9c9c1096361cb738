//! `status --watch`: the status every interval, with the history of each value, until interrupted.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::entry::Status;
use super::histories::Histories;
use super::screen::Screen;
use super::table;
use crate::nonblocking::NonBlocking;
use crate::output;
use crate::report::to_line;
use crate::signals::Signals;

/// Shows the status every `interval` until SIGINT, SIGTERM, SIGHUP or until the reader of stdout has gone. Returns the
/// exit code of the last status.
pub fn run(interval: Duration, json: bool, mut read: impl FnMut() -> Status) -> Result<ExitCode> {
    let mut signals = Signals::catch()?;
    let stdout = output::nonblocking_stdout();
    let mut histories = Histories::default();
    let mut drawn = Drawn::default();
    loop {
        let due = Instant::now() + interval;
        let status = read();
        histories.add(&status);
        let frame = if json {
            to_line(&status)
        } else {
            drawn.frame(&status, &histories)
        };
        let is_read = write(&stdout, frame.as_bytes(), &mut signals)?;
        while is_read && !has_ended(&mut signals) && Instant::now() < due {
            wait(&signals, None, Some(due))?;
        }
        if !is_read || has_ended(&mut signals) {
            return Ok(status.exit_code());
        }
    }
}

/// Writes a frame, and waits for a slow reader. Returns false if the reader has gone or a signal ends the wait.
fn write(stdout: &NonBlocking, frame: &[u8], signals: &mut Signals) -> Result<bool> {
    let mut rest = frame;
    while !rest.is_empty() {
        if has_ended(signals) {
            return Ok(false);
        }
        match stdout.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(signals, Some(stdout), None)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// Returns whether a stop was requested, or SIGHUP reported that the terminal was closed.
fn has_ended(signals: &mut Signals) -> bool {
    signals.receive();
    signals.stop() || signals.is_hung_up()
}

/// Waits for a signal, until `stdout` is writable or until `due`.
fn wait(signals: &Signals, stdout: Option<&NonBlocking>, due: Option<Instant>) -> Result<()> {
    let timeout = due.map(|due| {
        let left = due.saturating_duration_since(Instant::now());
        Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    let mut waiting = vec![PollFd::new(signals, PollFlags::IN)];
    waiting.extend(stdout.map(|stdout| PollFd::new(stdout, PollFlags::OUT)));
    match poll(&mut waiting, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno).context("waiting for the next status"),
    }
}

/// The frame that is on the terminal.
#[derive(Debug, Default)]
struct Drawn {
    /// Lines of the last frame; the cursor is below them.
    lines: usize,
    columns: Option<usize>,
}

impl Drawn {
    /// Returns the next frame. It overwrites the last one line by line, so that nothing flickers and earlier output
    /// stays above. Without a terminal, it follows the last one.
    fn frame(&mut self, status: &Status, histories: &Histories) -> String {
        let screen = Screen::of_stdout();
        // The last row is for the cursor: a frame that scrolled could not be overwritten.
        let limit = screen.size.map_or(usize::MAX, |(_, rows)| rows - 1);
        let lines = table::lines(status, &screen, Some(histories), limit);
        if !screen.terminal {
            let separator = if self.lines == 0 { "" } else { "\n" };
            self.lines = lines.len();
            return format!("{separator}{}", screen.render(&lines));
        }
        let columns = screen.size.map(|(columns, _)| columns);
        let start = if self.lines > 0 && columns != self.columns {
            // How the terminal wrapped the last frame is unknown.
            "\x1b[H\x1b[2J".to_string()
        } else if self.lines > 0 {
            format!("\x1b[{}A\r", self.lines)
        } else {
            String::new()
        };
        (self.lines, self.columns) = (lines.len(), columns);
        let text = screen.render(&lines).replace('\n', "\x1b[K\n");
        format!("{start}{text}\x1b[J")
    }
}
