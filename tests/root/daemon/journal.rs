//! The journal and its fields; names made to break lines, terminals and journals, which each output shows escaped, on one line; a
//! journal, a pipe and a socket that nobody reads. A mount hides the journal of the machine.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Daemon, FAST, HIDE_JOURNAL, TestDir, Unread, after_mounting, copy_of_binary, hostile_names, is_plain,
    make_deep, many_disks, remove_deep, text, wait_for, wait_until,
};

/// A journal that writes each entry to a file as a line of JSON: a list of fields. It reads none without a file. It ends with its
/// parent.
const JOURNAL: &str = r#"
import json, os, socket, struct, sys, time
parent = os.getppid()
os.makedirs('/run/systemd/journal')
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind('/run/systemd/journal/socket')
os.chmod('/run/systemd/journal/socket', 0o666)
server.settimeout(0.1)
while os.getppid() == parent:
    if len(sys.argv) == 1:
        time.sleep(0.1)
        continue
    try:
        data, passed, _, _ = socket.recv_fds(server, 1 << 20, 4)
    except TimeoutError:
        continue
    for fd in passed:
        data += os.pread(fd, 1 << 24, 0)
        os.close(fd)
    fields = []
    while data:
        name, data = data.split(b'\n', 1)
        if b'=' in name:
            name, value = name.split(b'=', 1)
        else:
            size, = struct.unpack('<Q', data[:8])
            value, data = data[8:8 + size], data[9 + size:]
        fields.append([name.decode(), value.decode()])
    if fields:
        with open(sys.argv[1], 'a') as output:
            output.write(json.dumps(fields) + '\n')
"#;

/// Returns a command that runs `command` with this journal, which writes to `file` if it is not empty.
fn with_journal(dir: &TestDir, file: &str, command: &Command) -> Command {
    dir.write("journal.py", JOURNAL);
    let server = format!(
        "{HIDE_JOURNAL} && {{ python3 {} {file} & }} && until [ -S /run/systemd/journal/socket ]; do sleep 0.01; done",
        dir.path("journal.py").display()
    );
    after_mounting(&server, command)
}

/// Returns the fields of each entry of the journal, as `NAME=VALUE`.
fn entries(dir: &TestDir) -> Vec<Vec<String>> {
    let lines = std::fs::read_to_string(dir.path("journal")).unwrap_or_default();
    let fields = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
    let joined = |fields: Vec<[String; 2]>| fields.iter().map(|field| field.join("=")).collect();
    fields.map(joined).collect()
}

#[test]
fn journal_entries_have_the_documented_fields() {
    needs_root!();
    let dir = TestDir::in_memory();
    dir.metrics(["host-1/a.wsp", "host-2/b.wsp", "host-2/c.wsp"]);
    let file = dir.path("journal").display().to_string();
    let daemon = Daemon::spawn(&mut with_journal(&dir, &file, dir.command().arg("run")), None);
    let wait_for_entry = |starts: &[&str]| {
        let has = |entry: &[String], start: &&str| entry.iter().any(|field| field.starts_with(start));
        wait_for(starts[0], || {
            let entries = entries(&dir);
            let mut matching = entries
                .iter()
                .filter(|entry| starts.iter().all(|start| has(entry, start)));
            matching.next().map(drop)
        });
    };
    wait_for_entry(&[
        "COLLECTOR=graphite",
        "HOSTS=2",
        "METRICS=3",
        "DURATION=",
        "PRIORITY=6",
    ]);
    dir.write("gatherer.toml", "not a configuration");
    daemon.signal(Signal::HUP);
    wait_for_entry(&["COLLECTOR=daemon", "ERROR=", "PRIORITY=3"]);
    daemon.stop();
}

#[test]
fn journal_that_does_not_read_delays_nothing() {
    needs_root!();
    let dir = TestDir::in_memory();
    dir.configure_with("log_level = \"debug\"", "", FAST, "");
    let daemon = Daemon::spawn(&mut with_journal(&dir, "", dir.command().arg("run")), None);
    dir.wait_for_disks(50);
    daemon.stop_at_once();
}

/// Runs the daemon with a stderr that accepts only the beginning of a line.
fn assert_unread_log_delays_nothing(fork: &str) {
    let dir = many_disks();
    // Without any other sink, the log goes to stderr.
    let log_file = format!("log_file = \"{}\"", dir.path("gatherer.log").display());
    dir.reconfigure(&log_file, "log_file = \"\"");
    let hidden = after_mounting(HIDE_JOURNAL, dir.command().arg("run"));
    let daemon = Unread::start(&hidden, fork);
    dir.wait_for_disks(20);
    daemon.end(Signal::TERM);
    assert!(dir.disks().is_none());
}

