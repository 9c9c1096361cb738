//! The daemon's side of VMware's %ready.

use std::time::SystemTime;

use super::outlet::Outlet;
use crate::config::Config;
use crate::logging::Log;
use crate::publish::Durability;
use crate::report::{VmwareReport, to_line};
use crate::vmware::Vmware;
use crate::vmware::detect::detect;

const COLLECTOR: &str = "vmware";

/// The samples of %ready, their published file and their problems.
#[derive(Debug)]
pub struct VmwareTask {
    collector: Vmware,
    outlet: Outlet,
    error: Option<String>,
    status: Option<String>,
    report: Option<VmwareReport>,
}

impl VmwareTask {
    /// Sets the samples up, or returns `None` where this is no VMware virtual machine: a file that says otherwise
    /// is then removed.
    pub fn new(config: &Config, log: &mut Log) -> Option<Self> {
        let mut outlet = Outlet::new(COLLECTOR, config.vmware.output.clone(), Durability::Volatile);
        outlet.sweep(log);
        let detection = detect(&config.host.sys);
        if !detection.is_vmware {
            log.info(
                COLLECTOR,
                format_args!("not a VMware virtual machine ({})", detection.evidence),
                &[],
            );
            outlet.remove(log);
            return None;
        }
        log.info(
            COLLECTOR,
            format_args!("a VMware virtual machine ({})", detection.evidence),
            &[],
        );
        Some(Self {
            collector: Vmware::new(&config.vmware, &config.host),
            outlet,
            error: None,
            status: None,
            report: None,
        })
    }

    /// Takes a sample and publishes what the window gives.
    pub fn sample(&mut self, wall: SystemTime, log: &mut Log) {
        let report = self.collector.sample(wall);
        if report.error != self.error {
            match &report.error {
                Some(error) => log.warn(COLLECTOR, error, &[("error", error)]),
                None => log.info(COLLECTOR, "%ready is measured", &[]),
            }
            self.error.clone_from(&report.error);
        }
        self.status = Some(match report.cpu_ready_percent {
            Some(ready) => format!("%ready {:.1}", ready.get()),
            None => "%ready unknown".into(),
        });
        self.outlet.publish(log, &to_line(&report));
        self.report = Some(report);
    }

    /// The latest document, once.
    pub fn take_report(&mut self) -> Option<VmwareReport> {
        self.report.take()
    }

    /// The latest figures in words.
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }
}
