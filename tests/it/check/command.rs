//! `check` as a monitoring server sees it: one line and an exit code.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use crate::support::check_fixture::{CheckFixture, count, disk, disks, now, ready};

/// The line without the age of the figures, which depends on when the test ran.
fn without_age(line: &str) -> String {
    let (rest, age) = line.rsplit_once(" age=").unwrap();
    assert!(age.ends_with("s;;;0"), "{line}");
    rest.to_string()
}

#[test]
fn graphite_judges_metrics_or_hosts() {
    let site = CheckFixture::new();
    site.publish("whisper.nb_metrics", &count(120));
    let (code, line) = site.check(&["graphite"]);
    assert_eq!(code, 0, "{line}");
    assert!(
        line.starts_with("GRAPHITE OK: 1000000 metrics, 4000 hosts, counted 2m"),
        "{line}"
    );
    assert!(
        without_age(&line).ends_with(" ago | metrics=1000000;;;0 hosts=4000;;;0"),
        "{line}"
    );
    let (code, line) = site.check(&["graphite", "-w", "900000", "-c", "~:2000000"]);
    assert_eq!(code, 1, "{line}");
    assert!(
        line.starts_with("GRAPHITE WARNING: 1000000 metrics (above 900000), 4000 hosts, counted"),
        "{line}"
    );
    assert!(
        line.contains(" | metrics=1000000;900000;~:2000000;0 hosts=4000;;;0 age="),
        "{line}"
    );
    let (code, line) = site.check(&["graphite", "--hosts", "-c", "5000:"]);
    assert_eq!(code, 2, "{line}");
    assert!(
        line.contains("CRITICAL: 1000000 metrics, 4000 hosts (below 5000), counted"),
        "{line}"
    );
    assert!(line.contains(" hosts=4000;;5000:;0 "), "{line}");
}

#[test]
fn graphite_counts_the_tree_if_the_file_is_missing() {
    let site = CheckFixture::new();
    let (code, line) = site.check(&["graphite"]);
    assert_eq!(code, 3, "{line}");
    assert!(
        line.contains("whisper.nb_metrics does not exist and counting failed: "),
        "{line}"
    );
    fs::create_dir_all(site.path("whisper/web1/cpu")).unwrap();
    fs::write(site.path("whisper/web1/cpu/idle.wsp"), "").unwrap();
    let (code, line) = site.check(&["graphite", "-w", "10"]);
    assert_eq!(code, 0, "{line}");
    assert!(
        line.starts_with("GRAPHITE OK: 1 metrics, 1 hosts, counted by this check, /"),
        "{line}"
    );
    assert!(
        line.ends_with("whisper.nb_metrics does not exist | metrics=1;10;;0 hosts=1;;;0 age=0s;;;0"),
        "{line}"
    );
    assert!(
        !site.path("whisper.nb_metrics").exists(),
        "a check publishes nothing"
    );
}

#[test]
fn graphite_reports_an_outdated_count_as_such() {
    let site = CheckFixture::new();
    site.publish("whisper.nb_metrics", &count(2 * 3600));
    let (code, line) = site.check(&["graphite"]);
    assert_eq!(code, 0, "{line}");
    assert!(
        line.contains("4000 hosts, outdated: 2h") && line.contains("the limit is 30m 30s"),
        "{line}"
    );
    let (_, line) = site.check(&["graphite", "--max-age", "3h"]);
    assert!(!line.contains("outdated"), "{line}");
    let (_, line) = site.check(&["graphite", "--max-age", "60"]);
    assert!(line.contains("the limit is 1m;"), "{line}");
}

#[test]
fn disks_judges_all_or_those_named_or_under_the_tree() {
    let site = CheckFixture::new();
    let three = [
        disk("sda", 12.3, 80.2),
        disk("cciss/c0d0", 95.0, 1.0),
        disk("sdb", 85.5, 1.0),
    ]
    .join(",");
    site.publish("disks", &disks(3, &three, "\"sda\""));
    let (code, line) = site.check(&["disks", "-w", "80", "-c", "90"]);
    assert_eq!(code, 2, "{line}");
    assert_eq!(
        without_age(&line),
        "DISKS CRITICAL: %util cciss/c0d0 95.0% (above 90), sdb 85.5% (above 80), sda 12.3% over 60 s | \
         cciss/c0d0_util=95%;80;90;0;100 cciss/c0d0_read_await=0.0008s;;;0 cciss/c0d0_write_await=0.0019s;;;0 \
         cciss/c0d0_queue=0.15;;;0 \
         sda_util=12.3%;80;90;0;100 sda_read_await=0.0008s;;;0 sda_write_await=0.0019s;;;0 sda_queue=0.15;;;0 \
         sdb_util=85.5%;80;90;0;100 sdb_read_await=0.0008s;;;0 sdb_write_await=0.0019s;;;0 sdb_queue=0.15;;;0"
    );
    let (code, line) = site.check(&["disks", "-w", "80", "--whisper"]);
    assert_eq!(code, 0, "{line}");
    assert!(line.starts_with("DISKS OK: %util sda 12.3% over 60 s | sda_util=12.3%;80;;0;100"));
    let (code, line) = site.check(&["disks", "--disk", "/dev/sdb", "sda", "-w", "80"]);
    assert_eq!(code, 1, "{line}");
    assert!(!line.contains("cciss"), "{line}");
    let (code, line) = site.check(&["disks", "--disk", "sdz", "--disk", "sda"]);
    assert_eq!(code, 3, "{line}");
    assert!(
        line.starts_with("DISKS UNKNOWN: no such disk: sdz; %util sda 12.3%"),
        "{line}"
    );
    site.publish("disks", &disks(3, &three, ""));
    let (code, line) = site.check(&["disks", "--whisper"]);
    assert_eq!(code, 3, "{line}");
    assert!(
        line.contains("the disks of the whisper tree are unknown"),
        "{line}"
    );
}

