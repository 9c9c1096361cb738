//! The samples of one disk, and the growth of its counters over the window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::diskstats::Counters;
use super::rates::growth;

/// The counters of a disk in one sample: its own, or those of its NVMe paths, each with its name and sequence number.
pub type Members = Vec<(String, Option<u64>, Counters)>;

/// The growth of one disk's counters, from sample to sample over at most the window.
#[derive(Debug)]
pub struct History {
    newest: Members,
    /// The time of each sample, and the growth of the counters since the first one.
    samples: VecDeque<(Instant, Counters)>,
}

impl History {
    /// Starts with a first sample, which gives no value yet.
    pub fn new(now: Instant, members: Members) -> Self {
        Self {
            newest: members,
            samples: VecDeque::from([(now, Counters::default())]),
        }
    }

    /// Adds a sample. Returns false, and restarts the history, if the disk was replaced or its counters were reset.
    ///
    /// Samples older than `limit` are removed, except one that the window needs.
    pub fn add(&mut self, now: Instant, members: Members, limit: Duration) -> bool {
        let Some(&(last, mut total)) = self.samples.back() else {
            *self = Self::new(now, members);
            return false;
        };
        let elapsed = now.duration_since(last);
        let Some(grown) = self.growth_to(&members, elapsed) else {
            *self = Self::new(now, members);
            return false;
        };
        total.add(&grown);
        self.newest = members;
        self.samples.push_back((now, total));
        // The oldest is removed only if the others cover half of the limit. After a pause of the process, the window
        // would otherwise be a few milliseconds.
        while self.samples.len() > 2
            && now.duration_since(self.samples[0].0) > limit
            && now.duration_since(self.samples[1].0) >= limit / 2
        {
            self.samples.pop_front();
        }
        true
    }

    /// Returns the time from the oldest to the newest sample and the growth of the counters; `None` with one sample.
    pub fn window(&self) -> Option<(Duration, Counters)> {
        let (first, start) = self.samples.front()?;
        let (last, end) = self.samples.back()?;
        let window = last.duration_since(*first);
        (!window.is_zero()).then(|| (window, end.since(start)))
    }

    fn growth_to(&self, members: &Members, elapsed: Duration) -> Option<Counters> {
        if members.len() != self.newest.len() {
            return None;
        }
        let mut sum = Counters::default();
        for ((name, sequence, before), (name_now, sequence_now, now)) in self.newest.iter().zip(members) {
            if name != name_now || sequence != sequence_now {
                return None;
            }
            sum.add(&growth(before, now, elapsed)?);
        }
        Some(sum)
    }
}
