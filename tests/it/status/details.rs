//! `status -v`.

use std::fs::{self, OpenOptions};
use std::io::Write;

use crate::support::{Daemon, FAST, TestDir, gatherer, matches, text, wait_for};

/// Returns the output of `status -v`, which must fit a screen, with each row on one line.
fn details(dir: &TestDir) -> String {
    let shown = text(&dir.run(&["status", "-v"]).stdout);
    assert!(shown.lines().count() < 24, "{shown}");
    let is_long = |line: &&str| line.chars().count() > 80 && !line.contains('/');
    assert_eq!(shown.lines().find(is_long), None);
    shown.replace(&format!("\n{:11}", ""), " ")
}

#[test]
fn details_have_what_a_bug_report_needs() {
    let dir = TestDir::in_memory();
    dir.configure_vm("", "interval = \"1h\"", FAST, "");
    let daemon = Daemon::start(&dir);
    dir.wait_for_helper();
    wait_for("the documents", || dir.count().and(dir.disks()));
    let version = text(&gatherer().arg("--version").output().unwrap().stdout);
    let version = version.trim().strip_prefix("shinken-gatherer ").unwrap();
    let mut log = OpenOptions::new()
        .append(true)
        .open(dir.path("gatherer.log"))
        .unwrap();
    log.write_all(b"2026-11-22T13:05:00Z ERROR disks: \x1b[31mlost\n2026-11-22T13:05:01Z INFO disks: back\n")
        .unwrap();
    let (root, pid) = (dir.path("").display().to_string(), daemon.child.id());
    let shown = details(&dir);
    for row in [
        format!("version    {version}\n"),
        format!("\ndaemon     pid {pid}, up …s: …/shinken-gatherer --config {root}gatherer.toml run\n"),
        format!("\nconfig     {root}gatherer.toml\n"),
        format!("\nlog        {root}gatherer.log\n"),
        "\nprivileges no …; user …\n".into(),
        format!("\nwhisper    {root}whisper\n"),
        "\nmachine    a VMware virtual machine (…system vendor by DMI: \"VMware, Inc.\")\n".into(),
        "\nsandbox    the service can write to /opt/graphite/storage …\n".into(),
        "\ngraphite   fresh, …s old: 0 hosts, 0 metrics last error: none in the log file\n".into(),
        "\ndisks      fresh, …s old: … last error: 2026-11-22T13:05:00Z ERROR disks: ?[31mlost\n".into(),
        "\nvmware     fresh, …s old: … last error: 20…Z WARN vmware: …library not found…\n".into(),
    ] {
        assert!(matches(&format!("…{row}"), &shown), "{row}: {shown}");
    }
    daemon.stop();
    // After a rotation.
    fs::rename(dir.path("gatherer.log"), dir.path("gatherer.log.1")).unwrap();
    dir.write("gatherer.log", "");
    let shown = details(&dir);
    let rotated = "…\ndaemon     not running\n…last error: 2026-11-22T13:05:00Z ERROR disks: ?[31mlost\n";
    assert!(matches(rotated, &shown), "{shown}");
    dir.write("gatherer.toml", "log_level = info");
    assert_eq!(dir.run(&["status", "-v"]).status.code(), Some(2));
    let shown = details(&dir);
    let rejected =
        "version    …\ndaemon     …\nconfig     rejected: …/gatherer.toml:1: log_level: …with quotes\n";
    assert!(matches(rejected, &shown), "{shown}");
}
