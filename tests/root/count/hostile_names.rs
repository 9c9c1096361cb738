//! Names made to break lines, terminals and journals: each output shows them escaped, on one line.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::program::copy_of_binary;
use crate::support::tree::{hostile_names, is_plain, make_deep, remove_deep};
use crate::support::{Daemon, TestDir, root_or_skip, text, wait_for};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::process::{Pid, Signal, kill_process};

const COLLECTORS: [&str; 4] = ["daemon:", "graphite:", "disks:", "vmware:"];

/// Writes each message to the journal as a line of JSON: a list of fields.
const JOURNAL: &str = r#"
import json, os, socket, struct, sys
os.makedirs('/run/systemd/journal')
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind('/run/systemd/journal/socket')
os.chmod('/run/systemd/journal/socket', 0o666)
output = open(sys.argv[1], 'w')
while True:
    data, passed, _, _ = socket.recv_fds(server, 1 << 20, 4)
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
        output.write(json.dumps(fields) + '\n')
        output.flush()
"#;

/// Starts a fake journal, then the daemon on a terminal that script(1) records. $1 is the folder, $2 the command.
const RUN: &str = r#"
cd "$1" && mount -t tmpfs none /run || exit
timeout 60 python3 journal.py journal &
until [ -S /run/systemd/journal/socket ]; do sleep 0.01; done
script --quiet --flush --return --command "echo \$\$ >pid; exec $2 run" terminal; ended=$?
kill $!
exit $ended
"#;

fn assert_plain(text: &str) {
    text.lines().for_each(assert_plain_line);
}

fn assert_plain_line(line: &str) {
    assert!(is_plain(line) && line.len() < 3000, "{line:?}");
}

#[test]
fn hostile_names_are_escaped_in_log_journal_and_terminal() {
    if !root_or_skip() {
        return;
    }
    let dir = TestDir::new();
    let (proc, sys, whisper) = (dir.path("proc"), dir.path("sys"), dir.path("whisper"));
    fs::create_dir(&proc).unwrap();
    fs::write(proc.join("diskstats"), "").unwrap();
    let disk = "sd\u{1b}[31m\u{202e}a";
    fs::create_dir_all(sys.join("block").join(disk).join("device")).unwrap();
    let disks = "interval = \"20ms\"\nwindow = \"1s\"";
    let host = format!("[host]\nproc = {proc:?}\nsys = {sys:?}");
    dir.configure_with("", "interval = \"10ms\"", disks, &host);
    // Closed directories, one of them with a path of 15,000 bytes.
    let top = openat(CWD, &whisper, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for name in hostile_names() {
        mkdirat(&top, name.as_slice(), Mode::empty()).unwrap();
    }
    let deepest = make_deep(&whisper, vec![[b'\x02'; 250]; 60]);
    mkdirat(&deepest, "closed", Mode::empty()).unwrap();
    let unreadable = hostile_names().len() + 1;
    fs::write(dir.path("journal.py"), JOURNAL).unwrap();
    for (path, mode) in [("", 0o777), ("gatherer.toml", 0o644), ("whisper", 0o755)] {
        fs::set_permissions(dir.path(path), Permissions::from_mode(mode)).unwrap();
    }
    let gatherer = format!(
        "setpriv --reuid 65534 --regid 65534 --clear-groups {} --config {}",
        copy_of_binary(&dir).display(),
        dir.path("gatherer.toml").display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", RUN, "sh"])
        .arg(dir.path(""))
        .arg(&gatherer);
    let mut daemon = Daemon::spawn(&mut command, None);
    let read = |name: &str| text(&fs::read(dir.path(name)).unwrap_or_default());
    wait_for("ten counts", || {
        assert!(daemon.child.try_wait().unwrap().is_none(), "{}", read("terminal"));
        (dir.log().matches(" INFO graphite: ").count() >= 10).then_some(())
    });
    let line = format!("8 0 {disk} 1 0 8 1 1 0 8 1 0 1 1\n");
    fs::write(proc.join("diskstats"), line).unwrap();
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

    let journal = read("journal");
    assert!(journal.lines().count() >= unreadable);
    assert!(journal.contains("\"DISK\", \"sd"), "the new disk is a field");
    for fields in journal.lines() {
        let fields: Vec<(String, String)> = serde_json::from_str(fields).unwrap();
        for name in ["MESSAGE", "PRIORITY", "COLLECTOR"] {
            let count = fields.iter().filter(|(field, _)| field == name).count();
            assert_eq!(count, 1, "{fields:?}");
        }
        fields.iter().for_each(|(_, value)| assert_plain_line(value));
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
