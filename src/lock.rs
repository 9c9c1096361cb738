//! One daemon at a time: a lock on a file, whose text names the files that must not outlive the daemon.
//!
//! The daemon holds the lock exclusively until it ends. `once --write` and `clean-up` share it for the moment in which
//! they write or remove. The exclusive holder in /proc/locks is therefore the daemon, and any user can see it there: no
//! PID file is needed, which could be wrong. Descriptors are close-on-exec, so that no child process keeps the lock.
//!
//! A user who can open the file can lock it and so block the daemon: it is mode 0600.

mod holder;

use std::fmt::{self, Display};
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::config::Config;
use crate::open;
use crate::publish;
use crate::trusted_users::TrustedUsers;
pub use holder::holder;

/// The lock's folder in `host.run`, which the service manager or the init script creates for the service's user.
const FOLDER: &str = "shinken-gatherer";
const FILE: &str = "lock";
/// Longest text of a lock file that is read, in bytes: two paths and their escapes.
const MAX_TEXT_BYTES: u64 = 64 * 1024;
/// Longest wait for `once --write` or `clean-up` to release the lock, and how often it is tried.
const MAX_WAIT: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// The error that the daemon runs already, or that another command keeps the lock.
#[derive(Debug)]
pub struct AlreadyRunning {
    path: PathBuf,
    pid: Option<u32>,
}

impl Display for AlreadyRunning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let path = &self.path;
        match self.pid {
            Some(pid) => write!(f, "already running (pid {pid}, which holds the lock {path:?})"),
            None => write!(f, "already running (another process holds the lock {path:?})"),
        }
    }
}

impl std::error::Error for AlreadyRunning {}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock for the daemon. Waits while another command shares it; `None` if `is_stopping` meanwhile.
    ///
    /// Fails with [`AlreadyRunning`] if a daemon holds it, and if no lock file can be opened.
    pub fn exclusive(config: &Config, mut is_stopping: impl FnMut() -> bool) -> Result<Option<Self>> {
        let (file, path) = open_first(config)?;
        let deadline = Instant::now() + MAX_WAIT;
        while !is_stopping() {
            if try_flock(&file, FlockOperation::NonBlockingLockExclusive)? {
                return Ok(Some(Self { file }));
            }
            // It can be shared unless a daemon holds it.
            let is_shared = try_flock(&file, FlockOperation::NonBlockingLockShared)?;
            if !is_shared && !was_killed(&file) || Instant::now() >= deadline {
                return Err(already_running(&file, path));
            }
            if is_shared {
                flock(&file, FlockOperation::Unlock)?;
            }
            sleep(RETRY_PAUSE);
        }
        Ok(None)
    }

    /// Takes the lock for a command that publishes or removes what the daemon would.
    ///
    /// Fails with [`AlreadyRunning`] if a daemon holds it, and if no lock file can be opened.
    pub fn shared(config: &Config) -> Result<Self> {
        let (file, path) = open_first(config)?;
        match try_flock(&file, FlockOperation::NonBlockingLockShared)? {
            true => Ok(Self { file }),
            false => Err(already_running(&file, path)),
        }
    }

    /// Records the files that must be removed if this process is killed. The list of an earlier holder is replaced.
    pub fn record(&self, files: impl IntoIterator<Item = PathBuf>) -> Result<()> {
        let files: Vec<_> = files.into_iter().collect();
        let text = serde_json::to_string(&files)? + "\n";
        // In this order: at any moment the first line is a whole list.
        self.file
            .write_all_at(text.as_bytes(), 0)
            .and_then(|()| self.file.set_len(text.len() as u64))
            .context("writing the lock file")
    }

    /// Returns the files that were recorded last; none if the lock file belongs to another user than root and the
    /// caller. Root must not remove files that the service's user cannot remove.
    fn recorded(&self) -> Vec<PathBuf> {
        let us = rustix::process::geteuid().as_raw();
        let is_ours = |metadata: Metadata| [0, us].contains(&metadata.uid());
        let mut text = Vec::new();
        let read = (&self.file).take(MAX_TEXT_BYTES).read_to_end(&mut text);
        if !self.file.metadata().is_ok_and(is_ours) || read.is_err() {
            return Vec::new();
        }
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        serde_json::from_slice(line).unwrap_or_default()
    }

    /// Removes the recorded files, but no folder in their place. Call it once, after the lock was taken.
    pub fn remove_recorded(&self) -> Result<()> {
        let removed: Vec<_> = self.recorded().iter().map(|file| publish::remove(file)).collect();
        removed.into_iter().collect()
    }
}

