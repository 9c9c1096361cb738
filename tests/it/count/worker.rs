//! The count worker as a process: killed and restarted, not started, and ended with its daemon or by old settings.

use std::fs;
use std::time::Duration;

use crate::support::{
    Clocks, Daemon, FAST, Numbers, TestDir, Usage, children_of, cpu_time, kill, make_large, strace, wait_for,
    wait_for_right_count, wait_until, workers_of,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

const KILLS: usize = 60;

fn thousand_metrics() -> TestDir {
    let dir = TestDir::in_memory();
    dir.metrics((0..1000).map(|number| format!("h{}/c{}/m.wsp", number / 5, number % 5)));
    dir
}

#[test]
fn frozen_worker_ends_with_its_daemon() {
    let dir = TestDir::in_memory();
    make_large(&dir.path("whisper"));
    dir.configure("max_busy_percent = 1");
    for end in [Daemon::stop_at_once, Daemon::kill] {
        let daemon = Daemon::start_notifying(&dir, None);
        daemon.wait_for_message("READY=1");
        let id = daemon.child.id();
        let worker = daemon.wait_for_worker();
        let name = format!("/proc/{}/comm", worker.as_raw_pid());
        // It sets its name after it has tied its life to that of the daemon.
        wait_until("the worker's name", || {
            fs::read_to_string(&name).is_ok_and(|name| name == "count-worker\n")
        });
        kill_process(worker, Signal::STOP).unwrap();
        end(daemon);
        wait_until("the worker's end", || workers_of(id).is_empty());
    }
}

#[test]
fn killed_worker_leaves_a_usable_snapshot_and_is_replaced() {
    let dir = thousand_metrics();
    dir.configure_with(
        "log_level = \"debug\"",
        "interval = \"5ms\"\nmax_busy_percent = 30",
        "",
        "",
    );
    let mut random = Numbers::seeded();
    let daemon = Daemon::start(&dir);
    wait_for("the count", || dir.count());
    let mut killed = 0;
    for kill in 0..KILLS {
        dir.metrics([format!("h{}/c0/new-{kill}.wsp", random.below(200))]);
        // Some die before they have read their request, others while they publish.
        std::thread::sleep(Duration::from_micros(random.below(20_000) as u64));
        killed += usize::from(kill_process(daemon.wait_for_worker(), Signal::KILL).is_ok());
    }
    assert!(killed > KILLS / 4, "only {killed} of {KILLS} were killed");
    wait_for_right_count(&dir);
    assert_eq!(dir.logged("cannot use snapshot"), 0, "{}", dir.log());
    dir.wait_for_log("WARN graphite: the count worker died (signal: 9 (SIGKILL)), trying again");
    dir.wait_for_log("INFO graphite: counting works again");
    wait_until("no temporary files", || {
        let mut entries = fs::read_dir(dir.path("")).unwrap();
        let is_temporary = |name: &str| name.starts_with(".whisper.nb_metrics.");
        !entries.any(|entry| is_temporary(entry.unwrap().file_name().to_str().unwrap()))
    });
    daemon.stop();
}

#[test]
fn worker_ignores_the_snapshot_only_after_two_deaths_in_a_row() {
    let dir = thousand_metrics();
    let graphite = "interval = \"50ms\"\nmax_busy_percent = 10";
    dir.configure_with("log_level = \"debug\"", graphite, "", "");
    let daemon = Daemon::start(&dir);
    let kill_until_logged = |message: &str| {
        let before = dir.logged(message);
        wait_until(message, || {
            // One that finishes before it is killed does not die. When the next one starts, a death is logged.
            let worker = daemon.wait_for_worker();
            let _ = kill_process(worker, Signal::KILL);
            wait_until("the next worker", || daemon.wait_for_worker() != worker);
            dir.logged(message) > before
        });
    };
    let wait_for_counts = || dir.wait_for_more_log(" directories, ", 3);
    kill_until_logged("trying again, the next one ignores the snapshot");
    dir.wait_for_log("full scan (requested)");
    wait_for_right_count(&dir);
    wait_for_counts();
    // These deaths do not count after a success.
    let full_scans = dir.logged("full scan (requested)");
    kill_until_logged("the count worker died");
    wait_for_counts();
    assert_eq!(dir.logged("full scan (requested)"), full_scans, "{}", dir.log());
    daemon.stop();
}

#[test]
fn changed_settings_end_a_running_count() {
    let dir = TestDir::in_memory();
    make_large(&dir.path("whisper"));
    dir.configure("max_busy_percent = 1");
    let daemon = Daemon::start_notifying(&dir, None);
    let worker = daemon.wait_for_worker();
    // The count does not depend on the interval of the disks.
    dir.configure_with("", "max_busy_percent = 1", "interval = \"200ms\"", "");
    dir.reload(&daemon);
    assert_eq!(daemon.wait_for_worker(), worker);
    dir.configure("max_busy_percent = 100\nhost_depth = 2");
    daemon.signal(Signal::HUP);
    wait_for("the count", || {
        dir.count().filter(|count| count["hosts"] == 400 * 25)
    });
    assert_eq!(dir.logged(" WARN graphite"), 0, "{}", dir.log());
    daemon.stop();
}

#[test]
fn what_a_worker_counted_with_old_settings_is_ignored() {
    let dir = thousand_metrics();
    let configure = |depth: u32| dir.configure(&format!("host_depth = {depth}\nmax_busy_percent = 1"));
    configure(1);
    let daemon = Daemon::start(&dir);
    let id = daemon.child.id();
    dir.wait_for_log("INFO graphite: counting ");
    daemon.signal(Signal::STOP);
    // The daemon learns of the reload and of the finished count at once.
    wait_for_right_count(&dir);
    wait_until("the worker's end", || workers_of(id).is_empty());
    configure(2);
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::CONT);
    wait_for("the count", || dir.count().filter(|count| count["hosts"] == 1000));
    daemon.stop();
}

