//! An attacker creates files where `check` and `status` read.

use std::fs::File;
use std::os::unix::fs::chown;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::attacker::{ATTACKER, Leased, OBSTACLES, Victims, make_node, remove};
use crate::support::fixture::Fixture;
use crate::support::{root_or_skip, text};
use rustix::fs::{FileType, makedev};

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
    if !root_or_skip() {
        return;
    }
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
    if root_or_skip() {
        let fixture = fixture_with_open_outputs();
        let _leases = fixture.outputs.each_ref().map(|path| Leased::at(path));
        assert_unknown(&fixture, "leased");
    }
}
