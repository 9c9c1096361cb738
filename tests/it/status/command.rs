//! `status` as a person or a program sees it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::support::check_fixture::{CheckFixture, count, disk, disks, now, ready};
use serde_json::Value;

/// A site whose files are fresh, on a machine that passes for a VMware VM by its firmware.
fn fresh() -> CheckFixture {
    let site = CheckFixture::new();
    fs::create_dir_all(site.path("sys/class/dmi/id")).unwrap();
    fs::write(site.path("sys/class/dmi/id/sys_vendor"), "VMware, Inc.\n").unwrap();
    site.publish("whisper.nb_metrics", &count(200));
    let two = [disk("sda", 95.0, 80.0), disk("sdb", 5.0, 1.0)].join(",");
    site.publish("disks", &disks(3, &two, "\"sda\""));
    site.publish("vmware", &ready(3, 24.0));
    site
}

fn text(site: &CheckFixture, args: &[&str]) -> (i32, String) {
    let output = site.run(&[&["status"], args].concat());
    assert!(output.stderr.is_empty(), "{output:?}");
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

/// What the program writes to a terminal of this size, made by script(1).
fn on_terminal(site: &CheckFixture, columns: u32, environment: &str, args: &str) -> Option<String> {
    let program = crate::support::check_fixture::program().display();
    let config = site.path("gatherer.toml");
    let inside = format!(
        "stty cols {columns} rows 24; exec env LC_ALL=C.UTF-8 {environment} {program} --config {} {args}",
        config.display()
    );
    let output = Command::new("script")
        .args(["-qec", &inside, "/dev/null"])
        .stdin(Stdio::null())
        .output();
    Some(String::from_utf8(output.ok()?.stdout).unwrap())
}

#[test]
fn fresh_documents_are_a_table_without_colours_in_a_pipe() {
    let site = fresh();
    let (code, table) = text(&site, &[]);
    assert_eq!(code, 0, "{table}");
    assert!(!table.contains('\x1b') && table.is_ascii(), "{table:?}");
    let words = |line: &str| {
        line.split_whitespace()
            .map(String::from)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let lines: Vec<_> = table.lines().map(words).collect();
    assert!(
        lines[0].starts_with("graphite fresh 3m2")
            && lines[0].ends_with("1000000 metrics, counted in 0.105 s"),
        "{table}"
    );
    assert_eq!(lines[1], "4000 hosts");
    assert!(lines[2].starts_with("disks fresh "), "{table}");
    assert!(
        lines[2].ends_with("sda 95.0% util r/w await 0.8/1.9 ms, queue 0.15, whisper tree"),
        "{table}"
    );
    assert!(lines[3].starts_with("sdb 5.0% util"), "{table}");
    assert!(
        lines[4].ends_with("6.00% ready per vCPU 24.00% in total on 4 vCPUs"),
        "{table}"
    );
    assert_eq!(lines.len(), 5);
}

#[test]
fn outdated_missing_or_unreadable_document_fails_status() {
    let site = fresh();
    site.publish("whisper.nb_metrics", &count(7200));
    fs::remove_file(site.path("vmware")).unwrap();
    site.publish("disks", "{");
    let (code, table) = text(&site, &[]);
    assert_eq!(code, 1, "{table}");
    assert!(
        table.contains("graphite   outdated    2h00m    outdated: 2h"),
        "{table}"
    );
    assert!(
        table.contains("1000000 metrics"),
        "the last figures stay: {table}"
    );
    assert!(table.contains("disks      unreadable  -        /"), "{table}");
    assert!(
        table.contains("malformed: EOF while parsing an object at line 1 column 1"),
        "{table}"
    );
    assert!(table.contains("vmware     absent      -        /"), "{table}");
    let site = CheckFixture::with("enabled = false\n");
    let (_, table) = text(&site, &[]);
    assert!(
        table.contains("vmware     disabled    -        disabled in the configuration"),
        "{table}"
    );
}

#[test]
fn json_has_each_document_and_its_state() {
    let site = fresh();
    let (code, line) = text(&site, &["--json"]);
    assert_eq!((code, line.lines().count()), (0, 1));
    let status: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(status["graphite"]["state"], "fresh");
    assert_eq!(status["graphite"]["document"]["metrics"], 1_000_000);
    assert_eq!(status["disks"]["document"]["disks"]["sda"]["util_percent"], 95.0);
    assert_eq!(status["disks"]["max_age_seconds"], 50);
    let age = status["vmware"]["age_seconds"].as_i64().unwrap();
    assert!((3..60).contains(&age), "{age}");
    fs::remove_file(site.path("disks")).unwrap();
    let (code, line) = text(&site, &["--json"]);
    let status: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(code, 1);
    assert_eq!(status["disks"]["state"], "absent");
    assert_eq!(status["disks"]["document"], Value::Null);
}

#[test]
fn a_terminal_gets_colours_and_bars_cut_to_its_width() {
    let site = fresh();
    let Some(wide) = on_terminal(&site, 120, "TERM=xterm", "status") else {
        crate::support::skip("script(1) is missing");
        return;
    };
    assert!(wide.contains("\x1b[32mfresh"), "{wide:?}");
    assert!(wide.contains("\x1b[31m██████████████████████▊·"), "{wide:?}");
    let plain = on_terminal(&site, 120, "TERM=xterm NO_COLOR=1", "status").unwrap();
    assert!(!plain.contains('\x1b') && plain.contains("█▎··"), "{plain:?}");
    let ascii = on_terminal(&site, 120, "TERM=xterm NO_COLOR=1 LC_ALL=C", "status").unwrap();
    assert!(ascii.is_ascii() && ascii.contains("[#.."), "{ascii:?}");
    let dumb = on_terminal(&site, 120, "TERM=dumb", "status").unwrap();
    assert!(
        dumb.is_ascii() && !dumb.contains('\x1b') && !dumb.contains('['),
        "{dumb:?}"
    );
    let narrow = on_terminal(&site, 40, "TERM=xterm NO_COLOR=1", "status").unwrap();
    assert!(
        narrow.lines().all(|line| line.chars().count() <= 40),
        "{narrow:?}"
    );
    assert!(!narrow.contains('█'), "{narrow:?}");
}

#[test]
fn nothing_in_a_document_reaches_the_terminal_as_a_command() {
    let site = fresh();
    let document = disks(3, &disk("sd\u{1b}]0;x\u{7}", 1.0, 1.0), "");
    site.publish("disks", &document);
    let (_, table) = text(&site, &[]);
    assert!(table.contains("sd?]0;x?"), "{table:?}");
}

#[test]
fn watching_shows_each_new_document_and_ends_when_interrupted() {
    let site = fresh();
    let mut watching = site
        .command(&["status", "--watch", "100ms", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["vmware"]["document"]["cpu_ready_percent"], 24.0);
    site.publish("vmware.new", &ready(0, 40.0));
    fs::rename(site.path("vmware.new"), site.path("vmware")).unwrap();
    while next()["vmware"]["document"]["cpu_ready_percent"] != 40.0 {}
    let pid = rustix::process::Pid::from_child(&watching);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}

#[test]
fn watching_redraws_in_place_with_the_past_of_each_figure() {
    let site = fresh();
    let program = crate::support::check_fixture::program().display();
    let inside = format!(
        "stty cols 120 rows 24; exec env LC_ALL=C.UTF-8 TERM=xterm NO_COLOR=1 {program} --config {} status --watch 100ms",
        site.path("gatherer.toml").display()
    );
    let spawned = Command::new("script")
        .args(["-qfec", &inside, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut script) = spawned else {
        crate::support::skip("script(1) is missing");
        return;
    };
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    let mut out = script.stdout.take().unwrap();
    let started = std::time::Instant::now();
    let (mut redrawn, mut new) = (false, false);
    while !(redrawn && new) {
        assert!(started.elapsed().as_secs() < 30, "{seen:?}");
        let read = out.read(&mut bytes).unwrap();
        seen += &String::from_utf8_lossy(&bytes[..read]);
        // Five lines up, written over.
        redrawn = seen.contains("\x1b[5A\r");
        if redrawn && !seen.contains("10.00% ready") {
            site.publish("vmware.new", &ready(now() % 2, 40.0));
            fs::rename(site.path("vmware.new"), site.path("vmware")).unwrap();
        }
        // 6 % and 10 % of the 0 to 10 % that the line shows.
        new = seen.contains("▅█");
    }
    let mut stdin = script.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"\x03").unwrap();
    drop(out);
    script.wait().unwrap();
}

#[test]
fn watching_ends_when_nobody_reads() {
    let site = fresh();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut watching = site
        .command(&["status", "--watch", "100ms"])
        .stdout(writer)
        .spawn()
        .unwrap();
    drop(reader);
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}

#[test]
fn bad_usage_is_2() {
    let site = fresh();
    for args in [&["--watch", "1ms"][..], &["--watch", "often"], &["more"]] {
        let output = site.run(&[&["status"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
