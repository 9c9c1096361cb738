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
        begin(sampler, (once.clock)())
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
}
