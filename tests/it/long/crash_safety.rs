//! Kills at any moment: consumers never see a partial document, and the next publication replaces what a kill left.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::support::{
    ALL, COUNT, DISKS, Daemon, Fixture, Numbers, TestDir, children_of, document, is_right, kill, strace,
    text, wait_for, wait_until,
};
use rustix::process::Signal;

const KILLS: usize = 300;
/// Kills are spread over this time after the start of each run.
const MAX_LIFE_US: usize = 30_000;
const DIRECTORIES: [&str; 3] = ["count", "disks", "ready"];
const NONE: [PathBuf; 0] = [];

/// Reads a document again and again until told to stop. Each must be whole and right. Returns the number of reads.
fn read_repeatedly(fixture: &Fixture, which: usize, stop: &AtomicBool) -> usize {
    let path = &fixture.outputs[which];
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        match document(path) {
            Some(document) => {
                assert!(is_right(which, &document), "{path:?}: {document}");
                reads += 1;
            }
            // Each start removes the disks file, whose values are of an earlier run.
            None => assert!(which == DISKS || reads == 0, "{path:?} was removed"),
        }
        sleep(Duration::from_micros(300));
    }
    reads
}

#[test]
fn readers_see_whole_documents_through_hundreds_of_kills() {
    // Flushing to a disk makes it likely that a kill comes during a publication.
    let fixture = Fixture::under(TestDir::new(), DIRECTORIES, "log/gatherer.log");
    let mut random = Numbers::seeded();
    let stop = AtomicBool::new(false);
    let (mut kills, mut left, mut most_left) = (0, 0, 0);
    std::thread::scope(|scope| {
        let readers = ALL.map(|which| {
            let (fixture, stop) = (&fixture, &stop);
            scope.spawn(move || read_repeatedly(fixture, which, stop))
        });
        for _ in 0..KILLS {
            let intervals = ALL.map(|_| 1 + random.below(20) as u64);
            fixture.configure(&ALL, 5 + random.below(95) as u64, intervals);
            let mut daemon = Daemon::start(&fixture);
            sleep(Duration::from_micros(random.below(MAX_LIFE_US) as u64));
            daemon.child.kill().unwrap();
            let ended = daemon.child.wait().unwrap();
            let now_left: usize = ALL.map(|which| fixture.beside(which).len()).iter().sum();
            left += usize::from(now_left > 0);
            most_left = most_left.max(now_left);
            // Assertions follow once the readers are told to stop: the scope waits for them.
            kills += usize::from(ended.signal() == Some(9));
            if readers.iter().any(|reader| reader.is_finished()) {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let reads = readers.map(|reader| reader.join().unwrap());
        assert!(kills == KILLS, "{kills} kills\n{}", fixture.log());
        assert!(reads.iter().all(|reads| *reads > KILLS), "{reads:?}");
    });
    assert!(left > 0, "no kill came between a temporary file and its rename");
    assert!(
        most_left <= 3,
        "{most_left} temporary files, more than one for each output"
    );

    // Before it is ready, it may end without removing the file of the last run.
    let daemon = Daemon::start_notifying(&fixture, None);
    daemon.wait_for_message("READY=1");
    for which in ALL {
        wait_until("no temporary files", || fixture.beside(which).is_empty());
    }
    fixture.wait_for_all();
    daemon.stop();
    assert!(!fixture.outputs[DISKS].exists());
    let library = fixture.path("none.so").display().to_string();
    wait_until("the helpers of killed runs to end", || {
        let has_library = |process: fs::DirEntry| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            text(&line).contains(&library)
        };
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        !processes.any(has_library)
    });
}

#[test]
fn killed_publication_leaves_one_name_that_the_next_replaces() {
    for which in ALL {
        // Killed before the call: with the document written, and with its mode set.
        for step in ["fchmod", "/^rename"] {
            let fixture = Fixture::new(DIRECTORIES);
            fixture.configure(&[which], 50, [10, 10, 10]);
            // Without a snapshot, which would be replaced first.
            let state = format!("{:?}", fixture.path("state"));
            fixture.reconfigure(&state, "\"\"");
            let trace = format!("trace={step}");
            let inject = format!("inject={step}:error=EIO:signal=KILL");
            let options = ["-e", &trace, "-e", &inject];
            let Some(mut command) = strace(&fixture, &options, &["run"]) else {
                return;
            };
            let mut daemon = Daemon::spawn(&mut command, None);
            if which == COUNT {
                // Its worker is killed, and would be again and again.
                wait_until("the worker to be killed", || {
                    fixture.log().contains("the count worker died")
                });
                for child in children_of(daemon.child.id()) {
                    kill(child, Signal::KILL);
                }
            }
            wait_for("the daemon to be killed", || daemon.child.try_wait().unwrap());
            let output = &fixture.outputs[which];
            let name = output.file_name().unwrap().display();
            let temporary = output.with_file_name(format!(".{name}.tmp"));
            assert_eq!(fixture.beside(which), std::slice::from_ref(&temporary), "{step}");
            assert!(fs::read_to_string(&temporary).unwrap().ends_with("}\n"));
            assert!(!output.exists());

            let daemon = Daemon::start(&fixture);
            wait_until("the document", || output.exists());
            daemon.stop();
            assert_eq!(fixture.beside(which), NONE);
        }
    }
}
