//! The CPU time that VMware withheld from this virtual machine (%ready).
//!
//! `detect` decides whether this is a VMware virtual machine. `helper_client` asks the guest library for its counters,
//! through the `helper` process that loads it. `window` computes %ready from them.

pub mod answer;
mod check;
pub mod collector;
mod confine;
pub mod detect;
mod guestlib;
pub mod helper;
pub mod helper_client;
pub mod report;
mod task;
pub mod window;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::{HostConfig, VmwareConfig};
use crate::kernel;
use crate::moment::Moment;
use crate::report::{Rounded, SCHEMA, Seconds, unix_seconds};
use answer::Answer;
use detect::Detection;
use helper_client::Outcome;
pub use report::VmwareReport;
use window::{Restart, Window};

/// Above the number of CPUs that Linux can be built for.
const MAX_CPUS: u32 = 1 << 20;

/// The %ready collector of a VMware virtual machine.
#[derive(Debug)]
pub struct Vmware {
    sys: PathBuf,
    interval: Duration,
    libraries: Vec<String>,
    is_certain: bool,
    window: Window,
}

/// A sample of %ready.
#[derive(Debug)]
pub enum Sample {
    /// The value over the window.
    Value(VmwareReport),
    /// No value yet: the window starts with this sample.
    Restarted(VmwareReport, Restart),
    /// No value: the guest library gave no counters.
    Failed(VmwareReport),
    /// No document: the guest library reports that this is not a VMware virtual machine.
    NotVmware,
}

impl Vmware {
    /// Creates a collector without samples.
    pub fn new(config: &VmwareConfig, host: &HostConfig, detection: &Detection) -> Self {
        Self {
            sys: host.sys.clone(),
            interval: config.interval,
            libraries: config.libraries.clone(),
            is_certain: detection.is_certain,
            // Half an interval longer: a sample that is a little late still completes the window.
            window: Window::new(config.window + config.interval / 2),
        }
    }

    /// Adds the outcome of a question to the window, and returns the document as of now.
    pub fn take(&mut self, outcome: &Outcome, now: Moment) -> Sample {
        let reading = match outcome {
            Ok(Answer::Reading(reading)) => reading,
            Ok(Answer::NotVirtual) if !self.is_certain => return Sample::NotVmware,
            Ok(answer) => {
                return Sample::Failed(self.without_value(now.wall, answer.problem(&self.libraries)));
            }
            Err(fault) => return Sample::Failed(self.without_value(now.wall, Some(fault.problem()))),
        };
        match self.window.add(now.monotonic, *reading) {
            Ok(ready) => {
                let vcpus = online_cpus(&self.sys);
                Sample::Value(VmwareReport {
                    window_seconds: ready.elapsed.into(),
                    cpu_ready_percent: Some(Rounded::new(ready.percent)),
                    cpu_ready_percent_per_vcpu: vcpus
                        .map(|vcpus| Rounded::new(ready.percent / f64::from(vcpus))),
                    vcpus,
                    ..self.without_value(now.wall, None)
                })
            }
            Err(restart) => Sample::Restarted(
                self.without_value(now.wall, Some(restart.reason().into())),
                restart,
            ),
        }
    }

    fn without_value(&self, wall: SystemTime, error: Option<String>) -> VmwareReport {
        VmwareReport {
            schema: SCHEMA,
            updated_at: unix_seconds(wall),
            interval_seconds: Seconds(self.interval),
            window_seconds: Rounded::new(0.0),
            is_vmware: true,
            cpu_ready_percent: None,
            cpu_ready_percent_per_vcpu: None,
            vcpus: online_cpus(&self.sys),
            error,
        }
    }
}

/// Number of online CPUs: the ranges in `devices/system/cpu/online` under `sys`.
fn online_cpus(sys: &Path) -> Option<u32> {
    count_ranges(&kernel::attribute(&sys.join("devices/system/cpu/online"))?)
}

/// Number of CPUs in a kernel list such as `0-3,8`; `None` if the text is not such a list.
fn count_ranges(list: &str) -> Option<u32> {
    let number = |text: &str| {
        // `parse` alone would accept a sign.
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u32>().ok();
        number.filter(|number| is_number && *number < MAX_CPUS)
    };
    let mut next = 0;
    list.split(',').try_fold(0, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        // The kernel lists them in ascending order.
        if first < next || last < first {
            return None;
        }
        next = last + 1;
        Some(count + next - first)
    })
}

#[cfg(test)]
mod tests {
    use super::count_ranges;

    #[test]
    fn cpu_list_gives_the_number_of_cpus() {
        assert_eq!(count_ranges("0"), Some(1));
        assert_eq!(count_ranges("0-3,5,8-9"), Some(7));
        assert_eq!(count_ranges(""), None);
        assert_eq!(count_ranges("3-0"), None);
        assert_eq!(count_ranges("0-4294967295"), None);
        assert_eq!(count_ranges("0-4294967294"), None);
        assert_eq!(count_ranges("0-3,2"), None);
        assert_eq!(count_ranges("+1"), None);
    }
}
