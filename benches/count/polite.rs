//! A count from a cold disk by the worker of a running daemon: its CPU share, and the delay of the disk samples.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, MAX_COUNT};
use crate::tree;

/// Time between two observations of the worker.
const LOOK: Duration = Duration::from_millis(2);

/// Observations of one count.
struct Seen {
    counted: String,
    /// Observations with the worker running or waiting for the disk.
    busy: u32,
    looks: u32,
    /// Times at which the disk file was published.
    samples: Vec<Instant>,
}

/// Counts once at each share, from an empty page cache. Needs root.
pub fn run(whisper: &Path) {
    println!(
        "{:>16}{:>16}{:>24}  log of the daemon",
        "max_busy_percent", "busy, observed", "disk samples off 1 s"
    );
    for share in [10, 25, 50, 75] {
        if tree::cold_reads(whisper).is_none() {
            println!("only root can drop the page cache");
            return;
        }
        let seen = watch(&Daemon::start(whisper, share));
        let busy = 100.0 * f64::from(seen.busy) / f64::from(seen.looks);
        let off = |pair: &[Instant]| {
            let gap = (pair[1] - pair[0]).as_secs_f64();
            (gap - 1.0).abs() * 1e3
        };
        // The first window is a short one.
        let worst = seen.samples.windows(2).skip(1).map(off).fold(0.0, f64::max);
        println!(
            "{share:>14} %{busy:>14.1} %{:>24}  {}",
            format!("{worst:.0} ms of {}", seen.samples.len()),
            seen.counted,
        );
    }
}

fn watch(daemon: &Daemon) -> Seen {
    let (mut busy, mut looks, mut samples, mut last) = (0, 0, Vec::new(), None);
    let started = Instant::now();
    while started.elapsed() < MAX_COUNT {
        std::thread::sleep(LOOK);
        looks += 1;
        busy += u32::from(is_busy(daemon));
        if let Ok(metadata) = fs::metadata(daemon.path("disks"))
            && last.replace(metadata.ino()) != Some(metadata.ino())
        {
            samples.push(Instant::now());
        }
        if looks % 100 == 0
            && let Some(busy_time) = daemon.logged("; busy ")
        {
            let counted = daemon.logged(" hosts, ").unwrap_or_default();
            return Seen {
                counted: format!("{counted}, {busy_time} of work"),
                busy,
                looks,
                samples,
            };
        }
    }
    panic!("no count within {MAX_COUNT:?}");
}

/// Returns whether the worker runs or waits for a disk.
fn is_busy(daemon: &Daemon) -> bool {
    let workers = daemon.children();
    let stat = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    workers.split_whitespace().any(|pid| {
        let stat = stat(pid);
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(state, Some('R' | 'D'))
    })
}
