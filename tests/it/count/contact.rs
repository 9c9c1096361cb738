//! Whether a count worker reports in time: frozen, or on slow storage.

use crate::support::{
    Clocks, Daemon, FAST, TestDir, Watch, make_large, strace, text, wait_for, wait_for_right_count,
    wait_until, workers_of,
};
use rustix::process::{Signal, kill_process};

#[test]
fn frozen_worker_is_reported_once_and_not_replaced() {
    let dir = TestDir::in_memory();
    make_large(&dir.path("whisper"));
    let configure = |busy: u32| {
        let graphite = format!("interval = \"100ms\"\nmax_busy_percent = {busy}");
        dir.configure_with("", &graphite, "interval = \"200ms\"", "");
    };
    configure(2);
    let daemon = Daemon::start_notifying(&dir, None);
    let worker = daemon.wait_for_worker();
    let pid = worker.as_raw_pid();
    wait_until("the status to name the worker", || {
        let status = dir.command().arg("status").output().unwrap();
        let running = format!("; a count is running (pid {pid})");
        text(&status.stdout).contains(&running)
    });
    let status = daemon.wait_for_message("STATUS=first count in progress");
    assert!(!status.contains("does not respond"), "{status}");
    kill_process(worker, Signal::STOP).unwrap();
    daemon.wait_for_message("STATUS=first count in progress, the count does not respond");
    dir.wait_for_log(&format!(
        "WARN graphite: the count worker (pid {pid}) has not responded for 5s"
    ));
    Watch::replaced(&dir.path("")).wait_for("disks.tmp", 10);
    assert_eq!(workers_of(daemon.child.id()).len(), 1);
    kill_process(worker, Signal::CONT).unwrap();
    dir.wait_for_log("INFO graphite: the count worker responds again");
    configure(100);
    daemon.signal(Signal::HUP);
    wait_for_right_count(&dir);
    assert_eq!(
        (dir.logged("has not responded"), dir.logged("responds again")),
        (1, 1)
    );
    daemon.stop();
}

#[test]
fn frozen_worker_is_noticed_if_nothing_else_is_due() {
    let dir = TestDir::in_memory();
    make_large(&dir.path("whisper"));
    let graphite = "interval = \"100ms\"\nmax_busy_percent = 1";
    dir.configure_with("", graphite, "enabled = false", "enabled = false");
    let daemon = Daemon::start(&dir);
    let worker = daemon.wait_for_worker();
    kill_process(worker, Signal::STOP).unwrap();
    dir.wait_for_log("has not responded for 5s");
    kill_process(worker, Signal::CONT).unwrap();
    dir.wait_for_log("INFO graphite: the count worker responds again");
    assert_eq!(daemon.wait_for_worker(), worker);
    daemon.stop();
}

#[test]
fn worker_that_was_frozen_with_the_daemon_is_not_reported() {
    let dir = TestDir::in_memory();
    make_large(&dir.path("whisper"));
    let graphite = "interval = \"100ms\"\nmax_busy_percent = 20";
    dir.configure_with("", graphite, FAST, "enabled = false");
    let clocks = Clocks::new(&dir);
    let daemon = Daemon::spawn(clocks.given_to(dir.command().arg("run")), None);
    let worker = daemon.wait_for_worker();
    dir.wait_for_log("INFO graphite: counting ");
    kill_process(worker, Signal::STOP).unwrap();
    clocks.advance(6);
    Watch::replaced(&dir.path("")).wait_for("disks.tmp", 3);
    kill_process(worker, Signal::CONT).unwrap();
    wait_for_right_count(&dir);
    assert_eq!(dir.logged("respond"), 0, "{}", dir.log());
    daemon.stop();
}

#[test]
fn worker_on_slow_storage_is_not_reported() {
    let dir = TestDir::in_memory();
    let graphite = "interval = \"100ms\"";
    dir.configure_with("state_dir = \"\"", graphite, "enabled = false", "enabled = false");
    // Before its first report, and before its last one.
    let slow = "inject=statfs,fsync:delay_enter=3000000:when=1";
    let Some(mut command) = strace(&dir, &["-e", "trace=statfs,fsync", "-e", slow], &["run"]) else {
        return;
    };
    let daemon = Daemon::spawn(&mut command, None);
    wait_for("the count", || dir.count());
    assert_eq!(dir.logged("respond"), 0, "{}", dir.log());
    daemon.stop_traced();
}
