//! Watches a daemon from outside: what it uses, and how often files are replaced or read.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Memory that it allocated. Resident code is not counted: the kernel reads it ahead as it likes.
    pub anonymous_kib: u64,
    /// All that it has mapped, resident or not.
    pub mapped_kib: u64,
    pub descriptors: usize,
    pub threads: u64,
    pub children: usize,
}

impl Usage {
    pub fn of(process: &Child) -> Self {
        // The fewest of a twentieth of a second: an open document and a count worker exist for a moment only.
        let fewest = |count: &dyn Fn() -> usize| {
            let counted = (0..100).map(|_| {
                sleep(Duration::from_micros(500));
                count()
            });
            counted.min().unwrap()
        };
        Self {
            anonymous_kib: status(process, "RssAnon"),
            mapped_kib: status(process, "VmSize"),
            descriptors: fewest(&|| descriptors(process)),
            threads: status(process, "Threads"),
            children: fewest(&|| children_of(process.id()).len()),
        }
    }
}

pub fn children_of(pid: u32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

pub fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Returns the CPU time of a process, in steps of 10 ms.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Returns a number of /proc/PID/status, in its unit there.
pub fn status(process: &Child, key: &str) -> u64 {
    let path = format!("/proc/{}/status", process.id());
    let text = fs::read_to_string(path).unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {key} in\n{text}"));
    value.split_whitespace().next().unwrap().parse().unwrap()
}

/// Returns the number of open descriptors.
pub fn descriptors(process: &Child) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.id()))
        .unwrap()
        .count()
}

/// Notes the files of a directory that are replaced or read.
pub struct Watch {
    inotify: OwnedFd,
}

impl Watch {
    /// Notes the files that are renamed to their names in `directory`.
    pub fn replaced(directory: &Path) -> Self {
        // Both ends of each rename: the kernel merges two equal events in a row.
        Self::of(directory, WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO)
    }

    /// Notes the files in `directory` that were opened to be read, when they are closed.
    pub fn read(directory: &Path) -> Self {
        Self::of(directory, WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE)
    }

    fn of(directory: &Path, flags: WatchFlags) -> Self {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        add_watch(&inotify, directory, flags).unwrap();
        Self { inotify }
    }

    /// Returns how often this file was noted since the last call. Other files are dropped.
    pub fn times(&self, name: &str) -> usize {
        self.all().iter().filter(|seen| *seen == name).count()
    }

    /// Returns the names of the files noted since the last call, one for each time.
    pub fn all(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut names = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return names,
                Err(errno) => panic!("reading events: {errno}"),
            };
            let flags = event.events();
            assert!(!flags.contains(ReadFlags::QUEUE_OVERFLOW), "events were lost");
            if flags.intersects(ReadFlags::MOVED_TO | ReadFlags::CLOSE_NOWRITE) {
                names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
        }
    }

    /// Waits until a file is noted, for at most a second.
    pub fn wait(&self) {
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let _ = poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&second));
    }

    /// Waits until this file is noted this many more times.
    pub fn wait_for(&self, name: &str, times: usize) {
        self.times(name);
        let mut seen = 0;
        super::wait_until(&format!("{name}, {times} times"), || {
            seen += self.times(name);
            seen >= times
        });
    }
}
