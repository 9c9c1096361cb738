//! `status --watch`: the status again and again, with the history of each value, until interrupted.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::bars::history;
use super::screen::Screen;
use super::{Status, table};
use crate::nonblocking::NonBlocking;
use crate::output;
use crate::report::to_line;
use crate::signals::Signals;

/// Values kept of each gauge: as many as fit on a line.
const MAX_PAST: usize = 16;

/// The past values of each gauge, one for each document.
#[derive(Debug, Default)]
pub struct Histories {
    /// By the name of the collector and of the gauge.
    values: BTreeMap<(&'static str, String), Past>,
}

#[derive(Debug)]
struct Past {
    newest_at: i64,
    values: VecDeque<f64>,
    /// The smallest and the largest value shown; `None` for those seen so far.
    scale: Option<(f64, f64)>,
}

impl Histories {
    fn add(&mut self, status: &Status) {
        for (collector, entry) in &status.entries {
            let Some(report) = entry.report(*collector) else {
                continue;
            };
            for gauge in report.gauges() {
                if let Some(value) = gauge.value {
                    let key = (collector.name(), gauge.name);
                    self.record(key, report.updated_at(), value, gauge.scale);
                }
            }
        }
    }

    fn record(&mut self, key: (&'static str, String), at: i64, value: f64, scale: Option<(f64, f64)>) {
        let past = self.values.entry(key).or_insert_with(|| Past {
            newest_at: i64::MIN,
            values: VecDeque::new(),
            scale,
        });
        if past.newest_at == at {
            return;
        }
        past.newest_at = at;
        if past.values.len() == MAX_PAST {
            past.values.pop_front();
        }
        past.values.push_back(value);
    }

    /// Returns the history of the gauge `name` of `collector` as small bars.
    pub fn line(&self, (collector, name): (&'static str, &str), unicode: bool) -> Option<String> {
        let past = self.values.get(&(collector, name.to_string()))?;
        let seen = past
            .values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
                (least.min(*value), most.max(*value))
            });
        let values = past.values.iter().copied();
        Some(history(values, past.scale.unwrap_or(seen), unicode))
    }
}

/// Shows the status every `interval` until SIGINT, SIGTERM, SIGHUP or until nobody reads it any more. Returns the exit
/// code of the last status.
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

/// Writes a frame, however long its reader takes. Returns false if the reader has gone or a signal ends the wait.
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

/// Whether a signal asked to end. SIGHUP ends it too: its terminal was closed.
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

/// What is on the terminal by now.
#[derive(Debug, Default)]
struct Drawn {
    /// Lines of the last frame; the cursor is below them.
    lines: usize,
    columns: Option<usize>,
}

impl Drawn {
    /// The next frame, to be written over the last one: no line is cleared before its new text is there, so that
    /// nothing flickers, and what was on the terminal before stays above. Without a terminal: below the last one.
    fn frame(&mut self, status: &Status, histories: &Histories) -> String {
        let screen = Screen::of_stdout();
        let mut lines = table::lines(status, &screen, Some(histories));
        if !screen.terminal {
            let separator = if self.lines == 0 { "" } else { "\n" };
            self.lines = lines.len();
            return format!("{separator}{}", screen.render(&lines));
        }
        let columns = screen.size.map(|(columns, _)| columns);
        // The last row is for the cursor: a frame that scrolled could not be drawn over.
        lines.truncate(
            screen
                .size
                .map_or(usize::MAX, |(_, rows)| rows.saturating_sub(1).max(1)),
        );
        let start = if self.lines > 0 && columns != self.columns {
            // The terminal has wrapped the last frame in a way that can't be known.
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
