//! The tree that is counted, and the disk it is on.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Checks, each a directory of metrics, of a host.
pub const CHECKS: usize = 25;

/// Returns the number of directories in a tree of `hosts`, including its root.
pub fn directories(hosts: usize) -> usize {
    1 + hosts * (1 + CHECKS)
}

/// Makes `hosts` × 25 checks × `metrics` empty files under target/bench-count, or in the folder that BENCH_TREES names,
/// unless an earlier run did.
pub fn make(hosts: usize, metrics: usize) -> PathBuf {
    let base = std::env::var_os("BENCH_TREES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-count"),
        PathBuf::from,
    );
    let root = base.join(format!("{hosts}x{CHECKS}x{metrics}"));
    let done = root.join("complete");
    let whisper = root.join("whisper");
    if done.exists() {
        return whisper;
    }
    for host in 0..hosts {
        for check in 0..CHECKS {
            let directory = whisper.join(format!("host{host:04}/check{check:02}"));
            fs::create_dir_all(&directory).expect("making a directory");
            for metric in 0..metrics {
                File::create(directory.join(format!("metric{metric}.wsp"))).expect("making a metric");
            }
        }
    }
    File::create(done).expect("marking the tree as complete");
    whisper
}

/// Adds two metrics to each of the first directories of checks, spread over hosts, or removes them.
pub fn change(whisper: &Path, directories: usize, add: bool) {
    for number in 0..directories {
        let directory = whisper.join(format!("host{:04}/check{:02}", number / 5, number % 5 * 5));
        for name in ["new1.wsp", "new2.wsp"] {
            let path = directory.join(name);
            match add {
                true => drop(File::create(path).expect("making a metric")),
                // Also those of a run that was interrupted.
                false => drop(fs::remove_file(path)),
            }
        }
    }
}

/// Drops the page cache and returns the reads completed so far; `None` if that is not allowed.
pub fn cold_reads(whisper: &Path) -> Option<u64> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").ok()?;
    Some(reads(whisper))
}

/// Reads completed by the device that the tree is on.
pub fn reads(whisper: &Path) -> u64 {
    let device = fs::metadata(whisper).expect("the tree").dev();
    let (major, minor) = (
        rustix::fs::major(device).to_string(),
        rustix::fs::minor(device).to_string(),
    );
    let text = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let mut lines = text
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let line = lines.find(|line| line.len() > 3 && line[0] == major && line[1] == minor);
    line.and_then(|line| line[3].parse().ok()).unwrap_or(0)
}
