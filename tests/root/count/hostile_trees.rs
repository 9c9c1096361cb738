//! Trees that someone shaped: names made to break lines, terminals and journals, directories of a million entries,
//! links in loops, and entries that are no metrics. The count is that of a naive walk, memory and descriptors stay
//! few, and whatever is said stays on one line.

use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::tree::naive;
use crate::support::{Daemon, TestDir, copy_of_binary, json_of, skip, text, wait_for};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, linkat, mkdirat, mknodat, openat, symlinkat};
use rustix::process::{Pid, Signal, kill_process};

const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

fn figures(place: &TestDir) -> Option<(u64, u64)> {
    let count = place.count()?;
    Some((count["hosts"].as_u64()?, count["metrics"].as_u64()?))
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("only root can become another user and mount");
    }
    is_root
}

/// Names that would do harm where they are printed as they are.
fn hostile_names() -> Vec<Vec<u8>> {
    let names: [&[u8]; 17] = [
        b"line\nbreak",
        b"\n2026-11-22T13:05:00Z ERROR daemon: forged",
        b"field\nMESSAGE=forged\nPRIORITY=0\n",
        b"return\rover",
        b"clear\x1b[2J\x1b]0;title\x07",
        b"bell\x07 delete\x7f vertical\x0b",
        "c1 \u{9b}31m next\u{85}line".as_bytes(),
        b"raw c1 \x9b31m\x85",
        b"not text \xff\xfe\xc3",
        b"\"quotes\" 'and' \\ $(reboot) `reboot`",
        b"%s%n%d %%",
        "left \u{202e}txet\u{202c} \u{2066}x\u{2069}".as_bytes(),
        "lines \u{2028}of\u{2029} unicode".as_bytes(),
        "zero\u{200b}\u{feff}\u{200f}width".as_bytes(),
        b" spaces ",
        b"-rf",
        &[b'\x01'; 255],
    ];
    names.map(<[u8]>::to_vec).into()
}

