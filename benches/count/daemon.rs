//! The daemon itself, counting a tree of the bench.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tempfile::TempDir;

/// A first count from a slow disk: of the largest tree, or at a tenth of the time.
pub const MAX_COUNT: Duration = Duration::from_secs(1800);

/// A running daemon that logs and publishes into a directory of its own; it ends with this.
pub struct Daemon {
    child: Child,
    work: TempDir,
}

impl Daemon {
    /// Starts one that counts `whisper` at `max_busy_percent` and samples the disks each second.
    pub fn start(whisper: &Path, max_busy_percent: u32) -> Self {
        let work = tempfile::tempdir().expect("a directory");
        let path = |name: &str| work.path().join(name);
        let config = format!(
            "log_level = \"debug\"\nlog_file = {:?}\nstate_dir = {:?}\n[graphite]\nwhisper_dir = {whisper:?}\noutput = {:?}\n\
             max_busy_percent = {max_busy_percent}\n[disks]\noutput = {:?}\ninterval = \"1s\"\nwindow = \"1s\"\n\
             [vmware]\nenabled = false\n[host]\nrun = {:?}\n",
            path("log"),
            path("state"),
            path("nb_metrics"),
            path("disks"),
            path("run")
        );
        std::fs::create_dir(path("state")).expect("creating the state folder");
        std::fs::write(path("gatherer.toml"), config).expect("writing the configuration");
        let child = Command::new(env!("CARGO_BIN_EXE_shinken-gatherer"))
            .arg("--config")
            .arg(path("gatherer.toml"))
            .arg("run")
            .spawn()
            .expect("starting the daemon");
        Self { child, work }
    }

    /// A file it writes: log, nb_metrics or disks.
    pub fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Returns the pids of its child processes.
    pub fn children(&self) -> String {
        let pid = self.child.id();
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("the daemon in /proc")
    }

    /// The end of its log's first line with `words` once it is there, from behind them.
    pub fn said(&self, words: &str) -> Option<String> {
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let (_, rest) = log.split_once(words)?;
        Some(rest.lines().next().unwrap_or_default().to_string())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().expect("stopping the daemon");
        self.child.wait().expect("waiting for the daemon");
    }
}
