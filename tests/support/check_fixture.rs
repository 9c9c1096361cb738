//! What the tests of the readers share: a configuration over files of a temporary directory, and the program run on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::outputs::publish_in;

/// A temporary directory with a configuration whose three files are in it.
pub struct CheckFixture {
    pub directory: tempfile::TempDir,
}

impl CheckFixture {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With more keys at the end of the configuration, which is in its `[vmware]` table by then.
    pub fn with(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = Self { directory };
        let path = |name: &str| site.path(name).display().to_string();
        let text = format!(
            "log_file = \"\"\nstate_dir = \"{}\"\n[graphite]\nwhisper_dir = \"{}\"\n[disks]\noutput = \"{}\"\n[host]\nsys = \"{}\"\nrun = \"{}\"\n\
             [vmware]\noutput = \"{}\"\n{more}",
            path("state"),
            path("whisper"),
            path("disks"),
            path("sys"),
            path("run"),
            path("vmware"),
        );
        fs::write(
            site.path("gatherer.toml"),
            publish_in(site.directory.path(), &text),
        )
        .unwrap();
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes one of the three files.
    pub fn publish(&self, name: &str, document: &str) {
        fs::write(self.path(name), document).unwrap();
    }

    /// The program with this configuration, and none of the caller's terminal settings.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.path("gatherer.toml")).args(args);
        for variable in ["NO_COLOR", "CLICOLOR_FORCE", "TERM", "LC_ALL", "LANG", "COLUMNS"] {
            command.env_remove(variable);
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs `check` and returns its exit code and its one line.
    pub fn check(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(&[&["check"], args].concat());
        let line = String::from_utf8(output.stdout).unwrap();
        assert!(
            line.ends_with('\n') && line.lines().count() == 1,
            "not one line: {line:?}"
        );
        assert_explained(&line);
        (output.status.code().unwrap(), line.trim_end().to_string())
    }
}

/// Every answer of `check` has a row in docs/answers.md that says what to do. A row for any reason does not count
/// where the line names the service alone.
pub fn assert_explained(line: &str) {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/answers.md");
    let page = fs::read_to_string(page).unwrap();
    let text = line.split(" | ").next().unwrap();
    let rows = page
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    let is_about = |row: &str| {
        let mut pieces = row.split('…');
        let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else {
            return false;
        };
        pieces.all(|piece| {
            let found = rest.find(piece).map(|at| &rest[at + piece.len()..]);
            rest = found.unwrap_or_default();
            found.is_some()
        })
    };
    let configuration = text.contains("gatherer.toml");
    let specific = |row: &&str| configuration || *row != "… UNKNOWN: …: …";
    assert!(
        rows.filter(specific).any(is_about),
        "docs/answers.md has no row for {text:?}"
    );
}

pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_shinken-gatherer"))
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A count taken so many seconds ago.
pub fn count(age: u64) -> String {
    let updated_at = now() - age;
    format!(
        "{{\"schema\":1,\"updated_at\":{updated_at},\"interval_seconds\":900,\"hosts\":4000,\"metrics\":1000000,\
         \"scan_seconds\":0.105}}\n"
    )
}

/// Disk values taken so many seconds ago: `disks` is the inside of the map.
pub fn disks(age: u64, disks: &str, whisper: &str) -> String {
    let updated_at = now() - age;
    format!(
        "{{\"schema\":1,\"updated_at\":{updated_at},\"interval_seconds\":10,\"window_seconds\":60.0,\
         \"disks\":{{{disks}}},\"whisper_disks\":[{whisper}]}}\n"
    )
}

/// One disk of [`disks`].
pub fn disk(name: &str, util: f64, writes: f64) -> String {
    let name = serde_json::to_string(name).unwrap();
    format!(
        "{name}:{{\"util_percent\":{util},\"reads_per_second\":0.0,\"writes_per_second\":{writes},\
         \"read_bytes_per_second\":0.0,\"write_bytes_per_second\":4096.0,\"read_await_ms\":0.8,\
         \"write_await_ms\":1.9,\"queue_size\":0.15}}"
    )
}

/// %ready on four vCPUs.
pub fn ready(age: u64, total: f64) -> String {
    let (updated_at, per_vcpu) = (now() - age, total / 4.0);
    format!(
        "{{\"schema\":1,\"updated_at\":{updated_at},\"interval_seconds\":10,\"window_seconds\":60.0,\
         \"is_vmware\":true,\"cpu_ready_percent\":{total},\"cpu_ready_percent_per_vcpu\":{per_vcpu},\
         \"vcpus\":4,\"error\":null}}\n"
    )
}
