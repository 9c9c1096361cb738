//! Which physical disks a directory is on: through partitions, LVM, LUKS and md, as sysfs links them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mounts::btrfs_devices;

/// The major number of file systems that are not on one block device.
const ANONYMOUS_MAJOR: u32 = 0;
/// A file system on more devices than this is none that a machine has.
const MAX_DEVICES: usize = 10_000;

/// Returns the whole block devices under the file system of `directory`, by their names in /proc/diskstats. Empty if
/// they are unknown: no such directory, a network or virtual file system.
pub fn disks_under(proc: &Path, sys: &Path, directory: &Path) -> BTreeSet<String> {
    let Ok(metadata) = fs::metadata(directory) else {
        return BTreeSet::new();
    };
    let device = metadata.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    if major != ANONYMOUS_MAJOR {
        return disks_of_device(sys, major, minor);
    }
    let mut disks = BTreeSet::new();
    for device in btrfs_devices(proc, sys, directory) {
        collect(sys, device, &mut disks);
    }
    disks
}

/// The whole block devices that make up the block device `major:minor`.
pub fn disks_of_device(sys: &Path, major: u32, minor: u32) -> BTreeSet<String> {
    let mut disks = BTreeSet::new();
    // The directory of the device itself: its parent is the whole disk when it is a partition.
    if let Ok(device) = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))) {
        collect(sys, device, &mut disks);
    }
    disks
}

fn collect(sys: &Path, device: PathBuf, disks: &mut BTreeSet<String>) {
    let mut seen = BTreeSet::new();
    let mut to_see = vec![device];
    while let Some(device) = to_see.pop() {
        // Two devices can share a third, and what sysfs shows while it changes can be a loop.
        if !seen.insert(device.clone()) || seen.len() > MAX_DEVICES {
            continue;
        }
        let slaves = slaves(sys, &device);
        if !slaves.is_empty() {
            to_see.extend(slaves);
        } else if device.join("partition").exists() {
            to_see.extend(device.parent().map(Path::to_path_buf));
        } else if let Some(name) = device.file_name().and_then(|name| name.to_str()) {
            disks.insert(name.replace('!', "/"));
        }
    }
}

/// The devices that a dm or md device is made of.
fn slaves(sys: &Path, device: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(device.join("slaves")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let class = sys.join("class/block").join(entry.file_name());
            fs::canonicalize(entry.path())
                .or_else(|_| fs::canonicalize(class))
                .ok()
        })
        .collect()
}
