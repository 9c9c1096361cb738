//! The disks under a whisper tree on btrfs: from fixtures in the kernel's formats, and on a real file system.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{skip, text};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use shinken_gatherer::disks::backing::{devices_under, disks_of_device};

fn mount_id(directory: &Path) -> u64 {
    statx(CWD, directory, AtFlags::empty(), StatxFlags::MNT_ID)
        .unwrap()
        .stx_mnt_id
}

/// Returns the names of the disks under the file system of `directory`, sorted.
fn disks_under(proc: &Path, sys: &Path, directory: &Path) -> Vec<String> {
    let devices = devices_under(proc, sys, directory);
    let disks: BTreeSet<_> = devices
        .into_iter()
        .flat_map(|device| disks_of_device(sys, device))
        .collect();
    disks.into_iter().collect()
}

/// A tree in memory, so with an anonymous device number as on btrfs, and a mountinfo in which its mount is btrfs.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(source: &str) -> Self {
        let fixture = Self {
            dir: tempfile::tempdir_in("/dev/shm").unwrap(),
        };
        fs::create_dir(fixture.path("whisper")).unwrap();
        fs::create_dir_all(fixture.path("proc/self")).unwrap();
        let id = mount_id(&fixture.path("whisper"));
        let mountinfo = format!(
            "1 1 8:1 / / rw shared:1 - ext4 /dev/sdz1 rw\n\
             {id} 1 0:99 /@opt /opt/graphite rw shared:2 - btrfs {source} rw,subvolid=256,subvol=/@opt\n"
        );
        fs::write(fixture.path("proc/self/mountinfo"), mountinfo).unwrap();
        // sda with a partition, sdb as a whole, and a volume on sdc.
        for device in ["sda", "sda/sda2", "sdb", "sdc", "dm-0"] {
            fixture.device(device);
        }
        fs::write(fixture.path("sys/devices/sda/sda2/partition"), "2\n").unwrap();
        fs::create_dir_all(fixture.path("sys/devices/dm-0/slaves")).unwrap();
        fs::create_dir_all(fixture.path("sys/devices/dm-0/dm")).unwrap();
        fs::write(fixture.path("sys/devices/dm-0/dm/name"), "vg-whisper\n").unwrap();
        symlink(
            fixture.path("sys/devices/sdc"),
            fixture.path("sys/devices/dm-0/slaves/sdc"),
        )
        .unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn device(&self, device: &str) {
        let class = self.path("sys/class/block");
        let numbers = self.path("sys/dev/block");
        let directory = self.path("sys/devices").join(device);
        for folder in [&class, &numbers, &directory] {
            fs::create_dir_all(folder).unwrap();
        }
        let number = format!("7:{}", fs::read_dir(&numbers).unwrap().count());
        fs::write(directory.join("dev"), format!("{number}\n")).unwrap();
        symlink(&directory, numbers.join(number)).unwrap();
        symlink(&directory, class.join(directory.file_name().unwrap())).unwrap();
    }

    /// A btrfs file system as sysfs lists it.
    fn file_system(&self, uuid: &str, devices: &[&str]) {
        let folder = self.path("sys/fs/btrfs").join(uuid).join("devices");
        fs::create_dir_all(&folder).unwrap();
        for device in devices {
            symlink(self.path("sys/class/block").join(device), folder.join(device)).unwrap();
        }
    }

    fn disks(&self) -> Vec<String> {
        disks_under(&self.path("proc"), &self.path("sys"), &self.path("whisper"))
    }
}

#[test]
fn all_devices_of_the_file_system_are_found() {
    let fixture = Fixture::new("/dev/sda2");
    fixture.file_system("0b7ad0c3-1111-4bb5-8c2f-1a1e5a6d6ac9", &["sdb"]);
    fixture.file_system("f2a9b7c0-2222-4d43-9a15-5b9e7c1b8d11", &["sda2", "dm-0"]);
    fs::create_dir_all(fixture.path("sys/fs/btrfs/features")).unwrap();
    assert_eq!(fixture.disks(), ["sda", "sdc"]);
}

#[test]
fn mapped_device_is_found_by_its_name() {
    let fixture = Fixture::new("/dev/mapper/vg-whisper");
    fixture.file_system("f2a9b7c0-2222-4d43-9a15-5b9e7c1b8d11", &["sdb", "dm-0"]);
    assert_eq!(fixture.disks(), ["sdb", "sdc"]);
}

#[test]
fn device_is_enough_without_the_list_of_all() {
    assert_eq!(Fixture::new("/dev/sdb").disks(), ["sdb"]);
}

#[test]
fn unknown_sources_give_no_disk() {
    for source in [
        "/dev/sdx",
        "none",
        "/dev/mapper/other",
        "/dev/../sda",
        "/dev/",
        "",
    ] {
        assert_eq!(Fixture::new(source).disks(), [] as [&str; 0], "{source}");
    }
}

fn run(command: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(command).args(arguments).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    match output.status.success() {
        true => Ok(text(&output.stdout).trim().to_string()),
        false => Err(format!("{command}: {}", text(&output.stderr))),
    }
}

/// Loop devices and a mount, undone at the end.
#[derive(Default)]
struct Mounted {
    loops: Vec<String>,
    mount: Option<PathBuf>,
}

impl Mounted {
    fn attach(&mut self, image: &Path) -> Result<(), String> {
        fs::File::create(image).unwrap().set_len(256 << 20).unwrap();
        self.loops
            .push(run("losetup", &["--find", "--show", image.to_str().unwrap()])?);
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mount) = &self.mount {
            let _ = run("umount", &[mount.to_str().unwrap()]);
        }
        for device in &self.loops {
            let _ = run("losetup", &["--detach", device]);
        }
    }
}

#[test]
fn real_file_system_on_two_devices_has_both() {
    let directory = tempfile::tempdir().unwrap();
    let mount = directory.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let mut mounted = Mounted::default();
    let mut set_up = || {
        for name in ["a", "b"] {
            mounted.attach(&directory.path().join(name))?;
        }
        let devices: Vec<_> = mounted.loops.iter().map(String::as_str).collect();
        run(
            "mkfs.btrfs",
            &[&["--quiet", "--data", "raid0"][..], &devices].concat(),
        )?;
        run("mount", &[devices[0], mount.to_str().unwrap()])?;
        mounted.mount = Some(mount.clone());
        run(
            "btrfs",
            &["subvolume", "create", mount.join("tree").to_str().unwrap()],
        )
    };
    if let Err(reason) = set_up() {
        return skip(&reason);
    }
    let mut expected: Vec<_> = mounted
        .loops
        .iter()
        .map(|device| device.replace("/dev/", ""))
        .collect();
    expected.sort();
    for tree in [mount.clone(), mount.join("tree")] {
        let found = disks_under(Path::new("/proc"), Path::new("/sys"), &tree);
        assert_eq!(found, expected, "{tree:?}");
    }
}
