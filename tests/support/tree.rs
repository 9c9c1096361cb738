//! Whisper trees: the totals of a naive walk, a large tree, deep branches, and numbers for random changes.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use serde_json::Value;

use super::{TestDir, wait_for};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// The result of a walk with lstat and nothing else.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub hosts: u64,
    pub metrics: u64,
    /// Directories that are closed to all but root. They are not entered.
    pub closed: u64,
}

/// Returns the numbers of hosts and metrics.
pub fn naive(whisper: &Path) -> (u64, u64) {
    let found = walk(whisper);
    (found.hosts, found.metrics)
}

pub fn walk(whisper: &Path) -> Found {
    let mut found = Found::default();
    let mut to_read = vec![(whisper.to_path_buf(), true)];
    while let Some((directory, is_top)) = to_read.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = metadata.file_type();
            if kind.is_dir() {
                found.hosts += u64::from(is_top);
                match metadata.permissions().mode() & 0o777 {
                    0 => found.closed += 1,
                    _ => to_read.push((path, false)),
                }
            } else if path.as_os_str().as_bytes().ends_with(b".wsp") && (kind.is_file() || kind.is_symlink())
            {
                found.metrics += 1;
            }
        }
    }
    found
}

/// Returns the numbers of hosts and metrics in a document.
pub fn totals_of(document: &Value) -> (u64, u64) {
    let number = |key: &str| document[key].as_u64().unwrap();
    (number("hosts"), number("metrics"))
}

pub fn wait_for_right_count(dir: &TestDir) {
    let expected = naive(&dir.path("whisper"));
    wait_for("the right count", || {
        (totals_of(&dir.count()?) == expected).then_some(())
    });
}

/// Makes 100,000 metrics in 10,400 directories.
pub fn make_large(whisper: &Path) {
    let top = openat(CWD, whisper, DIRECTORY, Mode::empty()).unwrap();
    for host in 0..400 {
        mkdirat(&top, format!("host-{host}"), Mode::RWXU).unwrap();
        for check in 0..25 {
            mkdirat(&top, format!("host-{host}/check-{check}"), Mode::RWXU).unwrap();
        }
        for metric in 0..250 {
            let path = format!("host-{host}/check-{}/{}.wsp", metric % 25, metric / 25);
            openat(&top, path, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        }
    }
}

/// Makes directories below each other, with a metric in each, and returns the last one. Its path may be too long for
/// the kernel.
pub fn make_deep<N: AsRef<[u8]>>(top: &Path, names: impl IntoIterator<Item = N>) -> OwnedFd {
    let mut directory = openat(CWD, top, DIRECTORY, Mode::empty()).unwrap();
    for name in names {
        mkdirat(&directory, name.as_ref(), Mode::from_raw_mode(0o755)).unwrap();
        directory = openat(&directory, name.as_ref(), DIRECTORY, Mode::empty()).unwrap();
        openat(&directory, "m.wsp", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }
    directory
}

/// Removes a tree that [`make_deep`] made: by relative paths.
pub fn remove_deep(directory: &Path) {
    let removed = std::process::Command::new("rm")
        .arg("-rf")
        .arg(directory)
        .status();
    assert!(removed.unwrap().success());
}

/// Returns names that would do harm if they were printed as they are.
pub fn hostile_names() -> Vec<Vec<u8>> {
    let names: [&[u8]; 17] = [
        b"line\nbreak",
        b"\n2026-11-22T13:05:00Z ERROR daemon: forged",
        b"field\nMESSAGE=forged\nPRIORITY=0\n",
        b"return\rover",
        b"clear\x1b[2J\x1b]0;title\x07",
        b"bell\x07 delete\x7f vertical\x0b",
        "c1 \u{9b}31m next\u{85}line".as_bytes(),
        b"raw c1 \x9b31m\x85",
        b"not text \xff\xfe\xc3",
        b"\"quotes\" 'and' \\ $(reboot) `reboot`",
        b"%s%n%d %%",
        "left \u{202e}txet\u{202c} \u{2066}x\u{2069}".as_bytes(),
        "lines \u{2028}of\u{2029} unicode".as_bytes(),
        "zero\u{200b}\u{feff}\u{200f}width".as_bytes(),
        b" spaces ",
        b"-rf",
        &[b'\x01'; 255],
    ];
    names.map(<[u8]>::to_vec).into()
}

/// Whether a terminal, pager or log reader shows the text as it is.
pub fn is_plain(text: &str) -> bool {
    let invisible = [
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{2069}',
        '\u{feff}'..='\u{feff}',
    ];
    let is_invisible = |c: char| invisible.iter().any(|range| range.contains(&c));
    !text.contains(|c: char| c.is_control() || is_invisible(c))
}

/// Pseudo-random numbers, the same for the same seed, which is not 0.
pub struct Numbers(pub u64);

impl Numbers {
    /// Uses the seed in `GATHERER_TEST_SEED` or a new one, which is printed.
    #[allow(clippy::print_stderr, reason = "the seed repeats a failure")]
    pub fn seeded() -> Self {
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let given = std::env::var("GATHERER_TEST_SEED").ok();
        let seed = given.map_or_else(|| now().as_nanos() as u64, |seed| seed.parse().unwrap());
        eprintln!("GATHERER_TEST_SEED={seed}");
        Self(seed | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
