//! The life of the daemon: a real notify socket, real signals, the built binary.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::support::{Daemon, TestDir, skip, wait_for};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn a_full_life() {
    let place = TestDir::new();
    place.metrics(["host-1/a.wsp", "host-2/b.wsp", "host-2/c.wsp"]);
    let watchdog = Duration::from_millis(400);
    let started = Instant::now();
    let daemon = Daemon::start_notifying(&place, Some(watchdog));
    assert!(daemon.message().contains("READY=1"), "ready is said first");

    // Heartbeats come from the loop itself, at least twice within the watchdog's timeout.
    let mut last = Instant::now();
    for _ in 0..5 {
        daemon.wait_for_message("WATCHDOG=1");
        assert!(
            last.elapsed() < watchdog,
            "{:?} between two heartbeats",
            last.elapsed()
        );
        last = Instant::now();
    }

    wait_for("the count", || place.count());
    wait_for("the disks", || place.disks());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the first disk values are to come within 2 s"
    );
    let status = daemon.wait_for_message("STATUS=2 hosts, 3 metrics; ");
    assert!(!status.contains('\0'));

    // Reload: a good file, whose rotated log is opened anew, then a bad one.
    fs::rename(place.path("gatherer.log"), place.path("gatherer.log.1")).unwrap();
    place.configure_with("log_level = \"debug\"", "", "", "");
    daemon.signal(Signal::HUP);
    let reloading = daemon.wait_for_message("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    daemon.wait_for_message("READY=1");
    place.wait_for_log("INFO daemon: configuration reloaded");
    fs::write(place.path("gatherer.toml"), "\n[graphite]\nintervall = \"1s\"\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_message("RELOADING=1");
    daemon.wait_for_message("READY=1");
    let file = place.path("gatherer.toml");
    place.wait_for_log(&format!(
        "keeping the current configuration: {}:3: graphite.intervall: ",
        file.display()
    ));

    daemon.signal(Signal::TERM);
    daemon.wait_for_message("STOPPING=1");
    let stopped = daemon.stop();
    assert!(stopped < Duration::from_secs(1), "stopped in {stopped:?}");
    assert!(place.disks().is_none(), "the disks file is taken away");
    let count = place.count().expect("the count stays");
    assert_eq!((&count["hosts"], &count["metrics"]), (&json!(2), &json!(3)));
    let log = fs::read_to_string(place.path("gatherer.log.1")).unwrap() + &place.log();
    for line in [
        "INFO daemon: started",
        "INFO graphite: 2 hosts, 3 metrics in ",
        "INFO disks: ",
        "INFO daemon: stopped",
    ] {
        assert!(log.contains(line), "{line} is missing in:\n{log}");
    }
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(
            humantime::parse_rfc3339(time).is_ok() && time.len() == "2026-11-22T13:05:00Z".len(),
            "{line}"
        );
        assert!(
            ["ERROR ", "WARN ", "INFO ", "DEBUG "]
                .iter()
                .any(|level| rest.starts_with(level)),
            "{line}"
        );
    }
}

#[test]
fn published_files_are_readable_by_all_whatever_the_umask() {
    let place = TestDir::new();
    let command = format!(
        "umask 077; exec {} --config {} run",
        env!("CARGO_BIN_EXE_shinken-gatherer"),
        place.path("gatherer.toml").display()
    );
    let daemon = Daemon::spawn(std::process::Command::new("sh").args(["-c", &command]), None);
    for file in ["whisper.nb_metrics", "disks.tmp"] {
        let mode = wait_for(file, || fs::metadata(place.path(file)).ok()).mode();
        assert_eq!(mode & 0o7777, 0o644, "{file}");
    }
    daemon.stop();
}

