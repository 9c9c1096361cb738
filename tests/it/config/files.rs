//! Files and texts that the program rejects at its start and at a reload.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use rustix::fs::{XattrFlags, setxattr};
use rustix::process::Signal;
use shinken_gatherer::config::Config;

use super::cases::expand;
use crate::support::{
    Daemon, TestDir, assert_contains, assert_is_short_line, gatherer, limited, refusal_of, skip, stderr_of,
    wait_for,
};

/// What is rejected, with the beginning of the error after the path: shell commands after `$ `, else texts.
const BAD_FILES: [(&str, &str); 16] = [
    ("$ true", ": No such file or directory"),
    ("$ mkdir gatherer.toml", ": not a regular file"),
    ("$ mkfifo gatherer.toml", ": not a regular file"),
    ("$ ln -s nonexistent gatherer.toml", ": No such file or directory"),
    (
        "$ ln -s gatherer.toml gatherer.toml",
        ": Too many levels of symbolic links",
    ),
    ("$ ln -s /dev/zero gatherer.toml", ": not a regular file"),
    ("$ ln -s /dev/ptmx gatherer.toml", ": not a regular file"),
    ("$ ln -s /proc/self/mem gatherer.toml", ": Input/output error"),
    ("$ truncate -s 1T gatherer.toml", ": larger than 1048576 bytes"),
    (
        "$ printf '#\\n# caf\\351\\n' >gatherer.toml",
        ":2: not valid UTF-8",
    ),
    (
        "[disks]\nintervall = '1s'",
        ":2: disks.intervall: unknown key `intervall`",
    ),
    (r#""a\nb\u001b[31m" = 3"#, r":1: a\nb\u{1b}[31m: unknown key"),
    (
        "disks.output = '/etc/x'",
        ":1: disks.output: \"/etc/x\" is in /etc",
    ),
    ("\na = <[*500000>", ":2: a: "),
    ("log_file = '<x*1000000>'", ":1: log_file: "),
    (
        "graphite.exclude = ['<?*800000>']",
        ":1: graphite.exclude: patterns are longer",
    ),
];

/// Replaces the configuration as in [`BAD_FILES`].
fn replace(dir: &TestDir, contents: &str) {
    let file = dir.path("gatherer.toml");
    let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
    match contents.strip_prefix("$ ") {
        Some(shell) => {
            let mut command = Command::new("sh");
            let status = command.args(["-ec", shell]).current_dir(dir.path("")).status();
            assert!(status.unwrap().success(), "{shell}");
        }
        None => fs::write(file, expand(contents)).unwrap(),
    }
}

#[test]
fn bad_file_is_rejected_at_the_start_within_limits() {
    let dir = TestDir::in_memory();
    let file = dir.path("gatherer.toml");
    for (contents, reason) in BAD_FILES {
        replace(&dir, contents);
        for words in [
            &["run"][..],
            &["config", "test"],
            &["config", "show"],
            &["once", "--write", "--window", "10ms"],
        ] {
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
    for (number, (contents, reason)) in BAD_FILES.into_iter().enumerate() {
        replace(&dir, contents);
        daemon.signal(Signal::HUP);
        let line = wait_for(reason, || {
            let log = dir.log();
            let mut lines = log.lines().filter(|line| line.contains("reload failed"));
            lines
                .nth(number)
                .filter(|_| log.ends_with('\n'))
                .map(String::from)
        });
        let path = file.display();
        let expected =
            format!(" ERROR daemon: reload failed, keeping the current configuration: {path}{reason}");
        assert!(line.contains(&expected), "{expected} is not in {line}");
        assert_is_short_line(&line);
    }
    let log = dir.log();
    assert_eq!(log.matches("reload failed").count(), BAD_FILES.len(), "{log}");
    assert!(!log.contains(" reloaded\n"), "{log}");
    dir.metrics(["host-2/b.wsp"]);
    wait_for("a later count", || {
        dir.count().filter(|count| count["hosts"] == 2)
    });
    let disks = wait_for("the disks", || dir.disks());
    assert_eq!(disks["interval_seconds"], 0.02);
    wait_for("later disks", || dir.disks().filter(|later| *later != disks));
    replace(&dir, &good.replace("20ms\"\nwindow", "30ms\"\nwindow"));
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
fn templates_are_limited_together_and_have_their_own_files() {
    let dir = TestDir::in_memory();
    symlink(dir.path(""), dir.path("link")).unwrap();
    let configure = |second_path: &str| {
        let exports = [("a.out", "a.j2"), (second_path, "b.j2")].map(|(path, template)| {
            let (path, template) = (dir.path(path), dir.path(template));
            format!("[[export]]\npath = {path:?}\ntemplate_file = {template:?}\nfrom = [\"disks\"]\n")
        });
        dir.write("gatherer.toml", &exports.concat());
    };
    let test = || dir.run(&["config", "test"]);
    dir.write("a.j2", &"a".repeat(128 << 10));
    dir.write("b.j2", &"b".repeat(128 << 10));
    configure("b.out");
    assert!(test().status.success(), "{}", stderr_of(&test()));
    configure("link/a.out");
    assert_contains(
        &stderr_of(&test()),
        "link/a.out\" and export.path are the same file, through links",
    );
    dir.write("b.j2", &"b".repeat((128 << 10) + 1));
    assert_contains(
        &stderr_of(&test()),
        "gatherer.toml:6: export.path: templates are longer than 262144 bytes in total",
    );
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
