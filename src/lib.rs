//! The background gatherer of a Shinken monitoring server.
//!
//! What flows where, left to right:
//!
//! ```text
//! source                read            parse / decide        over time            document        published by
//! whisper tree     ->   graphite::walk  graphite::read        graphite::tree   ->  report      ->  publish
//! /proc/diskstats  ->   disks           disks::diskstats,     disks::history,  ->  report      ->  publish
//! /sys/block                            disks::physical       disks::rates
//! VMware           ->   vmware          vmware::detect                         ->  report      ->  publish
//! ```
//!
//! `daemon` is the only loop: `scheduler` says what is due, a collector does it and returns a document, [`publish`]
//! replaces the file, `logging` says what changed, `notify` tells systemd. `once` does the same work one time and
//! prints it. Collectors neither sleep nor write nor log; roots (`/proc`, `/sys`) and times are passed in.

pub mod cli;
pub mod config;
mod daemon;
pub mod disks;
pub mod graphite;
mod logging;
mod notify;
mod once;
pub mod output;
pub mod publish;
pub mod report;
mod scheduler;
mod signals;
pub mod vmware;