#[test]
fn samples_do_not_drift_and_are_on_time_during_a_count() {
    let place = TestDir::new();
    place.metrics((0..300).flat_map(|host| (0..10).map(move |metric| format!("h{host}/c{metric}/m.wsp"))));
    // Counts follow each other at once, each reading everything.
    place.configure_with(
        "",
        "interval = \"1ms\"\nfull_scan_interval = \"1ms\"\nmax_busy_percent = 100",
        "interval = \"100ms\"\nwindow = \"1s\"",
        "",
    );
    let daemon = Daemon::start(&place);
    let mut published = Vec::new();
    let mut inode = 0;
    wait_for("41 documents of the disks", || {
        if let Ok(metadata) = fs::metadata(place.path("disks.tmp"))
            && metadata.ino() != inode
        {
            inode = metadata.ino();
            let modified = metadata.modified().unwrap();
            published.push(modified);
        }
        (published.len() > 40).then_some(())
    });
    daemon.stop();
    // The first may be the earlier first window; from then on every document is at start + n × interval. A noisy machine
    // may make some late, but with a drift only half of them would be within a quarter of an interval of any grid.
    let times: Vec<_> = published[1..]
        .iter()
        .map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
        .collect();
    let off = |time: &i64, grid: &i64| (time - grid + 50).rem_euclid(100) - 50;
    let on_time = |grid: &i64| times.iter().filter(|time| off(time, grid).abs() < 25).count();
    let most = times.iter().map(on_time).max().unwrap();
    let late: Vec<_> = times.iter().map(|time| off(time, &times[0])).collect();
    assert!(
        most * 4 >= times.len() * 3,
        "the deadlines drift: off by {late:?} ms"
    );
}

#[test]
fn sigterm_ends_a_count_that_is_under_way() {
    let place = TestDir::new();
    place.metrics((0..400).flat_map(|host| (0..25).map(move |metric| format!("h{host}/c{metric}/m.wsp"))));
    place.configure("max_busy_percent = 1");
    let daemon = Daemon::start_notifying(&place, None);
    assert!(
        daemon.message().contains("READY=1"),
        "ready does not wait for the first count"
    );
    wait_for("the disks", || place.disks());
    assert!(place.count().is_none(), "the count was to be under way still");
    let stopped = daemon.stop();
    assert!(stopped < Duration::from_secs(1), "stopped in {stopped:?}");
    assert!(place.count().is_none() && place.disks().is_none());
}

#[test]
fn start_removes_stale_disk_file_and_reuses_temporary_names() {
    let place = TestDir::new();
    fs::write(place.path("disks.tmp"), "{}\n").unwrap();
    // Left by a killed run.
    fs::write(place.path(".disks.tmp.tmp"), "{").unwrap();
    fs::write(place.path(".disks.tmp.other.tmp"), "another program's").unwrap();
    let daemon = Daemon::start_notifying(&place, None);
    daemon.wait_for_message("READY=1");
    assert!(!place.path("disks.tmp").exists());
    wait_for("the disks", || place.disks());
    assert!(!place.path(".disks.tmp.tmp").exists());
    assert!(place.path(".disks.tmp.other.tmp").exists());
    daemon.stop();
}

#[test]
fn missing_whisper_directory_is_one_warning_until_it_appears() {
    let place = TestDir::new();
    place.configure("interval = \"10ms\"");
    fs::remove_dir(place.path("whisper")).unwrap();
    fs::write(place.path("whisper.nb_metrics"), "{}\n").unwrap();
    let daemon = Daemon::start(&place);
    place.wait_for_log("opening the whisper directory");
    wait_for("the disks", || place.disks());
    assert_eq!(
        fs::read_to_string(place.path("whisper.nb_metrics")).unwrap(),
        "{}\n",
        "the old count stays"
    );
    assert_eq!(
        place.log().matches("opening the whisper directory").count(),
        1,
        "{}",
        place.log()
    );
    place.metrics(["host/a.wsp"]);
    wait_for("the count", || {
        place.count().filter(|count| count["metrics"] == 1)
    });
    place.wait_for_log("INFO graphite: counting works again");
    daemon.stop();
}

