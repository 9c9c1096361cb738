//! Little to live on, and a long life: 64 descriptors, 32 MB of address space, and a day's worth of cycles, reloads
//! and opened logs in which nothing grows.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::tree::make_large;
use crate::support::watch::{Usage, Watch, status};
use crate::support::{Daemon, TestDir, document, wait_for};
use rustix::process::Signal;

const FAST: &str = "interval = \"20ms\"\nwindow = \"1s\"";

/// A machine for the daemon: one busy disk, and firmware that says VMware; its guest library is missing.
fn machine(place: &TestDir, graphite: &str, disks: &str, vmware: &str) {
    let (proc, sys) = (place.path("proc"), place.path("sys"));
    let folders = ["block/sda/device", "class/dmi/id", "devices/system/cpu"];
    for folder in folders {
        fs::create_dir_all(sys.join(folder)).unwrap();
    }
    fs::create_dir_all(&proc).unwrap();
    fs::write(proc.join("diskstats"), "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n").unwrap();
    fs::write(sys.join("class/dmi/id/sys_vendor"), "VMware, Inc.\n").unwrap();
    fs::write(sys.join("devices/system/cpu/online"), "0-3\n").unwrap();
    let host = format!("libraries = [\"/nowhere\"]\n{vmware}\n[host]\nproc = {proc:?}\nsys = {sys:?}");
    place.configure_with("", graphite, disks, &host);
}

/// The daemon under limits of the shell's `ulimit`.
fn start_limited(place: &TestDir, limits: &str) -> Daemon {
    let command = format!(
        "exec 2>{}; ulimit {limits}; exec {} --config {} run",
        place.path("stderr").display(),
        env!("CARGO_BIN_EXE_shinken-gatherer"),
        place.path("gatherer.toml").display()
    );
    Daemon::spawn(Command::new("sh").args(["-c", &command]), None)
}

/// Everything that the limited daemon has written to stderr and to the log.
fn messages(place: &TestDir) -> String {
    // The shell may not have created the file yet.
    fs::read_to_string(place.path("stderr")).unwrap_or_default() + &place.log()
}

/// Address space of the daemon when it waits, before it has counted anything, in KiB.
fn address_space_kib(place: &TestDir) -> u64 {
    let daemon = start_limited(place, "-n 64");
    place.wait_for_log("vmware: VMware guest library not found");
    wait_for("the disks", || place.disks());
    let size = status(&daemon.child, "VmSize");
    daemon.stop();
    fs::remove_file(place.path("gatherer.log")).unwrap();
    size
}

/// A place with 100,000 metrics and everything fast, and the daemon's address space before it counts, in KiB.
fn place_with_much_to_count() -> (TestDir, u64) {
    let place = TestDir::in_memory();
    machine(&place, "enabled = false", FAST, FAST);
    let own = address_space_kib(&place);
    make_large(&place.path("whisper"));
    machine(&place, "interval = \"10ms\"\nmax_busy_percent = 100", FAST, FAST);
    (place, own)
}

#[test]
fn daemon_works_with_64_descriptors_and_32_mb_of_own_memory() {
    let (place, own) = place_with_much_to_count();
    let daemon = start_limited(&place, &format!("-n 64 -v {}", own + (32 << 10)));
    let counted = |metrics: u64| place.count().filter(|count| count["metrics"] == metrics);
    wait_for("the count", || counted(100_000));
    wait_for("the disks", || place.disks());
    let vmware = || document(&place.path("vmware.dat"));
    wait_for("the helper's answer", || {
        vmware().filter(|vmware| vmware["error"].as_str().unwrap().contains("library not found"))
    });
    // Everything is read again, logs and configuration too, and a change is seen.
    for turn in 1..=20 {
        machine(
            &place,
            &format!(
                "interval = \"10ms\"\nmax_busy_percent = 100\nhost_depth = {}",
                1 + turn % 2
            ),
            FAST,
            &format!("interval = \"{}ms\"\nwindow = \"1s\"", 20 + turn),
        );
        fs::rename(place.path("gatherer.log"), place.path("gatherer.log.1")).unwrap();
        daemon.signal(Signal::HUP);
        place.wait_for_log("INFO daemon: configuration reloaded");
        place.wait_for_log("100000 metrics");
    }
    fs::write(place.path("whisper/host-0/new.wsp"), "").unwrap();
    wait_for("the count of one more", || counted(100_001));
    let usage = Usage::of(&daemon.child);
    assert!(usage.descriptors < 40 && usage.children <= 2, "{usage:?}");
    let log = place.log() + &fs::read_to_string(place.path("gatherer.log.1")).unwrap();
    assert!(!log.contains(" ERROR ") && !log.contains("memory"), "{log}");
    daemon.stop();
}

