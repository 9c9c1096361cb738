//! The count as a task of the daemon: its snapshot, its whisper directory, and what the daemon itself accesses.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::{
    Clocks, Daemon, FAST, TestDir, Watch, children_of, kill, strace, text, wait_for, wait_until,
};
use rustix::process::Signal;
use serde_json::Value;

/// Replaces the path of `name` in the configuration.
fn move_to(dir: &TestDir, name: &str, path: &Path) {
    let old = format!("{:?}\n", dir.path(name));
    dir.reconfigure(&old, &format!("{path:?}\n"));
}

#[test]
fn restart_does_not_read_unchanged_directories() {
    let dir = TestDir::in_memory();
    dir.metrics((0..50).map(|host| format!("h{host}/c/m.wsp")));
    dir.configure_with("log_level = \"debug\"", "interval = \"100ms\"", "", "");
    let daemon = Daemon::start(&dir);
    // Directories are settled 2 s after their last change.
    dir.wait_for_log("101 directories, 0 read");
    daemon.stop();
    fs::remove_file(dir.path("gatherer.log")).unwrap();
    let daemon = Daemon::start(&dir);
    dir.wait_for_log(" DEBUG graphite: 101 directories, ");
    daemon.stop();
    let log = dir.log();
    let first = log.lines().find(|line| line.contains(" directories, ")).unwrap();
    assert!(first.contains("101 directories, 0 read, 101 unchanged;"), "{log}");
    let tree = format!("counting {:?}, publishing ", dir.path("whisper"));
    assert_eq!(log.matches(&tree).count(), 1, "{log}");
}

#[test]
fn count_without_state_folder_reads_everything() {
    for (folder, warnings) in [("", 0), ("none/state", 1)] {
        let dir = TestDir::in_memory();
        dir.metrics(["h/a.wsp"]);
        dir.configure_with("log_level = \"debug\"", "interval = \"20ms\"", "", "");
        let state = if folder.is_empty() {
            PathBuf::new()
        } else {
            dir.path(folder)
        };
        move_to(&dir, "state", &state);
        let daemon = Daemon::start(&dir);
        dir.wait_for_more_log("2 directories, 2 read", 4);
        daemon.stop();
        let reported = dir.logged("without it, each count reads every directory");
        let all = dir.logged(" WARN graphite");
        assert_eq!((reported, all), (warnings, warnings), "{}", dir.log());
    }
}

#[test]
fn dangling_link_as_whisper_dir_is_logged_with_its_target() {
    for (name, through) in [("link", "a link"), ("link/whisper", "below {link}, a link")] {
        let dir = TestDir::in_memory();
        let (path, target) = (dir.path(name), dir.path("hidden"));
        symlink(&target, dir.path("link")).unwrap();
        move_to(&dir, "whisper", &path);
        let daemon = Daemon::start(&dir);
        let through = through.replace("{link}", &format!("{:?}", dir.path("link")));
        dir.wait_for_log(&format!(
            "WARN graphite: counting {path:?}: opening the whisper directory {path:?}, {through} to {target:?}: \
             No such file or directory (os error 2); if it exists, the sandbox of the service hides it, see \
             \"A whisper tree in a home\" in docs/configuration.md\n",
        ));
        daemon.stop();
    }
    let page = fs::read_to_string("docs/configuration.md").unwrap();
    assert!(page.contains("# A whisper tree in a home\n"));
}

#[test]
fn output_that_is_another_output_through_links_is_not_written() {
    let dir = TestDir::in_memory();
    dir.metrics(["h/a.wsp"]);
    symlink(dir.path(""), dir.path("link")).unwrap();
    dir.configure(&format!("output = {:?}", dir.path("link/disks.tmp")));
    let daemon = Daemon::start(&dir);
    dir.wait_for_log("graphite.output and disks.output are the same file, through links: ");
    wait_for("the disks", || dir.disks());
    daemon.stop();
    assert_eq!(dir.logged(" hosts, "), 0, "{}", dir.log());
}

#[test]
fn disabled_count_still_finds_the_disks_of_the_tree() {
    let dir = TestDir::new();
    let device = fs::metadata(dir.path("whisper")).unwrap().dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    dir.make_disks(["sda"]);
    for folder in ["dev/block", "devices/sda"] {
        fs::create_dir_all(dir.path("sys").join(folder)).unwrap();
    }
    symlink("../../devices/sda", dir.path("sys/dev/block").join(number)).unwrap();
    dir.configure_with("", "enabled = false", FAST, "");
    let daemon = Daemon::start(&dir);
    let is_found = |disks: &Value| disks["whisper_disks"][0] == "sda";
    wait_for("the disks of the tree", || dir.disks().filter(is_found));
    // Until the worker has ended.
    let id = daemon.child.id();
    wait_until("no child process", || children_of(id).is_empty());
    dir.wait_for_disks(5);
    daemon.stop();
    assert!(dir.count().is_none());
    assert_eq!(dir.logged(" WARN graphite"), 0, "{}", dir.log());
}

