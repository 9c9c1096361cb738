//! Decides by sysfs which block devices are physical disks.
//!
//! A physical disk is a whole block device with hardware behind it: `/sys/block/NAME/device` exists. That
//! excludes partitions (which have no entry in /sys/block), loop, ram, zram, dm, md and nbd devices. Optical drives, floppies,
//! eMMC boot areas and drives without a medium have hardware too; they are excluded by other attributes.

use std::path::{Path, PathBuf};

use crate::kernel::attribute;

/// SCSI peripheral device types of optical drives (`device/type`): write-once, CD/DVD, optical memory.
const OPTICAL_SCSI_TYPES: [&str; 3] = ["4", "5", "7"];
/// `device/media` of IDE drives and `device/devtype` of Xen devices that are not disks.
const OTHER_MEDIA: [&str; 4] = ["cdrom", "floppy", "tape", "optical"];
/// Block majors of floppy and optical drives (Documentation/admin-guide/devices.txt).
const OTHER_MAJORS: [u32; 2] = [2, 11];

/// The kind of a device in /proc/diskstats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A physical disk.
    Physical {
        /// Another number for another device of the same name (`diskseq`, since Linux 5.15).
        sequence: Option<u64>,
    },
    /// One of the paths to an NVMe namespace that is published under this head's name.
    PathOf(String),
    /// Anything else.
    Other,
}

/// Returns the kind of the device `name` of /proc/diskstats, by the sysfs at `sys`.
pub fn kind(sys: &Path, name: &str) -> Kind {
    // It must be one path component below.
    if name.is_empty() || name == "." || name == ".." || name.contains('\0') {
        return Kind::Other;
    }
    let block = block_directory(sys, name);
    if !block.join("device").exists() {
        return Kind::Other;
    }
    if attribute(&block.join("hidden")).as_deref() == Some("1") {
        return nvme_head(name).map_or(Kind::Other, Kind::PathOf);
    }
    if is_other_drive(&block) || is_emmc_boot_area(sys, name) || !has_medium(&block) {
        return Kind::Other;
    }
    Kind::Physical {
        sequence: attribute(&block.join("diskseq")).and_then(|text| text.parse().ok()),
    }
}

/// Returns the directory of a device: `/` in its name is `!` in sysfs.
fn block_directory(sys: &Path, name: &str) -> PathBuf {
    sys.join("block").join(name.replace('/', "!"))
}

fn has_medium(block: &Path) -> bool {
    // Only a size of zero means an empty drive. The file may be missing.
    attribute(&block.join("size")).is_none_or(|sectors| sectors.parse() != Ok(0u64))
}

fn is_other_drive(block: &Path) -> bool {
    let has_value = |file: &str, values: &[&str]| {
        attribute(&block.join(file)).is_some_and(|text| values.contains(&text.as_str()))
    };
    let major = attribute(&block.join("dev")).and_then(|dev| dev.split_once(':')?.0.parse().ok());
    major.is_some_and(|major| OTHER_MAJORS.contains(&major))
        || has_value("device/type", &OPTICAL_SCSI_TYPES)
        || has_value("device/media", &OTHER_MEDIA)
        || has_value("device/devtype", &OTHER_MEDIA)
}

/// Returns whether it is an area of an eMMC chip: `mmcblk0boot0` is on the same chip as `mmcblk0`.
fn is_emmc_boot_area(sys: &Path, name: &str) -> bool {
    let digits = name.trim_end_matches(|last: char| last.is_ascii_digit());
    let Some(chip) = digits.strip_suffix("boot").filter(|_| digits.len() < name.len()) else {
        return false;
    };
    chip.starts_with("mmcblk") && block_directory(sys, chip).exists()
}

/// Returns the head of an NVMe path: the kernel calls path C of namespace `nvme0n1` `nvme0cCn1`.
fn nvme_head(name: &str) -> Option<String> {
    let (subsystem, rest) = name.strip_prefix("nvme")?.split_once('c')?;
    let (controller, namespace) = rest.split_once('n')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    [subsystem, controller, namespace]
        .into_iter()
        .all(is_number)
        .then(|| format!("nvme{subsystem}n{namespace}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_that_are_no_disk_are_other_devices() {
        let sys = tempfile::tempdir().unwrap();
        for directory in [
            "device",
            "block/device",
            "block/mmcblk0/device",
            "block/sd/device",
        ] {
            fs::create_dir_all(sys.path().join(directory)).unwrap();
        }
        for name in ["", ".", "..", "sd\0"] {
            assert!(matches!(kind(sys.path(), name), Kind::Other), "{name:?}");
        }
        let is_boot_area = |name| is_emmc_boot_area(sys.path(), name);
        assert!(is_boot_area("mmcblk0boot0"));
        for name in ["mmcblk0boot", "mmcblk1boot0", "sdboot0"] {
            assert!(!is_boot_area(name), "{name}");
        }
        assert_eq!(nvme_head("nvme0c12n1").as_deref(), Some("nvme0n1"));
        for name in ["nvmec0n1", "nvme0cn1", "nvme0c0n", "nvmexc0n1"] {
            assert_eq!(nvme_head(name), None, "{name}");
        }
    }
}
