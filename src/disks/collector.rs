//! Disk activity as a collector.

use clap::ArgMatches;

use super::report::{DisksReport, NAME};
use super::sampler::DisksSampler;
use super::{backing, check};
use crate::collector::sampled::{SampledTask, Sampler, begin};
use crate::collector::{Collector, Gather, Once, Published, Task};
use crate::config::Config;
use crate::logging::Log;
use crate::moment::Moment;
use crate::plugin::Answer;
use crate::published;
use crate::report::Report;

/// Measures how busy each physical disk is.
#[derive(Debug)]
pub struct DisksCollector;

impl Collector for DisksCollector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, config: &Config, now: Moment, _log: &mut Log) -> Option<Box<dyn Task>> {
        let disks = &config.disks;
        let sampler = || DisksSampler::new(disks, &config.host);
        disks
            .enabled
            .then(|| Box::new(SampledTask::new(NAME, sampler(), disks.interval, now)) as _)
    }

    fn is_changed(&self, old: &Config, new: &Config) -> bool {
        (&old.disks, &old.host) != (&new.disks, &new.host)
    }

    fn begin(&self, once: &Once) -> Box<dyn Gather> {
        let host = &once.config.host;
        let mut sampler = DisksSampler::new(&once.config.disks, host);
        sampler.set_whisper_devices(&backing::devices_under(
            &host.proc,
            &host.sys,
            &once.paths.whisper_dir,
        ));
        begin(sampler, once.clock)
    }

    fn parse(&self, json: &[u8]) -> Result<Box<dyn Report>, String> {
        published::parse::<DisksReport>(json).map(|report| Box::new(report) as _)
    }

    fn check_command(&self) -> clap::Command {
        check::command()
    }

    fn check(&self, args: &ArgMatches, published: &Published) -> Answer {
        check::answer(args, published)
    }

    #[cfg(test)]
    fn schema(&self, generator: schemars::SchemaGenerator) -> schemars::Schema {
        generator.into_root_schema_for::<DisksReport>()
    }

    #[cfg(test)]
    fn example(&self) -> (&'static str, &'static [&'static str]) {
        (
            r#"{"schema":1,"updated_at":7,"interval_seconds":9,"window_seconds":9,"whisper_disks":[],"disks":
            {"cciss/c0d0":{"util_percent":12.3,"reads_per_second":0,"writes_per_second":0,"read_bytes_per_second":0,
            "write_bytes_per_second":0,"read_await_ms":0.8,"write_await_ms":1.9,"queue_size":0}}}"#,
            &[
                "cciss_c0d0.util_percent 12.3",
                "cciss_c0d0.read_await_ms 0.8",
                "cciss_c0d0.write_await_ms 1.9",
                "cciss_c0d0.queue_size 0",
            ],
        )
    }
}
