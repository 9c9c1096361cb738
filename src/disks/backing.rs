//! Which physical disks a directory is on: through partitions, LVM, LUKS and md, as sysfs links them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Devices stacked deeper than this are a loop in what sysfs shows.
const MAX_DEPTH: usize = 32;

/// The whole block devices under the file system of `directory`, by the names /proc/diskstats gives them. Empty
/// where that can't be known: no such directory, a network or virtual file system.
pub fn disks_under(sys: &Path, directory: &Path) -> BTreeSet<String> {
    let Ok(metadata) = fs::metadata(directory) else {
        return BTreeSet::new();
    };
    let device = metadata.dev();
    disks_of_device(sys, rustix::fs::major(device), rustix::fs::minor(device))
}

/// The whole block devices that make up the block device `major:minor`.
pub fn disks_of_device(sys: &Path, major: u32, minor: u32) -> BTreeSet<String> {
    let mut disks = BTreeSet::new();
    // The directory of the device itself: its parent is the whole disk when it is a partition.
    if let Ok(device) = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))) {
        collect(sys, device, 0, &mut disks);
    }
    disks
}

fn collect(sys: &Path, device: PathBuf, depth: usize, disks: &mut BTreeSet<String>) {
    if depth == MAX_DEPTH {
        return;
    }
    let slaves = slaves(sys, &device);
    if !slaves.is_empty() {
        for slave in slaves {
            collect(sys, slave, depth + 1, disks);
        }
    } else if device.join("partition").exists() {
        if let Some(whole) = device.parent() {
            collect(sys, whole.to_path_buf(), depth + 1, disks);
        }
    } else if let Some(name) = device.file_name().and_then(|name| name.to_str()) {
        disks.insert(name.replace('!', "/"));
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
