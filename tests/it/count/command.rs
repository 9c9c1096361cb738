//! The count of a whisper tree by `once`, compared with a naive walk.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Output;

use crate::support::{
    TestDir, assert_contains, hostile_names, json_of, make_deep, naive, remove_deep, stderr_of, strace, text,
    totals_of,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

fn once(dir: &TestDir, arguments: &str) -> Output {
    let mut command = dir.command();
    command
        .args(["once", "--window", "10ms"])
        .args(arguments.split(' '));
    command.output().unwrap()
}

#[test]
fn every_unusual_entry_counts_by_its_lstat_type() {
    let dir = TestDir::in_memory();
    let names =
        b"host-1/check/a.wsp|host-1/check/b.wsp|host-1/not-a-metric.txt|host-1/xwsp|host-1/UPPER.WSP|\
                  host-1/.wsp|.hidden-host/c.wsp|latin-\xe9\xff/caf\xe9.wsp|new\nline/tab\t.wsp|\
                  host-2/x.wsp/inside.wsp|directly.wsp|plain-file";
    dir.metrics(names.split(|byte| *byte == b'|'));
    for name in hostile_names() {
        let metric = [&name[..name.len().min(251)], b".wsp"].concat();
        dir.metrics([[name, metric].join(&b'/')]);
    }
    let whisper = dir.path("whisper");
    let long = format!("host-3/{0}/{0}", "d".repeat(255));
    for name in ["empty-host", "a-host-called.wsp", &long] {
        fs::create_dir_all(whisper.join(name)).unwrap();
    }
    let links = "a.wsp=check/a.wsp dangling.wsp=/nowhere up=.. up.wsp=../.. loop=. loop.wsp=loop.wsp b.wsp=c.wsp \
                 c.wsp=b.wsp root=/ root.wsp=/proc/self/root fd.wsp=/dev/fd/0 stdin.wsp=/dev/stdin";
    for (name, target) in links.split(' ').map(|link| link.split_once('=').unwrap()) {
        symlink(target, whisper.join("host-2").join(name)).unwrap();
    }
    symlink("host-1", whisper.join("link-to-host")).unwrap();
    let fifo = whisper.join("host-1/fifo.wsp");
    mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = UnixListener::bind(whisper.join("host-1/socket.wsp")).unwrap();
    assert_eq!(naive(&whisper), (8 + 17, 8 + 17 + 9), "the naive walk itself");
    let document = dir.once_json()["graphite"].clone();
    assert_eq!(totals_of(&document), naive(&whisper));
    assert_eq!(document.get("unreadable"), None);
}

#[test]
fn unreadable_directory_is_skipped_unless_memory_is_short() {
    let dir = TestDir::in_memory();
    dir.metrics(["host-1/a.wsp", "host-2/b.wsp"]);
    for (path, error, unreadable, reason) in [
        (
            "whisper/host-1",
            "EIO",
            Some(1),
            ", not counted: Input/output error",
        ),
        (
            "whisper",
            "EIO",
            None,
            ": reading directories: Input/output error",
        ),
        (
            "whisper/host-1",
            "ENOMEM",
            None,
            ": reading directories: Cannot allocate memory",
        ),
    ] {
        let (path, inject) = (dir.path(path), format!("inject=getdents64:error={error}"));
        let options = [
            "-P",
            path.to_str().unwrap(),
            "-e",
            "trace=getdents64",
            "-e",
            &inject,
        ];
        let Some(mut command) = strace(&dir, &options, &["once", "--json", "--window", "10ms"]) else {
            return;
        };
        let output = command.output().unwrap();
        assert_contains(&stderr_of(&output), reason);
        let document = &json_of(&output)["graphite"];
        assert_eq!(document["unreadable"].as_u64(), unreadable, "{document}");
        assert_eq!(document.is_null(), unreadable.is_none(), "{document}");
    }
}

#[test]
fn whisper_directory_that_is_a_link_is_counted() {
    let dir = TestDir::in_memory();
    dir.metrics(["host/a.wsp"]);
    symlink(dir.path("whisper"), dir.path("link")).unwrap();
    let link = dir.path("link");
    let output = once(&dir, &format!("--json --whisper-dir {}", link.display()));
    assert_eq!(totals_of(&json_of(&output)["graphite"]), (1, 1));
}

#[test]
fn host_depth_and_patterns_decide_what_counts() {
    let dir = TestDir::in_memory();
    let names = "_pre/host-1/a.wsp _pre/host-2/b.wsp other/host-3/c/d.wsp other/host-3/c/d.old.wsp \
                 other/lost+found/f.wsp lost+found/e.wsp tmp-1/g.wsp e.wsp";
    dir.metrics(names.split(' '));
    let exclude = r#"exclude = ["lost+found", "*.old.wsp", "/tmp-*/", "_pre/host-2/b.wsp"]"#;
    for (settings, expected) in [("", (3, 7)), ("host_depth = 2", (4, 7)), (exclude, (2, 3))] {
        dir.configure(settings);
        assert_eq!(totals_of(&dir.once_json()["graphite"]), expected, "{settings}");
    }
}

#[test]
fn missing_whisper_directory_is_an_error_of_the_count_only() {
    let dir = TestDir::in_memory();
    fs::remove_dir(dir.path("whisper")).unwrap();
    let output = once(&dir, "--json --write");
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr_of(&output);
    assert_contains(&errors, "opening the whisper directory");
    let document = json_of(&output);
    assert!(document["graphite"].is_null() && document["disks"].is_object());
    assert!(dir.count().is_none() && dir.disks().is_some());
}

#[test]
fn once_publishes_only_with_write() {
    let dir = TestDir::in_memory();
    dir.metrics(["host/a.wsp"]);
    dir.once_json();
    assert!(dir.count().is_none() && dir.disks().is_none());
    let output = once(&dir, "--write");
    assert!(output.status.success(), "{}", stderr_of(&output));
    assert_eq!(totals_of(&dir.count().unwrap()), (1, 1));
    assert!(dir.disks().is_some());
    assert_contains(&text(&output.stdout), "1 hosts, 1 metrics");
}

#[test]
fn deep_branches_count_to_2047_levels_in_little_memory() {
    let dir = TestDir::in_memory();
    for host in 0..4 {
        // Paths of 600 KB, and of little more than their number of levels.
        let name = |level: usize| match (level, host % 2) {
            (0, _) => format!("host-{host}").into_bytes(),
            (_, 0) => vec![b'd'; 250],
            _ => vec![b'0' + (level % 10) as u8],
        };
        make_deep(&dir.path("whisper"), (0..2500).map(name));
    }
    let output = dir.once_limited("-n 4096 -d 8192 -s 256");
    let count = json_of(&output)["graphite"].clone();
    assert_eq!(
        (totals_of(&count), &count["unreadable"]),
        ((4, 4 * 2047), &Value::from(4))
    );
    let errors = stderr_of(&output);
    assert_contains(&errors, ", not counted: more than 2047 levels deep");
    // Every level stays open: the error names the limit.
    let output = dir.once_limited("-n 64");
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr_of(&output);
    assert_contains(&errors, "LimitNOFILE=, ulimit -n");
    remove_deep(&dir.path("whisper"));
}
