//! The background gatherer of a Shinken monitoring server.
//!
//! What flows where, left to right:
//!
//! ```text
//! source                read            parse / decide        over time            document        published by
//! whisper tree     ->   graphite::walk, exclude               graphite::       ->  report      ->  publish
//! (in the worker)       graphite::directory                   snapshot
//! /proc/diskstats  ->   disks           disks::diskstats,     disks::history,  ->  report      ->  publish
//! /sys/block                            disks::physical       disks::rates
//! VMware's library ->   vmware::        vmware::answer       vmware::window   ->  report      ->  publish
//! (in the helper)       helper_client
//! ```
//!
//! `daemon` is the only loop: `scheduler` says what is due, a collector does it and returns a document, [`publish`]
//! replaces the file, `logging` says what changed, `notify` tells systemd, `carbon` feeds the figures to Graphite where
//! that is wanted. What may hang runs in a `child` process of this binary: `worker` counts the tree and publishes the
//! count, `vmware::helper` loads VMware's library, `reader` reads the published count for `check` and `status`.
//! `once` does the same work one time and prints it. The other way round, `published` reads the files
//! back, distrusting them, for `check` (a monitoring plugin) and `status` (for people). `generate` prints the files that
//! the package installs. `kernel` reads procfs and sysfs,
//! `open` opens files that others may have replaced, `trusted_users` tells whose documents to trust, `escape` makes names
//! fit for a line, `writable` asks journald and systemd whether they would listen, `nonblocking` writes to terminals and pipes
//! that nobody may read, `lock` lets one daemon run at a time. Collectors neither sleep nor write nor log; roots (`/proc`,
//! `/sys`) and times are passed in.

mod carbon;
pub mod check;
mod child;
pub mod cli;
mod collector;
mod collectors;
pub mod config;
mod daemon;
mod deadlines;
pub mod device;
pub mod disks;
mod escape;
mod exclude;
mod generate;
pub mod graphite;
mod kernel;
mod lock;
mod logging;
pub mod moment;
mod nonblocking;
mod notify;
mod once;
mod open;
pub mod output;
mod parents;
pub mod plugin;
pub mod publish;
pub mod published;
mod reader;
mod recurring;
pub mod report;
mod signals;
mod status;
pub mod trusted_users;
pub mod vmware;
pub mod worker;
mod writable;
