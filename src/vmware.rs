//! How much CPU time VMware withheld from this virtual machine (%ready).
//!
//! `detect` says whether this is a VMware virtual machine at all. Where it is, `helper_client` asks the guest library for the
//! counters, through the `helper` process that loads it; `window` makes the value of them.

pub mod answer;
mod confine;
pub mod detect;
mod guestlib;
pub mod helper;
pub mod helper_client;
pub mod window;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::config::{HostConfig, VmwareConfig};
use crate::kernel;
use crate::report::{Rounded, SCHEMA, Seconds, VmwareReport, unix_seconds};
use answer::Answer;
use detect::Detection;
use helper_client::Outcome;
use window::{Restart, Window};

/// More CPUs than any Linux can be built for.
const MAX_CPUS: u32 = 1 << 20;

/// The collector of %ready, on a machine that is a VMware virtual machine.
#[derive(Debug)]
pub struct Vmware {
    sys: PathBuf,
    interval: Duration,
    libraries: Vec<String>,
    is_certain: bool,
    window: Window,
}

/// What an answer of the guest library makes of the window.
#[derive(Debug)]
pub enum Sample {
    /// A document with a value.
    Value(VmwareReport),
    /// A document without: the window begins with this sample.
    Restarted(VmwareReport, Restart),
    /// A document without: there is no sample.
    Failed(VmwareReport),
    /// No document: this is no VMware virtual machine after all.
    NotVmware,
}

impl Vmware {
    /// A collector without samples.
    pub fn new(config: &VmwareConfig, host: &HostConfig, detection: &Detection) -> Self {
        Self {
            sys: host.sys.clone(),
            interval: config.interval,
            libraries: config.libraries.clone(),
            is_certain: detection.is_certain,
            // Half an interval more than the window, so that a sample that came a little late still closes it.
            window: Window::new(config.window + config.interval / 2),
        }
    }

    /// Takes what came of a question, and makes the document as of now.
    pub fn take(&mut self, outcome: &Outcome, now: Instant, wall: SystemTime) -> Sample {
        let reading = match outcome {
            Ok(Answer::Reading(reading)) => reading,
            Ok(Answer::NotVirtual) if !self.is_certain => return Sample::NotVmware,
            Ok(answer) => return Sample::Failed(self.without_value(wall, answer.problem(&self.libraries))),
            Err(fault) => return Sample::Failed(self.without_value(wall, Some(fault.problem()))),
        };
        match self.window.add(now, *reading) {
            Ok(ready) => {
                let vcpus = online_cpus(&self.sys);
                Sample::Value(VmwareReport {
                    window_seconds: ready.elapsed.into(),
                    cpu_ready_percent: Some(Rounded::new(ready.percent)),
                    cpu_ready_percent_per_vcpu: vcpus
                        .map(|vcpus| Rounded::new(ready.percent / f64::from(vcpus))),
                    vcpus,
                    ..self.without_value(wall, None)
                })
            }
            Err(restart) => {
                Sample::Restarted(self.without_value(wall, Some(restart.reason().into())), restart)
            }
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

/// CPUs online, from the list of ranges in `devices/system/cpu/online` under `sys`.
fn online_cpus(sys: &Path) -> Option<u32> {
    count_ranges(&kernel::attribute(&sys.join("devices/system/cpu/online"))?)
}

/// How many CPUs a kernel list such as `0-3,8` names; `None` for anything that is no such list.
fn count_ranges(list: &str) -> Option<u32> {
    let number = |text: &str| {
        // `parse` alone would take a sign.
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u32>().ok();
        number.filter(|number| is_number && *number < MAX_CPUS)
    };
    let mut next = 0;
    list.split(',').try_fold(0, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        // The kernel's are in order.
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
    fn the_kernels_cpu_list_is_counted() {
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
