//! The lines, the perfdata and the exit codes of `check`.

use std::fs;

use crate::support::{
    CheckFixture, TestDir, assert_contains, assert_explained, count, disks, ready, stderr_of, text,
    with_slow_directories,
};

#[test]
fn graphite_judges_metrics_or_hosts() {
    let site = CheckFixture::new();
    site.publish("whisper.nb_metrics", count(120));
    site.expect(
        "graphite => GRAPHITE OK: 1000000 metrics, 4000 hosts, counted 2m… ago | metrics=1000000;;;0 hosts=4000;;;0 age=12
         graphite -w 900000 -c ~:2000000 => GRAPHITE WARNING: 1000000 metrics (above 900000), 4000 hosts, counted 2m\
         … ago | metrics=1000000;900000;~:2000000;0 hosts=4000;;;0 age=12
         graphite --hosts -c 5000: => GRAPHITE CRITICAL: 1000000 metrics, 4000 hosts (below 5000), counted 2m\
         … ago | metrics=1000000;;;0 hosts=4000;;5000:;0 age=12",
    );
}

#[test]
fn graphite_counts_the_tree_if_the_file_is_missing() {
    let site = CheckFixture::new();
    fs::create_dir_all(site.path("whisper/web1/cpu")).unwrap();
    fs::write(site.path("whisper/web1/cpu/idle.wsp"), "").unwrap();
    site.expect(
        "graphite -w 10 --timeout 60 => GRAPHITE OK: 1 metrics, 1 hosts, counted by this check, \
         /…/whisper.nb_metrics does not exist | metrics=1;10;;0 hosts=1;;;0 age=0s;;;0",
    );
    assert!(
        !site.path("whisper.nb_metrics").exists(),
        "a check publishes nothing"
    );
}

#[test]
fn outdated_values_are_a_warning_unless_another_state_is_set() {
    let site = CheckFixture::new();
    site.publish("whisper.nb_metrics", count(7200));
    site.publish("disks", disks(600, &[("sda", 1.0, 1.0)], &[]));
    site.publish("vmware", ready(3600, Some(24.0), Some(4)));
    site.expect(
        "graphite => GRAPHITE WARNING: 1000000 metrics, 4000 hosts, outdated: 2h… the limit is 30m 30s;
         graphite --max-age 60 => GRAPHITE WARNING: … outdated: 2h… the limit is 1m;
         graphite --max-age 3h => GRAPHITE OK: 1000000 metrics, 4000 hosts, counted 2h
         graphite --outdated ok => GRAPHITE OK: … outdated: 2h… | metrics=1000000;;;0
         graphite --outdated critical => GRAPHITE CRITICAL: … outdated: 2h
         graphite --outdated unknown => GRAPHITE UNKNOWN: … outdated: 2h
         graphite -c 5 => GRAPHITE CRITICAL: 1000000 metrics (above 5), 4000 hosts, outdated: 2h
         vmware => VMWARE WARNING: 6.00% ready per vCPU, … outdated: 1h… the limit is 50s;
         vmware --outdated ok -w 5 => VMWARE WARNING: … (above 5), … outdated: 1h
         vmware --outdated unknown => VMWARE UNKNOWN: … outdated: 1h
         disks => DISKS UNKNOWN: … outdated: 10m… the limit is 50s;
         disks --max-age 500ms => DISKS UNKNOWN: … the limit is 500ms;
         disks --max-age 1h => DISKS OK: ",
    );
}

#[test]
fn disks_judges_all_or_those_named_or_under_the_tree() {
    let site = CheckFixture::new();
    let three = [("sda", 12.3, 80.2), ("cciss/c0d0", 95.0, 1.0), ("sdb", 85.5, 1.0)];
    site.publish("disks", disks(3, &three, &["sda"]));
    // A value below its range comes before busier disks.
    site.expect(
        "disks -w 80 -c 90 --perfdata all => DISKS CRITICAL: %util cciss/c0d0 95.0% (above 90), sdb 85.5% (above 80), sda 12.3% \
         over 60 s | cciss/c0d0_util=95%;80;90;0;100 cciss/c0d0_read_await=0.0008s;;;0 \
         cciss/c0d0_write_await=0.0019s;;;0 cciss/c0d0_queue=0.15;;;0 sda_util=12.3%;80;90;0;100 \
         sda_read_await=0.0008s;;;0 sda_write_await=0.0019s;;;0 sda_queue=0.15;;;0 sdb_util=85.5%;80;90;0;100 \
         sdb_read_await=0.0008s;;;0 sdb_write_await=0.0019s;;;0 sdb_queue=0.15;;;0 age=
         disks -w 80 --whisper => DISKS OK: %util sda 12.3% over 60 s | sda_util=12.3%;80;;0;100 age=
         disks --disk /dev/sdb sda -w 80 => DISKS WARNING: %util sdb 85.5% (above 80), sda 12.3% over 60 s |
         disks --disk sdz --disk sda => DISKS UNKNOWN: no such disk: sdz; %util sda 12.3% over 60 s |
         disks -w 50: => DISKS WARNING: %util sda 12.3% (below 50), cciss/c0d0 95.0%, sdb 85.5% over 60 s |",
    );
}

