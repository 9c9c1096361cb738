//! A daemon that counts a tree of the benchmark.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tempfile::TempDir;

use crate::outputs::publish_in;

/// Longest count: the largest tree on a slow disk, or a CPU share of a tenth.
pub const MAX_COUNT: Duration = Duration::from_secs(1800);

/// A running daemon that logs and publishes into its own directory. It is killed on drop.
pub struct Daemon {
    child: Child,
    work: TempDir,
}

impl Daemon {
    /// Starts a daemon that counts `whisper` at `max_busy_percent` and samples the disks each second.
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
        std::fs::write(path("gatherer.toml"), publish_in(work.path(), &config))
            .expect("writing the configuration");
        let child = Command::new(env!("CARGO_BIN_EXE_shinken-gatherer"))
            .arg("--config")
            .arg(path("gatherer.toml"))
            .arg("run")
            .spawn()
            .expect("starting the daemon");
        Self { child, work }
    }

    /// Returns the path of a file that it writes: log, nb_metrics or disks.
    pub fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Returns the pids of its child processes.
    pub fn children(&self) -> String {
        let pid = self.child.id();
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("the daemon in /proc")
    }

    /// Returns the rest of the first log line after `words`, if there is one.
    pub fn logged(&self, words: &str) -> Option<String> {
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
