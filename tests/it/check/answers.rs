//! Answers that a working site seldom sees, and would be misled by if they were wrong.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::support::check_fixture::{CheckFixture, count, disk, disks, now, ready};
use crate::support::{Daemon, TestDir, skip, stderr_of, wait_for};

fn status(site: &CheckFixture) -> String {
    let output = site.run(&["status"]);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn status_names_what_is_missing_or_hangs() {
    let site = CheckFixture::new();
    fs::create_dir_all(site.path("sys/class/dmi/id")).unwrap();
    fs::write(site.path("sys/class/dmi/id/sys_vendor"), "VMware, Inc.\n").unwrap();
    let old = count(3 * 86400 + 7200).replace("\"scan", "\"unreadable\":3,\"scan");
    site.publish("whisper.nb_metrics", &old);
    site.publish("disks", &disks(3, &disk("sda", 100.0, 0.0), ""));
    let unknown = ready(3, 24.0)
        .replace(":24,", ":null,")
        .replace(":6,", ":null,")
        .replace("\"error\":null", "\"error\":\"the host refuses\"");
    site.publish("vmware", &unknown);
    let table = status(&site);
    assert!(table.contains("graphite   outdated    3d02h "), "{table}");
    assert!(
        table.contains("1000000 metrics, counted in 0.105 s, 3 unreadable directories"),
        "{table}"
    );
    assert!(
        table.contains("sda 100.0% util  HUNG: requests queued, none completed r/w await"),
        "{table}"
    );
    assert!(table.contains("%ready unknown: the host refuses"), "{table}");
    site.publish("disks", &disks(3, "", ""));
    let table = status(&site);
    assert!(table.contains("no physical disks"), "{table}");
}

#[test]
fn check_reports_that_disks_are_not_enabled() {
    let site = CheckFixture::new();
    let file = site.path("gatherer.toml");
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("[disks]\n", "[disks]\nenabled = false\n");
    fs::write(file, text).unwrap();
    let (code, line) = site.check(&["disks"]);
    assert_eq!(code, 3, "{line}");
    assert!(line.ends_with("no such file ([disks] is disabled)"), "{line}");
}

#[test]
fn check_stops_a_count_after_its_timeout() {
    let site = CheckFixture::new();
    // In memory: a disk would take long to make so many.
    let tree = tempfile::tempdir_in("/dev/shm").unwrap();
    std::os::unix::fs::symlink(tree.path(), site.path("whisper")).unwrap();
    for host in 0..150 {
        for check in 0..150 {
            fs::create_dir_all(tree.path().join(format!("h{host}/c{check}"))).unwrap();
        }
    }
    let (code, line) = site.check(&["graphite", "--timeout", "1ms"]);
    assert_eq!(code, 3, "{line}");
    assert!(line.contains(": timed out after 1ms"), "{line}");
    let (code, line) = site.check(&["graphite", "--timeout", "60"]);
    assert_eq!(code, 0, "{line}");
    assert!(
        line.starts_with("GRAPHITE OK: 0 metrics, 150 hosts, counted by this check"),
        "{line}"
    );
}

#[test]
fn check_distinguishes_one_vcpu_from_several() {
    let site = CheckFixture::new();
    site.publish("vmware", &ready(3, 24.0).replace("\"vcpus\":4", "\"vcpus\":1"));
    let (code, line) = site.check(&["vmware"]);
    assert_eq!(code, 0, "{line}");
    assert!(line.contains("24.00% in total on 1 vCPU over"), "{line}");
}

#[test]
fn once_distinguishes_disabled_from_unknown() {
    let place = TestDir::new();
    let off = "enabled = false";
    place.configure_with("", off, off, off);
    let once = || {
        place
            .command()
            .args(["once", "--window", "10ms"])
            .output()
            .unwrap()
    };
    let output = once();
    assert!(output.status.success(), "{}", stderr_of(&output));
    assert_eq!(
        crate::support::text(&output.stdout),
        "graphite  disabled\ndisks     disabled\nvmware    disabled\n"
    );
    let nothing = format!("{off}\n[host]\nproc = \"{}\"\n", place.path("nothing").display());
    place.configure_with("", "", "", &nothing);
    fs::remove_dir(place.path("whisper")).unwrap();
    let output = once();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        crate::support::text(&output.stdout),
        "graphite  unknown\ndisks     unknown\nvmware    disabled\n"
    );
    let said = stderr_of(&output);
    assert!(
        said.contains("nothing/diskstats") && said.contains("opening the whisper directory"),
        "{said}"
    );
}

