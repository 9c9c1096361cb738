//! A snapshot that is damaged, made for something else, placed by someone else or cannot be written: the count is
//! correct, there is one message and never an error.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::skip;
use crate::support::snapshot::{HEADER_BYTES, HOUR, Tree, figures};
use crate::support::tree::{Numbers, naive};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use shinken_gatherer::graphite::{Count, FullScan};

fn filled() -> Tree {
    let tree = Tree::in_memory();
    for number in 0..30 {
        tree.metric(&format!("host-{}/check-{number}/m{number}.wsp", number % 4));
    }
    tree.count_settled();
    tree
}

/// A correct count with one message of one line, which has `part` in it.
fn rejected(tree: &Tree, part: &str) -> Count {
    let count = tree.count();
    assert_eq!(figures(&count), naive(&tree.whisper).figures(), "{part}");
    assert_eq!(count.messages.len(), 1, "{part}: {:?}", count.messages);
    let text = &count.messages[0];
    assert!(
        text.contains(part) && !text.contains(char::is_control),
        "{text:?}"
    );
    count
}

/// The same, with every directory read, and a good snapshot afterwards.
fn replaced(tree: &Tree, part: &str) {
    let count = rejected(tree, part);
    assert_eq!(count.full_scan, Some(FullScan::UnusableSnapshot), "{part}");
    assert_eq!(count.totals.directories_read, count.totals.directories, "{part}");
    let next = tree.count();
    assert_eq!(
        (next.totals.directories_read, next.messages.len()),
        (0, 0),
        "{part}"
    );
}

#[test]
fn truncated_at_any_length_causes_full_scan() {
    let tree = filled();
    let good = fs::read(&tree.snapshot).unwrap();
    for length in 0..good.len() {
        fs::write(&tree.snapshot, &good[..length]).unwrap();
        replaced(&tree, "cannot use snapshot");
    }
}

#[test]
fn flipped_bit_in_any_byte_causes_full_scan() {
    let mut numbers = Numbers::seeded();
    let tree = filled();
    let good = fs::read(&tree.snapshot).unwrap();
    for index in 0..good.len() {
        let mut bytes = good.clone();
        bytes[index] ^= 1 << numbers.below(8);
        fs::write(&tree.snapshot, bytes).unwrap();
        replaced(&tree, "cannot use snapshot");
    }
}