#[test]
fn too_few_resources_are_reported_as_an_error_without_a_hang() {
    let (place, own) = place_with_much_to_count();
    // From what is less than its libraries to what is enough: it ends with a reason, or it works, or its workers end.
    let mut ended = 0;
    for kib in (own - 768..own + 2560).step_by(256) {
        let mut daemon = start_limited(&place, &format!("-v {kib}"));
        let status = wait_for("a count or an end", || {
            let log = place.log();
            let counted = log.contains("100000 metrics") || log.contains("count worker");
            let status = daemon.child.try_wait().unwrap();
            (counted || status.is_some()).then_some(status)
        });
        if let Some(status) = status {
            ended += 1;
            assert!(!status.success(), "{kib} KiB: {status}");
            let said = messages(&place);
            assert!(
                said.contains("memory allocation") || said.contains("shared librar"),
                "{kib} KiB: {status}, and it said {said:?}"
            );
        } else {
            daemon.stop();
        }
        let _ = fs::remove_file(place.path("gatherer.log"));
    }
    assert!(ended >= 1, "none of that was too little");
    // Too few descriptors: not a start, or a start that says what is missing and works where there are some again.
    for descriptors in 3..=16 {
        let mut daemon = start_limited(&place, &format!("-n {descriptors}"));
        let status = wait_for("a start or an end", || {
            let status = daemon.child.try_wait().unwrap();
            let messages = messages(&place);
            // With too few for the log file, the log goes to stderr.
            let lives = messages.contains(" graphite: ") || messages.contains(" ERROR log: ");
            (lives || status.is_some()).then_some(status)
        });
        if let Some(status) = status {
            let said = messages(&place);
            assert!(!status.success(), "{descriptors} descriptors: {status}");
            assert!(
                said.contains("open files") || said.contains("shared librar"),
                "{descriptors} descriptors: {status}, and it said {said:?}"
            );
        } else {
            daemon.stop();
        }
        let _ = fs::remove_file(place.path("gatherer.log"));
        let _ = fs::remove_file(place.path("stderr"));
    }
}

/// What is used after a tenth of the way and at its end must be the same, but for what an allocator keeps.
fn assert_flat(early: Usage, late: Usage) {
    assert!(
        late.descriptors <= early.descriptors,
        "descriptors are left open: {early:?}, {late:?}"
    );
    assert_eq!(
        (early.threads, early.children),
        (late.threads, late.children),
        "threads, children: {early:?}, {late:?}"
    );
    assert!(
        late.anonymous_kib <= early.anonymous_kib + 256 && late.mapped_kib <= early.mapped_kib + 256,
        "memory grows: {early:?}, {late:?}"
    );
}

#[test]
fn a_day_of_cycles_leaves_no_trace() {
    // 24 hours have 8,640 samples of the disks and of VMware's figures, and 96 counts.
    const CYCLES: usize = 100_000;
    const LONGEST: Duration = Duration::from_secs(280);
    let place = TestDir::in_memory();
    place.metrics((0..60).map(|number| format!("host-{}/check-{number}/m.wsp", number % 6)));
    machine(
        &place,
        "interval = \"2ms\"\nfull_scan_interval = \"1s\"\nmax_busy_percent = 100",
        "interval = \"1ms\"\nwindow = \"100ms\"",
        "interval = \"1ms\"\nwindow = \"100ms\"",
    );
    let watch = Watch::replaced(&place.path(""));
    let daemon = Daemon::start(&place);
    let began = Instant::now();
    let (mut disks, mut counts, mut ready) = (0, 0, 0);
    let mut usages = Vec::new();
    // At least a tenth of what was asked for on the slowest machine, and all of it on any other.
    while disks < CYCLES && (disks < CYCLES / 10 || began.elapsed() < LONGEST) {
        assert!(began.elapsed() < 2 * LONGEST, "{disks} samples only");
        watch.wait();
        for name in watch.all() {
            match name.as_str() {
                "disks.tmp" => disks += 1,
                "whisper.nb_metrics" => counts += 1,
                "vmware.dat" => ready += 1,
                _ => {}
            }
        }
        if disks >= CYCLES * (usages.len() + 1) / 10 {
            usages.push((disks, Usage::of(&daemon.child)));
            // The tree lives too: names come, go and are reused.
            let number = usages.len();
            let host = place.path(format!("whisper/host-{number}-of-today"));
            fs::create_dir(&host).unwrap();
            fs::write(host.join("m.wsp"), "").unwrap();
        }
    }
    let last = Usage::of(&daemon.child);
    #[allow(clippy::print_stdout, reason = "what was measured")]
    {
        println!(
            "{disks} samples, {counts} counts, {ready} of VMware's in {:?}",
            began.elapsed()
        );
        for (samples, usage) in &usages {
            println!("after {samples}: {usage:?}");
        }
    }
    let (_, early) = usages[0];
    // The helper is the one child. Whatever the moment, it lives: its library is missing, and asked for again.
    assert_eq!(early.children, 1);
    assert_flat(early, last);
    assert!(
        counts >= disks / 50 && ready >= disks / 10,
        "{counts} counts, {ready} of VMware's"
    );
    assert_eq!(status(&daemon.child, "Threads"), 1);
    let warned: Vec<_> = place
        .log()
        .lines()
        .filter(|line| line.contains(" WARN "))
        .map(String::from)
        .collect();
    assert_eq!(warned.len(), 1, "the library is missing, said once: {warned:#?}");
    daemon.stop();
}

