//! Finds the block devices of btrfs, whose files have an anonymous device number.
//!
//! /proc/self/mountinfo names one device of it, and /sys/fs/btrfs/UUID/devices all others.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::kernel;

/// Largest mountinfo that is read.
const MAX_BYTES: u64 = 16 << 20;

/// Returns the sysfs directories of the devices that hold the btrfs file system of `directory`; none if it is on another
/// file system or if they are unknown.
pub fn btrfs_devices(proc: &Path, sys: &Path, directory: &Path) -> Vec<PathBuf> {
    // By the mount id, not the path: another file system may be mounted over it.
    let mount = statx(CWD, directory, AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID);
    let Ok(mount) = mount else { return Vec::new() };
    let Ok(text) = kernel::read(&proc.join("self/mountinfo"), MAX_BYTES) else {
        return Vec::new();
    };
    let source = btrfs_source(&text, mount.stx_mnt_id);
    let device = source.and_then(|source| device_of(sys, &source));
    device.map_or_else(Vec::new, |device| members(sys, device))
}

/// Returns the source, for example `/dev/sda2`, of the mount with this id if it is btrfs. In the text of mountinfo, a line
/// is `ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [FIELD ...] - TYPE SOURCE OPTIONS`.
fn btrfs_source(mountinfo: &[u8], mount_id: u64) -> Option<Vec<u8>> {
    let mount_id = mount_id.to_string();
    let mut lines = mountinfo.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        if fields.next()? != mount_id.as_bytes() {
            return None;
        }
        fields.find(|field| *field == b"-")?;
        (fields.next()? == b"btrfs").then(|| fields.next().map(unescape))?
    })
}

/// Replaces the escapes of mountinfo, for example `\040` for a space.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut unescaped = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                unescaped.push(byte);
                rest = &after[3..];
            }
            _ => {
                unescaped.push(*first);
                rest = after;
            }
        }
    }
    unescaped
}

/// Returns the sysfs directory of a block device by its path below /dev. The path is not opened: in a service with its own
/// /dev it does not exist.
fn device_of(sys: &Path, source: &[u8]) -> Option<PathBuf> {
    let class = sys.join("class/block");
    if let Some(mapped) = source.strip_prefix(b"/dev/mapper/") {
        let mut devices = fs::read_dir(class).ok()?.flatten().map(|entry| entry.path());
        let device = devices.find(|device| {
            kernel::attribute(&device.join("dm/name")).is_some_and(|name| name.as_bytes() == mapped)
        });
        return fs::canonicalize(device?).ok();
    }
    // A slash in a name is an exclamation mark in sysfs.
    let name: Vec<u8> = source
        .strip_prefix(b"/dev/")?
        .iter()
        .map(|byte| if *byte == b'/' { b'!' } else { *byte })
        .collect();
    if matches!(&name[..], b"" | b"." | b"..") {
        return None;
    }
    fs::canonicalize(class.join(OsStr::from_bytes(&name))).ok()
}

/// Returns the devices of the file system that `device` belongs to; only `device` if sysfs does not list them.
fn members(sys: &Path, device: PathBuf) -> Vec<PathBuf> {
    let file_systems = fs::read_dir(sys.join("fs/btrfs")).into_iter().flatten().flatten();
    for file_system in file_systems {
        let entries = fs::read_dir(file_system.path().join("devices"));
        let devices: Vec<_> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| fs::canonicalize(sys.join("class/block").join(entry.file_name())).ok())
            .collect();
        if devices.contains(&device) {
            return devices;
        }
    }
    vec![device]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &[u8] = b"25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        36 25 0:40 /@opt /opt rw,relatime shared:2 master:1 - btrfs /dev/sdb1 rw,space_cache=v2,subvol=/@opt\n\
        37 25 0:41 / /srv/a\\040b rw - btrfs /dev/mapper/vg-a\\040b rw\n\
        38 25 0:42 / /broken rw - btrfs\n";

    #[test]
    fn source_is_found_by_mount_id_and_only_for_btrfs() {
        assert_eq!(btrfs_source(MOUNTINFO, 36).unwrap(), b"/dev/sdb1");
        assert_eq!(btrfs_source(MOUNTINFO, 37).unwrap(), b"/dev/mapper/vg-a b");
        for id in [25, 38, 3, 360] {
            assert_eq!(btrfs_source(MOUNTINFO, id), None, "{id}");
        }
        assert_eq!(unescape(b"a\\134b\\9\\04"), b"a\\b\\9\\04");
        assert_eq!(unescape(b"vg-1040"), b"vg-1040");
    }
}