#[test]
fn publishing_error_is_logged_once_until_it_works() {
    let place = TestDir::new();
    place.configure_with(
        "",
        "interval = \"10ms\"",
        "interval = \"20ms\"\nwindow = \"1s\"",
        "",
    );
    fs::create_dir(place.path("whisper.nb_metrics")).unwrap();
    let daemon = Daemon::start(&place);
    place.wait_for_log("WARN graphite: publishing");
    let published = wait_for("the disks", || place.disks());
    wait_for("more of the disks", || {
        place.disks().filter(|later| *later != published)
    });
    assert_eq!(
        place.log().matches("graphite: publishing").count(),
        1,
        "{}",
        place.log()
    );
    fs::remove_dir(place.path("whisper.nb_metrics")).unwrap();
    wait_for("the count", || place.count());
    place.wait_for_log("nb_metrics\" works again");
    daemon.stop();
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let place = TestDir::new();
    fs::create_dir(place.path("gatherer.log")).unwrap();
    let daemon = Daemon::start(&place);
    wait_for("the count", || place.count());
    wait_for("the disks", || place.disks());
    daemon.stop();
}

#[test]
fn log_of_another_user_in_a_shared_folder_is_not_written() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can give files away");
    }
    let (root, shinken, stranger) = (Some(0), Some(4242), Some(4243));
    for (folder, mode, file, is_written) in [
        (shinken, 0o755, shinken, true),
        (shinken, 0o755, root, true),
        (shinken, 0o755, stranger, false),
        (root, 0o755, stranger, true),
        (root, 0o775, stranger, false),
        (root, 0o1777, stranger, false),
    ] {
        let place = TestDir::new();
        fs::write(place.path("gatherer.log"), "").unwrap();
        chown(place.path(""), folder, folder).unwrap();
        fs::set_permissions(place.path(""), Permissions::from_mode(mode)).unwrap();
        chown(place.path("gatherer.log"), file, file).unwrap();
        let daemon = Daemon::start(&place);
        wait_for("the disks", || place.disks());
        daemon.stop();
        let log = place.log();
        assert_eq!(
            log.contains("started"),
            is_written,
            "folder of {folder:?}, {mode:o}, file of {file:?}: {log}"
        );
    }
}

#[test]
fn reload_applies_settings_and_removes_unpublished_files() {
    let place = TestDir::new();
    place.metrics(["host/a.wsp", "other/b.wsp"]);
    let daemon = Daemon::start(&place);
    wait_for("the count", || place.count().filter(|count| count["hosts"] == 2));
    wait_for("the disks", || place.disks());
    place.configure_with("", "exclude = [\"/other/\"]", "enabled = false", "");
    daemon.signal(Signal::HUP);
    wait_for("the new count", || {
        place.count().filter(|count| count["hosts"] == 1)
    });
    wait_for("the disks file to go", || place.disks().is_none().then_some(()));
    daemon.stop();
}

#[test]
fn debug_is_asked_for_by_the_environment() {
    let place = TestDir::new();
    let daemon = Daemon::spawn(place.command().arg("run").env("GATHERER_DEBUG", "1"), None);
    place.wait_for_log("DEBUG disks: ");
    daemon.stop();
    fs::remove_file(place.path("gatherer.log")).unwrap();
    let daemon = Daemon::start(&place);
    place.wait_for_log("INFO disks: ");
    daemon.stop();
    assert!(!place.log().contains("DEBUG"), "{}", place.log());
}

#[test]
fn the_vmware_file_is_there_only_on_vmware() {
    let place = TestDir::new();
    let sys = place.path("sys/class/dmi/id");
    fs::create_dir_all(&sys).unwrap();
    fs::create_dir_all(place.path("sys/devices/system/cpu")).unwrap();
    fs::write(place.path("sys/devices/system/cpu/online"), "0-3\n").unwrap();
    let host = format!("[host]\nsys = \"{}\"", place.path("sys").display());
    place.configure_with("", "", "", &host);
    fs::write(place.path("vmware.dat"), "{}\n").unwrap();
    fs::write(sys.join("sys_vendor"), "QEMU\n").unwrap();
    let daemon = Daemon::start(&place);
    place.wait_for_log("not a VMware virtual machine");
    wait_for("a file that says otherwise to go", || {
        (!place.path("vmware.dat").exists()).then_some(())
    });

    fs::write(sys.join("sys_vendor"), "VMware, Inc.\n").unwrap();
    daemon.stop();
    let daemon = Daemon::start(&place);
    let document = wait_for("the document", || {
        crate::support::document(&place.path("vmware.dat"))
    });
    assert_eq!(document["is_vmware"], true);
    assert_eq!(document["vcpus"], 4);
    assert!(
        document["cpu_ready_percent"].is_null() && document["error"].is_string(),
        "{document}"
    );
    daemon.stop();
    assert!(place.path("vmware.dat").exists(), "the last document stays");
}

