//! File systems that a test mounts, which only root can do, and storage that hangs on demand: an ext4 image that is frozen, and
//! a FUSE file system that never answers. All work again and are unmounted at the end of the test.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::{TestDir, root_or_skip, stderr_of, text};

/// Runs a command of words without spaces.
fn output_of(command: &str) -> Output {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    output.unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// Runs a command that must succeed, and returns what it printed.
pub fn run(command: &str) -> String {
    let output = output_of(command);
    assert!(output.status.success(), "{command}: {}", stderr_of(&output));
    text(&output.stdout).trim().to_string()
}

/// A mounted file system, and the loop devices that were attached for it.
pub struct Mounted {
    directory: Option<PathBuf>,
    loops: Vec<String>,
}

impl Mounted {
    /// Returns an object without mount; `None`, reported as skipped, without root.
    pub fn none() -> Option<Self> {
        root_or_skip().then_some(Self {
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

/// A directory whose storage can hang. It works again at the end of the test.
pub struct Storage {
    directory: PathBuf,
    kind: Kind,
}

enum Kind {
    /// Writing blocks, and a process that writes cannot be killed.
    Frozen { _mount: Mounted },
    /// Every access blocks while the server runs. A process that is blocked can be killed.
    Silent(Option<Child>),
}

impl Storage {
    /// Mounts an ext4 file system on a directory of the test; `None`, reported as skipped, without root.
    pub fn ext4(dir: &TestDir, name: &str) -> Option<Self> {
        let (directory, image) = (dir.path(name), dir.path(format!("{name}.img")));
        fs::create_dir_all(&directory).unwrap();
        let kind = Kind::Frozen {
            _mount: Mounted::ext4("", &image, &directory)?,
        };
        Some(Self { directory, kind })
    }

    /// Prepares to cover a directory of the test with a FUSE file system; `None`, reported as skipped, without root.
    pub fn fuse(dir: &TestDir, name: &str) -> Option<Self> {
        let directory = dir.path(name);
        fs::create_dir_all(&directory).unwrap();
        let kind = Kind::Silent(None);
        root_or_skip().then_some(Self { directory, kind })
    }

    pub fn hang(&mut self) {
        match &mut self.kind {
            Kind::Frozen { .. } => assert!(succeeds(Command::new("fsfreeze").arg("-f").arg(&self.directory))),
            Kind::Silent(server) => *server = Some(mount_silent(&self.directory)),
        }
    }

    /// Lets it work again. Does nothing if it works.
    pub fn thaw(&mut self) {
        match &mut self.kind {
            Kind::Frozen { .. } => {
                let mut unfreeze = Command::new("fsfreeze");
                succeeds(unfreeze.arg("-u").arg(&self.directory).stderr(Stdio::null()));
            }
            Kind::Silent(server) => {
                if let Some(mut server) = server.take() {
                    server.kill().unwrap();
                    server.wait().unwrap();
                    assert!(succeeds(
                        Command::new("umount").arg("--lazy").arg(&self.directory)
                    ));
                }
            }
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.thaw();
    }
}

/// Mounts a file system whose server never reads a request, over `directory`.
fn mount_silent(directory: &Path) -> Child {
    let script = "exec 5<>/dev/fuse
        mount -i -t fuse -o fd=5,rootmode=040000,user_id=0,group_id=0 none \"$1\" && echo && exec sleep 1000";
    let mut server = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let read = server.stdout.take().unwrap().read_exact(&mut [0]);
    read.expect("the FUSE file system is mounted");
    server
}

fn succeeds(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

/// Returns the count workers that this process has started, also if it has ended.
pub fn workers_of(daemon: u32) -> Vec<u32> {
    let workers = fs::read_dir("/proc").unwrap().filter_map(|process| {
        let process = process.unwrap();
        let pid = process.file_name().to_str()?.parse().ok()?;
        let line = fs::read_to_string(process.path().join("cmdline")).ok()?;
        let mut words = line.split('\0').skip(1);
        let is_worker = words.next() == Some("count-worker") && words.next() == Some(&daemon.to_string());
        is_worker.then_some(pid)
    });
    workers.collect()
}
