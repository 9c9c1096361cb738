//! Documents to publish in place of the daemon, and the answers of `check`.

use std::fmt::Display;
use std::fs;
use std::ops::Deref;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{TestDir, text};

/// A directory without a whisper tree and without a log. The outputs are `whisper.nb_metrics`, `disks` and `vmware`.
pub struct CheckFixture(TestDir);

impl Deref for CheckFixture {
    type Target = TestDir;

    fn deref(&self) -> &TestDir {
        &self.0
    }
}

impl CheckFixture {
    pub fn new() -> Self {
        let dir = TestDir::in_memory();
        fs::remove_dir(dir.path("whisper")).unwrap();
        dir.make_disks([""; 0]);
        let (disks, vmware) = (dir.path("disks"), dir.path("vmware"));
        let disks = format!("output = {disks:?}");
        let vmware = format!("output = {vmware:?}\nlibraries = [\"/nonexistent/lib.so\"]");
        dir.configure_with("log_file = \"\"", "", &disks, &vmware);
        Self(dir)
    }

    /// Makes this a VMware virtual machine by its firmware.
    pub fn make_vmware(&self) {
        self.write("sys/class/dmi/id/sys_vendor", "VMware, Inc.\n");
    }

    /// Replaces one of the outputs, as the gatherer does.
    pub fn publish(&self, name: &str, document: impl Display) {
        fs::write(self.path("new"), document.to_string()).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    /// Returns the program with this configuration and without terminal settings of the caller.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.command();
        command.args(args);
        for variable in ["NO_COLOR", "CLICOLOR_FORCE", "TERM", "LC_ALL", "LANG", "COLUMNS"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs `check` with the words of `args`. Returns its line.
    pub fn check(&self, args: &str) -> String {
        let args: Vec<_> = ["check"].into_iter().chain(args.split_whitespace()).collect();
        answer_of(&self.run(&args))
    }

    /// Runs `check` for each line `ARGS => ANSWER`. Answers begin as written; `…` is any text.
    pub fn expect(&self, answers: &str) {
        for line in answers.lines() {
            let (args, answer) = line.split_once(" => ").unwrap();
            let line = self.check(args);
            assert!(matches(answer, &line), "not {answer:?}: {line}");
        }
    }
}

/// Returns the line of `check`. The exit code must be its state, and docs/answers.md must have a row for it.
pub fn answer_of(output: &Output) -> String {
    let line = text(&output.stdout);
    assert!(
        line.ends_with('\n') && line.lines().count() == 1,
        "not one line: {line:?}"
    );
    assert_explained(&line);
    let code = output.status.code().unwrap();
    let state = ["OK:", "WARNING:", "CRITICAL:", "UNKNOWN:"][usize::try_from(code).unwrap()];
    assert_eq!(line.split(' ').nth(1), Some(state), "exit code {code}: {line}");
    line.trim_end().to_string()
}

/// Returns the rows of docs/answers.md in sections that start with `heading`, without their explanation.
pub fn rows(heading: &str) -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/answers.md");
    let page = fs::read_to_string(page).unwrap();
    let sections = page.split("\n## ").filter(|section| section.starts_with(heading));
    let lines = sections.flat_map(str::lines);
    lines
        .filter_map(|row| row.strip_prefix("| `")?.split('`').next().map(String::from))
        .collect()
}

/// Returns whether `text` begins as the pattern, in which `…` is any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else {
        return false;
    };
    pieces.all(|piece| {
        let found = rest.find(piece).map(|at| &rest[at + piece.len()..]);
        rest = found.unwrap_or_default();
        found.is_some()
    })
}

/// Fails unless docs/answers.md has `row`, and `line` is an answer of it.
pub fn assert_is_row(row: &str, line: &str) {
    assert!(
        rows("").iter().any(|other| other == row),
        "docs/answers.md has no row {row:?}"
    );
    assert!(matches(row, line), "not an answer of {row:?}: {line}");
}

/// Fails unless docs/answers.md has a row for `line`. The row for any reason counts only for the configuration.
pub fn assert_explained(line: &str) {
    let is_specific = |row: &str| line.contains("gatherer.toml") || row != "… UNKNOWN: …: …";
    let found = rows("").iter().any(|row| is_specific(row) && matches(row, line));
    assert!(found, "docs/answers.md has no row for {line:?}");
}

/// Returns the Unix time of `age` seconds ago.
fn ago(age: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() - age
}

/// Returns a count that was taken `age` seconds ago.
pub fn count(age: i64) -> Value {
    json!({"schema": 1, "updated_at": ago(age), "interval_seconds": 900, "hosts": 4000, "metrics": 1_000_000,
        "scan_seconds": 0.105})
}

/// Returns values of disks, measured `age` seconds ago: their names, %util and writes a second. `whisper` names those
/// of the whisper tree.
pub fn disks<N: AsRef<str>>(age: i64, disks: &[(N, f64, f64)], whisper: &[&str]) -> Value {
    let disk = |(name, util, writes): &(N, f64, f64)| {
        let values = json!({"util_percent": util, "reads_per_second": 0.0, "writes_per_second": writes,
            "read_bytes_per_second": 0.0, "write_bytes_per_second": 4096.0, "read_await_ms": 0.8,
            "write_await_ms": 1.9, "queue_size": 0.15});
        (name.as_ref().to_string(), values)
    };
    let disks: serde_json::Map<_, _> = disks.iter().map(disk).collect();
    json!({"schema": 1, "updated_at": ago(age), "interval_seconds": 10, "window_seconds": 60.0, "disks": disks,
        "whisper_disks": whisper})
}

/// Returns %ready of some vCPUs, measured `age` seconds ago.
pub fn ready(age: i64, total: Option<f64>, vcpus: Option<u32>) -> Value {
    let per_vcpu = total.zip(vcpus).map(|(total, vcpus)| total / f64::from(vcpus));
    json!({"schema": 1, "updated_at": ago(age), "interval_seconds": 10, "window_seconds": 60.0, "is_vmware": true,
        "cpu_ready_percent": total, "cpu_ready_percent_per_vcpu": per_vcpu, "vcpus": vcpus, "error": null})
}
