//! Which block devices are physical disks, told from sysfs.
//!
//! A physical disk is a whole block device with hardware behind it: `/sys/block/NAME/device` exists. That leaves out
//! partitions (no entry of their own in /sys/block), loop, ram, zram, dm, md and nbd devices. Optical drives, floppies,
//! eMMC boot areas and drives without a medium have hardware behind them too and are told apart here.

use std::path::{Path, PathBuf};

use crate::kernel::attribute;

/// SCSI peripheral device types of optical drives (`device/type`): write-once, CD/DVD, optical memory.
const OPTICAL_SCSI_TYPES: [&str; 3] = ["4", "5", "7"];
/// `device/media` of IDE drives, and `device/devtype` of Xen's, that are no disks.
const OTHER_MEDIA: [&str; 4] = ["cdrom", "floppy", "tape", "optical"];
/// Block majors of floppy and optical drives (Documentation/admin-guide/devices.txt).
const OTHER_MAJORS: [u32; 2] = [2, 11];

/// What a name in /proc/diskstats stands for.
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

/// What sysfs under `sys` says about the device that /proc/diskstats calls `name`.
pub fn kind(sys: &Path, name: &str) -> Kind {
    // A name is one path component below; the kernel's own names always are.
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

/// The device's directory: `/` in a device name is `!` in sysfs.
fn block_directory(sys: &Path, name: &str) -> PathBuf {
    sys.join("block").join(name.replace('/', "!"))
}

fn has_medium(block: &Path) -> bool {
    // A missing file says nothing; only a size that is known to be zero means an empty drive.
    attribute(&block.join("size")).is_none_or(|sectors| sectors.parse() != Ok(0u64))
}

fn is_other_drive(block: &Path) -> bool {
    let said = |file: &str, values: &[&str]| {
        attribute(&block.join(file)).is_some_and(|text| values.contains(&text.as_str()))
    };
    let major = attribute(&block.join("dev")).and_then(|dev| dev.split_once(':')?.0.parse().ok());
    major.is_some_and(|major| OTHER_MAJORS.contains(&major))
        || said("device/type", &OPTICAL_SCSI_TYPES)
        || said("device/media", &OTHER_MEDIA)
        || said("device/devtype", &OTHER_MEDIA)
}

/// `mmcblk0boot0` and the like: small areas of the same chip as `mmcblk0`, which the kernel names after it.
fn is_emmc_boot_area(sys: &Path, name: &str) -> bool {
    let digits = name.trim_end_matches(|last: char| last.is_ascii_digit());
    let Some(chip) = digits.strip_suffix("boot").filter(|_| digits.len() < name.len()) else {
        return false;
    };
    chip.starts_with("mmcblk") && block_directory(sys, chip).exists()
}

/// The head of an NVMe path: the kernel calls path C of namespace `nvme0n1` `nvme0cCn1`.
fn nvme_head(name: &str) -> Option<String> {
    let (subsystem, rest) = name.strip_prefix("nvme")?.split_once('c')?;
    let (controller, namespace) = rest.split_once('n')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    [subsystem, controller, namespace]
        .into_iter()
        .all(is_number)
        .then(|| format!("nvme{subsystem}n{namespace}"))
}
