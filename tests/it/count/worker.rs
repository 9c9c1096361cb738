//! The count worker as a process: frozen, killed, restarted, and alone in touching the tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::Duration;

use crate::support::clocks::Clocks;
use crate::support::fixture::{COUNT, Fixture, READY, User};
use crate::support::storage::workers_of;
use crate::support::tree::{Numbers, make_large, naive};
use crate::support::watch::{Watch, status};
use crate::support::{Daemon, TestDir, root_or_skip, skip, text, wait_for};
use rustix::process::{Pid, Signal, kill_process};

/// Kills of the worker at random moments.
const KILLS: usize = 60;

fn lines(place: &TestDir, part: &str) -> usize {
    place.log().lines().filter(|line| line.contains(part)).count()
}

fn wait_for_worker(daemon: &Daemon) -> Pid {
    let pid = wait_for("a count worker", || {
        workers_of(daemon.child.id()).first().copied()
    });
    Pid::from_raw(pid.cast_signed()).unwrap()
}

fn wait_for_right_count(place: &TestDir) {
    let expected = naive(&place.path("whisper")).figures();
    wait_for("the right count", || {
        let count = place.count()?;
        (count["hosts"] == expected.0 && count["metrics"] == expected.1).then_some(())
    });
}

#[test]
fn frozen_worker_is_reported_once_and_not_replaced() {
    let place = TestDir::in_memory();
    make_large(&place.path("whisper"));
    place.configure_with(
        "",
        "interval = \"100ms\"\nmax_busy_percent = 2",
        "interval = \"200ms\"",
        "",
    );
    let daemon = Daemon::start_notifying(&place, None);
    let worker = wait_for_worker(&daemon);
    let running = format!("; a count is running (pid {})", worker.as_raw_pid());
    wait_for("the status to name the worker", || {
        let status = place.command().arg("status").output().unwrap();
        text(&status.stdout).contains(&running).then_some(())
    });
    kill_process(worker, Signal::STOP).unwrap();
    daemon.wait_for_message("STATUS=first count in progress, the count does not respond");
    place.wait_for_log(&format!(
        "WARN graphite: the count worker (pid {}) has not responded for 5s",
        worker.as_raw_pid()
    ));
    let watch = Watch::replaced(&place.path(""));
    watch.wait_for("disks.tmp", 10);
    assert_eq!(workers_of(daemon.child.id()).len(), 1);
    kill_process(worker, Signal::CONT).unwrap();
    place.wait_for_log("INFO graphite: the count worker responds again");
    // At full speed, the count ends within the test's patience.
    place.configure_with(
        "",
        "interval = \"100ms\"\nmax_busy_percent = 100",
        "interval = \"200ms\"",
        "",
    );
    daemon.signal(Signal::HUP);
    wait_for_right_count(&place);
    assert_eq!(lines(&place, "has not responded"), 1);
    assert_eq!(lines(&place, "responds again"), 1);
    daemon.stop();
}

#[test]
fn frozen_worker_ends_with_its_daemon() {
    let place = TestDir::in_memory();
    make_large(&place.path("whisper"));
    place.configure("max_busy_percent = 1");
    let daemon = Daemon::start_notifying(&place, None);
    daemon.wait_for_message("READY=1");
    let id = daemon.child.id();
    kill_process(wait_for_worker(&daemon), Signal::STOP).unwrap();
    let stopped = daemon.stop();
    assert!(stopped < Duration::from_secs(1), "{stopped:?}");
    wait_for("the worker's end", || workers_of(id).is_empty().then_some(()));
}

