//! `status` in a pipe, on a terminal and with `--watch`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{
    CheckFixture, PATIENCE, assert_contains, collectors, count, disks, json_of, matches, ready, skip,
    stderr_of, text, wait_for,
};

/// Returns a VMware virtual machine whose documents are fresh.
fn fresh() -> CheckFixture {
    let site = CheckFixture::new();
    site.make_vmware();
    site.publish("whisper.nb_metrics", count(200));
    site.publish(
        "disks",
        disks(3, &[("sda", 5.0, 1.0), ("sdb", 95.0, 80.0)], &["sdb"]),
    );
    site.publish("vmware", ready(3, Some(24.0), Some(4)));
    site
}

/// Returns the lines of the table: one for each collector, two values of the count, two disks, and %ready.
fn lines() -> usize {
    collectors().count() + 5
}

/// Runs `status`. Returns the exit code and the table, in which one blank separates words.
fn status(site: &CheckFixture) -> (i32, String) {
    let output = site.run(&["status"]);
    assert_eq!(stderr_of(&output), "");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    let table = text(&output.stdout).lines().map(words).collect();
    (output.status.code().unwrap(), table)
}

/// Fails unless `table` begins as these lines, in which `…` is any text.
fn assert_lines(table: &str, lines: &[&str]) {
    assert!(matches(&lines.join("\n"), table), "{table}");
}

#[test]
fn fresh_documents_are_a_table_without_colours_in_a_pipe() {
    let (code, table) = status(&fresh());
    assert_eq!((code, table.lines().count()), (0, lines()), "{table}");
    assert!(table.is_ascii() && !table.contains('\x1b'), "{table:?}");
    assert_lines(
        &table,
        &[
            "graphite fresh 3m2…",
            "1000000 metrics, counted in 0.105 s",
            "4000 hosts",
            "disks fresh …s",
            "sdb 95.0% util, r/w await 0.8/1.9 ms, queue 0.15, whisper tree",
            "sda 5.0% util…",
            "vmware fresh …s",
            "6.00% ready per vCPU, 24.00% in total on 4 vCPUs",
        ],
    );
}

/// Returns the states in docs/answers.md with their exit codes.
fn states_of_the_page() -> BTreeMap<String, i32> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/answers.md")).unwrap();
    let section = page.split("\n## `shinken-gatherer status`\n").nth(1).unwrap();
    let rows = section.lines().filter_map(|row| row.strip_prefix("| `"));
    let state = |row: &str| {
        let (_, code) = row.strip_suffix(" |")?.rsplit_once(' ')?;
        Some((row.split('`').next()?.to_string(), code.parse().ok()?))
    };
    rows.map(|row| state(row).unwrap()).collect()
}

