//! A point in time, on both clocks.

use std::time::{Instant, SystemTime};

/// The monotonic clock gives durations and deadlines, the wall clock the date of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time on the monotonic clock.
    pub monotonic: Instant,
    /// Time on the wall clock, which can be set.
    pub wall: SystemTime,
}

impl Moment {
    /// Reads both clocks.
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }
}
