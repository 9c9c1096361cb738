//! A child process that reads what is on the storage of the whisper tree, for `status` and `check graphite`: that
//! storage may hang, and both must answer anyway.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::child::{self, Child, Received, wait_readable};

/// The hidden subcommand of this binary that is the reader. The command line that it answers follows.
pub const SUBCOMMAND: &str = "storage-reader";
/// Longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Runs readers, at most one at a time.
#[derive(Debug)]
pub struct Reader {
    args: Vec<OsString>,
    child: Option<Child>,
}

impl Reader {
    /// Returns a reader for a command line without the program's name.
    pub fn new(args: Vec<OsString>) -> Self {
        Self { args, child: None }
    }

    /// Returns the answer of the child process; `None` if it does not come within `timeout`. The next call then waits
    /// for the same child: those that hang must not pile up.
    pub fn read<T: DeserializeOwned>(&mut self, timeout: Duration) -> Result<Option<T>> {
        let deadline = Instant::now() + timeout;
        let child = match &mut self.child {
            Some(child) => child,
            none => {
                let child = Child::spawn(&mut child::command(SUBCOMMAND, &self.args), MAX_ANSWER_BYTES);
                none.insert(child.context("starting a reader")?)
            }
        };
        child.set_deadline(Some(deadline));
        let received = loop {
            match child.receive(Instant::now()) {
                Received::Nothing => wait_readable(child.output(), Some(deadline))?,
                received => break received,
            }
        };
        let line = match received {
            Received::Timeout => return Ok(None),
            Received::Line(line) => line,
            Received::Nothing | Received::TooLong | Received::End => String::new(),
        };
        if let Some(mut child) = self.child.take() {
            child.stop();
        }
        match serde_json::from_str(&line) {
            Ok(answer) => Ok(Some(answer)),
            Err(_) => bail!("internal error, please report it: the reader died"),
        }
    }
}
