//! Files that are no configuration, whatever text they would hold.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use super::{refusal, refusal_of};
use crate::support::{Daemon, TestDir, copy_of_binary, gatherer, skip, stderr_of, wait_for};

/// What can stand where the configuration should be, made at the path, with what is said about it.
type Made = (&'static str, fn(&Path), &'static str);

const FILES: [Made; 13] = [
    ("nothing", |_| {}, ": No such file or directory"),
    (
        "a directory",
        |path| fs::create_dir(path).unwrap(),
        ": not a regular file",
    ),
    ("a FIFO", fifo, ": not a regular file"),
    (
        "a socket",
        |path| drop(UnixListener::bind(path).unwrap()),
        ": not a regular file",
    ),
    (
        "a link to nothing",
        |path| symlink("/nonexistent/file", path).unwrap(),
        ": No such file or directory",
    ),
    (
        "a link to itself",
        |path| symlink(path, path).unwrap(),
        ": Too many levels of symbolic links",
    ),
    (
        "a link to endless zeros",
        |path| symlink("/dev/zero", path).unwrap(),
        ": not a regular file",
    ),
    (
        "a link to a terminal",
        |path| symlink("/dev/ptmx", path).unwrap(),
        ": not a regular file",
    ),
    (
        "a link to memory that can't be read",
        |path| symlink("/proc/self/mem", path).unwrap(),
        ": Input/output error",
    ),
    (
        "10 MB of zeros",
        |path| fs::write(path, vec![0; 10 << 20]).unwrap(),
        ": larger than 1048576 bytes",
    ),
    (
        "1 TB of holes",
        |path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
        ": larger than 1048576 bytes",
    ),
    (
        "Latin-1",
        |path| fs::write(path, b"log_level = \"info\"\n# caf\xe9\n").unwrap(),
        ":2: not valid UTF-8",
    ),
    (
        "this program",
        |path| assert!(fs::copy("/proc/self/exe", path).is_ok()),
        ": larger than 1048576 bytes",
    ),
];

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn clear(path: &PathBuf) {
    let _ = fs::remove_dir(path).or_else(|_| fs::remove_file(path));
}

#[test]
fn invalid_configuration_file_is_rejected() {
    let place = TestDir::new();
    let file = place.path("gatherer.toml");
    for (what, make, reason) in FILES {
        clear(&file);
        make(&file);
        for words in [&["run"][..], &["once"]] {
            let said = refusal(&place, words);
            let expected = format!("{}{reason}", file.display());
            assert!(said.starts_with(&expected), "{what}: {said}");
        }
    }
}

#[test]
fn reload_from_invalid_file_is_rejected_without_waiting() {
    let place = TestDir::new();
    place.configure_with("", "", "interval = \"20ms\"\nwindow = \"1s\"", "");
    let good = fs::read(place.path("gatherer.toml")).unwrap();
    let daemon = Daemon::start(&place);
    place.wait_for_log("started");
    let file = place.path("gatherer.toml");
    for (number, (what, make, reason)) in FILES.into_iter().enumerate() {
        clear(&file);
        make(&file);
        daemon.signal(Signal::HUP);
        let refused = || {
            place
                .log()
                .lines()
                .filter(|line| line.contains(" reload failed, "))
                .map(String::from)
                .collect::<Vec<_>>()
        };
        let said = wait_for(what, || refused().into_iter().nth(number));
        let expected = format!(
            "reload failed, keeping the current configuration: {}{reason}",
            file.display()
        );
        assert!(said.contains(&expected), "{what}: {said}");
    }
    let published = wait_for("the disks", || place.disks());
    wait_for("more of the disks", || {
        place.disks().filter(|later| *later != published)
    });
    clear(&file);
    fs::write(&file, good).unwrap();
    daemon.signal(Signal::HUP);
    place.wait_for_log("INFO daemon: configuration reloaded");
    daemon.stop();
}

#[test]
fn unreadable_configuration_file_is_rejected() {
    let place = TestDir::new();
    if !rustix::process::geteuid().is_root() {
        return skip("another user needs root");
    }
    let copy = copy_of_binary(&place);
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let file = place.path("gatherer.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(place.path("closed")).unwrap();
    fs::set_permissions(place.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    for file in [file, place.path("closed/gatherer.toml")] {
        for word in ["run", "once"] {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(&copy);
            let said = refusal_of(command.arg("--config").arg(&file).arg(word));
            let expected = format!("{}: Permission denied", file.display());
            assert!(said.starts_with(&expected), "{said}");
        }
    }
}

#[test]
fn reload_from_unreadable_file_is_rejected() {
    let place = TestDir::new();
    let Some(daemon) = Daemon::start_as_nobody(&place) else {
        return skip("another user needs root");
    };
    place.wait_for_log("started");
    let file = place.path("gatherer.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.signal(Signal::HUP);
    place.wait_for_log(&format!(
        "reload failed, keeping the current configuration: {}: Permission denied",
        file.display()
    ));
    wait_for("the disks", || place.disks());
    daemon.stop();
}

#[test]
fn deceptive_configuration_file_name_is_escaped() {
    for (name, plain) in [
        ("/nonexistent/a\nb", r"/nonexistent/a\nb: "),
        ("/nonexistent/\u{1b}[31m", r"/nonexistent/\u{1b}[31m: "),
    ] {
        let said = refusal_of(gatherer().args(["--config", name, "run"]));
        assert!(said.starts_with(plain), "{said}");
    }
}

#[test]
fn empty_config_file_name_is_a_usage_error() {
    let output = gatherer().args(["--config", "", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = stderr_of(&output);
    assert!(
        stderr.contains("a value is required for '--config <FILE>'"),
        "{stderr}"
    );
}
