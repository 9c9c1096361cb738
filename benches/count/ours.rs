//! The count as the worker does it: a process that reads a snapshot and replaces it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use shinken_gatherer::config::GraphiteConfig;
use shinken_gatherer::graphite::{CountSettings, count};
use tempfile::TempDir;

use crate::cost::{self, Cost};

/// The first argument of such a process.
pub const ARGUMENT: &str = "count-process";

/// A tree with its snapshot.
pub struct Ours {
    whisper: PathBuf,
    metrics: usize,
    state: TempDir,
}

impl Ours {
    /// A tree that was never counted.
    pub fn new(whisper: &Path, metrics: usize) -> Self {
        Self {
            whisper: whisper.into(),
            metrics,
            state: tempfile::tempdir_in(whisper.parent().expect("a folder")).expect("a folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    /// Removes the snapshot.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(self.path("whisper.snapshot"));
    }

    /// Counts in a new process, which must find `more` metrics than the first count.
    pub fn count(&self, more: usize) -> Cost {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command
            .arg(ARGUMENT)
            .arg(&self.whisper)
            .arg((self.metrics + more).to_string())
            .args([self.path("whisper.snapshot"), self.path("anonymous")]);
        cost::of_process(&mut command).expect("a count")
    }

    /// The most private memory that the last count had resident, in KiB.
    pub fn anonymous_kib(&self) -> u64 {
        let text = std::fs::read_to_string(self.path("anonymous")).expect("the memory of a count");
        text.parse().expect("a number")
    }

    /// Bytes of the snapshot.
    pub fn snapshot_bytes(&self) -> u64 {
        std::fs::metadata(self.path("whisper.snapshot"))
            .expect("a snapshot")
            .len()
    }
}

/// Runs such a process.
pub fn main(mut arguments: impl Iterator<Item = String>) {
    let mut argument = || arguments.next().expect("an argument");
    let whisper_dir = argument();
    let config = GraphiteConfig {
        max_busy_percent: 100,
        ..GraphiteConfig::default()
    };
    let metrics: u64 = argument().parse().expect("a number");
    let (snapshot, anonymous) = (argument(), argument());
    let mut most = 0;
    let settings = CountSettings::new(&config, Path::new(&whisper_dir));
    let count = count(
        &settings,
        Some(Path::new(&snapshot)),
        true,
        SystemTime::now(),
        &mut |_, _| {
            most = anonymous_now().max(most);
            Ok(())
        },
    );
    let count = count.expect("a count");
    assert_eq!(count.totals.metrics, metrics);
    assert!(count.messages.is_empty(), "{:?}", count.messages);
    std::fs::write(anonymous, anonymous_now().max(most).to_string()).expect("writing the memory");
}

fn anonymous_now() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.strip_suffix("kB"));
    value
        .and_then(|value| value.trim().parse().ok())
        .expect("RssAnon in kB")
}
