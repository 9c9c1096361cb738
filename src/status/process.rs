//! A running daemon as /proc shows it to any user.

use std::path::PathBuf;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

use crate::kernel;

/// Names of the capabilities that the service has, by their numbers.
const CAPABILITIES: [(u32, &str); 2] = [(1, "dac_override"), (3, "fowner")];
/// Command lines are cut after this size.
const MAX_BYTES: u64 = 1 << 16;

/// A process, which may end at any time: what cannot be read is `None`.
#[derive(Debug)]
pub struct Process {
    folder: PathBuf,
}

impl Process {
    /// Describes the process `pid` of this machine, whatever `host.proc` is.
    pub fn new(pid: u32) -> Self {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        Self { folder }
    }

    fn read(&self, file: &str) -> Option<String> {
        let bytes = kernel::read(&self.folder.join(file), MAX_BYTES).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns its command line.
    pub fn command(&self) -> Option<String> {
        let words = self.read("cmdline")?;
        Some(words.trim_end_matches('\0').replace('\0', " "))
    }

    /// Returns the time since its start.
    pub fn uptime(&self) -> Option<Duration> {
        let stat = self.read("stat")?;
        // Field 22, in clock ticks since boot. The second one is a name, which may have blanks and brackets.
        let (_, fields) = stat.rsplit_once(") ")?;
        let ticks: u64 = fields.split(' ').nth(22 - 3)?.parse().ok()?;
        let started = ticks / clock_ticks_per_second();
        let now = clock_gettime(ClockId::Boottime).tv_sec.unsigned_abs();
        Some(Duration::from_secs(now.saturating_sub(started)))
    }

    /// Describes its user and what it may do.
    pub fn privileges(&self) -> Option<String> {
        let status = self.read("status")?;
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
        };
        let sandbox = match (field("Seccomp")?, field("NoNewPrivs")?) {
            ("2", "1") => "system call filter, no new privileges",
            (_, "1") => "no new privileges, but no system call filter",
            _ => "no sandbox",
        };
        let user = field("Uid")?.split('\t').nth(1)?;
        let capabilities = u64::from_str_radix(field("CapEff")?, 16).ok()?;
        Some(format!("{sandbox}; user {user}, {}", names(capabilities)))
    }
}

fn names(capabilities: u64) -> String {
    let known = CAPABILITIES
        .iter()
        .filter(|(bit, _)| capabilities >> bit & 1 == 1);
    let mask = known.clone().fold(0, |mask, (bit, _)| mask | 1 << bit);
    let names: Vec<_> = known.map(|(_, name)| *name).collect();
    match capabilities {
        0 => "no capability".into(),
        all if all == mask => format!("capabilities {}", names.join(" ")),
        other => format!("capabilities {other:#x}"),
    }
}
