//! Publication: flushes, errors, concurrent publishers, and large documents.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    Daemon, FAST, TestDir, assert_valid, children_of, count, disks, document, error, json_line, kill, ready,
    skip, strace, wait_for, wait_until,
};
use shinken_gatherer::publish::{DOCUMENT_MODE, Durability, publish};

#[test]
fn directory_at_an_output_is_logged_once() {
    for (output, collector) in [("disks.tmp", "disks"), ("whisper.nb_metrics", "graphite")] {
        let dir = TestDir::in_memory();
        dir.configure_vm("", "interval = \"10ms\"", FAST, FAST);
        fs::create_dir(dir.path(output)).unwrap();
        let daemon = Daemon::start(&dir);
        dir.wait_for_log(&format!(" WARN {collector}: publishing"));
        let others = ["disks.tmp", "whisper.nb_metrics", "vmware.dat"].map(|name| dir.path(name));
        for other in others.iter().filter(|other| **other != dir.path(output)) {
            let before = wait_for("the other document", || fs::metadata(other).ok()).ino();
            wait_until("a newer one", || fs::metadata(other).unwrap().ino() != before);
        }
        let log = dir.log();
        let warnings = log.matches(&format!(" WARN {collector}: ")).count();
        assert!(warnings == 1 && log.contains("Is a directory"), "{log}");
        fs::remove_dir(dir.path(output)).unwrap();
        wait_for("the document", || document(&dir.path(output)));
        dir.wait_for_log("\" works again");
        daemon.stop();
    }
}

/// Of the tests that read documents, all validate them if python3-jsonschema is installed; this one is skipped if it is not.
#[test]
fn documents_are_valid_for_their_schemas_and_others_are_not() {
    if error(&count(0)).is_none() {
        return skip("python3-jsonschema is not installed");
    }
    for document in [disks(0, &[("sda", 1.0, 2.0)], &["sda"]), ready(0, None, None)] {
        assert_valid(&document);
    }
    let dir = TestDir::in_memory();
    dir.configure_vm("", "interval = \"1500ms\"", FAST, FAST);
    let _daemon = Daemon::start(&dir);
    for name in ["disks.tmp", "whisper.nb_metrics", "vmware.dat"] {
        let document = wait_for(name, || document(&dir.path(name)));
        for field in document.as_object().unwrap().keys() {
            let mut wrong = document.clone();
            wrong[field] = json!({"x": []});
            assert_ne!(error(&wrong).unwrap(), "", "wrong type of {field} in {name}");
            wrong.as_object_mut().unwrap().remove(field);
            assert_ne!(error(&wrong).unwrap(), "", "no {field} in {name}");
        }
    }
}

#[test]
fn publishing_lists_no_directory() {
    let dir = TestDir::in_memory();
    let output = dir.path("out/disks");
    dir.configure_with("", "", &format!("output = {output:?}\n{FAST}"), "");
    // It fails first, so that the calls after an error are seen, too.
    fs::create_dir_all(&output).unwrap();
    let Some(mut command) = strace(&dir, &["-e", "trace=getdents64,renameat"], &["run"]) else {
        return;
    };
    let mut daemon = Daemon::spawn(&mut command, None);
    dir.wait_for_log("publishing");
    fs::remove_dir(&output).unwrap();
    let lines = |part: &str| {
        let trace = dir.read("trace");
        let is_line = |line: &&str| line.contains(part) && line.contains("/out>");
        trace.lines().filter(is_line).count()
    };
    wait_until("documents", || lines("renameat") > 10);
    // strace ends with the daemon, its child.
    kill(children_of(daemon.child.id())[0], Signal::TERM);
    daemon.child.wait().unwrap();
    assert_eq!(lines("getdents64"), 0);
}

#[test]
fn count_is_flushed_before_and_after_its_rename() {
    let dir = TestDir::in_memory();
    dir.configure_with("state_dir = \"\"", "", "", "");
    let options = ["-e", "trace=fsync,renameat"];
    let Some(mut once) = strace(&dir, &options, &["once", "--write", "--window", "10ms"]) else {
        return;
    };
    assert!(once.output().unwrap().status.success());
    let trace = dir.read("trace");
    let is_of = |line: &&str, name: &str| line.contains(name) || (name != "disks" && line.contains("fsync"));
    let calls = |name: &str| {
        let lines = trace.lines().filter(|line| is_of(line, name));
        let calls = lines.map(|line| line.split(['(', ' ']).find(|part| part.contains('n')));
        calls.flatten().map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(calls("nb_metrics"), ["fsync", "renameat", "fsync"], "{trace}");
    assert_eq!(calls("disks"), ["renameat"], "{trace}");
}

#[test]
fn concurrent_publishers_never_publish_a_part() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("file");
    let documents = ["{\"a\":1}\n", "{\"document\":\"longer\"}\n"];
    publish(&path, documents[0], Durability::Volatile, DOCUMENT_MODE).unwrap();
    thread::scope(|scope| {
        let publish_often = |first: usize| {
            for turn in 0..2000 {
                publish(
                    &path,
                    documents[(first + turn) % 2],
                    Durability::Volatile,
                    DOCUMENT_MODE,
                )
                .unwrap();
            }
        };
        let publishers: Vec<_> = (0..4)
            .map(|number| scope.spawn(move || publish_often(number)))
            .collect();
        let mut reads = 0;
        while publishers.iter().any(|publisher| !publisher.is_finished()) {
            json_line(&path).expect("a document");
            reads += 1;
        }
        assert!(reads > 100, "{reads} reads");
    });
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn locked_directory_delays_no_publication() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("file");
    let held = fs::File::open(directory.path()).unwrap();
    held.lock().unwrap();
    publish(&path, "{\"a\":1}\n", Durability::Synced, DOCUMENT_MODE).unwrap();
    assert!(json_line(&path).is_some());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
