//! Deadlines on the monotonic clock, which the caller passes in.

use std::time::{Duration, Instant};

/// If the interval is longer than this, the second sample follows the first one after this time.
const FIRST_WINDOW: Duration = Duration::from_secs(1);

/// Deadlines at start + n × interval, however long each run takes.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    start: Instant,
    interval: Duration,
    next: Instant,
}

impl Deadlines {
    /// Returns deadlines of which the first one is `start`.
    pub fn new(start: Instant, interval: Duration) -> Self {
        Self {
            start,
            interval,
            next: start,
        }
    }

    /// Returns the next deadline.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Moves on to the first deadline after `now`. Deadlines missed while the process was stopped are skipped.
    pub fn passed(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.start);
        let since_deadline_ns = passed.as_nanos() % self.interval.as_nanos();
        // The remainder is shorter than the interval, which is at most a year.
        self.next = now + self.interval - Duration::from_nanos(since_deadline_ns as u64);
    }

    /// Adds a deadline soon after `now`, for the second sample of a window: it gives the first value.
    pub fn soon(&mut self, now: Instant) {
        self.next = self.next.min(now + FIRST_WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn deadlines_do_not_drift_and_missed_ones_are_skipped() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start, 10 * SECOND);
        assert_eq!(deadlines.next(), start);
        for turn in 1..100 {
            deadlines.passed(start + (turn - 1) * 10 * SECOND + Duration::from_millis(300));
            assert_eq!(deadlines.next(), start + turn * 10 * SECOND, "turn {turn}");
        }
        deadlines.passed(start + 5005 * SECOND);
        assert_eq!(deadlines.next(), start + 5010 * SECOND);
    }

    #[test]
    fn second_sample_follows_soon_then_at_the_interval() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start, 10 * SECOND);
        deadlines.passed(start);
        deadlines.soon(start + SECOND / 2);
        assert_eq!(deadlines.next(), start + SECOND * 3 / 2);
        deadlines.passed(start + SECOND * 3 / 2);
        assert_eq!(deadlines.next(), start + 10 * SECOND);
        let mut short = Deadlines::new(start, SECOND / 2);
        short.passed(start);
        short.soon(start);
        assert_eq!(short.next(), start + SECOND / 2);
    }
}
