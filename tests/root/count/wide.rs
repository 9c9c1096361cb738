//! Directories of a million entries.

use std::fs;
use std::path::Path;

use crate::support::storage::Mounted;
use crate::support::tree::totals_of;
use crate::support::{TestDir, json_of};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, mkdirat, openat, symlinkat};

/// Makes a million entries in one directory, and a million directories in another.
fn make_wide(whisper: &Path) {
    let open = |name: &str| {
        fs::create_dir(whisper.join(name)).unwrap();
        openat(CWD, whisper.join(name), OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let (many, wide) = (&open("many"), open("wide"));
    fs::write(whisper.join("many/first.wsp"), "").unwrap();
    let link = |name: String| linkat(many, "first.wsp", many, name, AtFlags::empty());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..1_000_000 {
                mkdirat(&wide, format!("{number}"), Mode::RWXU).unwrap();
            }
        });
        for number in 0..1_000_000 {
            let made = match number % 100 {
                0 => symlinkat("first.wsp", many, format!("{number}.wsp")),
                1 => link(format!("{number}.txt")),
                _ => link(format!("{number}.wsp")),
            };
            made.unwrap();
        }
    });
}

#[test]
fn directories_of_a_million_entries_count_in_24_mb() {
    let dir = TestDir::new();
    // By default, a file system in memory may have too few inodes.
    let Some(_mounted) = Mounted::new("-t tmpfs -o nr_inodes=0 none", &dir.path("whisper")) else {
        return;
    };
    make_wide(&dir.path("whisper"));
    // The packaged unit limits the same memory: what a process allocates, without its stack.
    let output = dir.once_limited("-d 24576");
    assert_eq!(totals_of(&json_of(&output)["graphite"]), (2, 990_001));
}
