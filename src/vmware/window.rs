//! The samples of one session, and the share of stolen time between the oldest and the newest.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::answer::Reading;

/// %ready over the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ready {
    /// 100 × ΔCpuStolenMs / ΔElapsedMs, summed over the vCPUs: at least 0, may exceed 100 on several vCPUs.
    pub percent: f64,
    /// ΔElapsedMs.
    pub elapsed: Duration,
}

/// Why the window gives no value and starts with the newest sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// There is no earlier sample within the window.
    First,
    /// The previous sample is of another session.
    Session,
    /// The elapsed time is not above that of the previous sample.
    Elapsed,
    /// The stolen time is below that of the previous sample.
    Stolen,
}

impl Restart {
    /// Returns the reason, for the document and the log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::First => "waiting for a second sample",
            Self::Session => "virtual machine was migrated, resumed or reverted; waiting for a second sample",
            Self::Elapsed => "elapsed time reported by the host does not advance; restarting the window",
            Self::Stolen => "stolen time reported by the host decreased; restarting the window",
        }
    }
}

/// Samples of one session: elapsed times ascend, stolen times never descend.
#[derive(Debug)]
pub struct Window {
    limit: Duration,
    samples: VecDeque<(Instant, Reading)>,
}

impl Window {
    /// Creates a window without samples. Samples older than `limit` are dropped.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            samples: VecDeque::new(),
        }
    }

    /// Adds a sample and returns the value over the window.
    ///
    /// After a gap longer than the limit (library failed, machine suspended without a new session) the window restarts:
    /// an average over hours would look like a current value.
    pub fn add(&mut self, now: Instant, reading: Reading) -> Result<Ready, Restart> {
        let is_old = |(taken, _): &(Instant, Reading)| now.saturating_duration_since(*taken) > self.limit;
        while self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
        let restart = self.samples.back().and_then(|(_, last)| {
            if reading.session != last.session {
                Some(Restart::Session)
            } else if reading.elapsed_ms <= last.elapsed_ms {
                Some(Restart::Elapsed)
            } else if reading.stolen_ms < last.stolen_ms {
                Some(Restart::Stolen)
            } else {
                None
            }
        });
        if let Some(restart) = restart {
            self.samples.clear();
            self.samples.push_back((now, reading));
            return Err(restart);
        }
        self.samples.push_back((now, reading));
        let (_, first) = self.samples[0];
        if self.samples.len() < 2 {
            return Err(Restart::First);
        }
        let elapsed_ms = reading.elapsed_ms - first.elapsed_ms;
        let stolen_ms = reading.stolen_ms - first.stolen_ms;
        Ok(Ready {
            percent: 100.0 * stolen_ms as f64 / elapsed_ms as f64,
            elapsed: Duration::from_millis(elapsed_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reading(session: u64, elapsed_ms: u64, stolen_ms: u64) -> Reading {
        Reading {
            session,
            elapsed_ms,
            stolen_ms,
        }
    }

    fn percent(result: Result<Ready, Restart>) -> f64 {
        result.unwrap().percent
    }

    #[test]
    fn value_covers_the_window_and_not_the_lifetime() {
        let start = Instant::now();
        let mut window = Window::new(65 * SECOND);
        let lifetime = reading(7, 1_000_000_000, 900_000_000);
        assert_eq!(window.add(start, lifetime), Err(Restart::First));
        for n in 1..=6u32 {
            // 10 s each with 184 ms stolen.
            let now = reading(
                7,
                1_000_000_000 + u64::from(n) * 10_000,
                900_000_000 + u64::from(n) * 184,
            );
            let ready = window.add(start + n * 10 * SECOND, now).unwrap();
            assert_eq!(ready.percent, 1.84);
            assert_eq!(ready.elapsed, n * 10 * SECOND);
        }
        // On a busy host, the quiet samples leave the window one by one.
        let mut stolen = 900_000_000 + 6 * 184;
        for n in 7..=13u32 {
            stolen += 25_000;
            let now = reading(7, 1_000_000_000 + u64::from(n) * 10_000, stolen);
            window.add(start + n * 10 * SECOND, now).unwrap();
        }
        let now = reading(7, 1_000_000_000 + 140_000, stolen + 25_000);
        let ready = window.add(start + 140 * SECOND, now).unwrap();
        assert_eq!((ready.percent, ready.elapsed), (250.0, 60 * SECOND));
    }

    #[test]
    fn window_restarts_if_session_changes_or_counter_decreases() {
        let start = Instant::now();
        let mut window = Window::new(65 * SECOND);
        assert_eq!(window.add(start, reading(1, 1000, 10)), Err(Restart::First));
        assert_eq!(percent(window.add(start + SECOND, reading(1, 2000, 20))), 1.0);
        // Another host, whose counters are higher.
        assert_eq!(
            window.add(start + 2 * SECOND, reading(2, 9000, 30)),
            Err(Restart::Session)
        );
        assert_eq!(
            percent(window.add(start + 3 * SECOND, reading(2, 10_000, 530))),
            50.0
        );
        assert_eq!(
            window.add(start + 4 * SECOND, reading(2, 10_000, 540)),
            Err(Restart::Elapsed)
        );
        assert_eq!(
            window.add(start + 5 * SECOND, reading(2, 9_999, 540)),
            Err(Restart::Elapsed)
        );
        assert_eq!(
            percent(window.add(start + 6 * SECOND, reading(2, 10_999, 540))),
            0.0
        );
        assert_eq!(
            window.add(start + 7 * SECOND, reading(2, 12_000, 539)),
            Err(Restart::Stolen)
        );
        assert_eq!(
            percent(window.add(start + 8 * SECOND, reading(2, 13_000, 549))),
            1.0
        );
    }

    #[test]
    fn window_restarts_after_a_gap_longer_than_the_limit() {
        let start = Instant::now();
        let mut window = Window::new(65 * SECOND);
        assert_eq!(window.add(start, reading(1, 0, 0)), Err(Restart::First));
        assert!(window.add(start + 10 * SECOND, reading(1, 10_000, 0)).is_ok());
        let back = start + 3600 * SECOND;
        assert_eq!(
            window.add(back, reading(1, 3_600_000, 1_000_000)),
            Err(Restart::First)
        );
        assert_eq!(
            percent(window.add(back + SECOND, reading(1, 3_601_000, 1_000_100))),
            10.0
        );
    }

    #[test]
    fn counters_at_their_limits_give_finite_values() {
        let start = Instant::now();
        let mut window = Window::new(65 * SECOND);
        let _ = window.add(start, reading(1, 0, 0));
        let ready = window.add(start + SECOND, reading(1, 1, u64::MAX)).unwrap();
        assert!(ready.percent.is_finite() && ready.percent > 0.0);
    }
}
