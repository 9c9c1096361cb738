//! `once`: its window, its progress, the reasons for unknown values, and a stdout that fails.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::support::{
    TestDir, assert_contains, collectors, compile_library, json_of, stderr_of, text, with_slow_directories,
};

#[test]
fn once_samples_for_its_window() {
    let dir = TestDir::in_memory();
    dir.make_disks(["sda"]);
    dir.configure_with("", "", "", "");
    let once = dir.run(&["once", "--json", "--window", "200ms"]);
    let window = json_of(&once)["disks"]["window_seconds"].as_f64().unwrap();
    assert!((0.2..20.0).contains(&window), "{window} s");
}

#[test]
fn once_of_the_count_alone_waits_for_no_window() {
    let dir = TestDir::in_memory();
    dir.configure_with("", "", "enabled = false", "enabled = false");
    let once = dir.run(&["once", "--json", "--window", "1h"]);
    assert_eq!(json_of(&once)["graphite"]["metrics"], 0);
}

#[test]
fn long_count_on_a_terminal_shows_its_progress_and_erases_it() {
    let dir = TestDir::in_memory();
    dir.metrics((0..30).map(|host| format!("host-{host}/a.wsp")));
    let Some(once) = with_slow_directories(&dir, &["once", "--window", "10ms"]) else {
        return;
    };
    let output = Command::new("script")
        .args(["-qec", &format!("{once:?}"), "/dev/null"])
        .output();
    let shown = text(&output.unwrap().stdout);
    assert_contains(&shown, "\r\u{1b}[Kcounting: ");
    assert_contains(&shown, "\r\u{1b}[Kgraphite ");
}

#[test]
fn once_distinguishes_disabled_from_unknown_with_its_reason() {
    let dir = TestDir::in_memory();
    let once = || {
        let mut command = dir.command();
        let output = command.args(["once", "--window", "10ms"]).output().unwrap();
        (output.status.code(), text(&output.stdout), stderr_of(&output))
    };
    let off = "enabled = false";
    dir.configure_with("", off, off, off);
    let table: String = collectors().map(|name| format!("{name:<10}disabled\n")).collect();
    assert_eq!(once(), (Some(0), table, String::new()));
    fs::remove_dir(dir.path("whisper")).unwrap();
    dir.configure_vm("", "", "", "");
    fs::remove_file(dir.path("proc/diskstats")).unwrap();
    let (code, table, stderr) = once();
    let vmware = table.strip_prefix("graphite  unknown\ndisks     unknown\nvmware    ");
    let vmware = vmware.and_then(|rest| rest.lines().next());
    let vmware = vmware.unwrap_or_else(|| panic!("{table}"));
    assert_eq!(code, Some(1));
    assert!(vmware.contains("library"), "{table}");
    for reason in ["proc/diskstats", "opening the whisper directory", vmware] {
        assert!(stderr.contains(reason), "no {reason}: {stderr}");
    }
}

#[test]
fn once_states_how_the_guest_library_ended_its_process() {
    let dir = TestDir::in_memory();
    // The process runs as nobody.
    dir.set_mode("", 0o755);
    dir.configure_vm("", "", "", "");
    let source = "#include <unistd.h>\n__attribute__((constructor)) void loaded(void) { _exit(3); }\n";
    compile_library(&dir, "none", source);
    let output = dir.run(&["once", "--window", "10ms"]);
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("exit status: 3"), "{stderr}");
}

#[test]
fn full_stdout_fails_the_command_but_a_closed_pipe_does_not() {
    let dir = TestDir::in_memory();
    let once = |stdout: Stdio| {
        let mut command = dir.command();
        command.args(["once", "--json", "--window", "10ms"]);
        let output = command.stdout(stdout).output().unwrap();
        (output.status.code(), stderr_of(&output))
    };
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (code, error) = once(full.into());
    assert_eq!(code, Some(1));
    assert_contains(&error, "writing to stdout");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(once(writer.into()), (Some(0), String::new()));
}
