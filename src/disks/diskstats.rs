//! `/proc/diskstats`: one line per block device, whole disks and partitions alike.
//!
//! Format: Documentation/admin-guide/iostats.rst of the kernel. Lines have 14 columns, 18 since Linux 4.18 (discards)
//! and 20 since 5.5 (flushes); more may follow. Only the first 14 matter here.

use std::fmt::{self, Display};

/// Bytes in a sector of this file, whatever the device's own sector size.
pub const SECTOR_BYTES: f64 = 512.0;

/// Characters of a name or a counter that are shown; the kernel's have fewer.
const MAX_SHOWN: usize = 40;

/// Counters of a block device since it appeared. The kernel prints the times as 32-bit numbers, and on 32-bit
/// machines all of them, so they wrap; otherwise they only grow, until the device is replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads completed.
    pub reads: u64,
    /// Sectors of 512 bytes read.
    pub read_sectors: u64,
    /// Milliseconds spent by all reads, queueing included.
    pub read_ms: u64,
    /// Writes completed.
    pub writes: u64,
    /// Sectors of 512 bytes written.
    pub written_sectors: u64,
    /// Milliseconds spent by all writes, queueing included.
    pub write_ms: u64,
    /// Milliseconds with at least one request in flight; wraps after 49.7 busy days.
    pub io_ticks_ms: u64,
    /// Milliseconds spent by all requests: grows by the number in flight each millisecond.
    pub queue_ms: u64,
}

/// A block device and its counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Name as printed, such as `sda` or `cciss/c0d0`.
    pub name: &'a str,
    /// The counters.
    pub counters: Counters,
}

/// A line that is not as the kernel writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Its number in the file, from 1.
    pub line: usize,
    /// The device it is about, where it names one.
    pub device: String,
    reason: String,
}

impl Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "diskstats line {}: {}", self.line, self.reason)
    }
}

/// The lines of the file, blank ones left out.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Result<Line<'_>, Malformed>> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace));
    lines.map(|(index, line)| {
        parse_line(line).map_err(|reason| Malformed {
            line: index + 1,
            device: device_of(line),
            reason,
        })
    })
}

fn device_of(line: &[u8]) -> String {
    let mut columns = line
        .split(u8::is_ascii_whitespace)
        .filter(|column| !column.is_empty());
    columns
        .nth(2)
        .map_or_else(String::new, |name| start(&String::from_utf8_lossy(name)))
}

/// As much of a column as can be a name or a counter: noise may be megabytes long, and ends up in the log.
fn start(column: &str) -> String {
    column.chars().take(MAX_SHOWN).collect()
}

fn parse_line(line: &[u8]) -> Result<Line<'_>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not text")?;
    let mut columns = line.split_ascii_whitespace();
    let (Some(_major), Some(_minor), Some(name)) = (columns.next(), columns.next(), columns.next()) else {
        return Err("no device name".into());
    };
    let mut numbers = [0; 11];
    for (index, number) in numbers.iter_mut().enumerate() {
        let column = columns
            .next()
            .ok_or_else(|| format!("{:?} has {} columns of 14", start(name), index + 3))?;
        // `parse` alone would take a sign.
        let digits = Some(column).filter(|column| column.bytes().all(|byte| byte.is_ascii_digit()));
        *number = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
            format!(
                "column {} of {:?} is not a counter: {:?}",
                index + 4,
                start(name),
                start(column)
            )
        })?;
    }
    let [
        reads,
        _,
        read_sectors,
        read_ms,
        writes,
        _,
        written_sectors,
        write_ms,
        _,
        io_ticks_ms,
        queue_ms,
    ] = numbers;
    let counters = Counters {
        reads,
        read_sectors,
        read_ms,
        writes,
        written_sectors,
        write_ms,
        io_ticks_ms,
        queue_ms,
    };
    Ok(Line { name, counters })
}