#[test]
fn disks_reports_a_hung_disk() {
    let site = CheckFixture::new();
    let two = [disk("sda", 100.0, 0.0), disk("sdb", 100.0, 0.1)].join(",");
    site.publish("disks", &disks(3, &two, ""));
    let (code, line) = site.check(&["disks"]);
    assert_eq!(code, 2, "{line}");
    assert!(
        line.starts_with(
            "DISKS CRITICAL: %util sda 100.0% (HUNG: requests queued, none completed), sdb 100.0% over"
        ),
        "{line}"
    );
    let short = disks(3, &two, "").replace("60.0", "2.0");
    site.publish("disks", &short);
    assert_eq!(site.check(&["disks"]).0, 0, "a short window proves nothing");
}

#[test]
fn disks_of_a_stopped_gatherer_are_unknown() {
    let site = CheckFixture::new();
    let (code, line) = site.check(&["disks"]);
    assert_eq!(code, 3, "{line}");
    assert!(
        line.starts_with("DISKS UNKNOWN: cannot read the file /")
            && line.ends_with("no such file, is the gatherer running?")
    );
    site.publish("disks", &disks(600, &disk("sda", 1.0, 1.0), ""));
    let (code, line) = site.check(&["disks"]);
    assert_eq!(code, 3, "{line}");
    assert!(
        line.contains("is outdated: 10m") && line.contains("the limit is 50s"),
        "{line}"
    );
    assert_eq!(site.check(&["disks", "--max-age", "1h"]).0, 0);
    let ahead = disks(0, &disk("sda", 1.0, 1.0), "").replace(&now().to_string()[..6], "999999");
    site.publish("disks", &ahead);
    let (code, line) = site.check(&["disks"]);
    assert_eq!(code, 3, "{line}");
    assert!(line.contains("in the future;"), "{line}");
    site.publish("disks", &disks(0, "", ""));
    let (code, line) = site.check(&["disks"]);
    assert_eq!(code, 3, "{line}");
    assert!(line.contains("UNKNOWN: no physical disks found"), "{line}");
}

#[test]
fn many_disks_fit_into_the_line_that_a_checker_keeps() {
    let site = CheckFixture::new();
    let many: Vec<_> = (0..200)
        .map(|n| disk(&format!("sd{n:03}"), f64::from(n % 90), 1.0))
        .collect();
    site.publish("disks", &disks(3, &many.join(","), ""));
    let (code, line) = site.check(&["disks", "-w", "95", "-c", "99"]);
    assert_eq!(code, 0, "{line}");
    assert!(line.len() < 8192, "{} bytes", line.len());
    assert!(line.contains("192 more over 60 s | "), "{line}");
    assert_eq!(line.matches("_util=").count(), 200);
}

#[test]
fn document_of_10000_disks_is_read_by_check_and_status() {
    let site = CheckFixture::new();
    let many: Vec<_> = (0..10_000)
        .map(|n| disk(&format!("sd{n:05}"), f64::from(n % 90), 1.0))
        .collect();
    site.publish("disks", &disks(3, &many.join(","), ""));
    let (code, line) = site.check(&["disks", "--disk", "sd09999", "-w", "95"]);
    assert_eq!(code, 0, "{line:.300}");
    let status = site.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["disks"]["state"], "fresh");
}

#[test]
fn disks_below_their_range_come_before_busier_ones() {
    let site = CheckFixture::new();
    let names = ["sda", "sdb", "sdc"].into_iter().zip([10.0, 90.0, 30.0]);
    let three: Vec<_> = names.map(|(name, util)| disk(name, util, 1.0)).collect();
    site.publish("disks", &disks(3, &three.join(","), ""));
    let (code, line) = site.check(&["disks", "-w", "50:"]);
    assert_eq!(code, 1, "{line}");
    assert!(
        line.starts_with(
            "DISKS WARNING: %util sdc 30.0% (below 50), sda 10.0% (below 50), sdb 90.0% over 60 s"
        ),
        "{line}"
    );
}

