//! Compares the count of a large tree with other programs and with the bare system calls.
//!
//!     cargo bench --bench count [-- ROUNDS [HOSTS]]        (default: 7 rounds, 4,000 hosts)
//!     cargo bench --bench count -- growth [ROUNDS]         (three trees, to 1,000,000 directories)
//!     cargo bench --bench count -- polite                  (the daemon counting from a cold disk, as root)
//!
//! Makes HOSTS × 25 checks × 10 empty metrics once under target/bench-count, or in the folder that BENCH_TREES names,
//! then runs all programs in each round, and prints medians and ratios. The count and the other programs run as processes
//! whose start is included; the bare loops run in this one. As root, it also compares the reads from the disk after
//! dropping the page cache.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

mod cost;
mod daemon;
mod floor;
mod growth;
mod ours;
#[path = "../../tests/support/outputs.rs"]
mod outputs;
mod polite;
mod tree;

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cost::{Cost, median};
use ours::Ours;

/// Metrics of a check.
const METRICS: usize = 10;
/// A directory changed less than 2 s before a count is read again by the next one.
const SETTLING: Duration = Duration::from_millis(2200);
/// Directories that change, with two new metrics each.
const CHANGED: usize = 500;
/// Rows that the ratios refer to.
const FIRST: usize = 0;
const UNCHANGED: usize = 6;

/// Something that counts the tree; `None` if it is not installed.
type Rival<'a> = Box<dyn FnMut() -> Option<Cost> + 'a>;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|first| first == ours::ARGUMENT) {
        return ours::main(arguments);
    }
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse::<usize>().ok());
    let (rounds, hosts) = (numbers.next().unwrap_or(7), numbers.next().unwrap_or(4000));
    if std::env::args().any(|argument| argument == "growth") {
        return growth::run(rounds);
    }
    let metrics = hosts * tree::CHECKS * METRICS;
    let whisper = tree::make(hosts, METRICS);
    if std::env::args().any(|argument| argument == "polite") {
        return polite::run(&whisper);
    }
    let known = floor::learn(&whisper);
    tree::change(&whisper, CHANGED, false);
    std::thread::sleep(SETTLING);
    let (first, ours) = (Ours::new(&whisper, metrics), Ours::new(&whisper, metrics));
    ours.count(0);

    let python = "import os, sys\nsys.exit(sum(name.endswith('.wsp') for _, _, names in os.walk(sys.argv[1]) for name in names) < 0)";
    let path = whisper.to_str().expect("a path in UTF-8");
    let find = || cost::of_process(Command::new("find").args([path, "-name", "*.wsp"]));
    let database = tempfile::tempdir().expect("a folder");
    let updatedb = |name: &str| cost::of_process(&mut updatedb(path, &database.path().join(name)));
    updatedb("kept");
    let is_changed = Cell::new(false);
    let change = |changed: bool| {
        is_changed.set(changed);
        tree::change(&whisper, CHANGED, changed);
        std::thread::sleep(SETTLING);
    };
    let mut rivals: Vec<(&str, Rival)> = vec![
        (
            "first count",
            Box::new(|| {
                first.forget();
                Some(first.count(0))
            }),
        ),
        (
            "bare getdents loop",
            Box::new(|| Some(cost::of_call(|| floor::read_all(&whisper, metrics)))),
        ),
        ("find -name '*.wsp'", Box::new(find)),
        (
            "updatedb, no database",
            Box::new(|| {
                let _ = std::fs::remove_file(database.path().join("new"));
                updatedb("new")
            }),
        ),
        (
            "fd -j1 -u -e wsp",
            Box::new(|| cost::of_process(Command::new(fd()).args(["-j1", "-u", "-e", "wsp", ".", path]))),
        ),
        (
            "python3 os.walk",
            Box::new(|| cost::of_process(Command::new("python3").args(["-c", python, path]))),
        ),
        ("nothing changed", Box::new(|| Some(ours.count(0)))),
        (
            "bare fstatat loop",
            Box::new(|| Some(cost::of_call(|| floor::look_at_all(&whisper, &known)))),
        ),
        ("updatedb, its database", Box::new(|| updatedb("kept"))),
        (
            "1,000 new in 500",
            Box::new(|| {
                change(true);
                let cost = ours.count(2 * CHANGED);
                change(false);
                ours.count(0);
                Some(cost)
            }),
        ),
    ];
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); rivals.len()];
    for round in 0..=rounds {
        for (index, (_, rival)) in rivals.iter_mut().enumerate() {
            match rival() {
                // The first round warms the caches.
                Some(cost) if round > 0 => costs[index].push(cost),
                _ => {}
            }
        }
    }
    let names: Vec<_> = rivals.iter().map(|(name, _)| *name).collect();
    drop(rivals);
    print_table(&names, &costs, hosts);
    let directories = tree::directories(hosts) as f64;
    println!(
        "private memory of a count: {} KiB; snapshot: {:.1} bytes a directory",
        ours.anonymous_kib(),
        ours.snapshot_bytes() as f64 / directories
    );
    let pass = || Some(cost::of_call(|| floor::look_at_all(&whisper, &known)));
    print_reads(
        &whisper,
        &[
            ("count", &|| Some(ours.count(0))),
            ("bare fstatat loop", &pass),
            ("find", &find),
        ],
    );
}

