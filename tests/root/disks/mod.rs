mod btrfs;
