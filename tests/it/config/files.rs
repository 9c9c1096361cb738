//! Files and texts that the program rejects at its start and at a reload.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};
use rustix::process::Signal;
use shinken_gatherer::config::Config;

use crate::support::refusal::{assert_is_short_line, limited, refusal_of};
use crate::support::{Daemon, TestDir, gatherer, skip, wait_for};

/// Makes something at the path of the configuration.
type Make = Box<dyn Fn(&Path)>;

fn write(text: impl Into<Vec<u8>>) -> Make {
    let text = text.into();
    Box::new(move |path| fs::write(path, &text).unwrap())
}

fn link(target: &'static str) -> Make {
    Box::new(move |path| symlink(target, path).unwrap())
}

/// Returns what is rejected, with the beginning of the error after the path.
fn bad_files() -> Vec<(Make, &'static str)> {
    let patterns = format!("'{}',", "?".repeat(4000)).repeat(200);
    vec![
        (Box::new(|_| ()), ": No such file or directory"),
        (
            Box::new(|path| fs::create_dir(path).unwrap()),
            ": not a regular file",
        ),
        (
            Box::new(|path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap()),
            ": not a regular file",
        ),
        (
            Box::new(|path| drop(UnixListener::bind(path).unwrap())),
            ": not a regular file",
        ),
        (link("/nonexistent/file"), ": No such file or directory"),
        (link("gatherer.toml"), ": Too many levels of symbolic links"),
        (link("/dev/zero"), ": not a regular file"),
        (link("/dev/ptmx"), ": not a regular file"),
        (link("/proc/self/mem"), ": Input/output error"),
        (
            Box::new(|path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap()),
            ": larger than 1048576 bytes",
        ),
        (write(b"log_level = 'info'\n# caf\xe9\n"), ":2: not valid UTF-8"),
        (
            write("[disks]\nintervall = '1s'"),
            ":2: disks.intervall: unknown field `intervall`",
        ),
        (write("log_level = 'in\0fo'"), ":1: log_level: "),
        (
            write(r#""a\nb\u001b[31m" = 3"#),
            r":1: a\nb\u{1b}[31m: unknown field",
        ),
        (
            write("disks.interval = 10"),
            ":1: disks.interval: invalid type: integer",
        ),
        (
            write("disks.interval = '2m'"),
            ":1: disks.interval: window (1m) must be at least",
        ),
        (
            write("disks.output = '/etc/x'"),
            ":1: disks.output: \"/etc/x\" is in /etc",
        ),
        (write(format!("\na = {}", "[".repeat(500_000))), ":2: a: "),
        (
            write(format!("\n{} = 1", vec!["a"; 500_000].join("."))),
            ":2: recursion limit",
        ),
        (
            write(format!("log_file = '{}'", "x".repeat(1_000_000))),
            ":1: log_file: ",
        ),
        (
            write(format!("graphite.exclude = [{patterns}]")),
            ":1: graphite.exclude: patterns are longer",
        ),
    ]
}

fn clear(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
}

#[test]
fn bad_file_is_rejected_at_the_start_within_limits() {
    let dir = TestDir::in_memory();
    let file = dir.path("gatherer.toml");
    for (make, reason) in bad_files() {
        for words in [&["run"][..], &["once", "--write", "--window", "10ms"]] {
            clear(&file);
            make(&file);
            let line = refusal_of(limited(&dir).args(words));
            assert!(line.starts_with(&format!("{}{reason}", file.display())), "{line}");
        }
    }
    let entries = fs::read_dir(dir.path("")).unwrap();
    let mut left: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(
        left,
        ["gatherer.toml", "state", "whisper"],
        "something was written"
    );
}

#[test]
fn reload_of_a_bad_file_keeps_the_running_configuration() {
    let dir = TestDir::in_memory();
    dir.metrics(["host-1/a.wsp"]);
    let fast = "interval = \"20ms\"";
    dir.configure_with("", fast, &format!("{fast}\nwindow = \"1s\""), "");
    let file = dir.path("gatherer.toml");
    let good = fs::read_to_string(&file).unwrap();
    let daemon = Daemon::start(&dir);
    wait_for("the count", || dir.count());
    let bad = bad_files();
    let rejected = || {
        let log = dir.log();
        let whole = log
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'));
        let lines = whole.filter(|line| line.contains("reload failed"));
        lines.map(String::from).collect::<Vec<_>>()
    };
    for (number, (make, reason)) in bad.iter().enumerate() {
        clear(&file);
        make(&file);
        daemon.signal(Signal::HUP);
        let line = wait_for(reason, || rejected().into_iter().nth(number));
        let path = file.display();
        let expected =
            format!(" ERROR daemon: reload failed, keeping the current configuration: {path}{reason}");
        assert!(line.contains(&expected), "{expected} is not in {line}");
        assert_is_short_line(&line);
    }
    assert_eq!(rejected().len(), bad.len(), "one line each");
    assert!(!dir.log().contains(" reloaded\n"), "{}", dir.log());
    dir.metrics(["host-2/b.wsp"]);
    wait_for("a later count", || {
        dir.count().filter(|count| count["hosts"] == 2)
    });
    let disks = wait_for("the disks", || dir.disks());
    assert_eq!(disks["interval_seconds"], 0.02);
    wait_for("later disks", || dir.disks().filter(|later| *later != disks));
    clear(&file);
    fs::write(
        &file,
        good.replace("interval = \"20ms\"\nwindow", "interval = \"30ms\"\nwindow"),
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    dir.wait_for_log(" INFO daemon: configuration reloaded\n");
    wait_for("the new interval", || {
        dir.disks().filter(|disks| disks["interval_seconds"] == 0.03)
    });
    daemon.stop();
}

#[test]
fn file_that_others_can_write_is_rejected_with_its_mode() {
    let dir = TestDir::in_memory();
    let file = dir.path("gatherer.toml");
    let assert_rejected = |mode: &str| {
        let line = refusal_of(dir.command().arg("status"));
        let user = rustix::process::geteuid().as_raw();
        let start = format!("{}: owner is user {user} and mode is {mode}, ", file.display());
        assert!(line.starts_with(&start), "{line}");
    };
    for mode in [0o664, 0o646, 0o620, 0o666, 0o777] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        assert_rejected(&format!("{mode:04o}"));
    }
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    // An ACL that lets the owner and the user 65534 read and write: tag, permissions and user of each entry.
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, uid) in [
        (1u16, 6u16, u32::MAX),
        (2, 6, 65534),
        (4, 0, u32::MAX),
        (16, 6, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(uid.to_le_bytes());
    }
    match setxattr(&file, "system.posix_acl_access", &acl, XattrFlags::empty()) {
        Ok(()) => assert_rejected("0660"),
        Err(errno) => skip(&format!("no ACL: {errno}")),
    }
}

#[test]
fn file_of_1_mib_is_accepted() {
    let dir = TestDir::in_memory();
    let file = dir.path("gatherer.toml");
    fs::write(&file, format!("#{}\n", "x".repeat((1 << 20) - 2))).unwrap();
    assert_eq!(Config::load(Some(&file)), Ok(Config::default()));
}

#[test]
fn deceptive_configuration_file_name_is_escaped() {
    for (name, escaped) in [
        ("/nonexistent/a\nb", r"/nonexistent/a\nb: "),
        ("/nonexistent/\u{1b}[31m", r"/nonexistent/\u{1b}[31m: "),
    ] {
        let line = refusal_of(gatherer().args(["--config", name, "run"]));
        assert!(line.starts_with(escaped), "{line}");
    }
}

#[test]
fn tree_of_the_command_line_is_not_published_into_etc() {
    let dir = TestDir::in_memory();
    let line = refusal_of(limited(&dir).args(["once", "--write", "--whisper-dir", "/etc/whisper"]));
    assert_eq!(
        line,
        "\"/etc/whisper.nb_metrics\" is in /etc, must not be in a system folder"
    );
}