#[test]
fn reload_removes_old_output_if_moved_but_keeps_it_if_disabled() {
    let place = TestDir::new();
    let sys = place.path("sys/class/dmi/id");
    fs::create_dir_all(&sys).unwrap();
    fs::create_dir_all(place.path("sys/block")).unwrap();
    fs::write(sys.join("sys_vendor"), "VMware, Inc.\n").unwrap();
    let host = format!("[host]\nsys = \"{}\"", place.path("sys").display());
    let libraries = format!("libraries = [\"{}\"]", place.path("none.so").display());
    let vmware = format!("interval = \"1s\"\n{libraries}\n{host}");
    let gone = |file: &str| wait_for(file, || (!place.path(file).exists()).then_some(()));
    let there = |file: &str| wait_for(file, || crate::support::document(&place.path(file)));
    let reload = |daemon: &Daemon| daemon.signal(Signal::HUP);
    let moved = |text: String, from: &str, to: &str| {
        assert!(text.contains(from));
        fs::write(place.path("gatherer.toml"), text.replace(from, to)).unwrap();
    };
    place.configure_with("", "", "", &vmware);
    let text = fs::read_to_string(place.path("gatherer.toml")).unwrap();
    let daemon = Daemon::start(&place);
    there("vmware.dat");
    there("disks.tmp");
    moved(text.clone(), "vmware.dat", "moved-vmware.dat");
    reload(&daemon);
    there("moved-vmware.dat");
    gone("vmware.dat");
    moved(text.clone(), "disks.tmp", "moved-disks.tmp");
    reload(&daemon);
    there("vmware.dat");
    there("moved-disks.tmp");
    gone("moved-vmware.dat");
    gone("disks.tmp");
    // What is published at its place stays there through a reload that leaves it there.
    moved(text.clone(), "libraries", "window = \"2m\"\nlibraries");
    let before = there("vmware.dat");
    reload(&daemon);
    there("disks.tmp");
    wait_for("a newer document", || {
        (there("vmware.dat") != before).then_some(())
    });
    place.configure_with("", "", "", &format!("enabled = false\n{vmware}"));
    reload(&daemon);
    // Until then it may still be reading the file.
    wait_for("the reload", || {
        (place.log().matches("reloaded").count() == 4).then_some(())
    });
    moved(
        text.replace("[vmware]\n", "[vmware]\nenabled = false\n"),
        "[disks]\n",
        "output = \"/nowhere/count\"\n[disks]\n",
    );
    reload(&daemon);
    place.wait_for_log("WARN graphite: publishing");
    there("whisper.nb_metrics");
    assert!(place.path("vmware.dat").exists(), "{}", place.log());
    daemon.stop();
}

#[test]
fn once_write_removes_the_vmware_file_on_another_machine() {
    let place = TestDir::new();
    fs::create_dir_all(place.path("sys/block")).unwrap();
    let host = format!("[host]\nsys = \"{}\"", place.path("sys").display());
    let once = |more: &[&str]| {
        fs::write(place.path("vmware.dat"), "{}\n").unwrap();
        let args = [&["once", "--json", "--window", "10ms"], more].concat();
        let output = place.command().args(args).output().unwrap();
        assert!(output.status.success(), "{}", crate::support::stderr_of(&output));
        assert!(crate::support::json_of(&output)["vmware"].is_null());
        place.path("vmware.dat").exists()
    };
    place.configure_with("", "", "", &host);
    assert!(once(&[]), "removed without --write");
    assert!(!once(&["--write"]), "a file that says otherwise stays");
    // Whoever disabled it may have something else that writes the file.
    place.configure_with("", "", "", &format!("enabled = false\n{host}"));
    assert!(once(&["--write"]), "not measured and removed all the same");
}