#[test]
fn worker_that_is_killed_after_its_last_report_has_died() {
    let dir = TestDir::in_memory();
    dir.configure_with("", "", "enabled = false", "enabled = false");
    let at_exit = [
        "-e",
        "trace=exit_group",
        "-e",
        "inject=exit_group:error=ENOSYS:signal=KILL",
    ];
    let Some(mut command) = strace(&dir, &at_exit, &["run"]) else {
        return;
    };
    let daemon = Daemon::spawn(&mut command, None);
    dir.wait_for_log("WARN graphite: the count worker died (signal: 9 (SIGKILL)");
    assert!(dir.count().is_some());
    daemon.stop_traced();
}

#[test]
fn end_of_another_child_process_is_not_the_workers_end() {
    let dir = thousand_metrics();
    dir.configure_vm("", "max_busy_percent = 1", "enabled = false", FAST);
    let daemon = Daemon::start(&dir);
    let id = daemon.child.id();
    let worker = daemon.wait_for_worker();
    let find_helper = || {
        let mut children = children_of(id).into_iter();
        children.find(|pid| *pid != worker.as_raw_pid())
    };
    let helper = wait_for("the VMware helper", find_helper);
    kill(helper, Signal::KILL);
    wait_until("another helper", || {
        find_helper().is_some_and(|pid| pid != helper)
    });
    wait_for_right_count(&dir);
    assert_eq!(dir.logged("count worker"), 0, "{}", dir.log());
    daemon.stop();
}

#[test]
fn worker_that_cannot_be_started_is_retried_after_the_interval() {
    let dir = TestDir::in_memory();
    let debug = "log_level = \"debug\"";
    dir.configure_with(
        debug,
        "interval = \"100ms\"",
        "enabled = false",
        "enabled = false",
    );
    let clocks = Clocks::new(&dir);
    let daemon = Daemon::spawn(clocks.given_to(dir.command().arg("run")), None);
    wait_for("the count", || dir.count());
    let limit_descriptors = |current| {
        let pid = Pid::from_child(&daemon.child);
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(Some(pid), Resource::Nofile, Rlimit { current, maximum }).unwrap();
    };
    // Enough to open the log, and not for the pipes of a worker.
    limit_descriptors(Some(Usage::of(&daemon.child).descriptors as u64 + 1));
    dir.wait_for_log("starting the count worker: Too many open files");
    // Needs a full scan, although no worker can start.
    clocks.shift_wall(-5);
    let before = cpu_time(daemon.child.id());
    std::thread::sleep(Duration::from_secs(1));
    let spent = cpu_time(daemon.child.id()) - before;
    assert!(spent < Duration::from_millis(300), "{spent:?}");
    limit_descriptors(getrlimit(Resource::Nofile).current);
    dir.wait_for_log("INFO graphite: counting works again");
    dir.wait_for_log("full scan (requested)");
    daemon.stop();
}

#[test]
fn worker_that_publishes_while_the_daemon_stops_may_finish() {
    let dir = TestDir::in_memory();
    dir.configure_with("state_dir = \"\"", "", "enabled = false", "enabled = false");
    let slow_sync = ["-e", "trace=fsync", "-e", "inject=fsync:delay_exit=100000:when=1"];
    let Some(mut command) = strace(&dir, &slow_sync, &["run"]) else {
        return;
    };
    let daemon = Daemon::spawn(&mut command, None);
    let temporary = dir.path(".whisper.nb_metrics.tmp");
    wait_until("the temporary file", || temporary.exists());
    daemon.stop_traced();
    assert!(dir.count().is_some() && !temporary.exists(), "{}", dir.log());
}
