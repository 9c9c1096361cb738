//! The lines that wait to be sent to carbon, bounded in size.

use std::collections::VecDeque;

/// Limit of the queue: about ten minutes of a few disks. A larger batch is queued alone.
const MAX_BYTES: usize = 64 * 1024;

/// Batches of lines, the oldest first. A batch contains the lines of one document.
#[derive(Debug, Default)]
pub struct Queue {
    batches: VecDeque<String>,
    bytes: usize,
    /// Bytes of the first batch that were sent.
    sent: usize,
    dropped: u64,
}

impl Queue {
    /// Adds a batch. Drops the oldest ones if the queue is full, but not a partly sent one: that would send a partial
    /// line.
    pub fn push(&mut self, batch: String) {
        if batch.is_empty() {
            return;
        }
        self.bytes += batch.len();
        self.batches.push_back(batch);
        let partly_sent = usize::from(self.sent > 0);
        while self.bytes > MAX_BYTES
            && self.batches.len() > partly_sent + 1
            && let Some(oldest) = self.batches.remove(partly_sent)
        {
            self.bytes -= oldest.len();
            self.dropped += oldest.lines().count() as u64;
        }
    }

    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Returns the bytes to send next.
    pub fn front(&self) -> Option<&[u8]> {
        self.batches.front().map(|batch| &batch.as_bytes()[self.sent..])
    }

    /// Marks the next bytes as sent. Drops the first batch once it is complete.
    pub fn mark_sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if let Some(batch) = self.batches.front()
            && self.sent >= batch.len()
        {
            self.bytes -= batch.len();
            self.batches.pop_front();
            self.sent = 0;
        }
    }

    /// Restarts the first batch.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Returns the number of lines dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_queue_keeps_the_newest_and_the_partly_sent_batch() {
        let batch = |n: usize| format!("{n}\n").repeat(8 * 1024);
        let mut queue = Queue::default();
        for n in 0..4 {
            queue.push(batch(n));
        }
        assert_eq!(queue.take_dropped(), 0);
        queue.mark_sent(3);
        queue.push(batch(4));
        assert_eq!(queue.take_dropped(), 8 * 1024);
        assert_eq!(queue.front().unwrap().len(), 16 * 1024 - 3);
        queue.rewind();
        assert_eq!(queue.front().unwrap(), batch(0).as_bytes());
        queue.mark_sent(16 * 1024);
        assert_eq!(queue.front().unwrap(), batch(2).as_bytes());
    }

    #[test]
    fn batch_above_the_limit_replaces_all_older_ones() {
        let large = |line: &str| line.repeat(MAX_BYTES);
        let mut queue = Queue::default();
        queue.push("a\n".into());
        queue.push(large("b\n"));
        assert_eq!(queue.take_dropped(), 1);
        assert_eq!(queue.front().unwrap(), large("b\n").as_bytes());
        queue.mark_sent(3);
        queue.push(large("c\n"));
        assert_eq!(queue.take_dropped(), 0, "the partly sent batch stays");
        queue.push(large("d\n"));
        assert_eq!(queue.take_dropped(), MAX_BYTES as u64);
        queue.mark_sent(2 * MAX_BYTES - 3);
        assert_eq!(queue.front().unwrap(), large("d\n").as_bytes());
        queue.mark_sent(2 * MAX_BYTES);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes, 0);
    }
}
