//! `once`: collects once, publishes with `--write`, and prints.

pub mod args;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use args::OnceArgs;
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use crate::collector::{Collector, Found, Once};
use crate::collectors::ALL;
use crate::config::{Config, WhisperPaths, protected_folder, without_dots};
use crate::export::Documents;
use crate::export::collision::ensure_separate;
use crate::lock::Lock;
use crate::moment::Moment;
use crate::output;
use crate::publish::{self, DOCUMENT_MODE};
use crate::report::to_line;

/// Width of the column of collectors.
const INDENT: usize = 10;

/// Collects, publishes with `--write`, and prints. Exit code 1 if an enabled collector failed. Fails with
/// `AlreadyRunning` if a daemon runs that would publish the same files.
pub(crate) fn run(args: &OnceArgs, mut config: Config) -> Result<ExitCode> {
    if let Some(directory) = &args.whisper_dir {
        let absolute = std::path::absolute(directory).with_context(|| format!("resolving {directory:?}"))?;
        config.graphite.whisper_dir = Some(absolute);
    }
    let paths = WhisperPaths::choose(&config.graphite);
    // The configuration was checked without the directory of the command line.
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
        // Checked early, then released: a daemon that starts meanwhile must not wait for a count.
        Lock::shared(&config)?;
    }
    let exported = args.export.as_ref().map(|path| {
        let mut exports = config.export.iter();
        exports
            .find(|export| without_dots(&export.path) == without_dots(path))
            .ok_or(path)
    });
    if let Some(Err(path)) = exported {
        output::print_error(format_args!("{path:?} is not the path of an [[export]]"));
        return Ok(ExitCode::from(2));
    }
    let gathered = gather(&Once {
        config: &config,
        window: args.window,
        clock: Moment::now,
        paths: &paths,
    });
    let documents = documents(&gathered);
    let mut errors: Vec<Error> = Vec::new();
    if args.write {
        let _lock = Lock::shared(&config)?;
        errors.extend(publish_all(&gathered, &documents, &config, &paths));
    }
    let exported = exported.and_then(Result::ok).map(|export| {
        export.render(&documents).unwrap_or_else(|error| {
            errors.push(error);
            String::new()
        })
    });
    for found in gathered.iter().filter_map(|one| one.found.as_ref()) {
        found.notes.iter().for_each(output::print_error);
        errors.extend(found.errors.iter().map(|error| Error::msg(format!("{error:#}"))));
    }
    for error in &errors {
        output::print_error(format_args!("{error:#}"));
    }
    output::try_print(&match exported {
        Some(text) => text,
        None if args.json => to_line(&Json(&gathered)),
        None => gathered.iter().map(text).collect(),
    })?;
    Ok(match errors.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// A collector and its result; `None` if it is disabled.
struct Gathered {
    collector: &'static dyn Collector,
    found: Option<Found>,
    /// How long it took after the window.
    duration: Duration,
}

/// Starts the enabled collectors, waits for the window if one of them needs it, and finishes them.
fn gather(once: &Once) -> Vec<Gathered> {
    let is_enabled = |collector: &dyn Collector| once.config.collector(collector.name()).enabled;
    let started = ALL.map(|collector| is_enabled(collector).then(|| collector.begin(once)));
    if started.iter().flatten().any(|started| started.needs_window()) {
        sleep(once.window);
    }
    // The last one first: the count of the tree would be part of the disk activity.
    let mut gathered: Vec<_> = ALL
        .into_iter()
        .zip(started)
        .rev()
        .map(|(collector, started)| {
            let begun = Instant::now();
            Gathered {
                collector,
                found: started.map(|started| started.finish(once.clock)),
                duration: begun.elapsed(),
            }
        })
        .collect();
    gathered.reverse();
    gathered
}

/// Publishes the documents and the exports. As in the daemon, no file of the count replaces one of the others.
fn publish_all(
    gathered: &[Gathered],
    documents: &Documents,
    config: &Config,
    paths: &WhisperPaths,
) -> Vec<Error> {
    let (of_count, local): (Vec<_>, Vec<_>) = config.export.iter().partition(|export| export.is_of_count());
    let mut others = config.local_files();
    others.extend(local.iter().map(|export| (*export).clone().named_path()));
    let written = gathered.iter().map(|one| write(one, config, paths, &others));
    let mut results: Vec<_> = written.collect();
    results.extend(local.iter().map(|export| export.publish(documents)));
    if config.graphite.enabled {
        others.push(("graphite.output".into(), paths.output.clone()));
    }
    for export in of_count {
        let separate = ensure_separate("export.path", &export.path, &others);
        results.push(separate.and_then(|()| export.publish(documents)));
        others.push(export.clone().named_path());
    }
    results.into_iter().filter_map(Result::err).collect()
}

fn write(
    gathered: &Gathered,
    config: &Config,
    paths: &WhisperPaths,
    others: &[(String, PathBuf)],
) -> Result<()> {
    let Some(found) = &gathered.found else {
        return Ok(());
    };
    let collector = gathered.collector;
    let path = match collector.is_on_tree_storage() {
        true => {
            ensure_separate("graphite.output", &paths.output, others)?;
            paths.output.clone()
        }
        false => collector.output(config),
    };
    match &found.report {
        Some(report) => publish::publish(&path, &report.line(), collector.durability(), DOCUMENT_MODE)
            .with_context(|| format!("publishing {path:?}")),
        // Consumers would take an existing file for values of this machine.
        None if found.is_absent => publish::remove(&path),
        None => Ok(()),
    }
}

/// Returns the documents as templates see them.
fn documents(gathered: &[Gathered]) -> Documents {
    let mut documents = Documents::default();
    for one in gathered {
        if let Some(report) = one.found.as_ref().and_then(|found| found.report.as_deref()) {
            documents.add(one.collector.name(), report, one.duration);
        }
    }
    documents
}

/// Returns the block of a collector, its further lines indented.
fn text(gathered: &Gathered) -> String {
    let text = match &gathered.found {
        Some(found) => found.text.replace('\n', &format!("\n{:INDENT$}", "")),
        None => "disabled".into(),
    };
    format!("{:<INDENT$}{text}\n", gathered.collector.name())
}

/// The documents that would be published, by collector; null without one.
struct Json<'a>(&'a [Gathered]);

impl Serialize for Json<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for gathered in self.0 {
            let report = gathered.found.as_ref().and_then(|found| found.report.as_ref());
            let json = report.map(|report| RawValue::from_string(report.line()));
            let json = json.transpose().map_err(serde::ser::Error::custom)?;
            map.serialize_entry(gathered.collector.name(), &json)?;
        }
        map.end()
    }
}
