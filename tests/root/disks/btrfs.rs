//! The disks under a whisper tree on a real btrfs file system.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::storage::{Mounted, run};
use shinken_gatherer::disks::backing::{devices_under, disks_of_device};

#[test]
fn btrfs_on_two_devices_has_both_disks() {
    let Some(mut mounted) = Mounted::none() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let devices = ["a", "b"].map(|name| mounted.attach(&dir.path().join(name)));
    run(&format!("mkfs.btrfs --quiet --data raid0 {}", devices.join(" ")));
    mounted.mount(&devices[0], &mount);
    run(&format!("btrfs subvolume create {}/tree", mount.display()));
    let expected = BTreeSet::from(devices.map(|device| device.replace("/dev/", "")));
    for tree in [mount.clone(), mount.join("tree")] {
        let (proc, sys) = (Path::new("/proc"), Path::new("/sys"));
        let found = devices_under(proc, sys, &tree).into_iter();
        let disks = found.flat_map(|device| disks_of_device(sys, device));
        assert_eq!(disks.collect::<BTreeSet<_>>(), expected, "{tree:?}");
    }
}
