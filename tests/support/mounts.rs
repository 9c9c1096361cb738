//! File systems that a test mounts, which only root can do. They are unmounted at its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command, and returns what it printed if it succeeded.
pub fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
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
    pub fn new(arguments: &[&str], directory: &Path) -> Option<Self> {
        let mut mounted = Self::default();
        mounted.mount(arguments, directory)?;
        Some(mounted)
    }

    /// Mounts a new ext4 file system of 8 MiB at `image`, made with these options of mke2fs(8).
    pub fn ext4(options: &[&str], image: &Path, directory: &Path) -> Option<Self> {
        File::create(image).unwrap().set_len(8 << 20).unwrap();
        let image = image.to_str().unwrap();
        run("mkfs.ext4", &[&["-q"], options, &[image]].concat())?;
        Self::new(&["-o", "loop", image], directory)
    }

    /// Attaches a new image to a loop device, and returns the name of the device.
    pub fn attach(&mut self, image: &Path) -> Option<String> {
        File::create(image).unwrap().set_len(256 << 20).unwrap();
        self.loops
            .push(run("losetup", &["--find", "--show", image.to_str().unwrap()])?);
        self.loops.last().cloned()
    }

    pub fn mount(&mut self, arguments: &[&str], directory: &Path) -> Option<()> {
        run("mount", &[arguments, &[directory.to_str().unwrap()]].concat())?;
        self.directory = Some(directory.to_path_buf());
        Some(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let directory = directory.to_str().unwrap();
            let _ = run("umount", &[directory]).or_else(|| run("umount", &["--lazy", directory]));
        }
        for device in &self.loops {
            let _ = run("losetup", &["--detach", device]);
        }
    }
}