#[test]
fn helpers_that_fail_leave_no_trace() {
    let place = TestDir::in_memory();
    machine(
        &place,
        "enabled = false",
        "enabled = false",
        "interval = \"1ms\"\nwindow = \"100ms\"",
    );
    let daemon = Daemon::start(&place);
    let answered = || document(&place.path("vmware.dat"));
    wait_for("the helper's answer", answered);
    let helper = || {
        let pid = daemon.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().next().map(|pid| pid.parse().unwrap())
    };
    let mut early = None;
    for turn in 0..6 {
        let pid = wait_for("a helper", helper);
        wait_for("an answer", || {
            answered().filter(|vmware| vmware["error"].as_str().unwrap().contains("library not found"))
        });
        early.get_or_insert_with(|| Usage::of(&daemon.child));
        let helper = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(helper, Signal::KILL).unwrap();
        wait_for(&format!("the end of helper {turn}"), || {
            (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
    }
    let early = early.unwrap();
    let late = wait_for("one helper more, and nothing else of those before", || {
        let usage = Usage::of(&daemon.child);
        (usage.children == 1 && usage.descriptors <= early.descriptors).then_some(usage)
    });
    assert_flat(early, late);
    daemon.stop();
}

#[test]
fn a_thousand_reloads_and_reopened_logs_leave_no_trace() {
    let place = TestDir::in_memory();
    place.metrics((0..60).map(|number| format!("host-{}/check-{number}/m.wsp", number % 6)));
    let configure = |turn: u32| {
        machine(
            &place,
            &format!("interval = \"5ms\"\nhost_depth = {}", 1 + turn % 2),
            &format!("interval = \"5ms\"\nwindow = \"{}ms\"", 500 + turn % 2),
            &format!("interval = \"5ms\"\nwindow = \"{}ms\"", 500 + turn % 2),
        );
    };
    configure(0);
    let daemon = Daemon::start(&place);
    wait_for("the count", || place.count());
    wait_for("the disks", || place.disks());
    let mut usages = Vec::new();
    for turn in 1..=1000 {
        // Each time another configuration, a refused one now and then, and another log.
        if turn % 10 == 9 {
            fs::write(place.path("gatherer.toml"), "no configuration").unwrap();
        } else {
            configure(turn);
        }
        fs::rename(place.path("gatherer.log"), place.path("gatherer.log.1")).unwrap();
        daemon.signal(Signal::HUP);
        place.wait_for_log(" reload");
        if turn % 100 == 0 {
            // A helper of the last configuration may still be on its way out.
            let helper = wait_for("one helper", || {
                let usage = Usage::of(&daemon.child);
                (usage.children == 1).then_some(usage)
            });
            usages.push(helper);
        }
    }
    #[allow(clippy::print_stdout, reason = "what was measured")]
    for usage in &usages {
        println!("{usage:?}");
    }
    assert_flat(usages[0], *usages.last().unwrap());
    assert!(usages[0].descriptors < 32, "{:?}", usages[0]);
    daemon.stop();
}
