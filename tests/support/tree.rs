//! Whisper trees: what a naive walk finds in one, a large one, and numbers to change one at random.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

/// What a walk with lstat and nothing else finds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub hosts: u64,
    pub metrics: u64,
    pub directories: u64,
    /// Directories that are closed to all but root. They are not entered.
    pub closed: u64,
}

impl Found {
    pub fn figures(self) -> (u64, u64) {
        (self.hosts, self.metrics)
    }
}

pub fn naive(whisper: &Path) -> Found {
    let mut found = Found::default();
    let mut to_read = vec![(whisper.to_path_buf(), true)];
    while let Some((directory, is_top)) = to_read.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = metadata.file_type();
            if kind.is_dir() {
                found.hosts += u64::from(is_top);
                found.directories += 1;
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

/// Makes 100,000 metrics in 10,400 directories.
pub fn make_large(whisper: &Path) {
    let top = openat(CWD, whisper, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
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

/// Numbers that look random and come again with the same seed, which is not 0.
pub struct Numbers(pub u64);

impl Numbers {
    /// Of a seed that is printed, or the one in `GATHERER_TEST_SEED`.
    #[allow(
        clippy::print_stderr,
        reason = "who sees a failure needs the seed to repeat it"
    )]
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