#[test]
fn pipe_that_nobody_reads_delays_no_sample_and_no_stop() {
    needs_root!();
    // Full but for two of its sixteen pages: it is writable, but not for a line of 9.9 kB.
    assert_unread_log_delays_nothing(
        "reader, writer = os.pipe()\n\
         os.write(writer, bytes(14 * 4096))\n\
         pid = os.fork()\n\
         pid or os.dup2(writer, 2)",
    );
}

#[test]
fn socket_that_nobody_reads_delays_no_sample_and_no_stop() {
    needs_root!();
    assert_unread_log_delays_nothing(
        "reader, writer = socket.socketpair()\n\
         writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)\n\
         pid = os.fork()\n\
         pid or os.dup2(writer.fileno(), 2)",
    );
}

const COLLECTORS: [&str; 4] = ["daemon:", "graphite:", "disks:", "vmware:"];

fn assert_plain(text: &str) {
    text.lines().for_each(assert_plain_line);
}

fn assert_plain_line(line: &str) {
    assert!(is_plain(line) && line.len() < 3000, "{line:?}");
}

#[test]
fn hostile_names_are_escaped_in_log_journal_and_terminal() {
    needs_root!();
    let dir = TestDir::new();
    let whisper = dir.path("whisper");
    dir.make_disks(["sd\u{1b}[31m\u{202e}a"]);
    let diskstats = dir.read("proc/diskstats");
    dir.write("proc/diskstats", "");
    dir.configure_with("", "interval = \"10ms\"", FAST, "");
    // Closed directories, one of them with a path of 15,000 bytes.
    let top = openat(CWD, &whisper, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for name in hostile_names() {
        mkdirat(&top, name.as_slice(), Mode::empty()).unwrap();
    }
    let deepest = make_deep(&whisper, vec![[b'\x02'; 250]; 60]);
    mkdirat(&deepest, "closed", Mode::empty()).unwrap();
    let unreadable = hostile_names().len() + 1;
    for (path, mode) in [("", 0o777), ("gatherer.toml", 0o644), ("whisper", 0o755)] {
        fs::set_permissions(dir.path(path), Permissions::from_mode(mode)).unwrap();
    }
    let gatherer = format!(
        "setpriv --reuid 65534 --regid 65534 --clear-groups {} --config {}",
        copy_of_binary(&dir).display(),
        dir.path("gatherer.toml").display()
    );
    let script = format!(
        "script --quiet --flush --return --command 'echo $$ >{}; exec {gatherer} run' {}; exit $?",
        dir.path("pid").display(),
        dir.path("terminal").display()
    );
    // Not the parent of the journal: script(1) would wait for it.
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);
    let file = dir.path("journal").display().to_string();
    let mut daemon = Daemon::spawn(&mut with_journal(&dir, &file, &shell), None);
    let read = |name: &str| text(&fs::read(dir.path(name)).unwrap_or_default());
    wait_until("ten counts", || {
        assert!(daemon.child.try_wait().unwrap().is_none(), "{}", read("terminal"));
        dir.logged(" INFO graphite: ") >= 10
    });
    dir.write("proc/diskstats", &diskstats);
    dir.wait_for_log(" added");
    let pid = Pid::from_raw(read("pid").trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = wait_for("the end of script(1)", || daemon.child.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    assert_eq!(dir.count().unwrap()["unreadable"], unreadable);

    let log = dir.log();
    assert_plain(&log);
    assert_eq!(log.matches("cannot read").count(), unreadable, "{log}");
    for line in log.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        assert!(humantime::parse_rfc3339(words[0]).is_ok(), "{line:?}");
        assert!(COLLECTORS.contains(&words[2]), "{line:?}");
    }
    // The name that forges an error is quoted.
    assert_eq!(log.matches(" ERROR ").count(), 1);

    let journal = entries(&dir);
    assert!(journal.len() >= unreadable);
    let has = |entry: &[String], start: &str| entry.iter().filter(|field| field.starts_with(start)).count();
    assert!(
        journal.iter().any(|entry| has(entry, "DISK=sd") == 1),
        "the new disk is a field"
    );
    for entry in &journal {
        for name in ["MESSAGE=", "PRIORITY=", "COLLECTOR="] {
            assert_eq!(has(entry, name), 1, "{entry:?}");
        }
        entry.iter().for_each(|field| assert_plain_line(field));
    }

    let once = format!("{gatherer} once --window 10ms");
    let mut command = Command::new("script");
    let output = command.args(["-q", "-e", "-c", &once, "/dev/null"]).output();
    for terminal in [read("terminal"), text(&output.unwrap().stdout)] {
        assert_eq!(terminal.matches("cannot read").count(), unreadable, "{terminal}");
        assert_plain(&terminal);
    }
    remove_deep(&whisper);
}
