//! The samples of one disk: how much its counters grew over the window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::diskstats::Counters;
use super::rates::growth;

/// What one sample saw of a disk: its own counters, or those of the paths that stand for it.
pub type Members = Vec<(String, Option<u64>, Counters)>;

/// The growth of one disk's counters, from sample to sample over at most the window.
#[derive(Debug)]
pub struct History {
    newest: Members,
    /// When each sample was taken and how much the counters had grown since the first one.
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

    /// Adds a sample. Returns false where the disk was replaced or its counters went back: the history began anew.
    ///
    /// `limit` is the age from which samples are no longer needed; an older one is kept where those after it would
    /// make no window.
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
        // The oldest goes only when what is left spans half of that: after the process was stopped for a while, a few
        // milliseconds must not stand for the window.
        while self.samples.len() > 2
            && now.duration_since(self.samples[0].0) > limit
            && now.duration_since(self.samples[1].0) >= limit / 2
        {
            self.samples.pop_front();
        }
        true
    }

    /// Time from the oldest to the newest sample and what the counters grew by in it; `None` with one sample only.
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
