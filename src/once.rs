//! `once`: gathers one time, prints what there is to know, and publishes it only if asked to.

mod table;

use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::OnceArgs;
use crate::config::{Config, GraphiteConfig, WhisperPaths, protected_folder};
use crate::disks::Disks;
use crate::disks::backing::devices_under;
use crate::graphite::{self, CountSettings};
use crate::lock::Lock;
use crate::output;
use crate::publish::{self, Durability};
use crate::report::{DisksReport, GraphiteReport, VmwareReport, to_line};
use crate::vmware::detect::detect;
use crate::vmware::probe::Probe;
use crate::vmware::{Sample, Vmware};

/// A count that takes longer than this shows how far it is.
const PROGRESS_DELAY: Duration = Duration::from_secs(1);
/// How often the progress line changes.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// The very documents that would be published, or null where none would be.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Gathered {
    graphite: Option<GraphiteReport>,
    disks: Option<DisksReport>,
    vmware: Option<VmwareReport>,
}

/// Gathers, prints, and publishes with `--write`. Exit code 1 if an enabled collector failed. Fails with
/// `AlreadyRunning` if a daemon runs that would publish the same files.
pub(crate) fn run(args: &OnceArgs, mut config: Config) -> Result<ExitCode> {
    if let Some(directory) = &args.whisper_dir {
        let absolute = std::path::absolute(directory).with_context(|| format!("finding {directory:?}"))?;
        config.graphite.whisper_dir = Some(absolute);
    }
    let paths = WhisperPaths::choose(&config.graphite);
    // The configuration was checked, but not for the directory of the command line.
    if args.write
        && config.graphite.enabled
        && let Some(folder) = protected_folder(&paths.output)
    {
        output::print_error(format_args!(
            "{:?} is in {folder}, must not be in a system folder",
            paths.output
        ));
        return Ok(ExitCode::from(2));
    }
    if args.write {
        // Refused before the work, and released: a daemon that is started meanwhile must not wait for a count.
        Lock::shared(&config)?;
    }
    let mut gathered = Gathered::default();
    let mut worked = true;
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            output::print_error(format_args!("{error:#}"));
            worked = false;
        }
    };
    let mut vmware = config
        .vmware
        .enabled
        .then(|| VmwareSamples::begin(&config, args.window))
        .flatten();
    // The disks come first: the count would be part of their activity.
    if config.disks.enabled {
        note(
            watch_disks(&config, &paths.whisper_dir, args.window).map(|report| gathered.disks = Some(report)),
        );
    } else if vmware.is_some() {
        sleep(args.window);
    }
    let mut is_vmware = vmware.is_some();
    if let Some(samples) = &mut vmware {
        let (report, result) = samples.end();
        is_vmware = report.is_some() || result.is_err();
        note(result.context("vmware"));
        gathered.vmware = report;
    }
    if config.graphite.enabled {
        note(count(&config.graphite, &paths.whisper_dir).map(|report| gathered.graphite = Some(report)));
    }
    if args.write {
        let _lock = Lock::shared(&config)?;
        note(write(&gathered.graphite, &paths.output, Durability::Synced));
        note(write(&gathered.disks, &config.disks.output, Durability::Volatile));
        note(write(
            &gathered.vmware,
            &config.vmware.output,
            Durability::Volatile,
        ));
        if config.vmware.enabled && !is_vmware {
            // Its readers would take what is there for the values of this machine.
            note(publish::remove(&config.vmware.output));
        }
    }
    output::try_print(&if args.json {
        to_line(&gathered)
    } else {
        table::table(&gathered, &config, &paths.whisper_dir)
    })?;
    Ok(if worked {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The two samples of %ready, with the time between them in which the disks are watched.
struct VmwareSamples {
    collector: Vmware,
    probe: Probe,
    first: Result<Sample>,
}

impl VmwareSamples {
    /// Takes the first sample. `None` where this is no VMware virtual machine.
    fn begin(config: &Config, window: Duration) -> Option<Self> {
        let detection = detect(&config.host.sys);
        let mut vmware = config.vmware.clone();
        // However long it takes until the second one.
        vmware.window = window * 2;
        let mut samples = Self {
            collector: Vmware::new(&vmware, &config.host, &detection),
            probe: Probe::new(&config.vmware.libraries),
            first: Ok(Sample::NotVmware),
        };
        samples.first = detection.is_vmware.then(|| samples.sample())?;
        Some(samples)
    }

    /// Takes the second sample, where the first one worked. An error with a document is the one in the document.
    fn end(&mut self) -> (Option<VmwareReport>, Result<()>) {
        let sample = match std::mem::replace(&mut self.first, Ok(Sample::NotVmware)) {
            Ok(Sample::Began(..)) => self.sample(),
            failed => failed,
        };
        self.probe.stop();
        match sample {
            Ok(Sample::Value(report)) => (Some(report), Ok(())),
            Ok(Sample::Began(report, _) | Sample::Failed(report)) => {
                let reason = report.error.clone().unwrap_or_default();
                (Some(report), Err(anyhow::Error::msg(reason)))
            }
            Ok(Sample::NotVmware) => (None, Ok(())),
            Err(error) => (None, Err(error)),
        }
    }

    fn sample(&mut self) -> Result<Sample> {
        let outcome = self.probe.ask_and_wait()?;
        Ok(self.collector.take(&outcome, Instant::now(), SystemTime::now()))
    }
}

fn watch_disks(config: &Config, whisper_dir: &Path, window: Duration) -> Result<DisksReport> {
    let mut disks = Disks::new(&config.disks, &config.host);
    disks.set_whisper_devices(devices_under(&config.host.proc, &config.host.sys, whisper_dir));
    disks.sample(Instant::now(), SystemTime::now())?;
    sleep(window);
    let sample = disks.sample(Instant::now(), SystemTime::now())?;
    for malformed in &sample.left_out {
        output::print_error(format_args!("{malformed}; this device is left out"));
    }
    sample
        .report
        .context("every disk was replaced while it was watched")
}

fn count(config: &GraphiteConfig, whisper_dir: &Path) -> Result<GraphiteReport> {
    let settings = CountSettings {
        max_busy_percent: 100,
        ..CountSettings::new(config, whisper_dir)
    };
    let started = Instant::now();
    let mut shown = started;
    let mut progress = output::Progress::new();
    // No snapshot: one that root leaves could not be read by the service.
    let count = graphite::count(&settings, None, false, SystemTime::now(), &mut |totals| {
        if started.elapsed() > PROGRESS_DELAY && shown.elapsed() > PROGRESS_INTERVAL {
            shown = Instant::now();
            let seconds = started.elapsed().as_secs();
            progress.show(&format!(
                "counting: {} hosts, {} metrics in {seconds}s …",
                totals.hosts, totals.metrics
            ));
        }
        Ok(())
    });
    drop(progress);
    let count = count?;
    for message in &count.messages {
        output::print_error(message);
    }
    Ok(count.report(config.interval, SystemTime::now()))
}

fn write(report: &Option<impl Serialize>, path: &Path, durability: Durability) -> Result<()> {
    let Some(report) = report else { return Ok(()) };
    publish::publish(path, &to_line(report), durability).with_context(|| format!("publishing {path:?}"))
}
