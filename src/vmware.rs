//! How much CPU time VMware withheld from this virtual machine (%ready).
//!
//! `detect` says whether this is a VMware virtual machine at all. Where it is, the figures come from the guest library;
//! while no library answers, the document says why there is no figure.

pub mod detect;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::{HostConfig, VmwareConfig};
use crate::report::{Rounded, SCHEMA, Seconds, VmwareReport, unix_seconds};

/// The collector of %ready, on a machine that is a VMware virtual machine.
#[derive(Debug)]
pub struct Vmware {
    sys: PathBuf,
    interval: Duration,
}

impl Vmware {
    /// A collector without samples.
    pub fn new(config: &VmwareConfig, host: &HostConfig) -> Self {
        Self {
            sys: host.sys.clone(),
            interval: config.interval,
        }
    }

    /// The document as of now.
    pub fn sample(&mut self, wall: SystemTime) -> VmwareReport {
        VmwareReport {
            schema: SCHEMA,
            updated_at: unix_seconds(wall),
            interval_seconds: Seconds(self.interval),
            window_seconds: Rounded::new(0.0),
            is_vmware: true,
            cpu_ready_percent: None,
            cpu_ready_percent_per_vcpu: None,
            vcpus: online_cpus(&self.sys),
            error: Some("%ready is unknown: this version does not ask the VMware guest library yet".into()),
        }
    }
}

/// CPUs online, from the list of ranges in `devices/system/cpu/online` under `sys`.
fn online_cpus(sys: &Path) -> Option<u32> {
    count_ranges(
        fs::read_to_string(sys.join("devices/system/cpu/online"))
            .ok()?
            .trim(),
    )
}

/// How many numbers a kernel list such as `0-3,8` names; `None` for anything that is no such list.
fn count_ranges(list: &str) -> Option<u32> {
    list.split(',').try_fold(0u32, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::count_ranges;

    #[test]
    fn the_kernels_cpu_list_is_counted() {
        assert_eq!(count_ranges("0"), Some(1));
        assert_eq!(count_ranges("0-3,5,8-9"), Some(7));
        assert_eq!(count_ranges(""), None);
        assert_eq!(count_ranges("3-0"), None);
        assert_eq!(count_ranges("0-4294967295"), None);
    }
}
