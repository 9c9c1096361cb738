//! Waits for the parents that systemd does not know: Shinken daemons and carbon-cache that an init script started.
//!
//! The hook that init scripts source runs this as a hidden subcommand, for each start of a parent. The process waits
//! until the init script has ended, and then until no parent runs. It sleeps in one `poll` on their process
//! descriptors, so it wakes up only when a parent ends. Under systemd, it is the main process of
//! shinken-gatherer-parents@PID.service, which wants the gatherer. Without systemd it starts and stops the gatherer.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use rustix::process::Pid;

use self::pid_files::running;
use self::process::{Process, parse_pid, wait_for_end};
use crate::output;

mod pid_files;
mod process;
#[cfg(test)]
mod tests;

/// The hidden subcommand, which only the hook, the unit and the package's scripts use.
const SUBCOMMAND: &str = "parents";
/// Folder of the locks. Only root may open them: other users could block the gatherer with them.
const LOCK_FOLDER: &str = "/run/shinken-gatherer-parents";
const INIT_SCRIPT: &str = "/etc/init.d/shinken-gatherer";
/// Exit code if no parent runs, or if another process waits for them already.
const NOT_RUNNING: u8 = 3;

/// What the hidden subcommand does.
#[derive(Debug)]
pub enum Action {
    /// Reports by the exit code whether a parent runs.
    Running,
    /// Waits until the init script with this PID has ended and no parent runs.
    Wait(Option<Pid>),
    /// Starts the gatherer, waits likewise, and stops it.
    Supervise(Option<Pid>),
}

/// Returns the action of a command line that starts with [`SUBCOMMAND`].
pub fn arguments(args: &[OsString]) -> Option<Action> {
    let (action, script) = match args {
        [_, subcommand, action] if subcommand == SUBCOMMAND => (action, None),
        [_, subcommand, action, script] if subcommand == SUBCOMMAND => (action, Some(script)),
        _ => return None,
    };
    // 0 stands for "no init script".
    let pid = || parse_pid(script?.to_str()?);
    match action.to_str()? {
        "running" => Some(Action::Running),
        "wait" => Some(Action::Wait(pid())),
        "supervise" => Some(Action::Supervise(pid())),
        _ => None,
    }
}

/// Runs the action. Exit code 3: no parent runs (`running`), or another process waits for the parents (the others).
pub fn run(action: &Action) -> ExitCode {
    let root = Path::new("/");
    let locks = Path::new(LOCK_FOLDER);
    let done = match *action {
        Action::Running => Ok(!running(root).is_empty()),
        Action::Wait(script) => wait(root, locks, script, |_| Ok(())),
        Action::Supervise(script) => wait(root, locks, script, init_script),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_RUNNING),
        Err(error) => {
            output::print_error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the gatherer's init script.
fn init_script(action: &str) -> Result<()> {
    let mut command = Command::new(INIT_SCRIPT);
    command.arg(action).current_dir("/").stdin(Stdio::null());
    // The script prints its failure. The parents are waited for in any case.
    let status = command.status().with_context(|| format!("running {INIT_SCRIPT}"));
    status.map(|_| ())
}

/// Calls `gatherer("start")`, waits until the init script `script` has ended and no parent runs, and calls
/// `gatherer("stop")`. Returns false at the end of the init script if another process waits for the parents.
///
/// Two locks make that exact for any number of init scripts:
/// - `starting` is shared while an init script runs, and exclusive while the gatherer is stopped. So a
///   gatherer is not stopped while its parent starts, nor started before a running stop.
/// - `waiting` is held by the one process that waits for the parents. It looks for new PID files whenever a parent ends.
fn wait(
    root: &Path,
    locks: &Path,
    script: Option<Pid>,
    gatherer: impl Fn(&str) -> Result<()>,
) -> Result<bool> {
    let starting = lock_file(locks, "starting")?;
    let waiting = lock_file(locks, "waiting")?;
    starting.lock_shared().context("locking")?;
    gatherer("start")?;
    while let Some(script) = script.and_then(Process::open) {
        if wait_for_end(&[script])? {
            break;
        }
    }
    starting.unlock().context("unlocking")?;
    match waiting.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(false),
        locked => locked.context("locking")?,
    }
    loop {
        let mut parents = running(root);
        while !parents.is_empty() {
            wait_for_end(&parents)?;
            parents = running(root);
        }
        starting.lock().context("locking")?;
        if running(root).is_empty() {
            gatherer("stop")?;
            // Before `starting`, which the next init script's process waits for.
            waiting.unlock().context("unlocking")?;
            return Ok(true);
        }
        starting.unlock().context("unlocking")?;
    }
}

fn lock_file(folder: &Path, name: &str) -> Result<File> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
    .with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join(name);
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    options
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))
}
