//! A child process that reads from the storage of the whisper tree, for `status` and `check graphite`: that storage may
//! hang, and both must answer anyway.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::child::{self, Child, Received, wait_readable};

/// The hidden subcommand of this binary that runs a reader. The command line to answer follows it.
pub const SUBCOMMAND: &str = "storage-reader";
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Starts readers, at most one at a time.
#[derive(Debug)]
pub struct Reader {
    args: Vec<OsString>,
    child: Option<Child>,
}

impl Reader {
    /// Creates a reader for a command line without the program name.
    pub fn new(args: Vec<OsString>) -> Self {
        Self { args, child: None }
    }

    /// Returns the answer of the child process; `None` after `timeout`. The next call then waits for the same child, so
    /// that blocked children do not accumulate.
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