/// Removes the files of a daemon that was killed: those recorded in the lock file, and the configured disk file.
/// Does nothing if a daemon runs.
pub fn clean_up(config: &Config) -> Result<()> {
    let lock = match Lock::shared(config) {
        Err(error) if error.is::<AlreadyRunning>() => return Ok(()),
        lock => lock?,
    };
    let recorded = lock.remove_recorded();
    for path in config.short_lived() {
        publish::remove(&path)?;
    }
    recorded
}

/// Returns the lock files to try in this order: the service's, then those for a daemon of an ordinary user.
fn candidates(config: &Config) -> Vec<PathBuf> {
    let short_lived = config
        .collectors()
        .into_iter()
        .find(|settings| !settings.outlives_daemon);
    let hidden = short_lived.and_then(|settings| {
        let output = &settings.outputs[0];
        let name = output.file_name()?.display();
        Some(output.with_file_name(format!(".{name}.{FILE}")))
    });
    [Some(config.host.run.join(FOLDER).join(FILE))]
        .into_iter()
        .chain([config.state_dir.as_ref().map(|folder| folder.join(FILE)), hidden])
        .flatten()
        .collect()
}

/// Returns the pid of the daemon that runs with this configuration.
pub fn running(config: &Config) -> Option<u32> {
    let candidates = candidates(config).into_iter();
    candidates
        .filter_map(|path| fs::metadata(path).ok())
        .find_map(|file| holder(&file))
}

fn open_first(config: &Config) -> Result<(File, PathBuf)> {
    create_folder(&config.host.run.join(FOLDER));
    let mut errors = Vec::new();
    for path in candidates(config) {
        match open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(
                    ErrorKind::NotFound
                    | ErrorKind::NotADirectory
                    | ErrorKind::PermissionDenied
                    | ErrorKind::ReadOnlyFilesystem,
                ) => {
                    // It may be the service's, which this user can see but not open.
                    if let Some(pid) = fs::metadata(&path).ok().and_then(|file| holder(&file)) {
                        let pid = Some(pid);
                        return Err(AlreadyRunning { path, pid }.into());
                    }
                    errors.push(format!("{path:?}: {error:#}"));
                }
                _ => return Err(error.context(format!("opening the lock file {path:?}"))),
            },
        }
    }
    bail!("no lock file can be opened: {}", errors.join("; "))
}

/// Creates the lock's folder if it does not exist. If that fails, opening the lock file fails too.
fn create_folder(folder: &Path) {
    if !folder.exists() && DirBuilder::new().recursive(true).create(folder).is_ok() {
        // Independent of the umask: others can see the lock file, but not open it.
        let _ = fs::set_permissions(folder, Permissions::from_mode(0o755));
    }
}

/// Opens or creates a lock file, which may be in a folder that other users write to.
fn open(path: &Path) -> Result<File> {
    let opened = open::for_locking(path);
    // It may be another user's, and therefore cannot be opened.
    let metadata = match &opened {
        Ok(file) => file.metadata(),
        Err(_) => fs::symlink_metadata(path),
    };
    if let Ok(metadata) = metadata {
        TrustedUsers::load().check(metadata.uid()).map_err(Error::msg)?;
    }
    Ok(opened?)
}

/// Returns whether the lock was taken; false if another process holds it.
fn try_flock(file: &File, operation: FlockOperation) -> Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(anyhow!(errno).context("locking the lock file")),
    }
}

fn already_running(file: &File, path: PathBuf) -> Error {
    let pid = file.metadata().ok().and_then(|file| holder(&file));
    AlreadyRunning { path, pid }.into()
}

/// Returns whether the process that took the lock has ended. If a daemon is killed while it starts a child process,
/// that child holds the lock for the moment until it runs its program.
fn was_killed(file: &File) -> bool {
    let pid = file.metadata().ok().and_then(|file| holder(&file));
    let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
    // The kernel does not list a lock whose process is gone.
    pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}
