//! A running daemon, its signals and its messages to systemd; and a program whose output nobody reads.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    FAST, PATIENCE, TestDir, children_of, copy_of_binary, kill, root_or_skip, text, wait_for, wait_until,
    workers_of,
};

/// A running daemon, killed at the end of the test.
pub struct Daemon {
    pub child: Child,
    notify: Option<UnixDatagram>,
}

impl Daemon {
    pub fn start(dir: &TestDir) -> Self {
        Self::spawn(dir.command().arg("run"), None)
    }

    /// Runs as the user nobody, who is subject to permissions; `None` without root.
    pub fn start_as_nobody(dir: &TestDir) -> Option<Self> {
        if !root_or_skip() {
            return None;
        }
        for (name, mode) in [("", 0o777), ("state", 0o777), ("gatherer.toml", 0o644)] {
            dir.set_mode(name, mode);
        }
        let mut command = Command::new(copy_of_binary(dir));
        command.arg("--config").arg(dir.path("gatherer.toml"));
        Some(Self::spawn(command.arg("run").uid(65534).gid(65534), None))
    }

    /// Starts it with a notify socket, as systemd does.
    pub fn start_notifying(dir: &TestDir, watchdog: Option<Duration>) -> Self {
        Self::spawn_notifying(dir, watchdog, dir.command().arg("run"))
    }

    pub fn spawn_notifying(dir: &TestDir, watchdog: Option<Duration>, command: &mut Command) -> Self {
        let socket = dir.path("notify");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        dir.set_mode("notify", 0o777);
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        command.env("NOTIFY_SOCKET", &socket);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        Self::spawn(command, Some(notify))
    }

    pub fn spawn(command: &mut Command, notify: Option<UnixDatagram>) -> Self {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, notify }
    }

    /// Receives the next message to systemd.
    pub fn message(&self) -> String {
        let mut buffer = [0; 4096];
        loop {
            match self.notify.as_ref().unwrap().recv(&mut buffer) {
                // A receive with a time limit is not restarted after a signal, such as the end of a child process.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => return text(&buffer[..received.expect("a message to systemd")]),
            }
        }
    }

    /// Receives messages until one has a line that starts with `line`.
    pub fn wait_for_message(&self, line: &str) -> String {
        wait_for(line, || {
            Some(self.message()).filter(|message| message.lines().any(|found| found.starts_with(line)))
        })
    }

    /// Receives the messages to systemd that have arrived.
    pub fn drain_messages(&self) -> Vec<String> {
        let notify = self.notify.as_ref().unwrap();
        let (mut messages, mut buffer) = (Vec::new(), [0; 4096]);
        notify.set_nonblocking(true).unwrap();
        while let Ok(length) = notify.recv(&mut buffer) {
            messages.push(text(&buffer[..length]));
        }
        notify.set_nonblocking(false).unwrap();
        messages
    }

    pub fn wait_for_worker(&self) -> Pid {
        let id = self.child.id();
        let pid = wait_for("a count worker", || workers_of(id).first().copied());
        Pid::from_raw(pid.cast_signed()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it if `child` is a program that traces it.
    pub fn stop_traced(mut self) {
        kill(children_of(self.child.id())[0], Signal::TERM);
        wait_for("the daemon's end", || self.child.try_wait().unwrap());
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it with SIGTERM and returns how long that took. Its exit code must be 0.
    pub fn stop(mut self) -> Duration {
        // Before it catches the signal, it would be killed by it.
        let pid = self.child.id();
        wait_until("the daemon to catch SIGTERM", || catches_sigterm(pid));
        let asked = Instant::now();
        self.signal(Signal::TERM);
        let status = wait_for("the daemon to stop", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
        asked.elapsed()
    }

    /// Stops it and returns what it wrote to stderr.
    pub fn stop_and_read_stderr(mut self) -> String {
        let mut pipe = self.child.stderr.take().unwrap();
        self.stop();
        let mut stderr = String::new();
        pipe.read_to_string(&mut stderr).unwrap();
        stderr
    }

    /// Stops it, which must take less than a second.
    pub fn stop_at_once(self) {
        let stopped = self.stop();
        assert!(stopped < Duration::from_secs(1), "stopped in {stopped:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process catches SIGTERM or has ended.
fn catches_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_none_or(|mask| mask & 1 << (Signal::TERM.as_raw() - 1) != 0)
}

/// Python code that forks: the child has a terminal or a pipe that its parent does not read.
pub const FORK_ON_TERMINAL: &str = "pid, master = pty.fork()";
pub const FORK_ON_PIPE: &str = "reader, writer = os.pipe()\npid = os.fork()\npid or os.dup2(writer, 1)";

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
            "import os, pty, socket, sys, time\n{fork}\n\
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
        wait_until("the end", || has_ended(self.pid));
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

/// A directory with so many disks that a log line with all of them has 9.9 kB.
pub fn many_disks() -> TestDir {
    let dir = TestDir::in_memory();
    dir.make_disks((0..900).map(|number| format!("sd{number}")));
    dir.configure_with("log_level = \"debug\"", "enabled = false", FAST, "");
    dir
}
