//! Storage that hangs on demand: an ext4 image that is frozen, and a FUSE file system that never answers.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{TestDir, wait_for};

/// A directory whose storage can hang. It works again at the end of the test.
pub struct Storage {
    directory: PathBuf,
    kind: Kind,
}

enum Kind {
    /// Writing blocks, and a process that writes cannot be killed.
    Frozen,
    /// Every access blocks while the server runs. A process that is blocked can be killed.
    Silent(Option<Child>),
}

impl Storage {
    /// Mounts an ext4 file system on a directory of the fixture; `None` if that is not possible here.
    pub fn ext4(place: &TestDir, name: &str) -> Option<Self> {
        let (directory, image) = (place.path(name), place.path(format!("{name}.img")));
        fs::create_dir_all(&directory).unwrap();
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let works = succeeds(Command::new("mkfs.ext4").arg("-qF").arg(&image))
            && succeeds(
                Command::new("mount")
                    .args(["-o", "loop"])
                    .arg(&image)
                    .arg(&directory),
            );
        works.then_some(Self {
            directory,
            kind: Kind::Frozen,
        })
    }

    /// Prepares to cover a directory of the fixture with a FUSE file system; `None` if that is not possible here.
    pub fn fuse(place: &TestDir, name: &str) -> Option<Self> {
        let directory = place.path(name);
        fs::create_dir_all(&directory).unwrap();
        let storage = Self {
            directory,
            kind: Kind::Silent(None),
        };
        let is_root = rustix::process::geteuid().is_root();
        (is_root && File::options().write(true).open("/dev/fuse").is_ok()).then_some(storage)
    }

    pub fn hang(&mut self) {
        match &mut self.kind {
            Kind::Frozen => assert!(succeeds(Command::new("fsfreeze").arg("-f").arg(&self.directory))),
            Kind::Silent(server) => *server = Some(mount_silent(&self.directory)),
        }
    }

    pub fn thaw(&mut self) {
        match &mut self.kind {
            Kind::Frozen => assert!(succeeds(Command::new("fsfreeze").arg("-u").arg(&self.directory))),
            Kind::Silent(server) => {
                if let Some(mut server) = server.take() {
                    server.kill().unwrap();
                    server.wait().unwrap();
                    unmount(&self.directory);
                }
            }
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        match &mut self.kind {
            Kind::Frozen => {
                // It may not be frozen.
                let _ = succeeds(
                    Command::new("fsfreeze")
                        .arg("-u")
                        .arg(&self.directory)
                        .stderr(Stdio::null()),
                );
                unmount(&self.directory);
            }
            Kind::Silent(_) => self.thaw(),
        }
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
    let mut ready = [0];
    let read = server.stdout.take().unwrap().read_exact(&mut ready);
    read.expect("the FUSE file system is mounted");
    server
}

fn unmount(directory: &Path) {
    wait_for("the unmount", || {
        succeeds(Command::new("umount").arg("--lazy").arg(directory)).then_some(())
    });
}

fn succeeds(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

/// The count workers that a process with this id has started, whether or not it still runs.
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