#[test]
fn vmware_judges_each_vcpu_and_reports_the_total() {
    let site = CheckFixture::new();
    let (code, line) = site.check(&["vmware", "-w", "5", "-c", "10"]);
    assert_eq!((code, line.as_str()), (0, "VMWARE OK: not a VMware VM"));
    site.publish("vmware", &ready(3, 24.0));
    let (code, line) = site.check(&["vmware", "-w", "5", "-c", "10"]);
    assert_eq!(code, 1, "{line}");
    assert_eq!(
        without_age(&line),
        "VMWARE WARNING: 6.00% ready per vCPU (above 5), 24.00% in total on 4 vCPUs over 60 s | \
         cpu_ready_per_vcpu=6%;5;10;0;100 cpu_ready=24%;;;0;400"
    );
    site.publish("vmware", &ready(3600, 24.0));
    let (code, line) = site.check(&["vmware"]);
    assert_eq!(code, 0, "the last values measured: {line}");
    assert!(line.contains("outdated: 1h"), "{line}");
}

#[test]
fn vmware_without_a_value_is_unknown_with_its_reason() {
    let site = CheckFixture::new();
    let document = |error: &str| {
        format!(
            "{{\"schema\":1,\"updated_at\":{},\"interval_seconds\":10,\"window_seconds\":0,\"is_vmware\":true,\
             \"cpu_ready_percent\":null,\"cpu_ready_percent_per_vcpu\":null,\"vcpus\":2,\"error\":{error}}}",
            now()
        )
    };
    site.publish("vmware", &document("\"the host | refuses\\nit\""));
    let (code, line) = site.check(&["vmware", "-w", "5"]);
    assert_eq!(code, 3, "{line}");
    assert_eq!(
        without_age(&line),
        "VMWARE UNKNOWN: %ready unknown: the host / refuses it | cpu_ready_per_vcpu=U;5;;0;100 \
         cpu_ready=U;;;0;200"
    );
    site.publish("vmware", &document("null"));
    let (code, line) = site.check(&["vmware"]);
    assert_eq!(code, 3, "{line}");
    assert!(
        line.contains("%ready unknown yet: two samples are needed"),
        "{line}"
    );
    let off = CheckFixture::with("enabled = false\n");
    let (code, line) = off.check(&["vmware"]);
    assert_eq!(code, 3, "{line}");
    assert!(
        line.starts_with("VMWARE UNKNOWN: [vmware] is disabled and "),
        "{line}"
    );
}

#[test]
fn unusual_file_at_the_path_is_not_read() {
    let site = CheckFixture::new();
    let good = disks(3, &disk("sda", 1.0, 1.0), "");
    let refused = |reason: &str| {
        let (code, line) = site.check(&["disks"]);
        assert_eq!(code, 3, "{line}");
        assert!(
            line.starts_with("DISKS UNKNOWN: cannot read the file /") && line.ends_with(reason),
            "{line}"
        );
        let path = site.path("disks");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
    };
    site.publish("elsewhere", &good);
    symlink(site.path("elsewhere"), site.path("disks")).unwrap();
    refused("is a symbolic link");
    let fifo = std::process::Command::new("mkfifo")
        .arg(site.path("disks"))
        .status();
    assert!(fifo.unwrap().success());
    refused("not a regular file");
    fs::create_dir(site.path("disks")).unwrap();
    refused("not a regular file");
    let _socket = std::os::unix::net::UnixListener::bind(site.path("disks")).unwrap();
    refused("not a regular file");
    site.publish("disks", &format!("{good}{}", " ".repeat(16 << 20)));
    refused("larger than 16777216 bytes");
    site.publish("disks", "{\"schema\":1");
    refused("malformed: EOF while parsing an object at line 1 column 11");
    site.publish("disks", "");
    refused("malformed: EOF while parsing a value at line 1 column 0");
    site.publish("disks", &good.replace("\"schema\":1", "\"schema\":2"));
    refused("unsupported schema 2, expected 1");
    // A sparse file of a TiB: only its first 16 MiB are read.
    let file = fs::File::create(site.path("disks")).unwrap();
    file.set_len(1 << 40).unwrap();
    refused("larger than 16777216 bytes");
}

