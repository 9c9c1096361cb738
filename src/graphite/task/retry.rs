//! When the next count starts after one that failed.

use std::time::Duration;

/// Longest wait.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Wait after the first death of a worker, doubled with each further one in a row.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Enough to reach [`MAX_WAIT`].
const MAX_DOUBLINGS: u32 = 6;

/// Returns the wait after a count that failed or could not be published: at most the interval.
pub fn after_failure(interval: Duration) -> Duration {
    interval.min(MAX_WAIT)
}

/// Returns the wait after `deaths` workers in a row died, at least one.
pub fn after_deaths(deaths: u32, interval: Duration) -> Duration {
    let wait = FIRST_WAIT * (1 << (deaths - 1).min(MAX_DOUBLINGS));
    wait.min(after_failure(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_up_to_a_minute_and_the_interval() {
        let seconds = |deaths, interval| after_deaths(deaths, Duration::from_secs(interval)).as_secs();
        let waits = [1, 2, 3, 6, 7, 100].map(|deaths| seconds(deaths, 900));
        assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
        assert_eq!([1, 7].map(|deaths| seconds(deaths, 10)), [1, 10]);
    }
}
