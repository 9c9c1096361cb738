//! When what is due: deadlines on the monotonic clock, without a clock of its own.
//!
//! The short collectors (disks, VMware) come first. A count works in slices with pauses between them, so that it
//! delays neither them nor the heartbeat, and takes at most its share of the time.

use std::time::{Duration, Instant};

/// Work on a count ends after this long. It is promised to take 20 ms at most: the rest is for the system call that
/// a slice is in at its end.
pub const SLICE: Duration = Duration::from_millis(15);
/// Shortest piece that is still worth starting when another deadline is near.
const SHORTEST_SLICE: Duration = Duration::from_millis(1);
/// The first disk values come after this long, where the interval is longer.
const FIRST_WINDOW: Duration = Duration::from_secs(1);

/// What the daemon does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Sample the disks.
    Disks,
    /// Sample VMware's figures.
    Vmware,
    /// Work on the count for at most this long.
    Count(Duration),
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
    max_busy_percent: u32,
}

impl Scheduler {
    /// A scheduler with nothing to do.
    pub fn new() -> Self {
        Self {
            disks: None,
            vmware: None,
            count: None,
            max_busy_percent: 100,
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

    /// Counts from `start` on, working at most this share of the time; `None` for not at all.
    pub fn set_count(&mut self, start: Option<Instant>, max_busy_percent: u32) {
        self.count = start;
        self.max_busy_percent = max_busy_percent.clamp(1, 100);
    }

    /// What is due at `now`.
    pub fn due(&self, now: Instant) -> Due {
        let is_due = |deadline: &Instant| *deadline <= now;
        let disks = self.disks.map(|periodic| periodic.next);
        let vmware = self.vmware.map(|periodic| periodic.next);
        let next_sample = disks.into_iter().chain(vmware).min();
        if disks.as_ref().is_some_and(is_due) {
            Due::Disks
        } else if vmware.as_ref().is_some_and(is_due) {
            Due::Vmware
        } else if self.count.as_ref().is_some_and(is_due) {
            let free = next_sample.map_or(SLICE, |next| next.saturating_duration_since(now));
            Due::Count(free.clamp(SHORTEST_SLICE, SLICE))
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

    /// A slice of the count ended at `now` after `worked`, with more to do: it pauses for its share of the time.
    pub fn count_pauses(&mut self, now: Instant, worked: Duration) {
        let pause = worked * (100 - self.max_busy_percent) / self.max_busy_percent;
        self.count = self.count.map(|_| now + pause);
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
    fn samples_come_before_the_count_and_its_slices_end_before_them() {
        let start = Instant::now();
        let mut scheduler = Scheduler::new();
        scheduler.set_vmware(Some(start), 10 * SECOND);
        scheduler.set_disks(Some(start), 10 * SECOND);
        scheduler.set_count(Some(start), 50);
        assert_eq!(scheduler.due(start), Due::Disks);
        scheduler.disks_done(start, false);
        assert_eq!(scheduler.due(start), Due::Vmware);
        scheduler.vmware_done(start);
        assert_eq!(scheduler.due(start), Due::Count(SLICE));
        let near = start + 10 * SECOND - Duration::from_millis(5);
        assert_eq!(scheduler.due(near), Due::Count(Duration::from_millis(5)));
    }

    #[test]
    fn a_count_pauses_for_its_share_of_the_time() {
        let start = Instant::now();
        let mut scheduler = Scheduler::new();
        scheduler.set_count(Some(start), 20);
        scheduler.count_pauses(start, SLICE);
        assert_eq!(scheduler.due(start), Due::Nothing(Some(start + 4 * SLICE)));
        scheduler.count_done(start, 900 * SECOND);
        assert_eq!(scheduler.due(start), Due::Nothing(Some(start + 900 * SECOND)));
    }
}