#[test]
fn other_users_and_unreadable_files_are_not_trusted() {
    if !rustix::process::geteuid().is_root() {
        crate::support::skip("only root can give files away");
        return;
    }
    let site = CheckFixture::new();
    site.publish("disks", &disks(3, &disk("sda", 1.0, 1.0), ""));
    assert_eq!(site.check(&["disks"]).0, 0, "root's file");
    std::os::unix::fs::chown(site.path("disks"), Some(65534), None).unwrap();
    let (code, line) = site.check(&["disks"]);
    assert_eq!(code, 3, "{line}");
    assert!(
        line.ends_with("owned by uid 65534, must be owned by root or shinken-gatherer"),
        "{line}"
    );
    // As the user who owns the file it is one's own word; as another user a 0600 file can't be read.
    use std::os::unix::process::CommandExt;
    fs::set_permissions(site.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let bin = site.path("gatherer");
    // By another process: a program that this one has open for writing, or has just forked with, can't be run.
    let copied = std::process::Command::new("cp")
        .arg(crate::support::check_fixture::program())
        .arg(&bin)
        .status();
    assert!(copied.unwrap().success());
    let as_user = |uid: u32| {
        let mut command = std::process::Command::new(&bin);
        command
            .arg("--config")
            .arg(site.path("gatherer.toml"))
            .args(["check", "disks"]);
        let output = command.uid(uid).gid(uid).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(as_user(65534).0, 0);
    assert_eq!(as_user(65533).0, 3);
    std::os::unix::fs::chown(site.path("disks"), Some(0), None).unwrap();
    fs::set_permissions(site.path("disks"), fs::Permissions::from_mode(0o600)).unwrap();
    let (code, line) = as_user(65534);
    assert_eq!(code, 3);
    assert!(line.ends_with("Permission denied (os error 13)\n"), "{line}");
}

#[test]
fn files_of_the_packaged_services_user_are_trusted() {
    let site = CheckFixture::new();
    site.publish("disks", &disks(3, &disk("sda", 1.0, 1.0), ""));
    fs::write(
        site.path("passwd"),
        "root:x:0:0::/root:/bin/sh\nshinken-gatherer:x:65432:65432::/:/bin/false\n",
    )
    .unwrap();
    // A mount of its own puts that user into /etc/passwd for this one process.
    let inside = format!(
        "mount --bind {} /etc/passwd && chown 65432 {} && exec {} --config {} check disks",
        site.path("passwd").display(),
        site.path("disks").display(),
        crate::support::check_fixture::program().display(),
        site.path("gatherer.toml").display()
    );
    let command = ["--mount", "sh", "-c", inside.as_str()];
    let output = std::process::Command::new("unshare").args(command).output();
    match output {
        Ok(output) if !output.stdout.is_empty() => {
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
        _ => crate::support::skip("no mounts of one's own here"),
    }
}

#[test]
fn every_answer_of_check_has_a_state_as_exit_code() {
    let site = CheckFixture::new();
    for args in [
        &["check"][..],
        &["check", "everything"],
        &["check", "disks", "--nonsense"],
        &["check", "disks", "-w"],
        &["check", "disks", "-w", "80%"],
        &["check", "disks", "-w", "20:10"],
        &["check", "disks", "--max-age", "soon"],
        &["check", "disks", "extra"],
        &["--nonsense", "check", "disks"],
    ] {
        let output = site.run(args);
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        let line = String::from_utf8(output.stdout).unwrap();
        assert!(
            line.starts_with("SHINKEN-GATHERER UNKNOWN: ") && line.lines().count() == 1,
            "{line}"
        );
        assert!(!line.contains("error:"), "{line}");
        crate::support::check_fixture::assert_explained(&line);
    }
    for args in [
        &["check", "--help"][..],
        &["check", "disks", "-h"],
        &["check", "--version"],
        &["check", "disks", "-V"],
        &["check", "help", "disks"],
    ] {
        let output = site.run(args);
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
    // What is not a check keeps its own codes.
    assert_eq!(site.run(&["--version"]).status.code(), Some(0));
    assert_eq!(site.run(&["once", "--nonsense"]).status.code(), Some(2));
}

#[test]
fn a_bad_configuration_is_unknown() {
    let site = CheckFixture::new();
    fs::write(site.path("gatherer.toml"), "[disks]\nintervall = \"1s\"\n").unwrap();
    let (code, line) = site.check(&["disks"]);
    assert_eq!(code, 3, "{line}");
    assert!(
        line.starts_with("DISKS UNKNOWN: /")
            && line.contains("gatherer.toml:2: disks.intervall: unknown field"),
        "{line}"
    );
    fs::remove_file(site.path("gatherer.toml")).unwrap();
    assert_eq!(site.check(&["graphite"]).0, 3);
}

#[test]
fn closed_stdout_does_not_change_the_exit_code() {
    let site = CheckFixture::new();
    site.publish("vmware", &ready(3, 400.0));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = site.command(&["check", "vmware", "-c", "10"]);
    assert_eq!(command.stdout(full).status().unwrap().code(), Some(2));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command.stdout(writer).stdin(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