#[test]
fn killed_worker_is_replaced_and_counts_right() {
    let place = TestDir::in_memory();
    place.metrics((0..200).flat_map(|host| (0..5).map(move |check| format!("h{host}/c{check}/m.wsp"))));
    place.configure("interval = \"5ms\"\nmax_busy_percent = 30");
    let mut random = Numbers::seeded();
    let daemon = Daemon::start(&place);
    wait_for("the count", || place.count());
    let mut killed = 0;
    for kill in 0..KILLS {
        place.metrics([format!("h{}/c0/new-{kill}.wsp", random.below(200))]);
        // Some die before they have read their request, others while they publish.
        std::thread::sleep(Duration::from_micros(random.below(20_000) as u64));
        let worker = wait_for_worker(&daemon);
        killed += usize::from(kill_process(worker, Signal::KILL).is_ok());
    }
    assert!(killed > KILLS / 4, "only {killed} of {KILLS} were killed");
    wait_for_right_count(&place);
    let log = place.log();
    assert!(
        log.contains("WARN graphite: the count worker died (signal: 9 (SIGKILL)), trying again"),
        "{log}"
    );
    assert!(log.contains("INFO graphite: counting works again"), "{log}");
    wait_for("no temporary files", || {
        let mut names = fs::read_dir(place.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names
            .all(|name| !name.to_str().unwrap().starts_with(".whisper.nb_metrics."))
            .then_some(())
    });
    daemon.stop();
}

#[test]
fn worker_after_two_deaths_ignores_the_snapshot() {
    let place = TestDir::in_memory();
    place.metrics((0..200).flat_map(|host| (0..5).map(move |check| format!("h{host}/c{check}/m.wsp"))));
    place.configure_with(
        "log_level = \"debug\"",
        "interval = \"50ms\"\nmax_busy_percent = 2",
        "",
        "",
    );
    let daemon = Daemon::start(&place);
    // One that finishes before it is killed does not count.
    wait_for("two deaths in a row", || {
        let _ = kill_process(wait_for_worker(&daemon), Signal::KILL);
        let id = daemon.child.id();
        wait_for("the worker's end", || workers_of(id).is_empty().then_some(()));
        place
            .log()
            .contains("trying again, the next one ignores the snapshot")
            .then_some(())
    });
    place.wait_for_log("full scan (requested)");
    wait_for_right_count(&place);
    daemon.stop();
}

#[test]
fn changed_settings_end_a_running_count() {
    let place = TestDir::in_memory();
    make_large(&place.path("whisper"));
    place.configure("max_busy_percent = 1");
    let daemon = Daemon::start_notifying(&place, None);
    let worker = wait_for_worker(&daemon);
    // What the count does not depend on lets it go on.
    place.configure_with("", "max_busy_percent = 1", "interval = \"200ms\"", "");
    daemon.signal(Signal::HUP);
    place.wait_for_log("INFO daemon: configuration reloaded");
    assert_eq!(wait_for_worker(&daemon), worker);
    place.configure("max_busy_percent = 100\nhost_depth = 2");
    daemon.signal(Signal::HUP);
    wait_for("the count", || {
        place.count().filter(|count| count["hosts"] == 400 * 25)
    });
    assert_eq!(lines(&place, " WARN graphite"), 0, "{}", place.log());
    daemon.stop();
}

#[test]
fn restart_does_not_read_unchanged_directories() {
    let place = TestDir::in_memory();
    place.metrics((0..50).map(|host| format!("h{host}/c/m.wsp")));
    place.configure_with("log_level = \"debug\"", "interval = \"100ms\"", "", "");
    let daemon = Daemon::start(&place);
    // Directories are settled 2 s after their last change.
    place.wait_for_log("101 directories, 0 read");
    daemon.stop();
    fs::remove_file(place.path("gatherer.log")).unwrap();
    let daemon = Daemon::start(&place);
    place.wait_for_log(" DEBUG graphite: 101 directories, ");
    daemon.stop();
    let log = place.log();
    let first = log.lines().find(|line| line.contains(" directories, ")).unwrap();
    assert!(first.contains("101 directories, 0 read, 101 unchanged;"), "{log}");
}

#[test]
fn count_without_state_folder_reads_everything() {
    let place = TestDir::in_memory();
    place.metrics(["h/a.wsp"]);
    let config = fs::read_to_string(place.path("gatherer.toml")).unwrap();
    let state = format!("{:?}", place.path("state"));
    for (folder, warnings) in [
        ("\"\"".to_string(), 0),
        (format!("{:?}", place.path("none/state")), 1),
    ] {
        let config = config
            .replace(&state, &folder)
            .replace("[graphite]", "[graphite]\ninterval = \"20ms\"");
        fs::write(
            place.path("gatherer.toml"),
            format!("log_level = \"debug\"\n{config}"),
        )
        .unwrap();
        let daemon = Daemon::start(&place);
        wait_for("some counts", || {
            (lines(&place, "2 directories, 2 read") > 3).then_some(())
        });
        daemon.stop();
        let log = place.log();
        assert_eq!(
            lines(&place, "without it, each count reads every directory"),
            warnings,
            "{log}"
        );
        assert_eq!(lines(&place, " WARN graphite"), warnings, "{log}");
        fs::remove_file(place.path("gatherer.log")).unwrap();
    }
}

#[test]
fn dangling_link_as_whisper_dir_is_logged_with_its_target() {
    let place = TestDir::in_memory();
    let link = std::os::unix::fs::symlink::<std::path::PathBuf, _>;
    link(place.path("hidden"), place.path("link")).unwrap();
    let config = fs::read_to_string(place.path("gatherer.toml")).unwrap();
    for (whisper_dir, through) in [("link", "a link"), ("link/whisper", "below {link}, a link")] {
        let configured = format!("whisper_dir = {:?}", place.path(whisper_dir));
        let text = config.replace(&format!("whisper_dir = {:?}", place.path("whisper")), &configured);
        assert!(text.contains(&configured), "{text}");
        fs::write(place.path("gatherer.toml"), text).unwrap();
        let daemon = Daemon::start(&place);
        let through = through.replace("{link}", &format!("{:?}", place.path("link")));
        place.wait_for_log(&format!(
            "WARN graphite: counting {0:?}: opening the whisper directory {0:?}, {through} to {1:?}: No such file or \
             directory (os error 2); if it exists, the sandbox of the service hides it, see \"A whisper tree in a home\" in \
             docs/configuration.md\n",
            place.path(whisper_dir),
            place.path("hidden")
        ));
        daemon.stop();
    }
    assert!(
        fs::read_to_string("docs/configuration.md")
            .unwrap()
            .contains("# A whisper tree in a home\n")
    );
}

#[test]
fn tree_that_is_no_longer_read_only_is_one_warning() {
    // Makes the tree read-only for one process, as the service's sandbox does.
    let sandbox = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let works = Command::new("unshare").args(["-m", "true"]).status();
    if !rustix::process::geteuid().is_root() || !works.is_ok_and(|status| status.success()) {
        return skip("mount namespaces cannot be made here");
    }
    let warning = "/whisper\" is no longer read-only; if it was replaced or mounted over, restart";
    for is_mounted_over in [false, true] {
        let place = TestDir::in_memory();
        place.metrics(["h/a.wsp"]);
        place.configure("interval = \"20ms\"");
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", sandbox, "sh"])
            .arg(place.path("whisper"));
        command
            .arg(env!("CARGO_BIN_EXE_shinken-gatherer"))
            .arg("--config");
        let daemon = Daemon::spawn(command.arg(place.path("gatherer.toml")).arg("run"), None);
        wait_for("the count", || place.count());
        assert_eq!(lines(&place, "no longer read-only"), 0, "{}", place.log());
        if is_mounted_over {
            let mut mount = Command::new("nsenter");
            mount.args([
                "-m",
                "-t",
                &daemon.child.id().to_string(),
                "mount",
                "-t",
                "tmpfs",
                "none",
            ]);
            assert!(mount.arg(place.path("whisper")).status().unwrap().success());
        } else {
            fs::rename(place.path("whisper"), place.path("whisper.old")).unwrap();
            fs::create_dir(place.path("whisper")).unwrap();
        }
        place.wait_for_log(warning);
        wait_for("the new tree's count", || {
            place.count().filter(|count| count["hosts"] == 0)
        });
        let counts = lines(&place, " 0 hosts, ");
        wait_for("more counts", || {
            (lines(&place, " 0 hosts, ") > counts + 3).then_some(())
        });
        assert_eq!(lines(&place, "no longer read-only"), 1, "{}", place.log());
        daemon.stop();
    }
    let place = TestDir::in_memory();
    place.configure("interval = \"20ms\"");
    let daemon = Daemon::start(&place);
    wait_for("some counts", || (lines(&place, " 0 hosts, ") > 3).then_some(()));
    daemon.stop();
    assert_eq!(lines(&place, "no longer read-only"), 0, "{}", place.log());
}

#[test]
fn output_that_is_another_output_through_links_is_not_written() {
    let place = TestDir::in_memory();
    place.metrics(["h/a.wsp"]);
    std::os::unix::fs::symlink(place.path(""), place.path("link")).unwrap();
    place.configure(&format!("output = {:?}", place.path("link/disks.tmp")));
    let daemon = Daemon::start(&place);
    place.wait_for_log("graphite.output and disks.output are the same file, through links: ");
    wait_for("the disks", || place.disks());
    daemon.stop();
    assert_eq!(lines(&place, " hosts, "), 0, "{}", place.log());
}

#[test]
fn disabled_count_still_finds_the_disks_of_the_tree() {
    let place = TestDir::new();
    let (major, minor) = {
        let device = std::os::unix::fs::MetadataExt::dev(&fs::metadata(place.path("whisper")).unwrap());
        (rustix::fs::major(device), rustix::fs::minor(device))
    };
    let (proc, sys) = (place.path("proc"), place.path("sys"));
    for folder in ["block/sda/device", "dev/block", "devices/sda"] {
        fs::create_dir_all(sys.join(folder)).unwrap();
    }
    fs::create_dir_all(&proc).unwrap();
    fs::write(proc.join("diskstats"), "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n").unwrap();
    std::os::unix::fs::symlink(
        "../../devices/sda",
        sys.join(format!("dev/block/{major}:{minor}")),
    )
    .unwrap();
    let host = format!("[host]\nproc = {proc:?}\nsys = {sys:?}");
    place.configure_with(
        "",
        "enabled = false",
        "interval = \"100ms\"\nwindow = \"1s\"",
        &host,
    );
    let daemon = Daemon::start(&place);
    wait_for("the disks of the tree", || {
        place.disks().filter(|disks| disks["whisper_disks"][0] == "sda")
    });
    daemon.stop();
    assert!(place.count().is_none(), "nothing is counted");
}

#[test]
fn daemon_itself_never_touches_the_tree() {
    let place = TestDir::in_memory();
    let trace = place.path("trace");
    let mut command = Command::new("strace");
    command
        .args(["-qq", "-ff", "-e", "trace=%file", "-s", "4096", "-o"])
        .arg(&trace);
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !works.is_ok_and(|status| status.success()) {
        return skip("strace can't be used");
    }
    for folder in ["out", "storage/whisper"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    fs::write(place.path("storage/whisper/a.wsp"), "").unwrap();
    let graphite = format!("output = {:?}\ninterval = \"50ms\"", place.path("out/count"));
    place.configure_with("", &graphite, "interval = \"50ms\"\nwindow = \"1s\"", "");
    let config = fs::read_to_string(place.path("gatherer.toml")).unwrap();
    let config = config.replace(
        &format!("whisper_dir = {:?}", place.path("whisper")),
        &format!("whisper_dir = {:?}", place.path("storage/whisper")),
    );
    fs::write(place.path("gatherer.toml"), config).unwrap();
    command
        .arg(env!("CARGO_BIN_EXE_shinken-gatherer"))
        .arg("--config")
        .arg(place.path("gatherer.toml"))
        .arg("run");
    let mut daemon = Daemon::spawn(&mut command, None);
    // strace has started other processes before it.
    place.wait_for_log("INFO daemon: started");
    let pid = wait_for("the daemon", || {
        let strace = daemon.child.id();
        let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).ok()?;
        children.split_whitespace().next()?.parse::<u32>().ok()
    });
    let reloads = Pid::from_raw(pid.cast_signed()).unwrap();
    wait_for("a few counts", || (lines(&place, " hosts, ") > 3).then_some(()));
    kill_process(reloads, Signal::HUP).unwrap();
    place.wait_for_log("INFO daemon: configuration reloaded");
    let counts = lines(&place, " hosts, ");
    wait_for("more counts", || {
        (lines(&place, " hosts, ") > counts + 3).then_some(())
    });
    kill_process(reloads, Signal::TERM).unwrap();
    wait_for("the daemon's end", || daemon.child.try_wait().unwrap());
    let touches = |text: &str| text.contains("/storage/whisper") || text.contains("/out/");
    let mut workers = 0;
    for entry in fs::read_dir(place.path("")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let Some(traced) = name.strip_prefix("trace.") else {
            continue;
        };
        let calls = text(&fs::read(entry.path()).unwrap());
        if traced.parse() == Ok(pid) {
            assert!(
                calls.contains("disks.tmp"),
                "this is not the daemon's trace:\n{calls}"
            );
            assert!(!touches(&calls), "{calls}");
        } else {
            workers += usize::from(touches(&calls));
        }
    }
    assert!(workers > 5, "{workers} workers were traced");
}

#[test]
fn clock_set_back_asks_for_a_full_scan() {
    // The daemon watches its clocks: here the worker's snapshot is not from the future, yet cannot be trusted.
    let place = TestDir::in_memory();
    place.metrics(["h/a.wsp"]);
    place.configure_with("log_level = \"debug\"", "interval = \"100ms\"", "", "");
    let clock = Clocks::new(&place);
    let daemon = Daemon::spawn(clock.given_to(place.command().arg("run")), None);
    place.wait_for_log("2 directories, 0 read");
    clock.shift_wall(-5);
    place.wait_for_log("full scan (requested)");
    let requested = lines(&place, "full scan (requested)");
    let settled = lines(&place, "2 directories, 0 read");
    wait_for("the snapshot to be used again", || {
        (lines(&place, "2 directories, 0 read") > settled).then_some(())
    });
    assert_eq!(
        (requested, lines(&place, "full scan (requested)")),
        (1, 1),
        "{}",
        place.log()
    );
    daemon.stop();
}

#[test]
fn worker_keeps_capabilities_after_the_vmware_helper_started() {
    if !root_or_skip() {
        return;
    }
    let machine = Fixture::new(["count", "disks", "ready"]);
    let whisper = machine.path("whisper");
    chown(&whisper, Some(0), None).unwrap();
    fs::set_permissions(&whisper, fs::Permissions::from_mode(0o700)).unwrap();
    let daemon = Daemon::spawn(&mut User::Service.command(&machine), None);
    wait_for("the helper's answer", || {
        machine.outputs[READY].exists().then_some(())
    });
    let held = status_text(&daemon, "CapAmb");
    assert_ne!(held, "0000000000000000", "the daemon's own capabilities");
    let counts = machine.log().matches(" hosts, ").count();
    wait_for("more counts", || {
        (machine.log().matches(" hosts, ").count() > counts + 3).then_some(())
    });
    machine.assert_published(COUNT);
    assert!(!machine.log().contains("not counted"), "{}", machine.log());
    assert_eq!(status(&daemon.child, "Threads"), 1);
    daemon.stop();
}

fn status_text(daemon: &Daemon, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap().trim().to_string()
}
