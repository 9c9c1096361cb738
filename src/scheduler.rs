//! When each task is due: deadlines on the monotonic clock, passed in by the caller.

use std::time::{Duration, Instant};

/// If the interval is longer than this, the second sample follows the first one after this time.
const FIRST_WINDOW: Duration = Duration::from_secs(1);

/// What the daemon does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Sample the disks.
    Disks,
    /// Sample %ready.
    Vmware,
    /// Start a count, or act on one that is overdue.
    Count,
    /// Nothing before this time; `None` if nothing is scheduled.
    Nothing(Option<Instant>),
}

/// Deadlines at start + n × interval, however long each run takes.
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

    /// Moves on to the first deadline after `now`. Deadlines missed while the process was stopped are skipped.
    fn done(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.start);
        let since_deadline_ns = passed.as_nanos() % self.interval.as_nanos();
        // The remainder is shorter than the interval, which is at most a year.
        self.next = now + self.interval - Duration::from_nanos(since_deadline_ns as u64);
    }
}

/// All deadlines of the daemon except that of the heartbeat.
#[derive(Debug, Default)]
pub struct Scheduler {
    disks: Option<Periodic>,
    vmware: Option<Periodic>,
    count: Option<Instant>,
}

impl Scheduler {
    /// Returns a scheduler with nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Samples the disks from `start` on; `None` disables it.
    pub fn set_disks(&mut self, start: Option<Instant>, interval: Duration) {
        self.disks = start.map(|start| Periodic::new(start, interval));
    }

    /// Samples %ready from `start` on; `None` disables it.
    pub fn set_vmware(&mut self, start: Option<Instant>, interval: Duration) {
        self.vmware = start.map(|start| Periodic::new(start, interval));
    }

    /// Sets the next deadline of the count; `None` for none.
    pub fn set_count(&mut self, deadline: Option<Instant>) {
        self.count = deadline;
    }

    /// Returns the task whose deadline passed first, so that no task can starve another.
    pub fn due(&self, now: Instant) -> Due {
        let deadlines = [
            (self.disks.map(|disks| disks.next), Due::Disks),
            (self.vmware.map(|vmware| vmware.next), Due::Vmware),
            (self.count, Due::Count),
        ];
        let first = deadlines
            .into_iter()
            .filter_map(|(deadline, due)| Some((deadline?, due)))
            // Of equal deadlines, the first in the list.
            .min_by_key(|(deadline, _)| *deadline);
        match first {
            Some((deadline, due)) if deadline <= now => due,
            first => Due::Nothing(first.map(|(deadline, _)| deadline)),
        }
    }

    /// The disks were sampled. The second sample follows soon after the first one, to have a first value.
    pub fn disks_done(&mut self, now: Instant, first: bool) {
        if let Some(disks) = &mut self.disks {
            disks.done(now);
            if first {
                disks.next = disks.next.min(now + FIRST_WINDOW);
            }
        }
    }

    /// %ready was sampled.
    pub fn vmware_done(&mut self, now: Instant) {
        if let Some(vmware) = &mut self.vmware {
            vmware.done(now);
        }
    }

    /// The window of %ready starts with the sample of `now`: the next one follows soon, to have a first value.
    pub fn vmware_soon(&mut self, now: Instant) {
        if let Some(vmware) = &mut self.vmware {
            vmware.next = vmware.next.min(now + FIRST_WINDOW);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn deadlines_do_not_drift_and_missed_ones_are_skipped() {
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
    fn earliest_deadline_comes_first_and_disks_before_others() {
        let start = Instant::now();
        let mut scheduler = Scheduler::new();
        scheduler.set_count(Some(start));
        scheduler.set_vmware(Some(start), 10 * SECOND);
        scheduler.set_disks(Some(start), SECOND);
        assert_eq!(scheduler.due(start), Due::Disks);
        scheduler.disks_done(start, false);
        assert_eq!(scheduler.due(start), Due::Vmware);
        scheduler.vmware_done(start);
        assert_eq!(scheduler.due(start), Due::Count);
        scheduler.set_count(None);
        assert_eq!(scheduler.due(start), Due::Nothing(Some(start + SECOND)));
        // The disks are due again, but what has waited longer is not put off.
        scheduler.set_count(Some(start + SECOND / 2));
        assert_eq!(scheduler.due(start + SECOND), Due::Count);
    }

    #[test]
    fn started_window_has_its_second_sample_soon() {
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
