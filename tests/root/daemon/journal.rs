//! The journal and its fields, and a journal and a pipe that nobody reads. A mount hides the journal of the machine.

use std::os::unix::fs::chown;

use crate::support::daemon::{Unread, many_disks};
use crate::support::program::{HIDE_JOURNAL, after_mounting};
use crate::support::{Daemon, FAST, TestDir, root_or_skip, wait_for};
use rustix::process::Signal;

/// A journal that appends its entries to a file as lines, or reads none without a file. It ends with its parent.
const JOURNAL: &str = "
import os, re, socket, sys, time
parent = os.getppid()
os.makedirs('/run/systemd/journal')
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind('/run/systemd/journal/socket')
server.settimeout(0.1)
while os.getppid() == parent:
    try:
        if len(sys.argv) == 1:
            time.sleep(0.1)
        else:
            # A field is NAME, a newline, the length in eight bytes, the value and a newline.
            entry = re.sub(rb'(?ms)^([A-Z_]+)\\n.{8}', rb'\\1=', server.recv(1 << 20))
            with open(sys.argv[1], 'ab') as seen:
                seen.write(entry + b'\\n')
    except TimeoutError:
        pass
";

/// Starts the daemon with this journal; `None`, reported as skipped, without root.
fn start(dir: &TestDir, file: &str) -> Option<Daemon> {
    if !root_or_skip() {
        return None;
    }
    dir.write("journal.py", JOURNAL);
    let server = format!(
        "{HIDE_JOURNAL} && {{ python3 {} {file} & }} && until [ -S /run/systemd/journal/socket ]; do :; done",
        dir.path("journal.py").display()
    );
    let mut command = after_mounting(&server, dir.command().arg("run"));
    Some(Daemon::spawn(&mut command, None))
}

#[test]
fn journal_entries_have_the_documented_fields() {
    let dir = TestDir::in_memory();
    dir.metrics(["host-1/a.wsp", "host-2/b.wsp", "host-2/c.wsp"]);
    let file = dir.path("entries");
    let Some(daemon) = start(&dir, file.to_str().unwrap()) else {
        return;
    };
    let wait_for_entry = |fields: &[&str]| {
        wait_for(fields[0], || {
            let entries = std::fs::read_to_string(&file).ok()?;
            let mut entries = entries.split("\n\n");
            entries
                .any(|entry| fields.iter().all(|field| entry.contains(field)))
                .then_some(())
        });
    };
    let count = [
        "COLLECTOR=graphite",
        "HOSTS=2",
        "METRICS=3",
        "\nDURATION=",
        "PRIORITY=6",
    ];
    wait_for_entry(&count);
    dir.write("gatherer.toml", "not a configuration");
    daemon.signal(Signal::HUP);
    wait_for_entry(&["COLLECTOR=daemon", "\nERROR=", "PRIORITY=3"]);
    daemon.stop();
}

#[test]
fn journal_that_does_not_read_delays_nothing() {
    let dir = TestDir::in_memory();
    dir.configure_with("log_level = \"debug\"", "", FAST, "");
    if let Some(daemon) = start(&dir, "") {
        dir.wait_for_disks(50);
        daemon.stop_at_once();
    }
}

#[test]
fn pipe_that_nobody_reads_delays_no_sample_and_no_stop() {
    if !root_or_skip() {
        return;
    }
    let dir = many_disks();
    // Without any other sink, the log goes to stderr.
    let log_file = format!("log_file = \"{}\"", dir.path("gatherer.log").display());
    dir.reconfigure(&log_file, "log_file = \"\"");
    let hidden = after_mounting(HIDE_JOURNAL, dir.command().arg("run"));
    // Full but for two of its sixteen pages: it is writable, but not for a line of 9.9 kB.
    let fork = "reader, writer = os.pipe()\n\
                os.write(writer, bytes(14 * 4096))\n\
                pid = os.fork()\n\
                pid or os.dup2(writer, 2)";
    let daemon = Unread::start(&hidden, fork);
    dir.wait_for_disks(20);
    daemon.end(Signal::TERM);
    assert!(dir.disks().is_none());
}

#[test]
fn log_of_another_user_in_a_shared_folder_is_not_written() {
    if !root_or_skip() {
        return;
    }
    let (root, shinken, other) = (Some(0), Some(4242), Some(4243));
    for (folder, mode, owner, is_written) in [
        (shinken, 0o755, shinken, true),
        (shinken, 0o755, root, true),
        (shinken, 0o755, other, false),
        (root, 0o755, other, true),
        (root, 0o775, other, false),
        (root, 0o1777, other, false),
    ] {
        let dir = TestDir::in_memory();
        dir.configure_with("", "", FAST, "");
        dir.write("gatherer.log", "");
        chown(dir.path(""), folder, folder).unwrap();
        dir.set_mode("", mode);
        chown(dir.path("gatherer.log"), owner, owner).unwrap();
        let daemon = Daemon::start(&dir);
        wait_for("the disks", || dir.disks());
        daemon.stop();
        let is_in_log = dir.log().contains("started");
        assert_eq!(is_in_log, is_written, "{folder:?}, {mode:o}, {owner:?}");
    }
}
