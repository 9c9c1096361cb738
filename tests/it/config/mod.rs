//! The configuration: whatever is wrong with it, exit code 2 and one line that names the file, the line and the key; on
//! a reload the running one stays.

mod cases;
mod documented;
mod files;
mod outputs;
mod owner;
mod reload;
mod values;

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use crate::support::{TestDir, gatherer, stderr_of, wait_for};

/// Most that refusing a configuration may take of address space, and of CPU time in seconds.
const LIMITS: [&str; 2] = ["--as=200000000", "--cpu=60"];

/// Runs the command line on the configuration of `place`, within limits, and returns the one line it says on stderr.
fn refusal(place: &TestDir, words: &[&str]) -> String {
    let file = place.path("gatherer.toml");
    let mut command = Command::new("prlimit");
    command.args(LIMITS).arg(env!("CARGO_BIN_EXE_shinken-gatherer"));
    refusal_of(command.arg("--config").arg(file).args(words))
}

fn refusal_of(command: &mut Command) -> String {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    // One line always fits into a pipe that nobody reads meanwhile.
    let status = wait_for("the configuration to be refused", || child.try_wait().unwrap());
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(
        (status.code(), out.as_str()),
        (Some(2), ""),
        "{command:?}: {said:.500}"
    );
    let line = said.strip_suffix('\n').unwrap_or_default();
    assert!(
        !line.contains(char::is_control),
        "not one plain line: {said:.500?}"
    );
    assert!(line.len() < 2000, "{} bytes: {line:.500}", line.len());
    line.strip_prefix("shinken-gatherer: ")
        .unwrap_or_else(|| panic!("{line}"))
        .to_string()
}

fn only_these_are_in(place: &TestDir, expected: &[&str]) {
    let mut left: Vec<_> = fs::read_dir(place.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, expected, "something was written");
}

#[test]
fn the_defaults_written_out_are_accepted() {
    let place = TestDir::new();
    let text = r#"
        log_level = "info"
        log_file  = ""
        state_dir = "/var/lib/shinken-gatherer"
        [graphite]
        enabled = false
        whisper_dir = "/opt/graphite/storage/whisper"
        output = "/opt/graphite/storage/whisper.nb_metrics"
        interval = "15m"
        max_busy_percent = 50
        host_depth = 1
        full_scan_interval = "24h"
        exclude = ["/lost+found/"]
        [disks]
        enabled = false
        output = "/tmp/__check_graphite_iostats.tmp"
        interval = "10s"
        window = "60s"
        [vmware]
        enabled = false
        output = "/dev/shm/vmware_stats_export.dat"
        interval = "10s"
        window = "60s"
        libraries = ["libguestlib.so.0", "libvmGuestLib.so.0", "libvmGuestLib.so"]
        [host]
        proc = "/proc"
        sys = "/sys"
        run = "/run"
    "#;
    fs::write(place.path("gatherer.toml"), text).unwrap();
    let output = place.command().args(["once", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr_of(&output));
    assert_eq!(
        crate::support::text(&output.stdout),
        "{\"graphite\":null,\"disks\":null,\"vmware\":null}\n"
    );
}

#[test]
fn tree_of_the_command_line_is_not_published_into_etc() {
    let place = TestDir::new();
    let line = refusal(&place, &["once", "--write", "--whisper-dir", "/etc/whisper"]);
    assert_eq!(
        line,
        "\"/etc/whisper.nb_metrics\" is in /etc, must not be in a system folder"
    );
}

#[test]
fn bad_usage_is_code_2_and_help_is_code_0() {
    for arguments in [
        &["runn"][..],
        &[],
        &["once", "--window", "0s"],
        &["--config"],
        &["once", "--jsonn"],
    ] {
        let output = gatherer().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    for arguments in [&["--help"][..], &["--version"], &["once", "--help"]] {
        let output = gatherer().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}
