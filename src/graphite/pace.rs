//! Pauses, so that a count works at most its share of the time. The only clock of a count.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::totals::Totals;

/// A pause follows after this much work.
const SLICE: Duration = Duration::from_millis(15);
/// A clock read costs a part of a step.
const STEPS_PER_CLOCK_READ: u32 = 16;
/// Longest work that is assumed of a slice, which may have been stopped or hung in a system call.
const MAX_CHARGED: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Receives the totals and the time since the start, every 15 ms of work. An error ends the count.
pub type Progress<'a> = dyn FnMut(&Totals, Duration) -> Result<()> + 'a;

/// The pace of one count.
pub struct Pace<'a> {
    max_busy_percent: u32,
    started: Instant,
    slice_started: Instant,
    steps: u32,
    busy: Duration,
    progress: &'a mut Progress<'a>,
}

impl<'a> Pace<'a> {
    /// Starts to work. `max_busy_percent` is from 1 to 100, which means no pauses.
    pub fn new(max_busy_percent: u32, progress: &'a mut Progress<'a>) -> Self {
        let now = Instant::now();
        Self {
            max_busy_percent: max_busy_percent.clamp(1, 100),
            started: now,
            slice_started: now,
            steps: 0,
            busy: Duration::ZERO,
            progress,
        }
    }

    /// Ends a step of the work: a few system calls. Sleeps if a slice ends with it.
    pub fn step(&mut self, totals: &Totals) -> Result<()> {
        self.steps += 1;
        if !self.steps.is_multiple_of(STEPS_PER_CLOCK_READ) {
            return Ok(());
        }
        let worked = self.slice_started.elapsed();
        if worked >= SLICE {
            self.busy += worked;
            (self.progress)(totals, self.started.elapsed())?;
            sleep(pause(worked, self.max_busy_percent));
            self.slice_started = Instant::now();
        }
        Ok(())
    }

    /// Returns the time since the start, pauses included.
    pub fn duration(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the time spent working up to now.
    pub fn busy(&self) -> Duration {
        self.busy + self.slice_started.elapsed()
    }
}

/// Returns a receiver that passes on what it receives once a second, first after a second.
pub fn every_second(
    mut receive: impl FnMut(&Totals, Duration) -> Result<()>,
) -> impl FnMut(&Totals, Duration) -> Result<()> {
    let mut due = PROGRESS_INTERVAL;
    move |totals, elapsed| {
        if elapsed < due {
            return Ok(());
        }
        due = elapsed + PROGRESS_INTERVAL;
        receive(totals, elapsed)
    }
}

fn pause(worked: Duration, max_busy_percent: u32) -> Duration {
    worked.min(MAX_CHARGED) * (100 - max_busy_percent) / max_busy_percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_keeps_share_and_is_bounded() {
        assert_eq!(pause(SLICE, 20), 4 * SLICE);
        assert_eq!(pause(SLICE, 100), Duration::ZERO);
        assert_eq!(pause(Duration::from_secs(3600), 50), MAX_CHARGED);
    }

    #[test]
    fn progress_is_passed_on_once_a_second() {
        let mut received = Vec::new();
        let mut receive = every_second(|_, elapsed| {
            received.push(elapsed.as_millis());
            Ok(())
        });
        for millis in [15, 999, 1000, 1015, 1999, 2500, 3499, 3500] {
            receive(&Totals::default(), Duration::from_millis(millis)).unwrap();
        }
        drop(receive);
        assert_eq!(received, [1000, 2500, 3500]);
    }
}
