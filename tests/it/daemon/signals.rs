//! Signals, reloads and the files that they create and remove; terminals, pipes and sockets that nobody reads.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    Daemon, FAST, FORK_ON_PIPE, FORK_ON_TERMINAL, TestDir, Unread, cpu_time, document, json_of, many_disks,
    stderr_of, wait_for, wait_until,
};

/// Signals that end a process by default and that are not those of a crash.
const UNUSUAL: [i32; 11] = [3, 12, 14, 16, 24, 26, 27, 29, 30, 34, 64];
#[test]
fn terminal_that_nobody_reads_delays_no_sample_and_no_stop() {
    let dir = many_disks();
    let terminal = Unread::start(dir.command().arg("run"), FORK_ON_TERMINAL);
    dir.wait_for_disks(20);
    terminal.end(Signal::TERM);
    assert!(dir.disks().is_none());
}

#[test]
fn service_manager_that_does_not_read_delays_nothing() {
    let dir = TestDir::in_memory();
    dir.configure_with("", "interval = \"10ms\"", FAST, "");
    let _unread = UnixDatagram::bind(dir.path("notify")).unwrap();
    let mut command = dir.command();
    command.arg("run").env("NOTIFY_SOCKET", dir.path("notify"));
    let daemon = Daemon::spawn(command.env("WATCHDOG_USEC", "20000"), None);
    dir.wait_for_log("started");
    // Enough messages to fill any queue of the socket.
    for _ in 0..100 {
        daemon.signal(Signal::HUP);
    }
    dir.wait_for_disks(50);
    daemon.stop_at_once();
}

#[test]
fn every_terminating_signal_removes_the_disks_file() {
    for signal in UNUSUAL.into_iter().chain([2, 15]) {
        let dir = TestDir::in_memory();
        dir.configure_with("", "", FAST, "");
        let mut daemon = Daemon::start(&dir);
        wait_for("the disks", || dir.disks());
        let (number, pid) = (format!("-{signal}"), daemon.child.id().to_string());
        assert!(
            Command::new("kill")
                .args([number, pid])
                .status()
                .unwrap()
                .success()
        );
        let status = wait_for("the end", || daemon.child.try_wait().unwrap());
        let code = i32::from(UNUSUAL.contains(&signal));
        assert_eq!(status.code(), Some(code), "signal {signal}: {status}");
        assert!(dir.disks().is_none(), "signal {signal}");
        assert!(dir.log().contains("INFO daemon: stopped"), "signal {signal}");
    }
}

#[test]
fn sigusr1_reopens_the_log_and_reloads_nothing() {
    let dir = TestDir::in_memory();
    dir.configure_with("", "", FAST, "");
    let daemon = Daemon::start(&dir);
    dir.wait_for_disks(1);
    fs::rename(dir.path("gatherer.log"), dir.path("gatherer.log.1")).unwrap();
    dir.write("gatherer.toml", "not a configuration");
    daemon.signal(Signal::USR1);
    wait_until("the new log", || dir.path("gatherer.log").exists());
    dir.wait_for_disks(3);
    daemon.stop();
    assert!(dir.log().contains("INFO daemon: stopped"));
    assert!(!(dir.read("gatherer.log.1") + &dir.log()).contains("reload"));
}

#[test]
fn reload_changes_level_and_file_of_the_log() {
    let dir = TestDir::in_memory();
    dir.configure_with("log_level = \"info\"", "", FAST, "");
    let daemon = Daemon::start(&dir);
    dir.wait_for_disks(3);
    dir.reconfigure("\"info\"", "\"debug\"");
    dir.reconfigure("gatherer.log", "moved.log");
    daemon.signal(Signal::HUP);
    wait_until("a detail in the new log", || {
        dir.path("moved.log").exists() && dir.read("moved.log").contains(" DEBUG disks: ")
    });
    assert_eq!(daemon.stop_and_read_stderr(), "");
    assert!(!dir.log().contains(" DEBUG "), "{}", dir.log());
}

#[test]
fn watchdog_timeout_of_no_time_costs_no_cpu() {
    for micros in [0, 1] {
        let dir = TestDir::in_memory();
        let daemon = Daemon::start_notifying(&dir, Some(Duration::from_micros(micros)));
        dir.wait_for_log("metrics in");
        daemon.drain_messages();
        let before = cpu_time(daemon.child.id());
        std::thread::sleep(Duration::from_secs(1));
        let spent = cpu_time(daemon.child.id()) - before;
        assert!(spent < Duration::from_millis(300), "{micros} us: {spent:?}");
        let messages = daemon.drain_messages();
        let beats = messages.iter().filter(|message| message.contains("WATCHDOG=1"));
        assert_eq!(beats.count() > 5, micros == 1, "{messages:?}");
        daemon.stop();
    }
}

/// Ends `status --watch` while it waits to write its first status, which is longer than any buffer.
fn assert_watch_ends(fork: &str) {
    let dir = many_disks();
    let once = dir.run(&["once", "--write", "--window", "10ms"]);
    assert!(once.status.success(), "{}", stderr_of(&once));
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        let mut command = dir.command();
        command.args(["status", "--watch", "100ms", "--json"]);
        let watch = Unread::start(&command, fork);
        // In a write or a poll, and not on a CPU.
        wait_until("a full buffer", || {
            let channel = fs::read_to_string(format!("/proc/{}/wchan", watch.pid)).unwrap();
            let channels = ["pipe", "poll", "tty", "wait_woken"];
            channels.iter().any(|part| channel.contains(part))
        });
        watch.end(signal);
    }
}

#[test]
fn watch_on_a_terminal_that_nobody_reads_ends_on_signals() {
    assert_watch_ends(FORK_ON_TERMINAL);
}

#[test]
fn watch_on_a_pipe_that_nobody_reads_ends_on_signals() {
    assert_watch_ends(FORK_ON_PIPE);
}

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
        dir.reload(&daemon);
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
    wait_until("a newer document", || published("vmware.dat") != before);
    reload(FAST, "interval = \"1h\"\nwindow = \"2h\"");
    wait_until("the new interval", || {
        dir.disks().expect("a document throughout")["interval_seconds"] == 3600
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
