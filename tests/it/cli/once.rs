//! `once` for a person.

use std::fs;

use crate::support::{TestDir, collectors, stderr_of, text};

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
    fs::create_dir_all(dir.path("sys/class/dmi/id")).unwrap();
    fs::write(dir.path("sys/class/dmi/id/sys_vendor"), "VMware, Inc.\n").unwrap();
    let (proc, sys) = (dir.path("nothing"), dir.path("sys"));
    let more = format!("libraries = [\"/nonexistent/lib.so\"]\n[host]\nproc = {proc:?}\nsys = {sys:?}\n");
    dir.configure_with("", "", "", &more);
    let (code, table, stderr) = once();
    let vmware = table.strip_prefix("graphite  unknown\ndisks     unknown\nvmware    ");
    let vmware = vmware.and_then(|rest| rest.lines().next());
    let vmware = vmware.unwrap_or_else(|| panic!("{table}"));
    assert_eq!(code, Some(1));
    assert!(vmware.contains("library"), "{table}");
    for reason in ["nothing/diskstats", "opening the whisper directory", vmware] {
        assert!(stderr.contains(reason), "no {reason}: {stderr}");
    }
}
