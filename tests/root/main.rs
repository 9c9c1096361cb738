//! Tests that need root: other users, mounts, storage that hangs. They skip themselves if another user runs them.

mod check;
mod config;
mod count;
mod daemon;
mod disks;
mod publish;
#[allow(dead_code, reason = "tests/it uses other parts of it")]
#[path = "../support/mod.rs"]
mod support;
