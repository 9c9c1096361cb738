//! Faults around the daemon: readers that hang, full disks, noise for kernel text, branches that move.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::{Daemon, TestDir, skip, stderr_of, wait_for};
use rustix::process::Signal;

const FAST: &str = "interval = \"20ms\"\nwindow = \"1s\"";

/// Waits until the disks were published this many times more.
fn wait_for_disks(place: &TestDir, times: usize) {
    let mut last = None;
    let mut seen = 0;
    wait_for("the disks to be published", || {
        let inode = fs::metadata(place.path("disks.tmp"))
            .ok()
            .map(|metadata| version_of(&metadata));
        if inode.is_some() && inode != last {
            last = inode;
            seen += 1;
        }
        (seen > times).then_some(())
    });
}

fn version_of(metadata: &fs::Metadata) -> (u64, i64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.ino(), metadata.mtime_nsec())
}

#[test]
fn service_manager_that_does_not_read_delays_nothing() {
    let place = TestDir::new();
    place.configure_with("", "interval = \"10ms\"", FAST, "");
    let socket = place.path("notify");
    let unread = UnixDatagram::bind(&socket).unwrap();
    let mut command = place.command();
    command
        .arg("run")
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "20000");
    let daemon = Daemon::spawn(&mut command, None);
    place.wait_for_log("started");
    // Enough turns to fill any queue of the socket.
    for _ in 0..100 {
        daemon.signal(Signal::HUP);
    }
    wait_for_disks(&place, 50);
    let stopped = daemon.stop();
    assert!(stopped < Duration::from_secs(1), "stopped in {stopped:?}");
    drop(unread);
}

#[test]
fn journal_that_does_not_read_delays_nothing() {
    let place = TestDir::new();
    place.configure_with("log_level = \"debug\"", "", FAST, "");
    let server = "import os, socket, time\n\
                  os.makedirs('/run/systemd/journal')\n\
                  server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                  server.bind('/run/systemd/journal/socket')\n\
                  time.sleep(60)";
    fs::write(place.path("server.py"), server).unwrap();
    let script = format!(
        "mount -t tmpfs none /run && {{ timeout 60 python3 {} & }} && \
         until [ -S /run/systemd/journal/socket ]; do :; done && exec {} --config {} run",
        place.path("server.py").display(),
        env!("CARGO_BIN_EXE_shinken-gatherer"),
        place.path("gatherer.toml").display(),
    );
    if !Command::new("unshare")
        .args(["-m", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return skip("a journal socket of its own needs root");
    }
    let daemon = Daemon::spawn(Command::new("unshare").args(["-m", "sh", "-c", &script]), None);
    wait_for_disks(&place, 50);
    let stopped = daemon.stop();
    assert!(stopped < Duration::from_secs(1), "stopped in {stopped:?}");
}

#[test]
fn full_disk_is_logged_once_until_space_is_available() {
    let place = TestDir::new();
    let small = place.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=16k", "none"])
        .arg(&small)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skip("a small file system needs root");
    }
    let result = std::panic::catch_unwind(|| {
        let output = small.join("disks.tmp");
        place.configure_with("", "", FAST, "");
        let text = fs::read_to_string(place.path("gatherer.toml")).unwrap();
        let root = place.path("").display().to_string();
        fs::write(
            place.path("gatherer.toml"),
            text.replace(&format!("{root}disks.tmp"), output.to_str().unwrap()),
        )
        .unwrap();
        let daemon = Daemon::start(&place);
        wait_for("the disks", || crate::support::document(&output));
        let _ = fs::write(small.join("filler"), vec![0; 64 << 10]);
        place.wait_for_log("No space left on device");
        let before = crate::support::document(&output).expect("the last document, whole");
        wait_for("time to pass", || {
            (SystemTime::now()
                > fs::metadata(&output).unwrap().modified().unwrap() + Duration::from_millis(500))
            .then_some(())
        });
        assert_eq!(crate::support::document(&output), Some(before));
        assert_eq!(
            place.log().matches("No space left on device").count(),
            1,
            "{}",
            place.log()
        );
        fs::remove_file(small.join("filler")).unwrap();
        place.wait_for_log("works again");
        daemon.stop();
        assert_eq!(
            fs::read_dir(&small).unwrap().count(),
            0,
            "a temporary file was left"
        );
    });
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn invalid_kernel_text_is_logged_once() {
    let place = TestDir::new();
    let (proc, sys) = (place.path("proc"), place.path("sys"));
    fs::create_dir_all(&proc).unwrap();
    fs::create_dir_all(sys.join("block/sda/device")).unwrap();
    let host = format!(
        "[host]\nproc = \"{}\"\nsys = \"{}\"",
        proc.display(),
        sys.display()
    );
    place.configure_with("", "", FAST, &host);
    let good = "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n";
    let write = |text: &str| {
        fs::write(proc.join("new"), text).unwrap();
        fs::rename(proc.join("new"), proc.join("diskstats")).unwrap();
    };
    write(good);
    let daemon = Daemon::start(&place);
    wait_for("the disks", || place.disks());
    // The same malformed device on other lines each time, and lines that name none.
    for turn in 0..30 {
        write(&format!(
            "{}8 16 sdb {turn}\n\u{1}{turn}\n{good}",
            good.repeat(turn % 3)
        ));
        wait_for_disks(&place, 1);
    }
    assert_eq!(
        place.disks().unwrap()["disks"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["sda"]
    );
    let said = place.log().lines().filter(|line| line.contains(" WARN ")).count();
    assert!((1..=6).contains(&said), "{said} warnings:\n{}", place.log());
    fs::remove_dir_all(sys.join("block")).unwrap();
    place.wait_for_log("WARN disks: reading");
    wait_for("the disks file to go: nothing is known", || {
        place.disks().is_none().then_some(())
    });
    daemon.stop();
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let place = TestDir::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place
        .command()
        .args(["once", "--json", "--window", "10ms"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr_of(&output).contains("writing to stdout"),
        "{}",
        stderr_of(&output)
    );
}

#[test]
fn partial_line_of_an_earlier_run_is_separate_from_the_next() {
    let place = TestDir::new();
    fs::write(place.path("gatherer.log"), "2026-11-22T13:05:00Z INFO disks: %ut").unwrap();
    let daemon = Daemon::start(&place);
    place.wait_for_log("started");
    daemon.stop();
    let log = place.log();
    let second = log.lines().nth(1).unwrap();
    assert!(second.contains(" INFO daemon: started"), "{log}");
}

#[test]
fn patterns_too_large_in_total_are_rejected_at_start_and_reload() {
    let place = TestDir::new();
    let daemon = Daemon::start(&place);
    place.wait_for_log("started");
    let patterns = vec![format!("\"{}\"", "?".repeat(40_000)); 10].join(", ");
    place.configure(&format!("exclude = [{patterns}]"));
    daemon.signal(Signal::HUP);
    place.wait_for_log("reload failed, keeping the current configuration");
    let output = place.command().args(["once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr_of(&output).contains("graphite.exclude"),
        "{}",
        stderr_of(&output)
    );
    daemon.stop();
}
