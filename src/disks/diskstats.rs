//! `/proc/diskstats`: one line per block device, whole disks and partitions alike.
//!
//! Format: Documentation/admin-guide/iostats.rst of the kernel. Lines have 14 columns, 18 since Linux 4.18 (discards)
//! and 20 since 5.5 (flushes); more may follow. Only the first 14 matter here.

use std::fmt::{self, Display};

/// Bytes in a sector of this file, whatever the device's own sector size.
pub const SECTOR_BYTES: f64 = 512.0;

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

/// A line that does not have the kernel's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Its number in the file, from 1.
    pub line: usize,
    /// The device name in it; empty if it has none.
    pub device: String,
    reason: String,
}

impl Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "diskstats line {}: {}", self.line, self.reason)
    }
}

/// Parses the lines of the file. Skips blank lines.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Result<Line<'_>, Malformed>> {
    let lines = text.split_inclusive(|byte| *byte == b'\n').enumerate();
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
        .map_or_else(String::new, |name| start_of(&String::from_utf8_lossy(name)))
}

/// Returns the start of a name or number, which may be as long as the file.
fn start_of(text: &str) -> String {
    text.chars().take(40).collect()
}

fn parse_line(line: &[u8]) -> Result<Line<'_>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not valid UTF-8")?;
    // Without its end, the last number may lack digits.
    let line = line.strip_suffix('\n').ok_or("truncated line")?;
    let mut columns = line.split_ascii_whitespace();
    let (Some(_major), Some(_minor), Some(name)) = (columns.next(), columns.next(), columns.next()) else {
        return Err("no device name".into());
    };
    let mut numbers = [0; 11];
    for (index, number) in numbers.iter_mut().enumerate() {
        let column = columns.next().ok_or_else(|| {
            format!(
                "device {:?} has {} columns, expected at least 14",
                start_of(name),
                index + 3
            )
        })?;
        // `parse` alone accepts a sign.
        let digits = Some(column).filter(|column| column.bytes().all(|byte| byte.is_ascii_digit()));
        *number = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
            format!(
                "column {} of device {:?} is not a number: {:?}",
                index + 4,
                start_of(name),
                start_of(column)
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
