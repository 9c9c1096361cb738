//! Limits of descriptors and memory, and many reloads and failures after which nothing has grown.

use std::fs;
use std::time::Duration;

use crate::support::{Daemon, FAST, TestDir, Usage, children_of, kill, make_large, shell, status, wait_for};
use rustix::process::Signal;

const FASTEST: &str = "interval = \"1ms\"\nwindow = \"100ms\"";
const COUNT_ALWAYS: &str = "interval = \"10ms\"\nmax_busy_percent = 100";

/// Starts the daemon under limits of the shell's `ulimit`.
fn start_limited(dir: &TestDir, limits: &str) -> Daemon {
    let commands = format!("exec 2>{}; ulimit {limits};", dir.path("stderr").display());
    Daemon::spawn(&mut shell(dir, &commands), None)
}

/// A directory with 100,000 metrics, and the address space of the daemon before it counts them, in KiB.
fn large_dir() -> (TestDir, u64) {
    let dir = TestDir::in_memory();
    dir.configure_vm("", "enabled = false", FAST, FAST);
    let daemon = start_limited(&dir, "-n 64");
    dir.wait_for_log("vmware: VMware guest library not found");
    wait_for("the disks", || dir.disks());
    let address_space_kib = status(&daemon.child, "VmSize");
    daemon.stop();
    fs::remove_file(dir.path("gatherer.log")).unwrap();
    make_large(&dir.path("whisper"));
    dir.configure_vm("", COUNT_ALWAYS, FAST, FAST);
    (dir, address_space_kib)
}

#[test]
fn daemon_works_with_64_descriptors_and_32_mb_of_own_memory() {
    let (dir, own_kib) = large_dir();
    let daemon = start_limited(&dir, &format!("-n 64 -v {}", own_kib + (32 << 10)));
    dir.wait_for_metrics(100_000);
    wait_for("the disks", || dir.disks());
    dir.wait_for_helper();
    for turn in 1..=5 {
        let graphite = format!("{COUNT_ALWAYS}\nhost_depth = {}", 1 + turn % 2);
        let vmware = format!("interval = \"{}ms\"\nwindow = \"1s\"", 20 + turn);
        dir.configure_vm("", &graphite, FAST, &vmware);
        fs::rename(dir.path("gatherer.log"), dir.path("gatherer.log.1")).unwrap();
        daemon.signal(Signal::HUP);
        dir.wait_for_log("INFO daemon: configuration reloaded");
        dir.wait_for_log("100000 metrics");
    }
    dir.metrics(["host-0/new.wsp"]);
    dir.wait_for_metrics(100_001);
    let usage = Usage::of(&daemon.child);
    assert!(usage.descriptors < 40 && usage.children <= 2, "{usage:?}");
    let log = dir.log() + &dir.read("gatherer.log.1");
    assert!(!log.contains(" ERROR ") && !log.contains("memory"), "{log}");
    daemon.stop();
}

#[test]
fn too_few_resources_are_reported_as_an_error_without_a_hang() {
    let (dir, own_kib) = large_dir();
    // From less than the libraries need to enough. With too few descriptors for the log file, the log is on stderr.
    let memory: Vec<_> = (own_kib - 768..own_kib + 2560)
        .step_by(512)
        .map(|kib| format!("-v {kib}"))
        .collect();
    let descriptors: Vec<_> = (3..=16).map(|number| format!("-n {number}")).collect();
    for (limits, reason) in [(memory, "memory allocation"), (descriptors, "open files")] {
        let (mut ended, mut working) = (0, 0);
        for limit in limits {
            let mut daemon = start_limited(&dir, &limit);
            // The shell may not have created the file yet.
            let messages = || fs::read_to_string(dir.path("stderr")).unwrap_or_default() + &dir.log();
            let status = wait_for("a count or an end", || {
                let status = daemon.child.try_wait().unwrap();
                let messages = messages();
                let is_working = ["metrics in", "count worker", " WARN graphite: ", " ERROR log: "]
                    .iter()
                    .any(|part| messages.contains(part));
                (is_working || status.is_some()).then_some(status)
            });
            if let Some(status) = status {
                ended += 1;
                let messages = messages();
                let is_reported = messages.contains(reason) || messages.contains("shared librar");
                assert!(!status.success() && is_reported, "{limit}: {status}, {messages}");
            } else {
                working += 1;
                daemon.stop();
            }
            for file in ["gatherer.log", "stderr"] {
                let _ = fs::remove_file(dir.path(file));
            }
        }
        assert!(
            ended > 0 && working > 0,
            "{reason}: {ended} ended, {working} work"
        );
    }
}

/// Asserts that the usage has not grown, but for memory that an allocator keeps.
fn assert_flat(early: Usage, late: Usage) {
    let is_flat = late.descriptors <= early.descriptors
        && (late.threads, late.children) == (early.threads, early.children)
        && late.anonymous_kib <= early.anonymous_kib + 256
        && late.mapped_kib <= early.mapped_kib + 256;
    assert!(is_flat, "{early:?} {late:?}");
}

#[test]
fn helpers_that_fail_leave_no_trace() {
    let dir = TestDir::in_memory();
    dir.configure_vm("", "enabled = false", "enabled = false", FASTEST);
    let daemon = Daemon::start(&dir);
    let mut early = None;
    for _ in 0..5 {
        dir.wait_for_helper();
        let find = || children_of(daemon.child.id()).first().copied();
        let helper = wait_for("a helper", find);
        early.get_or_insert_with(|| Usage::of(&daemon.child));
        kill(helper, Signal::KILL);
        wait_for("the next helper", || find().filter(|next| *next != helper));
    }
    let early = early.unwrap();
    let late = wait_for("the first helper's usage", || {
        let usage = Usage::of(&daemon.child);
        (usage.children == 1 && usage.descriptors <= early.descriptors).then_some(usage)
    });
    assert_flat(early, late);
    daemon.stop();
}

#[test]
fn many_reloads_and_reopened_logs_leave_no_trace() {
    let dir = TestDir::in_memory();
    dir.metrics((0..60).map(|number| format!("host-{}/check-{number}/m.wsp", number % 6)));
    let configure = |turn: u32| {
        let graphite = format!("interval = \"5ms\"\nhost_depth = {}", 1 + turn % 2);
        let sampled = format!("interval = \"5ms\"\nwindow = \"{}ms\"", 500 + turn % 2);
        dir.configure_vm("", &graphite, &sampled, &sampled);
    };
    configure(0);
    let daemon = Daemon::start(&dir);
    wait_for("the count", || dir.count());
    wait_for("the disks", || dir.disks());
    let mut usages = Vec::new();
    for turn in 1..=300 {
        match turn % 10 {
            9 => dir.write("gatherer.toml", "no configuration"),
            _ => configure(turn),
        }
        fs::rename(dir.path("gatherer.log"), dir.path("gatherer.log.1")).unwrap();
        daemon.signal(Signal::HUP);
        dir.wait_for_log(" reload");
        if turn % 100 == 0 {
            // The helper of the previous configuration may not have ended yet.
            usages.push(wait_for("one helper", || {
                let usage = Usage::of(&daemon.child);
                (usage.children == 1).then_some(usage)
            }));
        }
    }
    assert_flat(usages[0], usages[2]);
    assert!(usages[0].descriptors < 32, "{:?}", usages[0]);
    let stopped = daemon.stop();
    assert!(stopped < Duration::from_secs(1), "{stopped:?}");
}
