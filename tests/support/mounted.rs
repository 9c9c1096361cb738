//! A mount that ends with the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{root_or_skip, stderr_of};

/// A mount, which is undone when it is dropped.
pub struct Mounted {
    directory: PathBuf,
}

impl Mounted {
    /// Runs `mount ARGUMENTS DIRECTORY`. Returns `None`, and reports a skipped test, without root.
    pub fn new(arguments: &[&str], directory: &Path) -> Option<Self> {
        if !root_or_skip() {
            return None;
        }
        run(Command::new("mount").args(arguments).arg(directory));
        let directory = directory.to_path_buf();
        Some(Self { directory })
    }

    pub fn tmpfs(directory: &Path) -> Option<Self> {
        Self::new(&["-t", "tmpfs", "none"], directory)
    }

    /// Creates an ext4 file system in the file `image` with further arguments of mkfs.ext4, and mounts it.
    pub fn ext4(image: &Path, mebibytes: u64, arguments: &[&str], directory: &Path) -> Option<Self> {
        if !root_or_skip() {
            return None;
        }
        let file = std::fs::File::create(image).unwrap();
        file.set_len(mebibytes << 20).unwrap();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .args(arguments)
            .arg(image));
        Self::new(&["-o", "loop", image.to_str().unwrap()], directory)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: what still uses it must not keep it from going.
        let _ = Command::new("umount").arg("--lazy").arg(&self.directory).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr_of(&output));
}
