//! The wall clock compared with the monotonic one, to notice that it was set back.

use std::time::{Duration, Instant, SystemTime};

/// A clock that is slewed lags a little. One that is set back by more than this repeats times that files already have.
const TOLERANCE: Duration = Duration::from_secs(1);

/// Both clocks at the last call.
#[derive(Debug, Default)]
pub struct WallClock {
    last: Option<(Instant, SystemTime)>,
}

impl WallClock {
    /// Returns whether the wall clock was set back since the last call.
    pub fn was_set_back(&mut self, now: Instant, wall: SystemTime) -> bool {
        let last = self.last.replace((now, wall));
        last.is_some_and(|(last_now, last_wall)| {
            let expected = last_wall + now.saturating_duration_since(last_now);
            wall + TOLERANCE < expected
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_goes_back_is_set_back() {
        let (second, now, wall) = (Duration::from_secs(1), Instant::now(), SystemTime::now());
        let mut clock = WallClock::default();
        assert!(!clock.was_set_back(now, wall));
        assert!(!clock.was_set_back(now + 10 * second, wall + 10 * second));
        // Slewed by half a second, then set ahead, as after a suspend.
        assert!(!clock.was_set_back(now + 20 * second, wall + 39 * second / 2));
        assert!(!clock.was_set_back(now + 21 * second, wall + 1000 * second));
        assert!(clock.was_set_back(now + 31 * second, wall + 1008 * second));
        assert!(!clock.was_set_back(now + 32 * second, wall + 1009 * second));
    }
}
