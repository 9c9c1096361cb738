//! Storage that hangs on demand: an ext4 image that is frozen, and a FUSE file system that never answers.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::mounts::Mounted;
use crate::support::{TestDir, root_or_skip};

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
