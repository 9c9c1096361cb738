//! The background gatherer of a Shinken monitoring server.
//!
//! What flows where, left to right:
//!
//! ```text
//! source                read            parse / decide        over time            document        published by
//! whisper tree     ->   graphite::walk  graphite::read        graphite::tree   ->  report      ->  publish
//! /proc/diskstats  ->   disks           disks::diskstats,     disks::history,  ->  report      ->  publish
//! /sys/block                            disks::physical       disks::rates
//! VMware's library ->   vmware::probe,  vmware::answer       vmware::window   ->  report      ->  publish
//!                       vmware::helper
//! ```
//!
//! `daemon` is the only loop: `scheduler` says what is due, a collector does it and returns a document, [`publish`]
//! replaces the file, `logging` says what changed, `notify` tells systemd, `carbon` feeds the figures to Graphite where
//! that is wanted. `once` does the same work one time and prints it. The other way round, `published` reads the files
//! back, distrusting them, for `check` (a monitoring plugin) and `status` (for people). `kernel` reads procfs and sysfs,
//! `plain` makes names fit for a line, `gate` asks journald and systemd whether they would listen,
//! `nonblocking` writes to terminals and pipes that nobody may read. Collectors neither
//! sleep nor write nor log; roots (`/proc`, `/sys`) and times are passed in.

mod carbon;
pub mod check;
pub mod cli;
pub mod config;
mod daemon;
pub mod disks;
mod gate;
pub mod graphite;
mod kernel;
mod logging;
mod nonblocking;
mod notify;
mod once;
pub mod output;
mod plain;
pub mod publish;
pub mod published;
pub mod report;
mod scheduler;
mod signals;
mod status;
pub mod vmware;
