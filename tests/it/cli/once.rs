//! `once` for a person: values that are disabled, unknown, or missing with a reason.

use std::fs;
use std::process::Output;

use crate::support::{TestDir, stderr_of, text};

fn once(dir: &TestDir) -> Output {
    let mut command = dir.command();
    command.args(["once", "--window", "10ms"]).output().unwrap()
}

#[test]
fn once_distinguishes_disabled_from_unknown() {
    let dir = TestDir::in_memory();
    let off = "enabled = false";
    dir.configure_with("", off, off, off);
    let output = once(&dir);
    assert_eq!(
        (output.status.code(), stderr_of(&output)),
        (Some(0), String::new())
    );
    assert_eq!(
        text(&output.stdout),
        "graphite  disabled\ndisks     disabled\nvmware    disabled\n"
    );
    let proc = format!("{off}\n[host]\nproc = {:?}\n", dir.path("nothing"));
    dir.configure_with("", "", "", &proc);
    fs::remove_dir(dir.path("whisper")).unwrap();
    let output = once(&dir);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "graphite  unknown\ndisks     unknown\nvmware    disabled\n"
    );
    let stderr = stderr_of(&output);
    assert!(stderr.contains("nothing/diskstats"), "{stderr}");
    assert!(stderr.contains("opening the whisper directory"), "{stderr}");
}

#[test]
fn once_reports_why_ready_is_unknown() {
    let dir = TestDir::in_memory();
    fs::create_dir_all(dir.path("sys/class/dmi/id")).unwrap();
    fs::create_dir_all(dir.path("sys/block")).unwrap();
    fs::write(dir.path("sys/class/dmi/id/sys_vendor"), "VMware, Inc.\n").unwrap();
    let sys = format!(
        "libraries = [\"/nonexistent/lib.so\"]\n[host]\nsys = {:?}\n",
        dir.path("sys")
    );
    dir.configure_with("", "", "", &sys);
    let output = once(&dir);
    let (table, stderr) = (text(&output.stdout), stderr_of(&output));
    assert_eq!(output.status.code(), Some(1), "{table}");
    let reason = table
        .lines()
        .find_map(|line| line.strip_prefix("vmware    "))
        .unwrap();
    assert!(
        reason.contains("library") && stderr.contains(reason),
        "{table}{stderr}"
    );
}
