//! What is still to be sent to carbon: the newest that fits into a bounded buffer.

use std::collections::VecDeque;

/// Number of bytes from which on only the newest batch is kept: some ten minutes of a few disks.
const MAX_BYTES: usize = 64 * 1024;

/// Batches of lines, the oldest first. A batch is the lines of one document.
#[derive(Debug, Default)]
pub struct Queue {
    batches: VecDeque<String>,
    bytes: usize,
    /// Bytes of the first batch that are sent.
    sent: usize,
    dropped: u64,
}

impl Queue {
    /// Adds a batch, whatever its size. The oldest make room, but not one that is sent in part: its rest would be partial
    /// lines.
    pub fn push(&mut self, batch: String) {
        if batch.is_empty() {
            return;
        }
        self.bytes += batch.len();
        self.batches.push_back(batch);
        let under_way = usize::from(self.sent > 0);
        while self.bytes > MAX_BYTES
            && self.batches.len() > under_way + 1
            && let Some(oldest) = self.batches.remove(under_way)
        {
            self.bytes -= oldest.len();
            self.dropped += oldest.lines().count() as u64;
        }
    }

    /// Whether everything is sent.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// What is to be sent next.
    pub fn front(&self) -> Option<&[u8]> {
        self.batches.front().map(|batch| &batch.as_bytes()[self.sent..])
    }

    /// So many bytes of the front were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if let Some(batch) = self.batches.front()
            && self.sent >= batch.len()
        {
            self.bytes -= batch.len();
            self.batches.pop_front();
            self.sent = 0;
        }
    }

    /// Begins anew with what is sent in part.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// How many lines were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_what_is_under_way() {
        let batch = |n: usize| format!("{n}\n").repeat(8 * 1024);
        let mut queue = Queue::default();
        for n in 0..4 {
            queue.push(batch(n));
        }
        assert_eq!(queue.take_dropped(), 0);
        queue.sent(3);
        queue.push(batch(4));
        assert_eq!(queue.take_dropped(), 8 * 1024);
        assert_eq!(queue.front().unwrap().len(), 16 * 1024 - 3);
        queue.rewind();
        assert_eq!(queue.front().unwrap(), batch(0).as_bytes());
        queue.sent(16 * 1024);
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
        queue.sent(3);
        queue.push(large("c\n"));
        assert_eq!(queue.take_dropped(), 0, "the one that is sent in part stays");
        queue.push(large("d\n"));
        assert_eq!(queue.take_dropped(), MAX_BYTES as u64);
        queue.sent(2 * MAX_BYTES - 3);
        assert_eq!(queue.front().unwrap(), large("d\n").as_bytes());
        queue.sent(2 * MAX_BYTES);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes, 0);
    }
}
