//! Reloads, and the files that they create and remove.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use crate::support::{Daemon, FAST, PATIENCE, TestDir, document, json_of, skip, stderr_of, wait_for};
use rustix::process::Signal;

#[test]
fn reload_removes_old_output_if_moved_but_keeps_it_if_disabled() {
    let dir = TestDir::in_memory();
    dir.configure_vm("", "", FAST, FAST);
    let original = dir.read("gatherer.toml");
    let daemon = Daemon::start(&dir);
    let published = |name: &str| wait_for(name, || document(&dir.path(name)));
    let reload = |old: &str, new: &str| {
        dir.write("gatherer.toml", &original);
        dir.reconfigure(old, new);
        let reloads = || dir.log().matches("configuration reloaded").count();
        let before = reloads();
        daemon.signal(Signal::HUP);
        wait_for("the reload", || (reloads() > before).then_some(()));
    };
    published("vmware.dat");
    published("disks.tmp");
    reload("vmware.dat", "moved-vmware.dat");
    dir.wait_until_removed("vmware.dat");
    published("moved-vmware.dat");
    reload("disks.tmp", "moved-disks.tmp");
    dir.wait_until_removed("disks.tmp");
    dir.wait_until_removed("moved-vmware.dat");
    published("vmware.dat");
    published("moved-disks.tmp");
    // Another window leaves the documents where they are, and updates them.
    reload("window = \"1s\"", "window = \"2s\"");
    let before = published("vmware.dat");
    wait_for("a newer document", || {
        (published("vmware.dat") != before).then_some(())
    });
    reload("[vmware]\n", "[vmware]\nenabled = false\n");
    reload("[disks]\n", "[disks]\nenabled = false\n");
    dir.wait_until_removed("disks.tmp");
    assert!(dir.vmware().is_some(), "{}", dir.log());
    daemon.stop();
    assert!(dir.vmware().is_some(), "the last document stays");
}

#[test]
fn vmware_file_is_removed_on_other_machines_only() {
    let dir = TestDir::in_memory();
    dir.configure_vm("", "", "", "");
    let daemon = Daemon::start(&dir);
    let document = wait_for("the document", || dir.vmware());
    assert!(
        document["is_vmware"] == true && document["vcpus"] == 4,
        "{document}"
    );
    assert!(document["cpu_ready_percent"].is_null() && document["error"].is_string());
    daemon.stop();

    dir.write("sys/class/dmi/id/sys_vendor", "QEMU\n");
    let daemon = Daemon::start(&dir);
    dir.wait_for_log("not a VMware virtual machine");
    dir.wait_until_removed("vmware.dat");
    daemon.stop();

    let is_kept_by = |arguments: &[&str]| {
        dir.write("vmware.dat", "{}\n");
        let output = dir.run(&[&["once", "--json", "--window", "10ms"], arguments].concat());
        assert!(output.status.success(), "{}", stderr_of(&output));
        assert!(json_of(&output)["vmware"].is_null());
        dir.path("vmware.dat").exists()
    };
    assert!(is_kept_by(&[]));
    assert!(!is_kept_by(&["--write"]));
    // Another program may write the file if the collector is disabled.
    dir.configure_vm("", "", "", "enabled = false");
    assert!(is_kept_by(&["--write"]));
}

#[test]
fn carbon_is_fed_over_ipv6_too() {
    let Ok(carbon) = TcpListener::bind("[::1]:0") else {
        return skip("there is no IPv6 here");
    };
    let dir = TestDir::in_memory();
    dir.metrics(["host/a.wsp"]);
    let address = carbon.local_addr().unwrap();
    let more = format!("[carbon]\nenabled = true\naddress = \"{address}\"\n");
    dir.configure_with("", "interval = \"100ms\"", "", &more);
    let daemon = Daemon::start(&dir);
    carbon.set_nonblocking(true).unwrap();
    let feed = wait_for("the feed to connect", || carbon.accept().ok()).0;
    feed.set_nonblocking(false).unwrap();
    feed.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut lines = BufReader::new(feed).lines();
    assert!(lines.any(|line| line.unwrap().contains(".metrics ")), "no count");
    daemon.stop();
}
