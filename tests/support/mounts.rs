//! File systems that a test mounts, which only root can do. They are unmounted at its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs a command of words without spaces.
fn output_of(command: &str) -> Output {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    output.unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// Runs a command that must succeed, and returns what it printed.
pub fn run(command: &str) -> String {
    let output = output_of(command);
    assert!(
        output.status.success(),
        "{command}: {}",
        super::stderr_of(&output)
    );
    super::text(&output.stdout).trim().to_string()
}

/// A mounted file system, and the loop devices that were attached for it.
pub struct Mounted {
    directory: Option<PathBuf>,
    loops: Vec<String>,
}

impl Mounted {
    /// Returns an object without mount; `None`, reported as skipped, without root.
    pub fn none() -> Option<Self> {
        super::root_or_skip().then_some(Self {
            directory: None,
            loops: Vec::new(),
        })
    }

    /// Mounts on `directory` with these arguments of mount(8); `None`, reported as skipped, without root.
    pub fn new(arguments: &str, directory: &Path) -> Option<Self> {
        let mut mounted = Self::none()?;
        mounted.mount(arguments, directory);
        Some(mounted)
    }

    /// Mounts a new ext4 file system of 16 MiB at `image`, made with these options of mke2fs(8).
    pub fn ext4(options: &str, image: &Path, directory: &Path) -> Option<Self> {
        let mut mounted = Self::none()?;
        File::create(image).unwrap().set_len(16 << 20).unwrap();
        let image = image.display();
        run(&format!("mkfs.ext4 -q {options} {image}"));
        mounted.mount(&format!("-o loop {image}"), directory);
        Some(mounted)
    }

    /// Attaches a new image to a loop device, and returns the name of the device.
    pub fn attach(&mut self, image: &Path) -> String {
        File::create(image).unwrap().set_len(256 << 20).unwrap();
        let device = run(&format!("losetup --find --show {}", image.display()));
        self.loops.push(device.clone());
        device
    }

    pub fn mount(&mut self, arguments: &str, directory: &Path) {
        run(&format!("mount {arguments} {}", directory.display()));
        self.directory = Some(directory.to_path_buf());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let directory = directory.display();
            if !output_of(&format!("umount {directory}")).status.success() {
                output_of(&format!("umount --lazy {directory}"));
            }
        }
        for device in &self.loops {
            output_of(&format!("losetup --detach {device}"));
        }
    }
}
