//! A snapshot that is damaged, made for something else, placed by someone else or cannot be written: the count is
//! correct, there is one message and never an error.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::SystemTime;

use crate::support::{HEADER_BYTES, HOUR, Tree, filled, rejected, replaced, totals};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use shinken_gatherer::graphite::FullScan;

#[test]
fn other_version_tree_or_patterns_cause_full_scan() {
    let mut tree = filled();
    let good = fs::read(&tree.snapshot).unwrap();
    let mut newer = good.clone();
    newer[7] = 2;
    fs::write(&tree.snapshot, newer).unwrap();
    replaced(&tree, "its format is version 2");
    fs::write(&tree.snapshot, &good[..HEADER_BYTES + 10]).unwrap();
    replaced(&tree, "it is truncated");
    tree.settings.exclude.push("*.none".into());
    replaced(&tree, "another whisper directory or other exclude patterns");
    let other = Tree::of(["host/x.wsp"]);
    fs::write(&other.snapshot, good).unwrap();
    replaced(&other, "another whisper directory");
    // The records depend on neither the depth of hosts nor the pace.
    tree.settings.host_depth = 2;
    tree.settings.max_busy_percent = 90;
    let count = tree.count();
    assert_eq!((totals(&count), count.totals.directories_read), ((30, 30), 0));
}

#[test]
fn untrusted_file_at_its_path_is_replaced() {
    let tree = filled();
    fs::set_permissions(&tree.snapshot, fs::Permissions::from_mode(0o620)).unwrap();
    replaced(&tree, "other users can write it");
    let target = tree.beside("target");
    fs::rename(&tree.snapshot, &target).unwrap();
    let content = fs::read(&target).unwrap();
    symlink(&target, &tree.snapshot).unwrap();
    replaced(&tree, "it is a symbolic link");
    assert_eq!(fs::read(&target).unwrap(), content);
    for (kind, reason) in [
        (FileType::Fifo, "it is not a regular file"),
        (FileType::Socket, "No such device or address"),
    ] {
        fs::remove_file(&tree.snapshot).unwrap();
        mknodat(CWD, &tree.snapshot, kind, Mode::RUSR | Mode::WUSR, 0).unwrap();
        replaced(&tree, reason);
    }
    // A link at the path of the temporary file is not followed.
    fs::write(&target, "kept").unwrap();
    symlink(&target, tree.beside("state/whisper.snapshot.tmp")).unwrap();
    tree.metric("host-0/new.wsp");
    tree.wait_for_tick();
    assert!(tree.count().messages.is_empty());
    assert_eq!(fs::read(&target).unwrap(), b"kept");
    assert_eq!(tree.state_files(), ["whisper.snapshot"]);
}

#[test]
fn snapshot_that_cannot_be_written_is_reported() {
    let tree = filled();
    let temporary = tree.beside("state/whisper.snapshot.tmp");
    fs::create_dir(&temporary).unwrap();
    tree.metric("host-0/new.wsp");
    tree.wait_for_tick();
    for _ in 0..2 {
        // The old snapshot stays, and is valid for all that did not change.
        assert_eq!(
            rejected(&tree, "cannot write snapshot").totals.directories_read,
            1
        );
    }
    fs::remove_dir(&temporary).unwrap();
    fs::remove_file(&tree.snapshot).unwrap();
    fs::create_dir(&tree.snapshot).unwrap();
    for _ in 0..2 {
        let count = rejected(&tree, "it is not a regular file), cannot replace it");
        assert_eq!(count.full_scan, Some(FullScan::UnusableSnapshot));
    }
    assert_eq!(tree.state_files(), ["whisper.snapshot"]);
    fs::remove_dir_all(tree.beside("state")).unwrap();
    for _ in 0..2 {
        let count = rejected(&tree, "cannot write snapshot");
        assert_eq!(count.full_scan, Some(FullScan::NoSnapshot));
    }
}

/// The same as entries that changed without a change of their directory's times.
#[test]
fn entries_that_differ_from_the_snapshot_are_found_by_full_scan() {
    let tree = Tree::of(["host/a.wsp"]);
    tree.count_settled();
    let good = fs::read(&tree.snapshot).unwrap();
    let (all, last) = (
        &good[..good.len() - 4],
        good.len() - 4 - HEADER_BYTES - "host".len(),
    );
    let mut more_metrics = all.to_vec();
    more_metrics[last + 4] = 2;
    let renamed = |name: &[u8]| [&all[last..all.len() - 4], name].concat();
    let mut below = renamed(b"aost");
    below[0] += 1; // its depth
    for (records, counted) in [
        (more_metrics, (1, 2)),
        (all[..last].to_vec(), (0, 0)),
        ([all, &renamed(b"zost")].concat(), (1, 1)),
        (
            [&all[..last], &renamed(b"aost"), &below, &all[last..]].concat(),
            (1, 1),
        ),
    ] {
        let checksum = crc32fast::hash(&records).to_le_bytes();
        fs::write(&tree.snapshot, [&records[..], &checksum].concat()).unwrap();
        let now = SystemTime::now();
        assert_eq!(totals(&tree.count_at(now)), counted);
        fs::write(&tree.snapshot, [&records[..], &checksum].concat()).unwrap();
        let full = tree.count_at(now + 24 * HOUR);
        assert_eq!((totals(&full), full.totals.differences), ((1, 1), 1));
        assert!(full.messages[0].starts_with("full scan found 1 entries that changed"));
    }
}
