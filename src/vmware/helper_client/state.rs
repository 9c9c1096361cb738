//! The states of the client, each with the helper process that it owns.

use std::time::Instant;

use crate::child::Child;
use crate::vmware::answer::Fault;

#[derive(Debug)]
pub enum State {
    /// No helper exists. After a failure, none is started before its `retry_at`.
    Stopped(Option<Failure>),
    /// The helper waits for a question.
    Ready(Child),
    /// The helper was asked and has until its deadline.
    Asked(Child),
    /// The helper was asked and has closed its pipe. Its exit status is the outcome.
    Exiting(Child),
    /// The helper was killed and is not reaped yet. [`State::Stopped`] follows.
    Killed(Child, Option<Failure>),
}

#[derive(Debug)]
pub struct Failure {
    pub fault: Fault,
    pub retry_at: Instant,
}

impl State {
    pub fn helper(&mut self) -> Option<&mut Child> {
        match self {
            Self::Stopped(_) => None,
            Self::Ready(helper) | Self::Asked(helper) | Self::Exiting(helper) | Self::Killed(helper, _) => {
                Some(helper)
            }
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Stopped(None)
    }
}

/// A helper that closed its pipe is killed too: it may hang before its exit.
pub fn exiting(mut helper: Child) -> State {
    helper.kill();
    State::Exiting(helper)
}

pub fn killed(mut helper: Child, failure: Option<Failure>) -> State {
    helper.kill();
    State::Killed(helper, failure)
}
