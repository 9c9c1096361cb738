//! The count of a large tree beside what others need for it, and beside the bare system calls.
//!
//!     cargo bench --bench count [-- ROUNDS [HOSTS]]        (default: 7 rounds, 4,000 hosts)
//!     cargo bench --bench count -- growth [ROUNDS]         (three trees, to 1,000,000 directories)
//!     cargo bench --bench count -- polite                  (the daemon counting from a cold disk, as root)
//!
//! Makes HOSTS × 25 checks × 10 empty metrics once under target/bench-count, or in the folder that BENCH_TREES names,
//! then runs all rivals in turn, round by round, and prints medians and ratios. As root it also compares the reads from
//! the disk after dropping the page cache.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

mod daemon;
mod floor;
mod growth;
mod polite;
mod tree;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use shinken_gatherer::config::GraphiteConfig;
use shinken_gatherer::graphite::{Graphite, Progress};

/// Metrics of a check.
const METRICS: usize = 10;

/// Something that counts the tree; `None` where it is not installed.
type Rival<'a> = Box<dyn FnMut() -> Option<Cost> + 'a>;

/// What one run of a rival took.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

fn main() {
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
    // Directories that were changed a moment ago are read again: let them settle.
    std::thread::sleep(Duration::from_secs(3));
    let mut ours = collector(&whisper);
    count(&mut ours, metrics);

    let python = "import os, sys\nsys.exit(sum(name.endswith('.wsp') for _, _, names in os.walk(sys.argv[1]) for name in names) < 0)";
    let path = whisper.to_str().expect("a path in UTF-8");
    let find = || run(Command::new("find").args([path, "-name", "*.wsp"]));
    let mut rivals: Vec<(&str, Rival)> = vec![
        (
            "first count",
            Box::new(|| Some(timed(|| count(&mut collector(&whisper), metrics)))),
        ),
        (
            "bare getdents loop",
            Box::new(|| Some(timed(|| floor::read_all(&whisper, metrics)))),
        ),
        ("find -name '*.wsp'", Box::new(find)),
        (
            "fd -j1 -u -e wsp",
            Box::new(|| run(Command::new(fd()).args(["-j1", "-u", "-e", "wsp", ".", path]))),
        ),
        (
            "python3 os.walk",
            Box::new(|| run(Command::new("python3").args(["-c", python, path]))),
        ),
        (
            "pass over the unchanged",
            Box::new(|| Some(timed(|| count(&mut ours, metrics)))),
        ),
        (
            "bare fstatat loop",
            Box::new(|| Some(timed(|| floor::look_at_all(&whisper, &known)))),
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
    print_reads(&whisper, &mut ours, metrics, &find);
}

fn print_table(names: &[&str], costs: &[Vec<Cost>], hosts: usize) {
    println!(
        "{} metrics in {} directories, warm, medians of {} rounds",
        hosts * tree::CHECKS * METRICS,
        tree::directories(hosts),
        costs[0].len()
    );
    println!(
        "{:24}{:>8}{:>8}{:>20}{:>19}{:>14}",
        "", "wall s", "CPU s", "wall / first count", "CPU / first count", "CPU / a pass"
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
            "{name:24}{wall:>8.3}{cpu:>8.3}{:>20.2}{:>19.2}{:>14.2}",
            wall / wall_of(0),
            cpu / cpu_of(0),
            cpu / cpu_of(5)
        );
    }
}

/// Requests read from the disk after dropping the page cache: a pass beside find.
fn print_reads(whisper: &Path, ours: &mut Graphite, metrics: usize, find: &dyn Fn() -> Option<Cost>) {
    let Some(before) = tree::cold_reads(whisper) else {
        println!("reads from the disk: only root can drop the page cache");
        return;
    };
    let pass_cost = timed(|| count(ours, metrics));
    let pass = tree::reads(whisper).saturating_sub(before);
    let before = tree::cold_reads(whisper).unwrap_or(0);
    let find_cost = find();
    let find = tree::reads(whisper).saturating_sub(before);
    println!(
        "reads from the disk, cold: a pass {pass}, find {find}: {:.1} times fewer",
        find as f64 / pass.max(1) as f64
    );
    if let Some(find_cost) = find_cost {
        println!(
            "time, cold: a pass {:.2} s, find {:.2} s",
            pass_cost.wall.as_secs_f64(),
            find_cost.wall.as_secs_f64()
        );
    }
}

fn collector(whisper: &Path) -> Graphite {
    Graphite::new(&GraphiteConfig::default(), whisper).expect("the default configuration")
}

fn count(graphite: &mut Graphite, metrics: usize) {
    loop {
        let slice = Duration::from_millis(15);
        match graphite
            .work(Instant::now(), SystemTime::now(), slice)
            .expect("counting")
        {
            Progress::Running => {}
            Progress::Done(count) => return assert_eq!(count.report.metrics, metrics as u64),
        }
    }
}

fn timed(work: impl FnOnce()) -> Cost {
    let cpu = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let (wall, before) = (Instant::now(), cpu());
    work();
    Cost {
        wall: wall.elapsed(),
        cpu: cpu() - before,
    }
}

/// Runs another program; its CPU time is what this process's ended children grew by. `None` where it is missing.
fn run(command: &mut Command) -> Option<Cost> {
    let children = || {
        let text = std::fs::read_to_string("/proc/self/stat").expect("/proc/self/stat");
        let fields: Vec<u64> = text
            .rsplit(')')
            .next()?
            .split_ascii_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        Some(Duration::from_millis((fields[13] + fields[14]) * 10))
    };
    let (wall, before) = (Instant::now(), children()?);
    let status = command.stdout(Stdio::null()).status().ok()?;
    status.success().then(|| {
        Some(Cost {
            wall: wall.elapsed(),
            cpu: children()? - before,
        })
    })?
}

fn fd() -> &'static str {
    // Debian's package calls it fdfind.
    if Command::new("fdfind")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok()
    {
        "fdfind"
    } else {
        "fd"
    }
}

fn median(costs: &[Cost], of: impl Fn(&Cost) -> Duration) -> f64 {
    let mut values: Vec<_> = costs.iter().map(of).collect();
    values.sort_unstable();
    values
        .get(values.len() / 2)
        .map_or(f64::NAN, Duration::as_secs_f64)
}
