//! Kills at any moment: readers never see a partial document, and the next publication replaces what a kill left.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::fixture::{COUNT, DISKS, Fixture, READY, assert_published, is_right};
use crate::support::tree::Numbers;
use crate::support::{Daemon, skip, text, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const KILLS: usize = 1000;
/// Kills are spread over this long after the start of each run.
const MAX_LIFE: Duration = Duration::from_millis(30);
/// Each file in a directory of its own.
const DIRECTORIES: [&str; 3] = ["count", "disks", "ready"];
const NONE: [PathBuf; 0] = [];

/// Reads a file over and over until told to stop; every document must be whole and right. Returns how many it read.
fn read_on(machine: &Fixture, which: usize, stop: &AtomicBool) -> usize {
    let path = &machine.outputs[which];
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        match fs::read(path) {
            Ok(bytes) => {
                let document: Value = serde_json::from_slice(&bytes)
                    .unwrap_or_else(|error| panic!("{path:?} is torn, {error}: {:?}", text(&bytes)));
                let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
                assert!(
                    ends == 1 && bytes.ends_with(b"}\n") && is_right(which, &document),
                    "{path:?} is wrong: {:?}",
                    text(&bytes)
                );
                reads += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{path:?}");
                // The disks file goes at each start: its values are of a run that ended.
                assert!(
                    which == DISKS || reads == 0,
                    "{path:?} vanished after {reads} reads"
                );
            }
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    reads
}

/// Sets a flag when it is dropped.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[allow(
    clippy::print_stderr,
    reason = "how often a kill left something tells how much was tried"
)]
fn readers_see_whole_documents_through_a_thousand_kills() {
    let machine = Fixture::new(DIRECTORIES);
    let mut random = Numbers::seeded();
    let all = [COUNT, DISKS, READY];
    let stop = AtomicBool::new(false);
    let (mut left, mut most_left) = (0, 0);
    let reads: Vec<usize> = std::thread::scope(|scope| {
        let readers = all.map(|which| {
            let (machine, stop) = (&machine, &stop);
            scope.spawn(move || read_on(machine, which, stop))
        });
        // Also if an assertion fails: the scope waits for the readers.
        let stop_readers = SetOnDrop(&stop);
        for _ in 0..KILLS {
            let intervals = all.map(|_| 1 + random.below(20) as u64);
            machine.configure(&all, 5 + random.below(95) as u64, intervals);
            let life = Duration::from_micros(random.below(MAX_LIFE.as_micros() as usize) as u64);
            let mut daemon = Daemon::start(&machine.place);
            std::thread::sleep(life);
            daemon.child.kill().unwrap();
            let ended = daemon.child.wait().unwrap();
            assert_eq!(
                ended.signal(),
                Some(9),
                "it ended by itself: {ended}\n{}",
                machine.log()
            );
            let now_left = all.map(|which| machine.beside(which).len()).iter().sum();
            left += usize::from(now_left > 0);
            most_left = most_left.max(now_left);
            if readers.iter().any(|reader| reader.is_finished()) {
                break;
            }
        }
        drop(stop_readers);
        readers.map(|reader| reader.join().unwrap()).into()
    });
    eprintln!(
        "{reads:?} documents read; {left} of {KILLS} kills left temporary files behind, at most {most_left} at a time"
    );
    assert!(reads.iter().all(|reads| *reads > KILLS), "{reads:?}");
    assert!(left > 0, "no kill came between a temporary file and its renaming");
    // One for each output, however many runs were killed.
    assert!(most_left <= 3, "{most_left} temporary files piled up");

    // The next run replaces them.
    let daemon = Daemon::start_notifying(&machine.place, None);
    assert!(daemon.message().contains("READY=1"));
    for which in all {
        wait_for("a publication", || machine.beside(which).is_empty().then_some(()));
    }
    wait_for("the disks", || machine.outputs[DISKS].exists().then_some(()));
    daemon.stop();
    for which in all {
        assert_eq!(machine.beside(which), NONE);
    }
    assert!(!machine.outputs[DISKS].exists());
    assert_published(&machine, COUNT);
    assert_published(&machine, READY);
    let library = machine.place.path("none.so").display().to_string();
    wait_for("the helpers of killed runs to end", || {
        (!is_named_by_a_process(&library)).then_some(())
    });
}

/// Whether a process has this among its arguments.
fn is_named_by_a_process(argument: &str) -> bool {
    fs::read_dir("/proc").unwrap().any(|process| {
        let line = fs::read(process.unwrap().path().join("cmdline")).unwrap_or_default();
        text(&line).split('\0').any(|found| found == argument)
    })
}

/// Kills the processes that this one has started.
fn kill_children(process: &std::process::Child) {
    let pid = process.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    for child in children.split_whitespace() {
        let child = Pid::from_raw(child.parse().unwrap()).unwrap();
        kill_process(child, Signal::KILL).unwrap();
    }
}

#[test]
fn killed_publication_leaves_one_name_that_the_next_replaces() {
    let mut strace = Command::new("strace");
    let strace = strace.args(["-o", "/dev/null", "true"]).status();
    if !strace.is_ok_and(|status| status.success()) {
        return skip("strace can't be used");
    }
    for which in [COUNT, DISKS, READY] {
        // Killed before the call: with the document written, and with its mode set.
        for step in ["fchmod", "/^rename"] {
            let machine = Fixture::new(DIRECTORIES);
            machine.configure(&[which], 50, [10, 10, 10]);
            // Without a snapshot, which would be replaced first.
            let file = machine.place.path("gatherer.toml");
            let state = format!("{:?}", machine.place.path("state"));
            let config = fs::read_to_string(&file).unwrap();
            assert!(config.contains(&state));
            fs::write(&file, config.replace(&state, "\"\"")).unwrap();
            let mut command = Command::new("strace");
            command
                .args(["-qq", "-f", "-o"])
                .arg(machine.place.path("trace"))
                .args(["-e", &format!("trace={step}")])
                .args(["-e", &format!("inject={step}:error=EIO:signal=KILL")])
                .arg(env!("CARGO_BIN_EXE_shinken-gatherer"))
                .arg("--config")
                .arg(machine.place.path("gatherer.toml"))
                .arg("run");
            let mut daemon = Daemon::spawn(&mut command, None);
            if which == COUNT {
                // Its worker is killed, and would be again and again.
                wait_for("the worker to be killed", || {
                    machine.log().contains("the count worker died").then_some(())
                });
                kill_children(&daemon.child);
            }
            wait_for("the daemon to be killed", || daemon.child.try_wait().unwrap());
            let left = machine.beside(which);
            let name = machine.outputs[which].file_name().unwrap().to_str().unwrap();
            let expected = machine.outputs[which].with_file_name(format!(".{name}.tmp"));
            assert_eq!(left, [expected], "{step}");
            let document = text(&fs::read(&left[0]).unwrap());
            assert!(document.ends_with("}\n"), "{document:?}");
            assert!(!machine.outputs[which].exists());

            let daemon = Daemon::start(&machine.place);
            wait_for("the document", || machine.outputs[which].exists().then_some(()));
            daemon.stop();
            assert_eq!(machine.beside(which), NONE);
        }
    }
}
