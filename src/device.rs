//! Block device numbers.

use serde::{Deserialize, Serialize};

/// The number of a block device, as in `/sys/dev/block/MAJOR:MINOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The number of its driver.
    pub major: u32,
    /// The number among the devices of the driver.
    pub minor: u32,
}
