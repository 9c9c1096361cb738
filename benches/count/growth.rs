//! How the time for a directory, and the memory it takes, grow with the tree.

use std::time::Duration;

use crate::{Cost, collector, count, floor, median, timed, tree};

/// Hosts of the trees: 10,011, 100,023 and 1,000,013 directories.
const HOSTS: [usize; 3] = [385, 3847, 38_462];
/// Metrics a check: fewer than in the other bench, as many directories are what matters here.
const METRICS: usize = 1;

/// Prints a table of the three trees, each beside the bare system calls.
pub fn run(rounds: usize) {
    let trees = HOSTS.map(|hosts| (hosts, tree::make(hosts, METRICS)));
    std::thread::sleep(Duration::from_secs(3));
    println!("microseconds a directory, warm, medians of {rounds} rounds");
    println!(
        "{:>12}{:>13}{:>14}{:>9}{:>15}{:>15}",
        "directories", "first count", "bare getdents", "a pass", "bare fstatat", "memory, bytes"
    );
    for (hosts, whisper) in &trees {
        let metrics = hosts * tree::CHECKS * METRICS;
        let (mut costs, mut bytes): ([Vec<Cost>; 4], usize) = Default::default();
        // Caches what the other trees pushed out.
        let known = floor::learn(whisper);
        for _ in 0..rounds {
            let before = resident_bytes();
            let mut ours = collector(whisper);
            let first = timed(|| count(&mut ours, metrics));
            bytes = resident_bytes().saturating_sub(before).max(bytes);
            let bare_first = timed(|| floor::read_all(whisper, metrics));
            let pass = timed(|| count(&mut ours, metrics));
            let bare_pass = timed(|| floor::look_at_all(whisper, &known));
            for (costs, cost) in costs.iter_mut().zip([first, bare_first, pass, bare_pass]) {
                costs.push(cost);
            }
        }
        let directories = tree::directories(*hosts);
        let each = |costs: &[Cost]| median(costs, |cost| cost.cpu) * 1e6 / directories as f64;
        let [first, bare_first, pass, bare_pass] = &costs;
        println!(
            "{directories:>12}{:>13.2}{:>14.2}{:>9.2}{:>15.2}{:>15.1}",
            each(first),
            each(bare_first),
            each(pass),
            each(bare_pass),
            bytes as f64 / directories as f64
        );
    }
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<usize>().ok());
    kilobytes.expect("VmRSS in kB") * 1024
}
