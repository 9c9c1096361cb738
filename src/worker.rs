//! The count worker: a child process of the daemon that alone touches the storage of the whisper tree.
//!
//! It reads a [`Request`], chooses the whisper directory, counts, publishes the document and exits. It keeps nothing
//! but the snapshot in the state folder: it may hang, and it may be killed at any moment.

pub mod protocol;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, StatVfsMountFlags, flock, statvfs};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::set_name;
use signal_hook::consts::SIGXFSZ;

use crate::child;
use crate::config::{GraphiteConfig, WhisperPaths};
use crate::disks::backing::devices_under;
use crate::export::Documents;
use crate::export::collision::ensure_separate;
use crate::graphite::report::NAME;
use crate::graphite::{Count, GraphiteReport, count, every_second};
use crate::privileges;
use crate::publish::{self, DOCUMENT_MODE, Durability};
use crate::report::to_line;
use protocol::{Report, Request, Tree};

/// The hidden subcommand of this binary that is the worker.
pub const SUBCOMMAND: &str = "count-worker";
/// Largest request: patterns may have 64 KiB, templates 256 KiB, and JSON escapes them.
const MAX_REQUEST_BYTES: u64 = 8 << 20;

/// Returns the daemon's process id if the command line starts a worker.
pub fn arguments(args: &[OsString]) -> Option<Pid> {
    child::arguments(args, SUBCOMMAND).map(|(parent, _)| parent)
}

/// Executes the request on stdin.
pub fn run(parent: Pid) -> ExitCode {
    // There is no stderr. The daemon logs a panic like other failures.
    std::panic::set_hook(Box::new(|panic| {
        let _ = report(&Report::Failed(format!(
            "internal error, please report it: {panic}"
        )));
    }));
    let result = prepare(parent)
        .and_then(|()| request())
        .and_then(|request| work(&request))
        .or_else(|error| report(&Report::Failed(format!("{error:#}"))));
    result.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn prepare(parent: Pid) -> Result<()> {
    child::tie_to_parent(parent)?;
    // It runs /proc/self/exe: `ps` would list it as "exe".
    let _ = set_name(c"count-worker");
    // The daemon logged a failure of the same calls.
    let _ = privileges::keep(privileges::COLLECTING);
    // Caught, so that a file at its size limit is an error of that file and does not end the process.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).context("installing a signal handler")?;
    Ok(())
}

fn request() -> Result<Request> {
    let mut text = Vec::new();
    let read = stdin().lock().take(MAX_REQUEST_BYTES).read_to_end(&mut text);
    read.context("reading the request")?;
    serde_json::from_slice(&text).context("reading the request")
}

fn work(request: &Request) -> Result<()> {
    // First, and until the process ends: it prevents several hung workers.
    let lock = match request.state_dir.as_deref().map(lock).transpose() {
        Ok(Some(None)) => return report(&Report::Busy),
        Ok(lock) => lock.flatten(),
        Err(error) => {
            report(&Report::NoState(format!("{error:#}")))?;
            None
        }
    };
    let tree = find_tree(request);
    report(&Report::Tree(tree.clone()))?;
    if !request.counts {
        return Ok(());
    }
    ensure_separate("graphite.output", &tree.output, &request.other_files)?;
    let snapshot = request.snapshot().filter(|_| lock.is_some());
    let count = count_tree(request, &tree.whisper_dir, snapshot.as_deref())?;
    let document = count.report(request.interval, SystemTime::now());
    report(&Report::Counted(Box::new(count), document.clone()))?;
    let published = publish::publish(
        &tree.output,
        &to_line(&document),
        Durability::Synced,
        DOCUMENT_MODE,
    );
    publish_exports(request, &tree, &document)?;
    report(&match published {
        Ok(()) => Report::Published,
        Err(error) => Report::NotPublished {
            cause: error.root_cause().to_string(),
            error: format!("publishing {:?}: {error:#}", tree.output),
        },
    })
}

/// Publishes the exports that are made from the count alone, and reports the result of each.
fn publish_exports(request: &Request, tree: &Tree, document: &GraphiteReport) -> Result<()> {
    if request.exports.is_empty() {
        return Ok(());
    }
    let mut documents = Documents::default();
    documents.add(NAME, document, Duration::ZERO);
    let mut others = request.other_files.clone();
    others.push(("graphite.output".into(), tree.output.clone()));
    for export in &request.exports {
        let result = ensure_separate("export.path", &export.path, &others);
        let result = result.and_then(|()| export.publish(&documents));
        others.push(export.clone().named_path());
        let error = result.err().map(|error| format!("{error:#}"));
        report(&Report::Exported(export.path.clone(), error))?;
    }
    Ok(())
}

/// Takes the lock of the workers, on the state folder itself. `None` if another worker holds it.
///
/// The folder is not created: if it exists, daemons of ordinary users put their lock there.
fn lock(state_dir: &Path) -> Result<Option<File>> {
    let using = || format!("using the state folder {state_dir:?}");
    let folder = File::open(state_dir).with_context(using)?;
    if !folder.metadata().with_context(using)?.is_dir() {
        bail!("{}: not a directory", using());
    }
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(folder)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno).with_context(using),
    }
}

fn find_tree(request: &Request) -> Tree {
    let configured = GraphiteConfig {
        whisper_dir: request.whisper_dir.clone(),
        output: request.output.clone(),
        ..GraphiteConfig::default()
    };
    let WhisperPaths { whisper_dir, output } = WhisperPaths::choose(&configured);
    Tree {
        devices: devices_under(&request.proc, &request.sys, &whisper_dir),
        is_read_only: statvfs(&whisper_dir)
            .ok()
            .map(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY)),
        whisper_dir,
        output,
    }
}

fn count_tree(request: &Request, whisper_dir: &Path, snapshot: Option<&Path>) -> Result<Count> {
    let settings = request.settings_for(whisper_dir);
    count(
        &settings,
        snapshot,
        request.use_snapshot,
        SystemTime::now(),
        &mut every_second(|_, _| report(&Report::Progress)),
    )
}

fn report(report: &Report) -> Result<()> {
    let mut line = serde_json::to_string(report).context("writing a report")?;
    line.push('\n');
    stdout()
        .lock()
        .write_all(line.as_bytes())
        .context("writing a report")
}
