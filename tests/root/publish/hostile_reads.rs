//! An attacker creates files where `check` and `status` read, and the users whose documents they trust.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, makedev};

use crate::support::{
    ATTACKER, CheckFixture, Fixture, Leased, OBSTACLES, TestDir, Victims, after_mounting, answer_of,
    assert_is_row, copy_of_binary, disks, make_node, remove, skip, text,
};

fn fixture_with_open_outputs() -> Fixture {
    let fixture = Fixture::new(["open"; 3]);
    fixture.set_mode("", 0o755);
    fixture.set_mode("open", 0o1777);
    fixture
}

/// Asserts that each command answers soon, and that the three files are unknown.
fn assert_unknown(fixture: &Fixture, context: &str) {
    let run = |arguments: &[&str]| {
        let asked = Instant::now();
        let output = fixture.run(arguments);
        assert!(asked.elapsed() < Duration::from_secs(20), "{context}");
        let answer = text(&output.stdout) + &text(&output.stderr);
        assert!(!answer.contains("precious"), "{context}: {answer}");
        (output.status.code(), answer)
    };
    for subject in ["graphite", "disks", "vmware"] {
        let (code, answer) = run(&["check", subject]);
        let is_unknown = code == Some(3) && answer.contains(" UNKNOWN: cannot read the file /");
        assert!(
            is_unknown && answer.lines().count() == 1,
            "{context}: {code:?} {answer}"
        );
    }
    for arguments in [&["status"][..], &["status", "--json"]] {
        assert_eq!(run(arguments).0, Some(1), "{context}");
    }
}

/// Runs the commands with a file at each of the three paths.
fn try_with(fixture: &Fixture, context: &str, create: impl Fn(&Path)) {
    fixture.outputs.iter().for_each(|path| create(path));
    assert_unknown(fixture, context);
    fixture.outputs.iter().for_each(|path| remove(path));
}

#[test]
fn hostile_document_is_unknown_without_delay() {
    needs_root!();
    let fixture = fixture_with_open_outputs();
    let victims = Victims::new(&fixture);
    for obstacle in &OBSTACLES {
        try_with(&fixture, obstacle.name, |path| {
            obstacle.create_as_attacker(path, &victims.folder).unwrap();
        });
    }
    // Devices that never end.
    for minor in [5, 8] {
        try_with(&fixture, "endless device", |path| {
            make_node(path, FileType::CharacterDevice, makedev(1, minor)).unwrap();
        });
    }
    for owner in [0, ATTACKER] {
        try_with(&fixture, "10 GiB", |path| {
            File::create(path).unwrap().set_len(10 << 30).unwrap();
            chown(path, Some(owner), None).unwrap();
        });
    }
    victims.assert_unchanged("");
}

#[test]
fn leased_document_is_unknown_without_delay() {
    needs_root!();
    let fixture = fixture_with_open_outputs();
    let _leases = fixture.outputs.each_ref().map(|path| Leased::at(path));
    assert_unknown(&fixture, "leased");
}

#[test]
fn other_users_and_unreadable_files_are_not_trusted() {
    needs_root!();
    let site = CheckFixture::new();
    let file = site.path("disks");
    site.publish("disks", disks(3, &[("sda", 1.0, 1.0)], &[]));
    site.set_mode("", 0o755);
    let dir = TestDir::new();
    fs::set_permissions(dir.path(""), Permissions::from_mode(0o755)).unwrap();
    let program = copy_of_binary(&dir);
    let check = |uid: u32| {
        let mut command = Command::new(&program);
        command.arg("--config").arg(site.path("gatherer.toml"));
        command.args(["check", "disks"]).uid(uid).gid(uid);
        answer_of(&command.output().unwrap())
    };
    let other =
        "… UNKNOWN: cannot read the file …: owned by uid …, must be owned by root or shinken-gatherer";
    for (owner, caller, is_trusted) in [
        (0, 0, true),
        (0, 65534, true),
        (65534, 0, false),
        (65534, 65533, false),
        (65534, 65534, true),
    ] {
        chown(&file, Some(owner), None).unwrap();
        let line = check(caller);
        match is_trusted {
            true => assert!(line.starts_with("DISKS OK: "), "{owner} {caller}: {line}"),
            false => assert_is_row(other, &line),
        }
    }
    chown(&file, Some(0), None).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let denied = "… UNKNOWN: cannot read the file …: Permission denied (os error 13)";
    assert_is_row(denied, &check(65534));
}

#[test]
fn files_of_the_packaged_services_user_are_trusted() {
    needs_root!();
    let mount = Command::new("unshare").args(["--mount", "true"]).status();
    if !mount.is_ok_and(|status| status.success()) {
        return skip("mount namespaces are not allowed");
    }
    let site = CheckFixture::new();
    site.publish("disks", disks(3, &[("sda", 1.0, 1.0)], &[]));
    chown(site.path("disks"), Some(65432), None).unwrap();
    let passwd = "root:x:0:0::/root:/bin/sh\nshinken-gatherer:x:65432:65432::/:/bin/false\n";
    fs::write(site.path("passwd"), passwd).unwrap();
    // The service's user is in /etc/passwd for this one process.
    let mount = format!("mount --bind {} /etc/passwd", site.path("passwd").display());
    let mut command = after_mounting(&mount, &site.command(&["check", "disks"]));
    assert!(answer_of(&command.output().unwrap()).starts_with("DISKS OK: "));
}
