//! Notices that the wall clock was set back, by comparing it with the monotonic clock.

use std::time::Duration;

use crate::moment::Moment;

/// A clock that is slewed lags a little. One that is set back by more than this repeats times that files already have.
const TOLERANCE: Duration = Duration::from_secs(1);

/// Both clocks at the last call.
#[derive(Debug, Default)]
pub struct WallClock {
    last: Option<Moment>,
}

impl WallClock {
    /// Returns whether the wall clock was set back since the last call.
    pub fn was_set_back(&mut self, now: Moment) -> bool {
        self.last.replace(now).is_some_and(|last| {
            let expected = last.wall + now.monotonic.saturating_duration_since(last.monotonic);
            now.wall + TOLERANCE < expected
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_is_set_back_only_if_it_decreases() {
        let (second, start) = (Duration::from_secs(1), Moment::now());
        let mut clock = WallClock::default();
        let mut was_set_back = |monotonic: u32, wall: Duration| {
            clock.was_set_back(Moment {
                monotonic: start.monotonic + monotonic * second,
                wall: start.wall + wall,
            })
        };
        assert!(!was_set_back(0, Duration::ZERO));
        assert!(!was_set_back(10, 10 * second));
        // Slewed by half a second, then set ahead, as after a suspend.
        assert!(!was_set_back(20, 39 * second / 2));
        assert!(!was_set_back(21, 1000 * second));
        assert!(was_set_back(31, 1008 * second));
        assert!(!was_set_back(32, 1009 * second));
        // As far as is tolerated.
        assert!(!was_set_back(33, 1009 * second));
    }
}
