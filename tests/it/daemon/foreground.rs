//! The daemon and `status --watch` run by hand: signals, terminals and pipes that nobody reads.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Daemon, TestDir, stderr_of, wait_for};
use rustix::process::Signal;

const FAST: &str = "interval = \"5ms\"\nwindow = \"1s\"";
/// Signals whose default action ends the process, but for those of a crash.
const UNUSUAL: [i32; 11] = [3, 12, 14, 16, 24, 26, 27, 29, 30, 34, 64];

fn send(pid: u32, signal: i32) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// A machine with so many disks that a log line with all of them has 9.9 kB.
fn place_with_many_disks(top: &str) -> TestDir {
    let place = TestDir::new();
    let mut diskstats = String::new();
    for number in 0..900 {
        fs::create_dir_all(place.path(format!("sys/block/sd{number}/device"))).unwrap();
        diskstats += &format!("8 {number} sd{number} 1 0 8 1 1 0 8 1 0 1 1\n");
    }
    fs::create_dir(place.path("proc")).unwrap();
    fs::write(place.path("proc/diskstats"), diskstats).unwrap();
    let host = format!(
        "[host]\nproc = {:?}\nsys = {:?}",
        place.path("proc"),
        place.path("sys")
    );
    place.configure_with(top, "enabled = false", FAST, &host);
    place
}

/// Waits for this many more disk documents.
fn wait_for_disks(place: &TestDir, documents: usize) {
    use std::os::unix::fs::MetadataExt;
    let version = || {
        let metadata = fs::metadata(place.path("disks.tmp")).ok()?;
        Some((metadata.ino(), metadata.mtime_nsec()))
    };
    for _ in 0..documents {
        let last = version();
        wait_for("a disk document", || version().filter(|new| Some(*new) != last));
    }
}

fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// A program whose stdout or stderr is a terminal or a pipe that is never read.
struct Unread {
    holder: Child,
    pid: u32,
}

impl Unread {
    fn start_on_terminal(command: &Command) -> Self {
        Self::hold(command, "pid, master = pty.fork()")
    }

    fn start_on_pipe(command: &Command) -> Self {
        Self::hold(
            command,
            "reader, writer = os.pipe()\n\
             pid = os.fork()\n\
             pid or os.dup2(writer, 1)",
        )
    }

    fn start_on_full_pipe(command: &Command) -> Self {
        Self::hold(
            command,
            "reader, writer = os.pipe()\n\
             os.write(writer, bytes(14 * 4096))\n\
             pid = os.fork()\n\
             pid or os.dup2(writer, 2)",
        )
    }

