//! How the time for a directory, and the memory it takes, grow with the tree.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, LONGEST_COUNT};
use crate::{Cost, collector, count, floor, median, timed, tree};

/// Hosts of the trees: 10,011, 100,023 and 1,000,013 directories.
const HOSTS: [usize; 3] = [385, 3847, 38_462];
/// Metrics a check: fewer than in the other bench, as many directories are what matters here.
const METRICS: usize = 1;
/// Threads that read a tree into the caches.
const WARMERS: usize = 32;

/// A tree, and what was measured of it.
struct Grown {
    directories: usize,
    metrics: usize,
    whisper: PathBuf,
    known: floor::Known,
    /// First count, bare getdents, a pass, bare fstatat.
    costs: [Vec<Cost>; 4],
}

/// Prints a table of the three trees, each beside the bare system calls.
pub fn run(rounds: usize) {
    let mut trees = HOSTS.map(|hosts| {
        let whisper = tree::make(hosts, METRICS);
        warm(&whisper);
        Grown {
            directories: tree::directories(hosts),
            metrics: hosts * tree::CHECKS * METRICS,
            known: floor::learn(&whisper),
            whisper,
            costs: Default::default(),
        }
    });
    // Directories that were changed a moment ago are read again: let them settle.
    std::thread::sleep(Duration::from_secs(3));
    for round in 0..=rounds {
        for tree in &mut trees {
            let costs = measure(tree);
            // The first round warms the caches.
            if round > 0 {
                for (all, cost) in tree.costs.iter_mut().zip(costs) {
                    all.push(cost);
                }
            }
        }
    }
    println!("microseconds a directory, warm, medians of {rounds} rounds; memory of the daemon at its peak");
    println!(
        "{:>11}{:>14}{:>15}{:>8}{:>15}{:>16}{:>18}",
        "directories",
        "first count",
        "bare getdents",
        "a pass",
        "bare fstatat",
        "memory",
        "bytes a directory"
    );
    let empty = tempfile::tempdir().expect("a directory");
    let without = peak_bytes(empty.path());
    for tree in &trees {
        let [first, bare_first, pass, bare_pass] = tree
            .costs
            .each_ref()
            .map(|costs| median(costs, |cost| cost.cpu) * 1e6 / tree.directories as f64);
        let peak = peak_bytes(&tree.whisper);
        println!(
            "{:>11}{first:>14.2}{bare_first:>15.2}{pass:>8.2}{bare_pass:>15.2}{:>13.1} MB{:>18.1}",
            tree.directories,
            peak as f64 / 1e6,
            peak.saturating_sub(without) as f64 / tree.directories as f64
        );
    }
}

fn measure(tree: &Grown) -> [Cost; 4] {
    let mut ours = collector(&tree.whisper);
    let first = timed(|| count(&mut ours, tree.metrics));
    let bare_first = timed(|| floor::read_all(&tree.whisper, tree.metrics));
    let pass = timed(|| count(&mut ours, tree.metrics));
    let bare_pass = timed(|| floor::look_at_all(&tree.whisper, &tree.known));
    [first, bare_first, pass, bare_pass]
}

/// Reads the tree with many threads, as one alone may be slower than a kernel that lets go of what nobody used lately.
fn warm(whisper: &Path) {
    let entries = std::fs::read_dir(whisper).expect("reading the tree");
    let hosts: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    std::thread::scope(|scope| {
        for hosts in hosts.chunks(hosts.len().div_ceil(WARMERS)) {
            scope.spawn(|| hosts.iter().for_each(|host| drop(floor::learn(host))));
        }
    });
}

/// The most memory that the daemon had resident up to its first count's end.
fn peak_bytes(whisper: &Path) -> usize {
    let daemon = Daemon::start(whisper, 100);
    let started = Instant::now();
    while daemon.said("reads saved; ").is_none() {
        assert!(
            started.elapsed() < LONGEST_COUNT,
            "no count within {LONGEST_COUNT:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = daemon.proc("status");
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<usize>().ok());
    kilobytes.expect("VmHWM in kB") * 1024
}
