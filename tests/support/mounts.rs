//! File systems that a test mounts, which only root can do. They are unmounted at its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command of words without spaces, and returns what it printed if it succeeded.
pub fn run(command: &str) -> Option<String> {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next()?).args(words).output().ok()?;
    let printed = super::text(&output.stdout).trim().to_string();
    output.status.success().then_some(printed)
}

/// A mounted file system, and the loop devices that were attached for it.
#[derive(Default)]
pub struct Mounted {
    directory: Option<PathBuf>,
    loops: Vec<String>,
}

impl Mounted {
    /// Mounts on `directory` with these arguments of mount(8); `None` if that is not possible here.
    pub fn new(arguments: &str, directory: &Path) -> Option<Self> {
        let mut mounted = Self::default();
        mounted.mount(arguments, directory)?;
        Some(mounted)
    }

    /// Mounts a new ext4 file system of 8 MiB at `image`, made with these options of mke2fs(8).
    pub fn ext4(options: &str, image: &Path, directory: &Path) -> Option<Self> {
        File::create(image).unwrap().set_len(8 << 20).unwrap();
        let image = image.display();
        run(&format!("mkfs.ext4 -q {options} {image}"))?;
        Self::new(&format!("-o loop {image}"), directory)
    }

    /// Attaches a new image to a loop device, and returns the name of the device.
    pub fn attach(&mut self, image: &Path) -> Option<String> {
        File::create(image).unwrap().set_len(256 << 20).unwrap();
        let device = run(&format!("losetup --find --show {}", image.display()))?;
        self.loops.push(device.clone());
        Some(device)
    }

    pub fn mount(&mut self, arguments: &str, directory: &Path) -> Option<()> {
        run(&format!("mount {arguments} {}", directory.display()))?;
        self.directory = Some(directory.to_path_buf());
        Some(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let directory = directory.display();
            let unmounted = run(&format!("umount {directory}"));
            let _ = unmounted.or_else(|| run(&format!("umount --lazy {directory}")));
        }
        for device in &self.loops {
            let _ = run(&format!("losetup --detach {device}"));
        }
    }
}
