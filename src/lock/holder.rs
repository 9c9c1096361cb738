//! Finds the process that holds a lock, in /proc/locks.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{major, minor};

/// The kernel's list of locks: always of this machine, which `host.proc` may not be.
const PROC_LOCKS: &str = "/proc/locks";

/// Returns the pid of the process that holds an exclusive flock on a file or folder.
pub fn holder(lock_file: &Metadata) -> Option<u32> {
    let device = lock_file.dev();
    let (major, minor) = (major(device), minor(device));
    let identity = format!("{major:02x}:{minor:02x}:{}", lock_file.ino());
    // In large pieces: the kernel omits a lock if an earlier one is released between two reads.
    let mut proc_locks = String::with_capacity(64 << 10);
    File::open(PROC_LOCKS)
        .ok()?
        .read_to_string(&mut proc_locks)
        .ok()?;
    exclusive_holder(&proc_locks, &identity)
}

/// Returns the pid that holds an exclusive flock, in the text of /proc/locks. `identity` is MAJOR:MINOR:INODE,
/// the first two hexadecimal. A line that begins with "->" after its number is of a process that waits.
fn exclusive_holder(proc_locks: &str, identity: &str) -> Option<u32> {
    proc_locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, "WRITE", pid, file, ..] if file == identity => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::exclusive_holder;

    const PROC_LOCKS: &str = "\
        1: POSIX  ADVISORY  WRITE 11 00:19:567 0 EOF\n\
        2: FLOCK  ADVISORY  READ 12 00:19:567 0 EOF\n\
        3: FLOCK  ADVISORY  WRITE 13 08:01:567 0 EOF\n\
        4: FLOCK  ADVISORY  WRITE 14 00:19:568 0 EOF\n\
        4: -> FLOCK  ADVISORY  WRITE 15 00:19:567 0 EOF\n\
        5: OFDLCK ADVISORY  WRITE -1 00:19:567 0 EOF\n";

    #[test]
    fn proc_locks_names_the_exclusive_holder_of_this_file() {
        assert_eq!(exclusive_holder(PROC_LOCKS, "00:19:567"), None);
        let held = format!("{PROC_LOCKS}6: FLOCK  ADVISORY  WRITE 4711 00:19:567 0 EOF\n");
        assert_eq!(exclusive_holder(&held, "00:19:567"), Some(4711));
        assert_eq!(exclusive_holder(&held, "08:01:567"), Some(13));
        assert_eq!(exclusive_holder("", "00:19:567"), None);
        assert_eq!(exclusive_holder("1: FLOCK\nnonsense\n", "00:19:567"), None);
    }
}