fn print_table(names: &[&str], costs: &[Vec<Cost>], hosts: usize) {
    println!(
        "{} metrics in {} directories, warm, medians of {} rounds",
        hosts * tree::CHECKS * METRICS,
        tree::directories(hosts),
        costs[0].len()
    );
    println!(
        "{:24}{:>8}{:>8}{:>20}{:>19}{:>23}",
        "", "wall s", "CPU s", "wall / first count", "CPU / first count", "CPU / nothing changed"
    );
    let wall_of = |index: usize| median(&costs[index], |cost| cost.wall);
    let cpu_of = |index: usize| median(&costs[index], |cost| cost.cpu);
    for (index, name) in names.iter().enumerate() {
        if costs[index].is_empty() {
            println!("{name:24}{:>8}", "not installed");
            continue;
        }
        let (wall, cpu) = (wall_of(index), cpu_of(index));
        println!(
            "{name:24}{wall:>8.3}{cpu:>8.3}{:>20.2}{:>19.2}{:>23.2}",
            wall / wall_of(FIRST),
            cpu / cpu_of(FIRST),
            cpu / cpu_of(UNCHANGED)
        );
    }
}

/// Prints the requests read from the disk, each after dropping the page cache: as after a reboot.
fn print_reads(whisper: &Path, rivals: &[(&str, &dyn Fn() -> Option<Cost>)]) {
    for (name, rival) in rivals {
        let Some(before) = tree::cold_reads(whisper) else {
            println!("reads from the disk: only root can drop the page cache");
            return;
        };
        let wall = rival().map_or(f64::NAN, |cost| cost.wall.as_secs_f64());
        let reads = tree::reads(whisper).saturating_sub(before);
        println!("cold: {name:20}{reads:>9} reads from the disk,{wall:>7.2} s");
    }
}

/// plocate's updatedb on this tree alone, with its own database and no exclusions.
fn updatedb(path: &str, database: &Path) -> Command {
    let mut command = Command::new("updatedb.plocate");
    command.args([
        "-l",
        "no",
        "--prunefs",
        "",
        "--prunepaths",
        "",
        "--prunenames",
        "",
    ]);
    command
        .args(["--prune-bind-mounts", "no", "-U", path, "-o"])
        .arg(database);
    command
}

fn fd() -> &'static str {
    // Debian's package calls it fdfind.
    let is_fdfind = Command::new("fdfind")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if is_fdfind { "fdfind" } else { "fd" }
}
