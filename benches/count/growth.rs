//! Time per directory and memory of a count, by size of the tree.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cost::{self, Cost, median};
use crate::ours::Ours;
use crate::{floor, tree};

/// Hosts of the trees: 10,011, 100,023 and 1,000,013 directories.
const HOSTS: [usize; 3] = [385, 3847, 38_462];
/// Metrics of a check: fewer than in the other benchmark, because only the number of directories matters.
const METRICS: usize = 1;
/// Threads that read a tree into the caches.
const WARMERS: usize = 32;

/// A tree and its measurements.
struct Grown {
    directories: usize,
    metrics: usize,
    /// Most private memory of a count.
    peak_kib: u64,
    whisper: PathBuf,
    ours: Ours,
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
            ours: Ours::new(&whisper, hosts * tree::CHECKS * METRICS),
            whisper,
            peak_kib: 0,
            costs: Default::default(),
        }
    });
    // Directories that were just changed are read again, so wait.
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
    println!(
        "microseconds a directory, warm, medians of {rounds} rounds; private memory of the count at its peak"
    );
    println!(
        "{:>11}{:>14}{:>15}{:>18}{:>15}{:>12}{:>18}",
        "directories",
        "first count",
        "bare getdents",
        "nothing changed",
        "bare fstatat",
        "memory",
        "snapshot"
    );
    for tree in &trees {
        let [first, bare_first, unchanged, bare_pass] = tree
            .costs
            .each_ref()
            .map(|costs| median(costs, |cost| cost.cpu) * 1e6 / tree.directories as f64);
        println!(
            "{:>11}{first:>14.2}{bare_first:>15.2}{unchanged:>18.2}{bare_pass:>15.2}{:>8} KiB{:>9.1} bytes each",
            tree.directories,
            tree.peak_kib,
            tree.ours.snapshot_bytes() as f64 / tree.directories as f64
        );
    }
    wide();
}

/// A count of each kind. The bare loops follow the counts that make the same system calls.
fn measure(tree: &mut Grown) -> [Cost; 4] {
    tree.ours.forget();
    let first = tree.ours.count(0);
    tree.peak_kib = tree.ours.anonymous_kib().max(tree.peak_kib);
    let bare_first = cost::of_call(|| floor::read_all(&tree.whisper, tree.metrics));
    let unchanged = tree.ours.count(0);
    tree.peak_kib = tree.ours.anonymous_kib().max(tree.peak_kib);
    let bare_pass = cost::of_call(|| floor::look_at_all(&tree.whisper, &tree.known));
    [first, bare_first, unchanged, bare_pass]
}

/// A directory with a million subdirectories, in memory: all their names are sorted at once.
fn wide() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let whisper = folder.path().join("whisper");
    for number in 0..1_000_000 {
        std::fs::create_dir_all(whisper.join(format!("{number}"))).expect("making a directory");
    }
    let ours = Ours::new(&whisper, 0);
    let cost = ours.count(0);
    println!(
        "a directory of 1,000,000 directories: {:.2} s of CPU, private memory {} KiB",
        cost.cpu.as_secs_f64(),
        ours.anonymous_kib()
    );
}

/// Reads the tree with many threads: with one, the kernel may evict entries faster than they are read.
fn warm(whisper: &Path) {
    let entries = std::fs::read_dir(whisper).expect("reading the tree");
    let hosts: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    std::thread::scope(|scope| {
        for hosts in hosts.chunks(hosts.len().div_ceil(WARMERS)) {
            scope.spawn(|| hosts.iter().for_each(|host| drop(floor::learn(host))));
        }
    });
}