#[test]
fn random_and_extended_files_cause_full_scan() {
    let mut numbers = Numbers::seeded();
    let tree = filled();
    let good = fs::read(&tree.snapshot).unwrap();
    for round in 0..300 {
        let mut random: Vec<u8> = (0..numbers.below(2000))
            .map(|_| numbers.below(256) as u8)
            .collect();
        match round % 3 {
            // Behind a good header, or behind the end.
            0 => drop(random.splice(0..0, good[..HEADER_BYTES + numbers.below(200)].iter().copied())),
            1 => drop(random.splice(0..0, good.iter().copied().chain([1]))),
            _ => {}
        }
        fs::write(&tree.snapshot, random).unwrap();
        replaced(&tree, "cannot use snapshot");
    }
    // Large, and not a single block of it used.
    fs::File::create(&tree.snapshot)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let started = Instant::now();
    replaced(&tree, "it is not a snapshot");
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn other_version_tree_or_patterns_cause_full_scan() {
    let mut tree = filled();
    let good = fs::read(&tree.snapshot).unwrap();
    let mut newer = good.clone();
    newer[7] = 2;
    fs::write(&tree.snapshot, newer).unwrap();
    replaced(&tree, "its format is version 2");
    tree.settings.exclude.push("*.none".into());
    replaced(&tree, "another whisper directory or other exclude patterns");
    let other = Tree::in_memory();
    other.metric("host/x.wsp");
    fs::write(&other.snapshot, good).unwrap();
    replaced(&other, "another whisper directory");
    // The depth of hosts and the pace are not in the records.
    tree.settings.host_depth = 2;
    tree.settings.max_busy_percent = 90;
    let count = tree.count();
    assert_eq!((figures(&count), count.totals.directories_read), ((30, 30), 0));
}

/// The date of the last full scan is covered by the checksum: a flipped bit would postpone the next one for years.
#[test]
fn forged_full_scan_date_is_not_used() {
    let tree = filled();
    let mut bytes = fs::read(&tree.snapshot).unwrap();
    let day_ns = 24 * HOUR.as_nanos() as i64;
    let written = i64::from_le_bytes(bytes[8..16].try_into().unwrap());
    bytes[16..24].copy_from_slice(&(written - day_ns / 2).to_le_bytes());
    fs::write(&tree.snapshot, bytes).unwrap();
    replaced(&tree, "its checksum does not match");
}

#[test]
fn file_of_other_user_or_writable_by_others_is_not_used() {
    let tree = filled();
    fs::set_permissions(&tree.snapshot, fs::Permissions::from_mode(0o620)).unwrap();
    replaced(&tree, "other users can write it");
    if chown(&tree.snapshot, Some(65534), None).is_err() {
        return skip("chown needs root");
    }
    replaced(&tree, "it belongs to user 65534");
    assert_eq!(fs::metadata(&tree.snapshot).unwrap().uid(), 0);
}

#[test]
fn link_fifo_and_socket_at_its_path_are_replaced() {
    let tree = filled();
    let target = tree.beside("target");
    fs::rename(&tree.snapshot, &target).unwrap();
    let content = fs::read(&target).unwrap();
    symlink(&target, &tree.snapshot).unwrap();
    replaced(&tree, "it is a symbolic link");
    assert_eq!(fs::read(&target).unwrap(), content);
    for kind in [FileType::Fifo, FileType::Socket] {
        fs::remove_file(&tree.snapshot).unwrap();
        mknodat(CWD, &tree.snapshot, kind, Mode::RUSR | Mode::WUSR, 0).unwrap();
        replaced(&tree, "cannot use snapshot");
    }
}

#[test]
fn directory_at_its_path_or_temporary_path_is_reported() {
    let tree = filled();
    let temporary = tree.beside("state/whisper.snapshot.tmp");
    fs::create_dir(&temporary).unwrap();
    tree.metric("host-0/new.wsp");
    tree.wait_for_tick();
    for _ in 0..2 {
        // The old snapshot stays, and is good for all that did not change.
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
}

#[test]
fn link_at_its_temporary_path_is_not_followed() {
    let tree = filled();
    let target = tree.beside("target");
    fs::write(&target, "kept").unwrap();
    symlink(&target, tree.beside("state/whisper.snapshot.tmp")).unwrap();
    tree.metric("host-0/new.wsp");
    tree.wait_for_tick();
    assert!(tree.count().messages.is_empty());
    assert_eq!(fs::read(&target).unwrap(), b"kept");
    assert_eq!(tree.state_files(), ["whisper.snapshot"]);
}

#[test]
fn missing_folder_is_reported() {
    let tree = filled();
    fs::remove_dir_all(tree.snapshot.parent().unwrap()).unwrap();
    for _ in 0..2 {
        assert_eq!(
            rejected(&tree, "cannot write snapshot").full_scan,
            Some(FullScan::NoSnapshot)
        );
    }
}

fn mounted(folder: &Path, options: &str) -> bool {
    let command = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "none"])
        .arg(folder)
        .output();
    command.is_ok_and(|output| output.status.success())
}

#[test]
fn read_only_or_full_folder_is_reported() {
    let tree = filled();
    let state = tree.snapshot.parent().unwrap().to_path_buf();
    let good = fs::read(&tree.snapshot).unwrap();
    if !mounted(&state, "size=4k,mode=700") {
        return skip("only root can mount");
    }
    let result = std::panic::catch_unwind(|| {
        // One page, taken by another file.
        fs::write(state.join("filler"), [0; 4096]).unwrap();
        for _ in 0..2 {
            rejected(&tree, "cannot write snapshot");
            assert_eq!(tree.state_files(), ["filler"]);
        }
        fs::remove_file(state.join("filler")).unwrap();
        fs::write(&tree.snapshot, &good).unwrap();
        assert_eq!(tree.count().totals.directories_read, 0);
        let remount = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&state)
            .status();
        assert!(remount.unwrap().success());
        assert!(tree.count().messages.is_empty(), "nothing to write");
        tree.metric("host-0/new.wsp");
        tree.wait_for_tick();
        for _ in 0..2 {
            assert_eq!(
                rejected(&tree, "cannot write snapshot").totals.directories_read,
                1
            );
        }
    });
    assert!(Command::new("umount").arg(&state).status().unwrap().success());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