    fn hold(command: &Command, fork: &str) -> Self {
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
        BufReader::new(holder.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            holder,
            pid: line.trim().parse().unwrap(),
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if !has_ended(self.pid) {
            send(self.pid, 9);
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn assert_ends_within_a_second(what: &str, has_ended: impl Fn() -> bool) {
    let asked = Instant::now();
    wait_for(what, || has_ended().then_some(()));
    let passed = asked.elapsed();
    assert!(passed < Duration::from_secs(1), "{what} took {passed:?}");
}

#[test]
fn terminal_that_nobody_reads_delays_no_sample_and_no_stop() {
    let place = place_with_many_disks("log_level = \"debug\"");
    let terminal = Unread::start_on_terminal(place.command().arg("run"));
    wait_for_disks(&place, 20);
    send(terminal.pid, 15);
    assert_ends_within_a_second("the stop", || has_ended(terminal.pid));
    assert!(!place.path("disks.tmp").exists());
}

#[test]
fn pipe_that_nobody_reads_delays_no_sample_and_no_stop() {
    // Without any other sink, lines go to stderr, here a pipe.
    let place = place_with_many_disks("log_level = \"debug\"");
    let text = fs::read_to_string(place.path("gatherer.toml")).unwrap();
    let log_file = format!("log_file = \"{}\"", place.path("gatherer.log").display());
    fs::write(
        place.path("gatherer.toml"),
        text.replace(&log_file, "log_file = \"\""),
    )
    .unwrap();
    let config = place.path("gatherer.toml");
    let command = [
        env!("CARGO_BIN_EXE_shinken-gatherer"),
        "--config",
        config.to_str().unwrap(),
        "run",
    ];
    let unshare = Command::new("unshare").args(["-m", "true"]).status();
    if !unshare.is_ok_and(|status| status.success()) {
        return crate::support::skip("hiding the journal needs root");
    }
    let mut hidden = Command::new("/usr/bin/unshare");
    hidden.args(["-m", "sh", "-c", "mount -t tmpfs none /run && exec \"$@\"", "sh"]);
    hidden.args(command);
    // Full but for two of its sixteen pages: writable, but not for a line of 9.9 kB.
    let daemon = Unread::start_on_full_pipe(&hidden);
    wait_for_disks(&place, 20);
    send(daemon.pid, 15);
    assert_ends_within_a_second("the stop", || has_ended(daemon.pid));
    assert!(!place.path("disks.tmp").exists());
}

#[test]
fn every_terminating_signal_removes_the_disks_file() {
    for signal in UNUSUAL.into_iter().chain([2, 15]) {
        let place = TestDir::new();
        place.configure_with("", "", FAST, "");
        let mut daemon = Daemon::start(&place);
        wait_for_disks(&place, 1);
        send(daemon.child.id(), signal);
        let status = wait_for("the end", || daemon.child.try_wait().unwrap());
        let code = if UNUSUAL.contains(&signal) { 1 } else { 0 };
        assert_eq!(status.code(), Some(code), "signal {signal}: {status}");
        assert!(!place.path("disks.tmp").exists(), "signal {signal}");
        assert!(place.log().contains("INFO daemon: stopped"), "signal {signal}");
    }
}

#[test]
fn sigusr1_reopens_the_log_and_reloads_nothing() {
    let place = TestDir::new();
    place.configure_with("", "", FAST, "");
    let daemon = Daemon::start(&place);
    wait_for_disks(&place, 1);
    fs::rename(place.path("gatherer.log"), place.path("gatherer.log.1")).unwrap();
    fs::write(place.path("gatherer.toml"), "not a configuration").unwrap();
    daemon.signal(Signal::USR1);
    wait_for("the new log", || {
        place.path("gatherer.log").exists().then_some(())
    });
    wait_for_disks(&place, 3);
    daemon.stop();
    assert!(place.log().contains("INFO daemon: stopped"));
    let rotated = fs::read_to_string(place.path("gatherer.log.1")).unwrap();
    assert!(!(rotated + &place.log()).contains("reload"));
}

/// CPU time of a process so far.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn watchdog_timeout_of_no_time_costs_no_cpu() {
    for micros in [0, 1] {
        let place = TestDir::new();
        let daemon = Daemon::start_notifying(&place, Some(Duration::from_micros(micros)));
        place.wait_for_log("metrics in");
        daemon.drain_messages();
        let before = cpu(daemon.child.id());
        let began = Instant::now();
        let mut beats = 0;
        while began.elapsed() < Duration::from_secs(1) {
            if micros == 0 {
                std::thread::sleep(Duration::from_millis(100));
            } else if daemon.message().contains("WATCHDOG=1") {
                beats += 1;
            }
        }
        let spent = cpu(daemon.child.id()) - before;
        assert!(
            spent < Duration::from_millis(300),
            "{micros} us: {spent:?} in a second"
        );
        assert!(
            beats < 250 && (micros == 0 || beats > 10),
            "{micros} us: {beats} heartbeats"
        );
        daemon.stop();
    }
}

/// Ends `status --watch` while it waits to write its first status, which is longer than any buffer.
fn assert_watch_ends(start: impl Fn(&Command) -> Unread) {
    let place = place_with_many_disks("");
    let mut once = place.command();
    once.args(["once", "--write", "--window", "10ms"]);
    let written = once.output().unwrap();
    assert!(written.status.success(), "{}", stderr_of(&written));
    for signal in [1, 2, 15] {
        let mut command = place.command();
        command.args(["status", "--watch", "100ms", "--json"]);
        let watch = start(&command);
        // In a write or a poll, and not on a CPU.
        let wait_channel = || fs::read_to_string(format!("/proc/{}/wchan", watch.pid)).unwrap();
        let is_waiting = || {
            ["pipe", "poll", "tty", "wait_woken"]
                .iter()
                .any(|part| wait_channel().contains(part))
        };
        wait_for("a full buffer", || is_waiting().then_some(()));
        send(watch.pid, signal);
        assert_ends_within_a_second(&format!("the end by signal {signal}"), || has_ended(watch.pid));
    }
}

#[test]
fn watch_on_a_terminal_that_nobody_reads_ends_on_signals() {
    assert_watch_ends(Unread::start_on_terminal);
}

#[test]
fn watch_on_a_pipe_that_nobody_reads_ends_on_signals() {
    assert_watch_ends(Unread::start_on_pipe);
}