#[test]
fn log_names_added_and_removed_disks_and_malformed_lines() {
    let place = TestDir::new();
    let (proc, sys) = (place.path("proc"), place.path("sys"));
    fs::create_dir_all(&proc).unwrap();
    for disk in ["sda", "sdb"] {
        fs::create_dir_all(sys.join("block").join(disk).join("device")).unwrap();
    }
    let host = format!(
        "[host]\nproc = \"{}\"\nsys = \"{}\"",
        proc.display(),
        sys.display()
    );
    place.configure_with("", "", "interval = \"20ms\"\nwindow = \"1s\"", &host);
    let write = |text: &str| {
        fs::write(proc.join("new"), text).unwrap();
        fs::rename(proc.join("new"), proc.join("diskstats")).unwrap();
    };
    let sda = "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n";
    let sdb = "8 16 sdb 1 0 8 1 1 0 8 1 0 1 1\n";
    write(sda);
    let daemon = Daemon::start(&place);
    wait_for("the disks", || place.disks());
    write(&[sda, sdb].concat());
    place.wait_for_log(" INFO disks: disk sdb added\n");
    write(sda);
    place.wait_for_log(" INFO disks: disk sdb removed\n");
    let noise: String = (0..9).map(|number| format!("8 16 sd{number} x\n")).collect();
    write(&[sda, &noise].concat());
    place.wait_for_log("; device skipped; further ones are not logged\n");
    write(sda);
    place.wait_for_log(" INFO disks: diskstats has no malformed lines any more\n");
    let log = place.log();
    assert_eq!(log.matches("; device skipped").count(), 5, "{log}");
    assert_eq!(
        log.matches(" added").count() + log.matches(" removed").count(),
        2,
        "{log}"
    );
    write(&[sda, "8 16 sdb x\n"].concat());
    wait_for("another of them to be named", || {
        (place.log().matches("; device skipped").count() == 6).then_some(())
    });
    daemon.stop();
}

#[test]
fn document_older_than_max_age_is_outdated_by_seconds() {
    let site = CheckFixture::new();
    site.publish("disks", &disks(now() - 5, "", ""));
    let (code, line) = site.check(&["disks", "--max-age", "500ms"]);
    assert_eq!(code, 3, "{line}");
    assert!(line.contains("old, the limit is 500ms"), "{line}");
}

#[test]
fn many_unreadable_directories_are_logged_as_a_summary() {
    let place = TestDir::new();
    place.metrics((0..25).map(|host| format!("h{host}/a.wsp")));
    for host in 0..25 {
        let closed = fs::Permissions::from_mode(0o000);
        fs::set_permissions(place.path(format!("whisper/h{host}")), closed).unwrap();
    }
    let Some(daemon) = Daemon::start_as_nobody(&place) else {
        return skip("another user needs root");
    };
    let count = wait_for("the count", || place.count());
    assert_eq!(
        (&count["hosts"], &count["unreadable"]),
        (&25.into(), &25.into()),
        "{count}"
    );
    place.wait_for_log(" WARN graphite: 5 more unreadable directories not counted\n");
    assert_eq!(
        place.log().matches(", not counted: Permission denied").count(),
        20,
        "{}",
        place.log()
    );
    daemon.stop();
}

#[test]
fn once_reports_why_ready_is_unknown() {
    let place = TestDir::new();
    let sys = place.path("sys");
    fs::create_dir_all(sys.join("class/dmi/id")).unwrap();
    fs::create_dir_all(sys.join("block")).unwrap();
    fs::write(sys.join("class/dmi/id/sys_vendor"), "VMware, Inc.\n").unwrap();
    let more = format!(
        "libraries = [\"/nonexistent/lib.so\"]\n[host]\nsys = \"{}\"\n",
        sys.display()
    );
    place.configure_with("", "", "", &more);
    let output = place
        .command()
        .args(["once", "--window", "10ms"])
        .output()
        .unwrap();
    let table = crate::support::text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{table}");
    let vmware = table
        .lines()
        .find_map(|line| line.strip_prefix("vmware    "))
        .unwrap();
    assert!(
        stderr_of(&output).contains(vmware) && vmware.contains("library"),
        "{table}{}",
        stderr_of(&output)
    );
}

#[test]
fn carbon_is_fed_over_ipv6_too() {
    let Ok(carbon) = TcpListener::bind("[::1]:0") else {
        return skip("there is no IPv6 here");
    };
    let place = TestDir::new();
    place.metrics(["host/a.wsp"]);
    let more = format!(
        "[carbon]\nenabled = true\naddress = \"{}\"\n",
        carbon.local_addr().unwrap()
    );
    place.configure_with("", "interval = \"100ms\"", "", &more);
    let daemon = Daemon::start(&place);
    carbon.set_nonblocking(true).unwrap();
    let fed = wait_for("the feed to connect", || carbon.accept().ok()).0;
    fed.set_nonblocking(false).unwrap();
    fed.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let mut lines = BufReader::new(fed).lines();
    let line = lines.find(|line| line.as_ref().unwrap().contains(".metrics "));
    assert!(line.is_some(), "the count came");
    daemon.stop();
}
