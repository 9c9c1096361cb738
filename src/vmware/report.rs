//! The document `vmware_stats_export.dat`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::{Gauge, Report, Rounded, Seconds, to_line, two_intervals};

/// The name of the collector.
pub const NAME: &str = "vmware";

/// %ready of a vCPU from which it is doubtful and from which it is too high, in `status`.
const READY_LIMITS: (f64, f64) = (5.0, 10.0);

/// The CPU time that VMware withheld from this virtual machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VmwareReport {
    /// Always 1.
    #[cfg_attr(test, schemars(extend("const" = 1)))]
    pub schema: u32,
    /// When the newest sample was taken, in Unix seconds.
    pub updated_at: i64,
    /// Configured time between two samples.
    pub interval_seconds: Seconds,
    /// Time the value is computed over; 0 while there is no value.
    pub window_seconds: Rounded,
    /// Always true: the file is written only on VMware virtual machines.
    #[cfg_attr(test, schemars(extend("const" = true)))]
    pub is_vmware: bool,
    /// 100 × ΔCpuStolenMs / ΔElapsedMs, summed over the vCPUs (esxtop's %RDY), so it may exceed 100.
    pub cpu_ready_percent: Option<Rounded>,
    /// The same divided by the number of vCPUs.
    pub cpu_ready_percent_per_vcpu: Option<Rounded>,
    /// Online CPUs, or null if sysfs does not list them.
    pub vcpus: Option<u32>,
    /// Why there is no value, or null.
    pub error: Option<String>,
}

impl Report for VmwareReport {
    fn updated_at(&self) -> i64 {
        self.updated_at
    }

    fn max_age(&self) -> Duration {
        two_intervals(self.interval_seconds.0)
    }

    fn line(&self) -> String {
        to_line(self)
    }

    fn summary(&self) -> String {
        match self.cpu_ready_percent {
            Some(ready) => format!("%ready {:.1}", ready.get()),
            None => "%ready unknown".into(),
        }
    }

    fn details(&self) -> String {
        let window = self.window_seconds.get();
        match (self.cpu_ready_percent, &self.error) {
            (Some(_), _) => format!("{} over {window:.1} s", self.summary()),
            (None, Some(error)) => error.clone(),
            (None, None) => self.summary(),
        }
    }

    fn values(&self) -> Vec<(Vec<&str>, f64)> {
        let values = [
            ("cpu_ready_percent", self.cpu_ready_percent),
            ("cpu_ready_percent_per_vcpu", self.cpu_ready_percent_per_vcpu),
        ];
        values
            .into_iter()
            .filter_map(|(key, value)| Some((vec![key], value?.get())))
            .collect()
    }

    fn gauges(&self) -> Vec<Gauge> {
        let per_vcpu = self.cpu_ready_percent_per_vcpu.map(Rounded::get);
        let vcpus = self.vcpus.map_or("?".into(), |vcpus| vcpus.to_string());
        vec![Gauge {
            name: "ready".into(),
            number: per_vcpu.map_or(String::new(), |ready| format!("{ready:.2}%")),
            after: per_vcpu.map_or(String::new(), |_| " ready per vCPU".into()),
            value: per_vcpu,
            scale: Some((0.0, READY_LIMITS.1)),
            bar_limits: Some(READY_LIMITS),
            remark: match self.cpu_ready_percent {
                Some(total) => format!(", {:.2}% in total on {vcpus} vCPUs", total.get()),
                None => "%ready unknown".into(),
            },
            problem: self.error.clone(),
            ..Gauge::default()
        }]
    }
}