#[test]
fn count_waits_for_its_interval_whatever_other_collectors_do() {
    let dir = TestDir::in_memory();
    dir.configure_with("", "interval = \"1h\"", FAST, "");
    let replaced = Watch::replaced(&dir.path(""));
    let daemon = Daemon::start(&dir);
    wait_for("the count", || dir.count());
    dir.wait_for_disks(20);
    daemon.stop();
    assert_eq!(replaced.times("whisper.nb_metrics"), 1);
}

#[test]
fn no_worker_starts_if_no_collector_uses_the_tree() {
    let dir = TestDir::in_memory();
    dir.configure_vm("", "enabled = false", "enabled = false", FAST);
    let folders = Watch::read(&dir.path(""));
    let daemon = Daemon::start(&dir);
    Watch::replaced(&dir.path("")).wait_for("vmware.dat", 10);
    daemon.stop();
    // A worker locks the state folder first.
    assert_eq!(folders.times("state"), 0);
}

#[test]
fn reload_logs_a_continuing_failure_again() {
    let dir = TestDir::in_memory();
    let configure = |graphite: &str| dir.configure_with("", graphite, "enabled = false", "enabled = false");
    let output_in = |folder: &str| configure(&format!("output = {:?}", dir.path(folder).join("count")));
    output_in("none-1");
    let daemon = Daemon::start(&dir);
    dir.wait_for_log("none-1/count\": ");
    output_in("none-2");
    daemon.signal(Signal::HUP);
    dir.wait_for_log("none-2/count\": ");

    fs::remove_dir(dir.path("whisper")).unwrap();
    for failures in 1..=2 {
        configure(&format!("max_busy_percent = {failures}"));
        daemon.signal(Signal::HUP);
        let failure = "opening the whisper directory";
        wait_until(failure, || dir.logged(failure) == failures);
    }
    daemon.stop();
}

#[test]
fn daemon_itself_never_touches_the_tree() {
    let dir = TestDir::in_memory();
    for folder in ["out", "storage/whisper"] {
        fs::create_dir_all(dir.path(folder)).unwrap();
    }
    fs::write(dir.path("storage/whisper/a.wsp"), "").unwrap();
    let graphite = format!("output = {:?}\ninterval = \"50ms\"", dir.path("out/count"));
    dir.configure_with("", &graphite, "interval = \"50ms\"\nwindow = \"1s\"", "");
    move_to(&dir, "whisper", &dir.path("storage/whisper"));
    let Some(mut command) = strace(&dir, &["-ff", "-e", "trace=%file", "-s", "4096"], &["run"]) else {
        return;
    };
    let mut daemon = Daemon::spawn(&mut command, None);
    // strace has started other processes before it.
    dir.wait_for_log("INFO daemon: started");
    let pid = children_of(daemon.child.id())[0];
    dir.wait_for_more_log(" hosts, ", 4);
    kill(pid, Signal::HUP);
    dir.wait_for_log("INFO daemon: configuration reloaded");
    dir.wait_for_more_log(" hosts, ", 4);
    kill(pid, Signal::TERM);
    wait_for("the daemon's end", || daemon.child.try_wait().unwrap());
    let mut workers = 0;
    for entry in fs::read_dir(dir.path("")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let Some(traced) = name.strip_prefix("trace.") else {
            continue;
        };
        let calls = text(&fs::read(entry.path()).unwrap());
        let touches = calls.contains("/storage/whisper") || calls.contains("/out/");
        if traced.parse() == Ok(pid) {
            assert!(calls.contains("disks.tmp") && !touches, "{calls}");
        } else {
            workers += usize::from(touches);
        }
    }
    assert!(workers > 5, "{workers} workers were traced");
}

/// The snapshot of the worker is not from the future, yet cannot be trusted.
#[test]
fn clock_set_back_asks_for_a_full_scan() {
    let dir = TestDir::in_memory();
    dir.metrics(["h/a.wsp"]);
    dir.configure_with("log_level = \"debug\"", "interval = \"100ms\"", "", "");
    let clock = Clocks::new(&dir);
    let daemon = Daemon::spawn(clock.given_to(dir.command().arg("run")), None);
    dir.wait_for_log("2 directories, 0 read");
    clock.shift_wall(-5);
    dir.wait_for_log("full scan (requested)");
    dir.wait_for_more_log("2 directories, 0 read", 1);
    assert_eq!(dir.logged("full scan (requested)"), 1, "{}", dir.log());
    daemon.stop();
}
