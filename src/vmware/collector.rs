//! %ready as a collector.

use anyhow::{Context, Error, Result};
use clap::ArgMatches;

use super::detect::detect;
use super::helper_client::HelperClient;
use super::report::{NAME, VmwareReport};
use super::task::VmwareTask;
use super::{Sample, Vmware, check};
use crate::collector::{Collector, Found, Gather, Once, Published, Task};
use crate::config::Config;
use crate::escape;
use crate::logging::Log;
use crate::moment::Moment;
use crate::plugin::Answer;
use crate::published;
use crate::report::Report;

/// Measures how much CPU time VMware withholds from this machine.
#[derive(Debug)]
pub struct VmwareCollector;

impl Collector for VmwareCollector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, config: &Config, now: Moment, log: &mut Log) -> Option<Box<dyn Task>> {
        let task = config
            .vmware
            .enabled
            .then(|| VmwareTask::new(config, now, log))??;
        Some(Box::new(task))
    }

    fn is_changed(&self, old: &Config, new: &Config) -> bool {
        (&old.vmware, &old.host) != (&new.vmware, &new.host)
    }

    fn begin(&self, once: &Once) -> Box<dyn Gather> {
        Box::new(TwoSamples::begin(once))
    }

    fn parse(&self, json: &[u8]) -> Result<Box<dyn Report>, String> {
        published::parse::<VmwareReport>(json).map(|report| Box::new(report) as _)
    }

    fn not_here(&self, config: &Config) -> Option<&'static str> {
        let detection = detect(&config.host.sys);
        let is_denied = || {
            let mut helper = HelperClient::new(&config.vmware.libraries);
            let answer = helper.ask_and_wait(Moment::now);
            helper.stop();
            matches!(answer, Ok(Ok(super::answer::Answer::NotVirtual)))
        };
        let is_here = detection.is_vmware && (detection.is_certain || !is_denied());
        (!is_here).then_some(check::NOT_VMWARE)
    }

    fn check_command(&self) -> clap::Command {
        check::command()
    }

    fn check(&self, args: &ArgMatches, published: &Published) -> Answer {
        check::answer(args, published, || self.not_here(published.config))
    }

    #[cfg(test)]
    fn schema(&self, generator: schemars::SchemaGenerator) -> schemars::Schema {
        generator.into_root_schema_for::<VmwareReport>()
    }

    #[cfg(test)]
    fn example(&self) -> (&'static str, &'static [&'static str]) {
        (
            r#"{"schema":1,"updated_at":7,"interval_seconds":9,"window_seconds":0,"is_vmware":true,
            "cpu_ready_percent":2.5,"cpu_ready_percent_per_vcpu":1.25,"vcpus":2,"error":null}"#,
            &["cpu_ready_percent 2.5", "cpu_ready_percent_per_vcpu 1.25"],
        )
    }
}

/// The two samples of `once`.
struct TwoSamples {
    collector: Vmware,
    helper: HelperClient,
    /// `None` if this is not a VMware virtual machine.
    first: Option<Result<Sample>>,
}

impl TwoSamples {
    fn begin(once: &Once) -> Self {
        let config = once.config;
        let detection = detect(&config.host.sys);
        let mut vmware = config.vmware.clone();
        // The second sample must be in the window, however long the answer takes.
        vmware.window = once.window * 2;
        let mut samples = Self {
            collector: Vmware::new(&vmware, &config.host, &detection),
            helper: HelperClient::new(&config.vmware.libraries),
            first: None,
        };
        samples.first = detection.is_vmware.then(|| samples.sample(once.clock));
        samples
    }

    fn sample(&mut self, clock: fn() -> Moment) -> Result<Sample> {
        let outcome = self.helper.ask_and_wait(clock)?;
        Ok(self.collector.take(&outcome, clock()))
    }
}

impl Gather for TwoSamples {
    fn needs_window(&self) -> bool {
        self.first.is_some()
    }

    fn finish(mut self: Box<Self>, clock: fn() -> Moment) -> Found {
        let sample = match self.first.take() {
            Some(Ok(Sample::Restarted(..))) => self.sample(clock),
            Some(first) => first,
            None => Ok(Sample::NotVmware),
        };
        self.helper.stop();
        let (report, errors) = match sample.context(NAME) {
            Ok(Sample::Value(report)) => (Some(report), Vec::new()),
            Ok(Sample::Restarted(report, _) | Sample::Failed(report)) => {
                let reason = Error::msg(report.error.clone().unwrap_or_default());
                (Some(report), vec![reason.context(NAME)])
            }
            Ok(Sample::NotVmware) => (None, Vec::new()),
            Err(error) => return Found::failed(error),
        };
        Found {
            text: match &report {
                Some(report) => text(report),
                None => "not a VMware virtual machine".into(),
            },
            is_absent: report.is_none(),
            report: report.map(|report| Box::new(report) as _),
            errors,
            notes: Vec::new(),
        }
    }
}

fn text(report: &VmwareReport) -> String {
    let window = report.window_seconds.get();
    match (report.cpu_ready_percent, &report.error) {
        (Some(ready), _) => format!("%ready {:.2} over {window:.1} s", ready.get()),
        (None, Some(error)) => escape::escape(error),
        (None, None) => "%ready unknown yet".into(),
    }
}
