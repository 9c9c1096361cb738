//! The numbers of a count, and why it was a full scan.

use serde::{Deserialize, Serialize};

/// The numbers of a count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Directories at the depth of hosts.
    pub hosts: u64,
    /// `*.wsp` entries.
    pub metrics: u64,
    /// Directories that cannot be read.
    pub unreadable: u64,
    /// Directories visited, the whisper directory included.
    pub directories: u64,
    /// Those of them whose entries were read.
    pub directories_read: u64,
    /// Metrics and directories that differ although the stamp of their directory is unchanged.
    pub differences: u64,
}

/// The reason why every directory was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FullScan {
    /// The caller asked for it.
    Requested,
    /// There is no snapshot yet.
    NoSnapshot,
    /// The snapshot cannot be used; a message gives the reason.
    UnusableSnapshot,
    /// The last full scan was `full_scan_interval` ago.
    Interval,
}
