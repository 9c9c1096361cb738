//! Watching a daemon from outside: what it uses, and how often files are replaced or read.

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

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// What it allocated. Code is resident too once it runs or the kernel reads it ahead, which is nobody's leak.
    pub anonymous_kib: u64,
    /// All that it has mapped, resident or not.
    pub mapped_kib: u64,
    pub descriptors: usize,
    pub threads: u64,
    pub children: usize,
}

impl Usage {
    pub fn of(process: &Child) -> Self {
        let pid = process.id();
        let children = || {
            let path = format!("/proc/{pid}/task/{pid}/children");
            fs::read_to_string(path).unwrap().split_whitespace().count()
        };
        Self {
            anonymous_kib: status(process, "RssAnon"),
            mapped_kib: status(process, "VmSize"),
            // The fewest of some looks: a document or a line that is being written has one for a moment.
            descriptors: (0..100)
                .map(|_| {
                    sleep(Duration::from_micros(500));
                    descriptors(process)
                })
                .min()
                .unwrap(),
            threads: status(process, "Threads"),
            // The fewest, too: a count worker comes and goes.
            children: (0..100)
                .map(|_| {
                    sleep(Duration::from_micros(500));
                    children()
                })
                .min()
                .unwrap(),
        }
    }
}

/// A number of /proc/PID/status, in its unit there.
pub fn status(process: &Child, key: &str) -> u64 {
    let path = format!("/proc/{}/status", process.id());
    let text = fs::read_to_string(path).unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {key} in\n{text}"));
    value.split_whitespace().next().unwrap().parse().unwrap()
}

/// How many descriptors it has open.
pub fn descriptors(process: &Child) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.id()))
        .unwrap()
        .count()
}

/// The files of a directory that are replaced or read from now on.
pub struct Watch {
    inotify: OwnedFd,
}

impl Watch {
    /// Sees the files that are renamed to their names in `directory`.
    pub fn replaced(directory: &Path) -> Self {
        // Both ends of each renaming: two same events that follow each other would be one.
        Self::of(directory, WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO)
    }

    /// Sees the files in `directory` that are opened to be read, when they are closed.
    pub fn read(directory: &Path) -> Self {
        Self::of(directory, WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE)
    }

    fn of(directory: &Path, flags: WatchFlags) -> Self {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        add_watch(&inotify, directory, flags).unwrap();
        Self { inotify }
    }

    /// How often that happened to the file of this name since the last look; what happened to others is dropped.
    pub fn times(&self, name: &str) -> usize {
        self.all().iter().filter(|seen| *seen == name).count()
    }

    /// The names of the files to which that happened since the last look, one for each time.
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

    /// Waits until something happened, for a second at most.
    pub fn wait(&self) {
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let _ = poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&second));
    }

    /// Waits until that happened so many times more to the file of this name.
    pub fn wait_for(&self, name: &str, times: usize) {
        self.times(name);
        let mut seen = 0;
        super::wait_for(&format!("{name}, {times} times"), || {
            seen += self.times(name);
            (seen >= times).then_some(())
        });
    }
}
