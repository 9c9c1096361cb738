//! The disks under a whisper tree on a real btrfs file system.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::mounts::{Mounted, run};
use crate::support::skip;
use shinken_gatherer::disks::backing::{devices_under, disks_of_device};

#[test]
fn btrfs_on_two_devices_has_both_disks() {
    let dir = tempfile::tempdir().unwrap();
    let (mount, mut mounted) = (dir.path().join("mount"), Mounted::default());
    fs::create_dir(&mount).unwrap();
    let mut set_up = || {
        let devices = ["a", "b"].map(|name| mounted.attach(&dir.path().join(name)));
        let [Some(first), Some(second)] = devices else {
            return None;
        };
        run(&format!("mkfs.btrfs --quiet --data raid0 {first} {second}"))?;
        mounted.mount(&first, &mount)?;
        run(&format!("btrfs subvolume create {}/tree", mount.display()))?;
        Some([first, second])
    };
    let Some(devices) = set_up() else {
        return skip("btrfs on loop devices needs root and btrfs-progs");
    };
    let expected = BTreeSet::from(devices.map(|device| device.replace("/dev/", "")));
    for tree in [mount.clone(), mount.join("tree")] {
        let (proc, sys) = (Path::new("/proc"), Path::new("/sys"));
        let found = devices_under(proc, sys, &tree);
        let disks = found.into_iter().flat_map(|device| disks_of_device(sys, device));
        assert_eq!(disks.collect::<BTreeSet<_>>(), expected, "{tree:?}");
    }
}