/// Whether a terminal, a pager or a reader of logs could take the text for more than what it says.
fn is_plain(text: &str) -> bool {
    let invisible = |character: char| {
        matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    !text
        .chars()
        .any(|character| character.is_control() || invisible(character))
}

/// A journal that writes what it is sent to `journal`, a JSON object for each line: field by field.
const JOURNAL: &str = r#"
import json, os, socket, struct, sys
os.makedirs('/run/systemd/journal')
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind('/run/systemd/journal/socket')
os.chmod('/run/systemd/journal/socket', 0o666)
seen = open(sys.argv[1], 'w')
while True:
    data, passed, _, _ = socket.recv_fds(server, 1 << 20, 4)
    for fd in passed:
        data += os.pread(fd, 1 << 24, 0)
        os.close(fd)
    if not data:
        continue # a look whether someone is there
    fields = []
    while data:
        name, data = data.split(b'\n', 1)
        if b'=' in name:
            name, value = name.split(b'=', 1)
        else:
            size, = struct.unpack('<Q', data[:8])
            value, data = data[8:8 + size], data[9 + size:]
        fields.append([name.decode(), value.decode()])
    seen.write(json.dumps(fields) + '\n')
    seen.flush()
"#;

#[test]
fn hostile_names_are_escaped_in_log_journal_and_terminal() {
    if !is_root() {
        return;
    }
    let place = TestDir::new();
    let (proc, sys) = (place.path("proc"), place.path("sys"));
    fs::create_dir(&proc).unwrap();
    fs::write(proc.join("diskstats"), "").unwrap();
    let disk = "sd\u{1b}[31m\u{202e}a";
    fs::create_dir_all(sys.join("block").join(disk).join("device")).unwrap();
    place.configure_with(
        "",
        "interval = \"10ms\"",
        "interval = \"20ms\"\nwindow = \"1s\"",
        &format!("[host]\nproc = {proc:?}\nsys = {sys:?}"),
    );
    let whisper = place.path("whisper");
    let top = openat(CWD, &whisper, READ, Mode::empty()).unwrap();
    for name in hostile_names() {
        mkdirat(&top, name.as_slice(), Mode::empty()).unwrap();
    }
    // A path of 15,000 bytes, of which each would take four in the log.
    let mut deepest = top;
    for _ in 0..60 {
        mkdirat(&deepest, [b'\x02'; 250].as_slice(), Mode::from_raw_mode(0o755)).unwrap();
        deepest = openat(&deepest, [b'\x02'; 250].as_slice(), READ, Mode::empty()).unwrap();
    }
    mkdirat(&deepest, "closed", Mode::empty()).unwrap();
    let unreadable = hostile_names().len() + 1;

    for (path, mode) in [("", 0o777), ("gatherer.toml", 0o644), ("whisper", 0o755)] {
        fs::set_permissions(place.path(path), Permissions::from_mode(mode)).unwrap();
    }
    let binary = copy_of_binary(&place);
    fs::write(place.path("journal.py"), JOURNAL).unwrap();
    let notify = UnixDatagram::bind(place.path("notify")).unwrap();
    fs::set_permissions(place.path("notify"), Permissions::from_mode(0o666)).unwrap();
    notify.set_nonblocking(true).unwrap();
    // script(1) gives it a terminal for stderr, and keeps what was written there.
    let run = format!(
        "echo $$ >{}; exec setpriv --reuid 65534 --regid 65534 --clear-groups {} --config {} run",
        place.path("pid").display(),
        binary.display(),
        place.path("gatherer.toml").display()
    );
    let shell = format!(
        "mount -t tmpfs none /run && {{ timeout 60 python3 {} {} & }} && \
         until [ -S /run/systemd/journal/socket ]; do sleep 0.01; done; \
         script --quiet --flush --return --command '{run}' {}; ended=$?; kill $!; exit $ended",
        place.path("journal.py").display(),
        place.path("journal").display(),
        place.path("terminal").display(),
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", &shell])
        .env("NOTIFY_SOCKET", place.path("notify"));
    let mut daemon = Daemon::spawn(&mut command, None);
    let counted = |log: &str| log.matches(" INFO graphite: ").count();
    wait_for("ten counts", || {
        assert!(
            daemon.child.try_wait().unwrap().is_none(),
            "{}",
            fs::read_to_string(place.path("terminal")).unwrap_or_default()
        );
        (counted(&place.log()) >= 10).then_some(())
    });
    fs::write(
        proc.join("diskstats"),
        format!("8 0 {disk} 1 0 8 1 1 0 8 1 0 1 1\n"),
    )
    .unwrap();
    place.wait_for_log(" added");
    // script(1) ends with it.
    let pid = fs::read_to_string(place.path("pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = wait_for("its end", || daemon.child.try_wait().unwrap());
    assert!(ended.success(), "{ended}");

    let log = place.log();
    let warned: Vec<_> = log.lines().filter(|line| line.contains("cannot read")).collect();
    assert_eq!(warned.len(), unreadable, "each once:\n{log}");
    assert!(place.count().unwrap()["unreadable"] == unreadable as u64);
    for line in log.lines() {
        assert!(is_plain(line) && line.len() < 3000, "{line:?}");
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line:?}");
        let (_, rest) = rest.split_once(' ').unwrap();
        assert!(
            ["daemon: ", "graphite: ", "disks: ", "vmware: "]
                .iter()
                .any(|collector| rest.starts_with(collector)),
            "{line:?}"
        );
    }
    let forged = log.lines().filter(|line| line.contains(" ERROR ")).count();
    assert_eq!(
        forged, 1,
        "the name that forges is quoted in a line of its own directory"
    );

    let journal = fs::read_to_string(place.path("journal")).unwrap();
    assert!(journal.lines().count() >= warned.len());
    assert!(
        journal.contains("\"DISK\", \"sd"),
        "the disk that appeared is a field"
    );
    for fields in journal.lines() {
        let fields: Vec<(String, String)> = serde_json::from_str(fields).unwrap();
        let of = |name: &str| fields.iter().filter(|(field, _)| field == name).count();
        assert_eq!(
            (of("MESSAGE"), of("PRIORITY"), of("COLLECTOR")),
            (1, 1, 1),
            "{fields:?}"
        );
        for (field, value) in &fields {
            assert!(is_plain(value) && value.len() < 3000, "{field}={value:?}");
        }
    }

    let terminal = text(&fs::read(place.path("terminal")).unwrap());
    let shown = terminal.lines().filter(|line| line.contains("cannot read"));
    assert_eq!(shown.count(), unreadable, "{terminal}");
    for line in terminal.lines() {
        assert!(is_plain(line), "{line:?}");
    }

    let mut message = [0; 8192];
    let mut messages = 0;
    while let Ok(length) = notify.recv(&mut message) {
        let message = text(&message[..length]);
        assert!(message.lines().all(is_plain), "{message:?}");
        assert!(message.lines().count() <= 2, "{message:?}");
        messages += 1;
    }
    assert!(messages > 0, "the service manager heard nothing");

    // The same from the command that people use, whose answer is on a terminal.
    let once = format!(
        "setpriv --reuid 65534 --regid 65534 --clear-groups {} --config {} once --window 10ms",
        binary.display(),
        place.path("gatherer.toml").display()
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &once, "/dev/null"])
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    assert_eq!(shown.matches("cannot read").count(), unreadable, "{shown}");
    for line in shown.lines() {
        assert!(is_plain(line) && line.len() < 3000, "{line:?}");
    }
    drop(deepest);
    // A path this long is removed from within only.
    let removed = Command::new("rm").arg("-rf").arg(&whisper).status().unwrap();
    assert!(removed.success());
}

#[test]
fn names_in_configuration_and_devices_are_escaped() {
    let place = TestDir::new();
    let (proc, sys) = (place.path("proc"), place.path("sys"));
    let disk = "sd\u{1b}[31m\u{202e}a";
    fs::create_dir_all(&proc).unwrap();
    fs::create_dir_all(sys.join("block").join(disk).join("device")).unwrap();
    fs::write(
        proc.join("diskstats"),
        format!("8 0 {disk} 1 0 8 1 1 0 8 1 0 1 1\n8 0 b\u{1b}\u{7}d 1\n"),
    )
    .unwrap();
    let whisper = place.path("whisper\u{1b}[2J\n");
    fs::create_dir(&whisper).unwrap();
    let host = format!("[host]\nproc = {proc:?}\nsys = {sys:?}");
    place.configure_with("", "", "interval = \"20ms\"\nwindow = \"1s\"", &host);
    let daemon = Daemon::start_notifying(&place, None);
    let status = daemon.wait_for_message("STATUS=0 hosts, 0 metrics; %util sd");
    assert!(status.lines().all(is_plain), "{status:?}");
    place.wait_for_log("over");
    place.wait_for_log("disks: diskstats line 2");
    assert!(place.log().lines().all(is_plain), "{:?}", place.log());
    let plain = |args: &[&str]| {
        let output = place.command().args(args).output().unwrap();
        for line in (text(&output.stdout) + &text(&output.stderr)).lines() {
            assert!(is_plain(line), "{args:?}: {line:?}");
        }
        (text(&output.stdout), text(&output.stderr))
    };
    assert!(plain(&["status"]).0.contains("util"));
    assert!(plain(&["check", "disks"]).0.contains("%util"));
    let (shown, complained) = plain(&[
        "once",
        "--window",
        "10ms",
        "--whisper-dir",
        whisper.to_str().unwrap(),
    ]);
    assert!(
        shown.contains("%util") && complained.contains("diskstats line 2"),
        "{shown}{complained}"
    );
    // A configuration that is no good, both read at a start and read again.
    fs::write(
        place.path("gatherer.toml"),
        "\"log\\u001b[31m\\nlevel\\u202e\" = 1\n",
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    place.wait_for_log("reload failed");
    assert!(place.log().lines().all(is_plain), "{:?}", place.log());
    let (_, complained) = plain(&["once"]);
    assert_eq!(complained.lines().count(), 1, "{complained}");
    plain(&["check", "disks"]);
    daemon.stop();
}

#[test]
fn thousand_disks_are_published_without_delaying_the_watchdog() {
    let place = TestDir::in_memory();
    let (proc, sys) = (place.path("proc"), place.path("sys"));
    fs::create_dir_all(&proc).unwrap();
    let name = |number: u32| format!("a-disk-{number}");
    let mut lines = String::new();
    for number in 0..1000 {
        fs::create_dir_all(sys.join("block").join(name(number)).join("device")).unwrap();
        lines += &format!("8 {number} {} 1 0 8 1 1 0 8 1 0 1 1\n", name(number));
    }
    fs::write(proc.join("diskstats"), lines).unwrap();
    let host = format!("[host]\nproc = {proc:?}\nsys = {sys:?}");
    place.configure_with("", "", "interval = \"500ms\"\nwindow = \"1s\"", &host);
    let daemon = Daemon::start_notifying(&place, Some(Duration::from_secs(2)));
    let status = daemon.wait_for_message("STATUS=0 hosts, 0 metrics; %util a-disk-0 0.0, ");
    // systemd drops a message of more than 4096 bytes as a whole, with the heartbeat in it.
    assert!(status.len() < 2000, "{} bytes", status.len());
    assert!(status.trim_end().ends_with('…'), "{status}");
    for _ in 0..3 {
        let message = daemon.wait_for_message("WATCHDOG=1");
        assert!(message.len() < 2000, "{} bytes", message.len());
    }
    assert_eq!(place.disks().unwrap()["disks"].as_object().unwrap().len(), 1000);
    daemon.stop();
}

/// Makes a million entries in one directory and a million directories in another, in some seconds.
fn wide_tree(whisper: &Path) {
    let open = |path: &Path| openat(CWD, path, READ, Mode::empty()).unwrap();
    for name in ["many", "wide"] {
        fs::create_dir(whisper.join(name)).unwrap();
    }
    let many = open(&whisper.join("many"));
    let wide = open(&whisper.join("wide"));
    fs::write(whisper.join("many/first.wsp"), "").unwrap();
    let fill = |directory: &OwnedFd, from: u32, to: u32| {
        for number in from..to {
            let name = format!("{number}.wsp");
            match number % 100 {
                0 => symlinkat("first.wsp", directory, name),
                1 => linkat(
                    directory,
                    "first.wsp",
                    directory,
                    format!("{number}.txt"),
                    AtFlags::empty(),
                ),
                _ => linkat(directory, "first.wsp", directory, name, AtFlags::empty()),
            }
            .unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| fill(&many, 0, 1_000_000));
        for number in 0..1_000_000 {
            mkdirat(&wide, format!("{number}"), Mode::RWXU).unwrap();
        }
    });
}

/// What `once` finds under limits of the shell's `ulimit`.
fn once_limited(place: &TestDir, limits: &str) -> serde_json::Value {
    let command = format!(
        "ulimit {limits}; exec {} --config {} once --json --window 10ms",
        env!("CARGO_BIN_EXE_shinken-gatherer"),
        place.path("gatherer.toml").display()
    );
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let answer: serde_json::Value = json_of(&output);
    answer["graphite"].clone()
}

#[test]
fn directories_of_a_million_entries_count_in_24_mb() {
    let place = TestDir::in_memory();
    let whisper = place.path("whisper");
    wide_tree(&whisper);
    // The limit of the packaged unit is on the same memory: what a process allocates, without its stack.
    let count = once_limited(&place, "-d 24576");
    assert_eq!((&count["hosts"], &count["metrics"]), (&2.into(), &990_001.into()));
}

#[test]
fn deep_branches_count_to_2047_levels_in_little_memory() {
    let place = TestDir::in_memory();
    for host in 0..4 {
        let mut directory = openat(CWD, place.path("whisper"), READ, Mode::empty()).unwrap();
        let mut name = format!("host-{host}").into_bytes();
        for level in 0..2500 {
            mkdirat(&directory, name.as_slice(), Mode::RWXU).unwrap();
            directory = openat(&directory, name.as_slice(), READ, Mode::empty()).unwrap();
            openat(&directory, "m.wsp", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
            // Paths of 600 KB, and of little more than their number of levels.
            name = match host % 2 {
                0 => vec![b'd'; 250],
                _ => vec![b'0' + (level % 10) as u8],
            };
        }
    }
    let count = once_limited(&place, "-n 4096 -d 8192 -s 256");
    assert_eq!(
        (&count["hosts"], &count["metrics"]),
        (&4.into(), &(4 * 2047).into())
    );
    assert_eq!(count["unreadable"], 4);
    // A path this long is removed from within only.
    let removed = Command::new("rm").arg("-rf").arg(place.path("whisper")).status();
    assert!(removed.unwrap().success());
}

#[test]
fn other_entries_and_link_loops_count_by_their_lstat_type() {
    if !is_root() {
        return;
    }
    let place = TestDir::new();
    let whisper = place.path("whisper");
    place.metrics((0..20).map(|number| format!("host-{}/check/m{number}.wsp", number % 5)));
    let host = whisper.join("host-0");
    for (name, kind, device) in [
        ("fifo.wsp", FileType::Fifo, 0),
        ("socket.wsp", FileType::Socket, 0),
        ("zero.wsp", FileType::CharacterDevice, rustix::fs::makedev(1, 5)),
        ("loop.wsp", FileType::BlockDevice, rustix::fs::makedev(7, 250)),
    ] {
        mknodat(CWD, host.join(name), kind, Mode::RUSR, device).unwrap();
        // The very places of directories that are looked for: a host and a check.
        mknodat(CWD, whisper.join(name), kind, Mode::RUSR, device).unwrap();
    }
    for (name, target) in [
        ("a.wsp", "b.wsp"),
        ("b.wsp", "a.wsp"),
        ("self.wsp", "self.wsp"),
        ("up", ".."),
        ("up.wsp", "../.."),
        ("root", "/"),
        ("proc.wsp", "/proc/self/root"),
        ("fd.wsp", "/dev/fd/0"),
        ("stdin.wsp", "/dev/stdin"),
        ("empty-looking.wsp", " "),
    ] {
        symlink(target, host.join(name)).unwrap();
    }
    for name in hostile_names() {
        let mut metric = name.clone();
        metric.truncate(251);
        metric.extend(b".wsp");
        let directory = whisper.join(std::ffi::OsStr::from_bytes(&name));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(std::ffi::OsStr::from_bytes(&metric)), "").unwrap();
    }
    let (hosts, metrics) = naive(&whisper).figures();
    assert_eq!((hosts, metrics), (5 + 17, 20 + 8 + 17), "the naive walk itself");
    place.configure("interval = \"10ms\"");
    let daemon = Daemon::start(&place);
    let began = Instant::now();
    wait_for("the count", || {
        figures(&place).filter(|found| *found == (hosts, metrics))
    });
    assert!(began.elapsed() < Duration::from_secs(10));
    // A directory in the place of each, and each in the place of a directory.
    let check = whisper.join("host-1/check");
    for special in ["fifo.wsp", "socket.wsp", "zero.wsp", "loop.wsp", "a.wsp", "up"] {
        fs::rename(&check, place.path("aside")).unwrap();
        fs::rename(host.join(special), &check).unwrap();
        fs::create_dir(host.join(special)).unwrap();
        fs::write(host.join(special).join("in.wsp"), "").unwrap();
        let (hosts, metrics) = naive(&whisper).figures();
        wait_for(special, || {
            figures(&place).filter(|found| *found == (hosts, metrics))
        });
        fs::remove_dir_all(host.join(special)).unwrap();
        fs::rename(&check, host.join(special)).unwrap();
        fs::rename(place.path("aside"), &check).unwrap();
        wait_for("the count as before", || {
            figures(&place).filter(|found| *found == naive(&whisper).figures())
        });
    }
    assert_eq!(fs::metadata(&check).unwrap().nlink(), 2);
    daemon.stop();
}
