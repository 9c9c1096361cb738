//! When what is due: deadlines on the monotonic clock, without a clock of its own.
//!
//! The short collectors (disks, VMware) come first.

use std::time::{Duration, Instant};

/// Who has waited this long is no longer put off by those that come first.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// The first values come after this long, where the interval is longer.
const FIRST_WINDOW: Duration = Duration::from_secs(1);

/// What the daemon does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Sample the disks.
    Disks,
    /// Sample VMware's figures.
    Vmware,
    /// Count the whisper tree.
    Count,
    /// Nothing before this time; `None` for nothing ever.
    Nothing(Option<Instant>),
}

/// Deadlines at start + n × interval, whatever each turn took.
#[derive(Debug, Clone, Copy)]
struct Periodic {
    start: Instant,
    interval: Duration,
    next: Instant,
}

impl Periodic {
    fn new(start: Instant, interval: Duration) -> Self {
        Self {
            start,
            interval,
            next: start,
        }
    }

    /// Moves on to the first deadline after `now`: turns missed while the process was stopped are not made up for.
    fn done(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.start);
        let since_deadline_ns = passed.as_nanos() % self.interval.as_nanos();
        // The remainder of an interval is below the interval, which is at most a year.
        self.next = now + self.interval - Duration::from_nanos(since_deadline_ns as u64);
    }
}

/// All deadlines of the daemon but the heartbeat's, which any turn serves.
#[derive(Debug)]
pub struct Scheduler {
    disks: Option<Periodic>,
    vmware: Option<Periodic>,
    count: Option<Instant>,
}

impl Scheduler {
    /// A scheduler with nothing to do.
    pub fn new() -> Self {
        Self {
            disks: None,
            vmware: None,
            count: None,
        }
    }

    /// Samples the disks from `start` on; `None` for not at all.
    pub fn set_disks(&mut self, start: Option<Instant>, interval: Duration) {
        self.disks = start.map(|start| Periodic::new(start, interval));
    }

    /// Samples VMware's figures from `start` on; `None` for not at all.
    pub fn set_vmware(&mut self, start: Option<Instant>, interval: Duration) {
        self.vmware = start.map(|start| Periodic::new(start, interval));
    }

    /// Counts from `start` on; `None` for not at all.
    pub fn set_count(&mut self, start: Option<Instant>) {
        self.count = start;
    }

    /// What is due at `now`.
    pub fn due(&self, now: Instant) -> Due {
        let is_due = |deadline: &Instant| *deadline <= now;
        let disks = self.disks.map(|periodic| periodic.next);
        let vmware = self.vmware.map(|periodic| periodic.next);
        let next_sample = disks.into_iter().chain(vmware).min();
        let has_waited = |deadline: &Instant| now.saturating_duration_since(*deadline) >= LONGEST_WAIT;
        if vmware.as_ref().is_some_and(has_waited) {
            Due::Vmware
        } else if self.count.as_ref().is_some_and(has_waited) {
            Due::Count
        } else if disks.as_ref().is_some_and(is_due) {
            Due::Disks
        } else if vmware.as_ref().is_some_and(is_due) {
            Due::Vmware
        } else if self.count.as_ref().is_some_and(is_due) {
            Due::Count
        } else {
            Due::Nothing(next_sample.into_iter().chain(self.count).min())
        }
    }

    /// The disks were sampled. The first time, the next sample follows soon, to have a first value.
    pub fn disks_done(&mut self, now: Instant, first: bool) {
        if let Some(disks) = &mut self.disks {
            disks.done(now);
            if first {
                disks.next = disks.next.min(now + FIRST_WINDOW);
            }
        }
    }

    /// VMware's figures were sampled.
    pub fn vmware_done(&mut self, now: Instant) {
        if let Some(vmware) = &mut self.vmware {
            vmware.done(now);
        }
    }

    /// VMware's window begins with the sample of `now`: the next one follows soon, to have a first value.
    pub fn vmware_soon(&mut self, now: Instant) {
        if let Some(vmware) = &mut self.vmware {
            vmware.next = vmware.next.min(now + FIRST_WINDOW);
        }
    }

    /// The count ended, or failed: the next one starts after `interval`.
    pub fn count_done(&mut self, now: Instant, interval: Duration) {
        self.count = self.count.map(|_| now + interval);
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn deadlines_do_not_drift_and_missed_ones_are_not_made_up_for() {
        let start = Instant::now();
        let mut scheduler = Scheduler::new();
        scheduler.set_disks(Some(start), 10 * SECOND);
        assert_eq!(scheduler.due(start), Due::Disks);
        scheduler.disks_done(start, true);
        assert_eq!(scheduler.due(start), Due::Nothing(Some(start + SECOND)));
        scheduler.disks_done(start + SECOND, false);
        for turn in 1..100 {
            let late = start + turn * 10 * SECOND + Duration::from_millis(300);
            assert_eq!(scheduler.due(late), Due::Disks, "turn {turn}");
            scheduler.disks_done(late, false);
            assert_eq!(
                scheduler.due(late),
                Due::Nothing(Some(start + (turn + 1) * 10 * SECOND))
            );
        }
        let thawed = start + 5005 * SECOND;
        assert_eq!(scheduler.due(thawed), Due::Disks);
        scheduler.disks_done(thawed, false);
        assert_eq!(scheduler.due(thawed), Due::Nothing(Some(start + 5010 * SECOND)));
    }

    #[test]
    fn samples_come_before_the_count() {
        let start = Instant::now();
        let mut scheduler = Scheduler::new();
        scheduler.set_vmware(Some(start), 10 * SECOND);
        scheduler.set_disks(Some(start), 10 * SECOND);
        scheduler.set_count(Some(start));
        assert_eq!(scheduler.due(start), Due::Disks);
        scheduler.disks_done(start, false);
        assert_eq!(scheduler.due(start), Due::Vmware);
        scheduler.vmware_done(start);
        assert_eq!(scheduler.due(start), Due::Count);
        scheduler.count_done(start, 5 * SECOND);
        assert_eq!(scheduler.due(start), Due::Nothing(Some(start + 5 * SECOND)));
    }

    #[test]
    fn a_window_that_begins_has_its_second_sample_soon() {
        let start = Instant::now();
        let mut scheduler = Scheduler::new();
        scheduler.set_vmware(Some(start), 10 * SECOND);
        scheduler.vmware_done(start);
        scheduler.vmware_soon(start + SECOND / 2);
        assert_eq!(scheduler.due(start), Due::Nothing(Some(start + SECOND * 3 / 2)));
        scheduler.vmware_done(start + SECOND * 3 / 2);
        assert_eq!(
            scheduler.due(start + 2 * SECOND),
            Due::Nothing(Some(start + 10 * SECOND))
        );
    }
}
