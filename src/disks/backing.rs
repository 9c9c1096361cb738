//! Finds the physical disks that hold a directory, through partitions, LVM, LUKS and md, by the links of sysfs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mounts::btrfs_devices;
use crate::device::Device;
use crate::kernel;

/// The major number of file systems that are not on one block device.
const ANONYMOUS_MAJOR: u32 = 0;
/// More devices than any machine has in a stack.
const MAX_DEVICES: usize = 10_000;

/// Returns the devices of the file system that `path` is on. Empty if there is no such file. A network or virtual file
/// system has a number that no block device has.
pub fn devices_under(proc: &Path, sys: &Path, path: &Path) -> Vec<Device> {
    let Ok(metadata) = fs::metadata(path) else {
        return Vec::new();
    };
    let device = metadata.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let btrfs = match major {
        ANONYMOUS_MAJOR => btrfs_devices(proc, sys, path),
        _ => Vec::new(),
    };
    match btrfs.is_empty() {
        true => vec![Device { major, minor }],
        false => btrfs.iter().filter_map(|device| number_of(device)).collect(),
    }
}

/// Reads the number of the block device that has this directory in sysfs.
fn number_of(device: &Path) -> Option<Device> {
    let number = kernel::attribute(&device.join("dev"))?;
    let (major, minor) = number.split_once(':')?;
    Some(Device {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

/// Returns the whole block devices that make up a device, by the names that /proc/diskstats gives them. Empty if it
/// is not a block device: that of a network or virtual file system.
pub fn disks_of_device(sys: &Path, device: Device) -> BTreeSet<String> {
    let Device { major, minor } = device;
    let mut disks = BTreeSet::new();
    // The directory of the device itself: if it is a partition, its parent is the whole disk.
    if let Ok(device) = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))) {
        collect(sys, device, &mut disks);
    }
    disks
}

fn collect(sys: &Path, device: PathBuf, disks: &mut BTreeSet<String>) {
    let mut seen = BTreeSet::new();
    let mut pending = vec![device];
    while let Some(device) = pending.pop() {
        // Two devices can share a third, and sysfs can show a loop while it changes.
        if !seen.insert(device.clone()) || seen.len() > MAX_DEVICES {
            continue;
        }
        let slaves = slaves(sys, &device);
        if !slaves.is_empty() {
            pending.extend(slaves);
        } else if device.join("partition").exists() {
            pending.extend(device.parent().map(Path::to_path_buf));
        } else if let Some(name) = device.file_name().and_then(|name| name.to_str()) {
            disks.insert(name.replace('!', "/"));
        }
    }
}

/// Returns the devices that a dm or md device consists of.
fn slaves(sys: &Path, device: &Path) -> Vec<PathBuf> {
    let folder = device.join("slaves");
    let names = kernel::names(&folder).into_iter();
    names
        .filter_map(|name| {
            let class = sys.join("class/block").join(&name);
            fs::canonicalize(folder.join(name))
                .or_else(|_| fs::canonicalize(class))
                .ok()
        })
        .collect()
}