#[test]
fn each_state_of_each_collector_has_the_exit_code_of_the_page() {
    let page = states_of_the_page();
    let mut missing = page.clone();
    let mut expect = |site: &CheckFixture, collector: &str, state: &str| {
        let (code, table) = status(site);
        let row = format!("{collector} {state} ");
        assert!(
            table.lines().any(|line| line.starts_with(&row)),
            "no {row}: {table}"
        );
        assert_eq!(code, page[state], "{table}");
        missing.remove(state);
    };
    for (collector, file, outdated) in [
        ("graphite", "whisper.nb_metrics", count(7200)),
        ("disks", "disks", disks(600, &[("sda", 1.0, 1.0)], &[])),
        ("vmware", "vmware", ready(600, Some(1.0), Some(4))),
    ] {
        let site = fresh();
        expect(&site, collector, "fresh");
        site.publish(file, outdated);
        expect(&site, collector, "outdated");
        site.publish(file, "{");
        expect(&site, collector, "unreadable");
        fs::remove_file(site.path(file)).unwrap();
        expect(&site, collector, "absent");
        let table = format!("[{collector}]\n");
        site.reconfigure(&table, &format!("{table}enabled = false\n"));
        expect(&site, collector, "disabled");
    }
    let site = fresh();
    fs::remove_dir_all(site.path("sys")).unwrap();
    fs::remove_file(site.path("vmware")).unwrap();
    expect(&site, "vmware", "none");
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn table_has_the_reason_of_each_problem() {
    let site = fresh();
    let mut old = count(3 * 86400 + 7200);
    old["unreadable"] = 3.into();
    site.publish("whisper.nb_metrics", old);
    site.publish("disks", disks(3, &[("sda", 100.0, 0.0)], &[]));
    let mut unknown = ready(3, None, None);
    unknown["error"] = "the host refuses".into();
    site.publish("vmware", unknown);
    assert_lines(
        &status(&site).1,
        &[
            "graphite outdated 3d02h outdated: 3days 2h…",
            "1000000 metrics, counted in 0.105 s, 3 unreadable directories",
            "4000 hosts",
            "disks fresh …s",
            "sda 100.0% util HUNG: requests queued, none completed, r/w await…",
            "vmware fresh …s",
            "%ready unknown: the host refuses",
        ],
    );
    site.publish("whisper.nb_metrics", "{");
    site.publish("disks", disks(3, &[("", 0.0, 0.0); 0], &[]));
    fs::remove_file(site.path("vmware")).unwrap();
    assert_lines(
        &status(&site).1,
        &[
            "graphite unreadable - /…: malformed: EOF while parsing an object at line 1 column 1",
            "disks fresh …s",
            "no physical disks",
            "vmware absent - /… does not exist",
        ],
    );
}

#[test]
fn json_has_each_document_and_its_state() {
    let site = fresh();
    let status = json_of(&site.run(&["status", "--json"]));
    assert_eq!(status["graphite"]["state"], "fresh");
    assert_eq!(status["graphite"]["document"]["metrics"], 1_000_000);
    assert_eq!(status["disks"]["document"]["disks"]["sdb"]["util_percent"], 95.0);
    assert_eq!(status["disks"]["max_age_seconds"], 50);
    let age = status["vmware"]["age_seconds"].as_i64().unwrap();
    assert!((3..60).contains(&age), "{age}");
    fs::remove_file(site.path("disks")).unwrap();
    let output = site.run(&["status", "--json"]);
    let status = json_of(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(status["disks"]["state"], "absent");
    assert_eq!(status["disks"]["document"], Value::Null);
}

#[test]
fn nothing_in_a_document_reaches_the_terminal_as_a_command() {
    let site = fresh();
    site.publish("disks", disks(3, &[("sd\u{1b}]0;x\u{7}", 1.0, 1.0)], &[]));
    let (_, table) = status(&site);
    assert_contains(&table, "sd?]0;x?");
}

/// A running `status --watch`, killed when the test ends before it.
struct Watching(Child);

impl Watching {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Waits for the end, which must be successful.
    fn end(&mut self) {
        let status = wait_for("the end", || self.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn watching_shows_each_new_document_and_ends_when_interrupted() {
    let site = fresh();
    let mut command = site.command(&["status", "--watch", "100ms", "--json"]);
    let mut watching = Watching::start(command.stdout(Stdio::piped()));
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["vmware"]["document"]["cpu_ready_percent"], 24.0);
    site.publish("vmware", ready(0, Some(40.0), Some(4)));
    while next()["vmware"]["document"]["cpu_ready_percent"] != 40.0 {}
    kill_process(Pid::from_child(&watching.0), Signal::INT).unwrap();
    watching.end();
}

#[test]
fn watching_redraws_in_place_with_the_history_of_each_value() {
    if Command::new("script").arg("--version").output().is_err() {
        return skip("script(1) is missing");
    }
    let site = fresh();
    let program = site.command(&[]).get_program().display().to_string();
    let config = site.path("gatherer.toml").display().to_string();
    let environment = "LC_ALL=C.UTF-8 TERM=xterm NO_COLOR=1";
    let inside = format!(
        "stty cols 120 rows 24; exec env {environment} {program} --config {config} status --watch 100ms"
    );
    let mut command = Command::new("script");
    command.args(["-qfec", &inside, "/dev/null"]);
    let mut script = Watching::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut output = script.0.stdout.take().unwrap();
    let (mut seen, mut bytes) = (String::new(), [0; 4096]);
    let deadline = Instant::now() + PATIENCE;
    // 6 % and 10 % of the 0 to 10 % that the line shows.
    while !seen.contains("▅█") {
        assert!(Instant::now() < deadline, "{seen:?}");
        let read = output.read(&mut bytes).unwrap();
        seen += &String::from_utf8_lossy(&bytes[..read]);
        // Up to the first line, written over.
        if seen.contains(&format!("\x1b[{}A\r", lines())) && !seen.contains("10.00% ready") {
            site.publish("vmware", ready(0, Some(40.0), Some(4)));
        }
    }
    script.0.stdin.take().unwrap().write_all(b"\x03").unwrap();
    drop(output);
    wait_for("the end", || script.0.try_wait().unwrap());
}

#[test]
fn watching_ends_when_nobody_reads() {
    let site = fresh();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = site.command(&["status", "--watch", "100ms"]);
    let mut watching = Watching::start(command.stdout(writer));
    drop((reader, command));
    watching.end();
}
