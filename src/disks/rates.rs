//! Computes the published values from two readings of a disk's counters, as `iostat -x` does.

use std::time::Duration;

use super::diskstats::{Counters, SECTOR_BYTES};
use super::report::DiskReport;
use crate::report::Rounded;

const WRAP: u64 = 1 << 32;
/// No disk grows by more than this per second: a billion requests, 32 TiB, a million requests in flight.
const MAX_REQUESTS: u64 = 1 << 30;
const MAX_SECTORS: u64 = 1 << 36;
const MAX_IN_FLIGHT_MS: u64 = (1 << 20) * 1000;

/// Returns the growth of each counter between two readings; `None` if the device was replaced or its counters were
/// reset. The window must then restart.
///
/// A counter that decreased has wrapped at 32 bits if it was a 32-bit number before, the device completed no fewer
/// requests than before, and the growth through the wrap is less than half of the range. `io_ticks` may grow by more than the
/// elapsed time: some kernels add all of it when a request that hung for minutes completes.
pub fn growth(before: &Counters, now: &Counters, elapsed: Duration) -> Option<Counters> {
    if now.reads < before.reads || now.writes < before.writes {
        return None;
    }
    let growth = Counters {
        reads: now.reads - before.reads,
        read_sectors: difference(before.read_sectors, now.read_sectors)?,
        read_ms: difference(before.read_ms, now.read_ms)?,
        writes: now.writes - before.writes,
        written_sectors: difference(before.written_sectors, now.written_sectors)?,
        write_ms: difference(before.write_ms, now.write_ms)?,
        io_ticks_ms: difference(before.io_ticks_ms, now.io_ticks_ms)?,
        queue_ms: difference(before.queue_ms, now.queue_ms)?,
    };
    is_plausible(&growth, elapsed).then_some(growth)
}

fn is_plausible(growth: &Counters, elapsed: Duration) -> bool {
    let seconds = elapsed.as_secs().saturating_add(1);
    let within = |number: u64, most: u64| number <= most.saturating_mul(seconds);
    within(growth.reads.max(growth.writes), MAX_REQUESTS)
        && within(growth.read_sectors.max(growth.written_sectors), MAX_SECTORS)
        && within(
            growth.read_ms.max(growth.write_ms).max(growth.queue_ms),
            MAX_IN_FLIGHT_MS,
        )
        && growth.io_ticks_ms < WRAP
}

fn difference(before: u64, now: u64) -> Option<u64> {
    match now.checked_sub(before) {
        Some(difference) => Some(difference),
        None if before < WRAP => Some(now + WRAP - before).filter(|difference| *difference < WRAP / 2),
        None => None,
    }
}

impl Counters {
    /// Adds the growth of another sample or member.
    pub fn add(&mut self, other: &Counters) {
        *self = self.combine(other, u64::saturating_add);
    }

    /// Returns the growth of a sum since it was `earlier`.
    pub fn since(&self, earlier: &Counters) -> Counters {
        self.combine(earlier, u64::saturating_sub)
    }

    fn combine(&self, other: &Counters, with: impl Fn(u64, u64) -> u64) -> Counters {
        Counters {
            reads: with(self.reads, other.reads),
            read_sectors: with(self.read_sectors, other.read_sectors),
            read_ms: with(self.read_ms, other.read_ms),
            writes: with(self.writes, other.writes),
            written_sectors: with(self.written_sectors, other.written_sectors),
            write_ms: with(self.write_ms, other.write_ms),
            io_ticks_ms: with(self.io_ticks_ms, other.io_ticks_ms),
            queue_ms: with(self.queue_ms, other.queue_ms),
        }
    }
}

/// Returns the published values of a disk whose counters grew by `growth` over `window`, which must not be zero.
pub fn report(growth: &Counters, window: Duration) -> DiskReport {
    let seconds = window.as_secs_f64();
    let per_second = |number: u64| Rounded::new(number as f64 / seconds);
    let bytes_per_second = |sectors: u64| Rounded::new(sectors as f64 * SECTOR_BYTES / seconds);
    let await_ms = |ms: u64, requests: u64| {
        Rounded::new(if requests == 0 {
            0.0
        } else {
            ms as f64 / requests as f64
        })
    };
    DiskReport {
        util_percent: Rounded::new((growth.io_ticks_ms as f64 / 10.0 / seconds).min(100.0)),
        reads_per_second: per_second(growth.reads),
        writes_per_second: per_second(growth.writes),
        read_bytes_per_second: bytes_per_second(growth.read_sectors),
        write_bytes_per_second: bytes_per_second(growth.written_sectors),
        read_await_ms: await_ms(growth.read_ms, growth.reads),
        write_await_ms: await_ms(growth.write_ms, growth.writes),
        queue_size: Rounded::new(growth.queue_ms as f64 / 1000.0 / seconds),
        window_seconds: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_32_bit_counter_wraps() {
        assert_eq!(difference(WRAP - 1, 3), Some(4));
        assert_eq!(difference(WRAP / 2 + 1, 0), Some(WRAP / 2 - 1));
        assert_eq!(difference(WRAP / 2, 0), None);
        assert_eq!(difference(WRAP, 3), None);
        assert_eq!(difference(WRAP + 5, 3), None);
    }

    #[test]
    fn growth_above_that_of_any_disk_is_rejected() {
        let is_plausible = |queue_ms, io_ticks_ms| {
            let growth = Counters {
                queue_ms,
                io_ticks_ms,
                ..Counters::default()
            };
            is_plausible(&growth, Duration::from_secs(9))
        };
        // A million requests in flight, for ten seconds.
        assert!(is_plausible(10_000_000_000, WRAP - 1));
        assert!(!is_plausible(11_000_000_000, 0));
        assert!(!is_plausible(0, WRAP));
    }
}
