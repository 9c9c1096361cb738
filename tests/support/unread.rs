//! A program whose output is a terminal or a pipe that nobody reads.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::watch::kill;
use crate::support::{FAST, TestDir, wait_for};
use rustix::process::Signal;

pub const FORK_ON_TERMINAL: &str = "pid, master = pty.fork()";
pub const FORK_ON_PIPE: &str = "reader, writer = os.pipe()\npid = os.fork()\npid or os.dup2(writer, 1)";

/// A directory with so many disks that a log line with all of them has 9.9 kB.
pub fn many_disks() -> TestDir {
    let dir = TestDir::in_memory();
    let host = dir.many_disks(900);
    dir.configure_with("log_level = \"debug\"", "enabled = false", FAST, &host);
    dir
}

fn has_ended(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// The program and the process that holds the other end, both killed at the end of the test.
pub struct Unread {
    holder: Child,
    pub pid: i32,
}

impl Unread {
    /// Starts the program with Python code that forks.
    pub fn start(command: &Command, fork: &str) -> Self {
        let script = format!(
            "import os, pty, sys, time\n{fork}\n\
             pid or os.execv(sys.argv[1], sys.argv[1:])\n\
             print(pid, flush=True)\n\
             time.sleep(120)"
        );
        let mut holder = Command::new("python3")
            .args(["-c", &script])
            .arg(command.get_program())
            .args(command.get_args())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(holder.stdout.as_mut().unwrap());
        stdout.read_line(&mut line).unwrap();
        let pid = line.trim().parse().unwrap();
        Self { holder, pid }
    }

    /// Sends a signal, which must end the program within a second.
    pub fn end(&self, signal: Signal) {
        let asked = Instant::now();
        kill(self.pid, signal);
        wait_for("the end", || has_ended(self.pid).then_some(()));
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(1), "{signal:?} took {took:?}");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if !has_ended(self.pid) {
            kill(self.pid, Signal::KILL);
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