#[test]
fn disks_reports_a_hung_disk() {
    let site = CheckFixture::new();
    let mut two = disks(3, &[("sda", 100.0, 0.0), ("sdb", 100.0, 0.1)], &[]);
    site.publish("disks", &two);
    let hung = "CRITICAL: %util sda 100.0% (HUNG: requests queued, none completed), sdb 100.0% over";
    site.expect(&format!("disks => DISKS {hung}"));
    // A window of less than 10 s proves nothing.
    for (window, answer) in [(10.0, "CRITICAL: "), (9.9, "OK: ")] {
        two["window_seconds"] = window.into();
        site.publish("disks", &two);
        site.expect(&format!("disks => DISKS {answer}"));
    }
}

#[test]
fn many_disks_fit_into_the_line_that_a_checker_keeps() {
    let site = CheckFixture::new();
    let disk = |n: u32| (format!("sd{n:05}"), f64::from(n % 90), 1.0);
    site.publish("disks", disks(3, &(0..200).map(disk).collect::<Vec<_>>(), &[]));
    let line = site.check("disks -w 95 -c 99");
    assert!(line.starts_with("DISKS OK: ") && line.len() < 8192, "{line}");
    assert_contains(&line, "192 more over 60 s | ");
    assert_eq!(line.matches("_util=").count(), 200);
    // NRPE 2 truncates an answer at 1 KiB.
    site.publish("disks", disks(3, &(0..20).map(disk).collect::<Vec<_>>(), &[]));
    let line = site.check("disks -w 75 -c 90");
    assert!(line.len() < 1024, "{}: {line}", line.len());
    site.publish("disks", disks(3, &(0..8).map(disk).collect::<Vec<_>>(), &[]));
    assert!(!site.check("disks").contains("more"), "all are named");
    // The largest document that is expected.
    site.publish("disks", disks(3, &(0..10_000).map(disk).collect::<Vec<_>>(), &[]));
    site.expect("disks --disk sd09999 -w 95 => DISKS OK: ");
    assert!(text(&site.run(&["status"]).stdout).contains("disks      fresh "));
}

#[test]
fn vmware_judges_each_vcpu_and_reports_the_total() {
    let site = CheckFixture::new();
    site.publish("vmware", ready(3, Some(24.0), Some(4)));
    site.expect(
        "vmware -w 5 -c 10 => VMWARE WARNING: 6.00% ready per vCPU (above 5), 24.00% in total on 4 vCPUs over 60 s | \
         cpu_ready_per_vcpu=6%;5;10;0;100 cpu_ready=24%;;;0;400 age=",
    );
    site.publish("vmware", ready(3, Some(4.0), Some(1)));
    site.expect("vmware => VMWARE OK: 4.00% ready per vCPU, 4.00% in total on 1 vCPU over 60 s |");
    let mut unknown = ready(0, None, Some(2));
    unknown["error"] = "the host | refuses\nit".into();
    site.publish("vmware", unknown);
    site.expect(
        "vmware -w 5 => VMWARE UNKNOWN: %ready unknown: the host / refuses it | \
         cpu_ready_per_vcpu=U;5;;0;100 cpu_ready=U;;;0;200 age=",
    );
}

#[test]
fn every_exit_of_check_is_a_state() {
    let site = CheckFixture::new();
    for args in [
        &["check", "--help"][..],
        &["check", "disks", "-h"],
        &["check", "--version"],
        &["check", "help", "disks"],
    ] {
        let output = site.run(args);
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
    let version = site.run(&["check", "disks", "-V"]).stdout;
    assert!(
        text(&version).starts_with("shinken-gatherer 0."),
        "{}",
        text(&version)
    );
    let output = site.run(&["--nonsense", "check", "disks"]);
    assert_eq!(output.status.code(), Some(3));
    assert_explained(&text(&output.stdout));
    assert!(stderr_of(&output).contains("--help"), "stderr has the details");
}

#[test]
fn count_by_the_check_may_take_longer_than_reading_a_file() {
    let dir = TestDir::in_memory();
    dir.metrics((0..30).map(|host| format!("host-{host}/a.wsp")));
    dir.configure("");
    let Some(mut check) = with_slow_directories(&dir, &["check", "graphite"]) else {
        return;
    };
    let answer = text(&check.output().unwrap().stdout);
    assert_contains(
        &answer,
        "GRAPHITE OK: 30 metrics, 30 hosts, counted by this check",
    );
}

#[test]
fn closed_stdout_does_not_change_the_exit_code() {
    let site = CheckFixture::new();
    site.publish("vmware", ready(3, Some(400.0), Some(4)));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = site.command(&["check", "vmware", "-c", "10"]);
    assert_eq!(command.stdout(full).status().unwrap().code(), Some(2));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(command.stdout(writer).status().unwrap().code(), Some(2));
}
