//! Tests that need root: other users, mounts, storage that hangs. They skip themselves if another user runs them.

/// Ends a test, reported as skipped, unless root runs it.
macro_rules! needs_root {
    () => {
        if !crate::support::root_or_skip() {
            return;
        }
    };
}

mod config {
    mod owner;
}
mod count {
    mod changing_tree;
    mod mounts;
}
mod daemon {
    mod hung_storage;
    mod journal;
}
mod publish {
    mod hostile_log;
    mod hostile_output_dir;
    mod hostile_reads;
}
mod users;

#[allow(dead_code, unused_imports, reason = "tests/it uses other parts of it")]
#[path = "../support/mod.rs"]
mod support;
