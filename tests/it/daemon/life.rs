//! Start, work and stop of the daemon: systemd notification, published files, and the log.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::support::{
    Daemon, FAST, TestDir, Watch, assert_contains, count, cpu_time, shell, status, wait_for,
};
use rustix::process::Signal;

#[test]
fn systemd_is_notified_of_start_status_reload_and_stop() {
    let dir = TestDir::in_memory();
    dir.metrics(["host-1/a.wsp", "host-2/b.wsp", "host-2/c.wsp"]);
    dir.configure_vm("", "", "", "");
    let watchdog = Duration::from_millis(400);
    let daemon = Daemon::start_notifying(&dir, Some(watchdog));
    assert!(daemon.message().contains("READY=1"), "the first message");
    let first_values = Instant::now();
    daemon.wait_for_message("STATUS=2 hosts, 3 metrics; %util sda ");
    assert!(first_values.elapsed() < Duration::from_secs(5));
    for _ in 0..5 {
        let last = Instant::now();
        daemon.wait_for_message("WATCHDOG=1");
        assert!(
            last.elapsed() < watchdog,
            "{:?} between two heartbeats",
            last.elapsed()
        );
    }

    fs::rename(dir.path("gatherer.log"), dir.path("gatherer.log.1")).unwrap();
    dir.configure_vm("", "exclude = [\"/host-2/\"]", "", "");
    daemon.signal(Signal::HUP);
    let reloading = daemon.wait_for_message("RELOADING=1");
    assert_contains(&reloading, "MONOTONIC_USEC=");
    daemon.wait_for_message("READY=1");
    daemon.wait_for_message("STATUS=1 hosts, 1 metrics; ");
    dir.wait_for_log("INFO daemon: configuration reloaded");
    dir.write("gatherer.toml", "\n[graphite]\nintervall = \"1s\"\n");
    daemon.signal(Signal::HUP);
    daemon.wait_for_message("RELOADING=1");
    daemon.wait_for_message("READY=1");
    let file = dir.path("gatherer.toml");
    let error = format!(
        "keeping the current configuration: {}:3: graphite.intervall: ",
        file.display()
    );
    dir.wait_for_log(&error);

    daemon.signal(Signal::TERM);
    daemon.wait_for_message("STOPPING=1");
    daemon.stop_at_once();
    assert!(dir.disks().is_none() && dir.count().is_some());
    let log = dir.read("gatherer.log.1") + &dir.log();
    for line in [
        "INFO daemon: started",
        "INFO graphite: 2 hosts, 3 metrics in ",
        "INFO disks: ",
        "INFO daemon: stopped",
    ] {
        assert!(log.contains(line), "{line} is missing in:\n{log}");
    }
    for line in log.lines() {
        let [time, level, _] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
        assert!(["ERROR", "WARN", "INFO"].contains(&level), "{line}");
    }
}

#[test]
fn idle_daemon_uses_hardly_any_cpu_and_rarely_wakes_up() {
    let dir = TestDir::in_memory();
    dir.metrics((0..100).map(|host| format!("host-{host}/a.wsp")));
    let daemon = Daemon::start(&dir);
    dir.wait_for_log("metrics in ");
    wait_for("the disks", || dir.disks());
    let used = || {
        let switches = ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"];
        let switches = switches.map(|key| status(&daemon.child, key));
        (cpu_time(daemon.child.id()), switches[0], switches[1])
    };
    let before = used();
    std::thread::sleep(Duration::from_secs(5));
    let after = used();
    // A debug build, and one sample of all disks at most.
    assert!(
        after.0 - before.0 < Duration::from_millis(50),
        "{before:?} {after:?}"
    );
    assert!(
        after.1 - before.1 < 20 && after.2 - before.2 < 100,
        "{before:?} {after:?}"
    );
    daemon.stop();
}

#[test]
fn modes_of_files_do_not_depend_on_the_umask() {
    for umask in ["umask 077;", "umask 0;"] {
        let dir = TestDir::in_memory();
        let daemon = Daemon::spawn(&mut shell(&dir, umask), None);
        for (file, mode) in [
            ("whisper.nb_metrics", 0o644),
            ("disks.tmp", 0o644),
            ("run/shinken-gatherer", 0o755),
            ("run/shinken-gatherer/lock", 0o600),
        ] {
            let metadata = wait_for(file, || fs::metadata(dir.path(file)).ok());
            assert_eq!(metadata.mode() & 0o7777, mode, "{umask} {file}");
        }
        daemon.stop();
    }
}

#[test]
fn long_count_delays_no_sample_and_no_stop() {
    let dir = TestDir::in_memory();
    dir.metrics((0..400).flat_map(|host| (0..25).map(move |metric| format!("h{host}/c{metric}/m.wsp"))));
    let disks = "interval = \"100ms\"\nwindow = \"1s\"";
    dir.configure_with("", "max_busy_percent = 1", disks, "");
    let daemon = Daemon::start_notifying(&dir, None);
    assert!(daemon.message().contains("READY=1"), "before the first count");
    let watch = Watch::replaced(&dir.path(""));
    watch.wait_for("disks.tmp", 1);
    let started = Instant::now();
    watch.wait_for("disks.tmp", 20);
    let took = started.elapsed();
    assert!(took < Duration::from_millis(2500), "20 samples took {took:?}");
    daemon.stop_at_once();
    assert!(dir.count().is_none(), "the count was not in progress any more");
    assert!(dir.disks().is_none());
}

#[test]
fn start_removes_stale_disk_file_and_reuses_temporary_names() {
    let dir = TestDir::in_memory();
    dir.write("disks.tmp", "{}\n");
    // Left by a killed run.
    dir.write(".disks.tmp.tmp", "{");
    dir.write(".disks.tmp.other.tmp", "another program's");
    let daemon = Daemon::start_notifying(&dir, None);
    daemon.wait_for_message("READY=1");
    assert!(!dir.path("disks.tmp").exists());
    wait_for("the disks", || dir.disks());
    assert!(!dir.path(".disks.tmp.tmp").exists());
    assert!(dir.path(".disks.tmp.other.tmp").exists());
    daemon.stop();
}

#[test]
fn missing_whisper_directory_is_one_warning_until_it_appears() {
    let dir = TestDir::in_memory();
    dir.configure_with("", "interval = \"10ms\"", FAST, "");
    fs::remove_dir(dir.path("whisper")).unwrap();
    let old = format!("{}\n", count(0));
    dir.write("whisper.nb_metrics", &old);
    let daemon = Daemon::start(&dir);
    let message = "opening the whisper directory";
    dir.wait_for_log(message);
    dir.wait_for_disks(10);
    assert_eq!(dir.read("whisper.nb_metrics"), old);
    assert_eq!(dir.logged(message), 1, "{}", dir.log());
    dir.metrics(["host/a.wsp"]);
    dir.wait_for_metrics(1);
    dir.wait_for_log("INFO graphite: counting works again");
    daemon.stop();
}

#[test]
fn debug_variable_sets_the_log_level() {
    for (value, is_debug) in [("1", true), ("0", false)] {
        let dir = TestDir::in_memory();
        dir.configure_with("", "", FAST, "");
        let mut command = dir.command();
        let daemon = Daemon::spawn(command.arg("run").env("GATHERER_DEBUG", value), None);
        dir.wait_for_disks(3);
        daemon.stop();
        for line in [
            " DEBUG disks: ",
            " DEBUG daemon: no_new_privs is set, capabilities: ",
        ] {
            assert_eq!(dir.log().contains(line), is_debug, "{}", dir.log());
        }
    }
}
