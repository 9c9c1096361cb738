//! The background gatherer of a Shinken monitoring server.
//!
//! ```text
//! source               read                  parse, decide          over time           document           publish
//! whisper tree    ->   graphite::walk,       exclude                graphite::          graphite::report   publish
//! (in the worker)      graphite::directory                          snapshot
//! /proc/diskstats ->   disks                 disks::diskstats,      disks::history,     disks::report      publish
//! /sys/block                                 disks::physical        disks::rates
//! VMware library  ->   vmware::guestlib,     vmware::answer         vmware::window      vmware::report     publish
//! (in the helper)      vmware::helper_client
//! ```
//!
//! - Commands: [`cli`] parses the command line. `daemon` is the only loop. `once`, `status`, [`check`] (with [`plugin`]) and
//!   `config_command` are the other commands; `generate` prints files that the package installs. `detected` is what
//!   `config show` and `status -v` print about this machine.
//! - Collectors: `collector` has the traits, `collectors` the list over which all commands iterate. `collector::sampled`
//!   runs a sampler. `deadlines` computes when a sample is due, `recurring` limits repeated messages. Collectors do not
//!   sleep or publish; roots (`/proc`, `/sys`) and times ([`moment`]) are arguments.
//! - Child processes: `child` starts, reads and ends them. [`worker`] counts the tree and publishes the count,
//!   `vmware::helper` loads the VMware library, `reader` reads the published count, `parents` follows init scripts.
//! - Files: [`publish`] replaces a published file, [`report`] has what documents share, [`published`] reads them back without
//!   trust, with `open` and [`trusted_users`]. `kernel` reads procfs and sysfs. [`config`] reads the configuration.
//! - Exports: `export` renders documents by templates. The daemon publishes them, or the worker if only the count is used.
//! - Around the daemon: `logging`, `notify` (systemd), `carbon` (the feed to Graphite), `signals`, `lock`,
//!   `privileges`.
//! - Text and terminals: [`output`] prints, `duration` parses times, `escape` makes names printable, `nonblocking` and
//!   `writable` never wait.
//!
//! No file imports a file that imports it, directly or through others (`tests/suites/supply/module-cycles`).

mod carbon;
pub mod check;
mod child;
pub mod cli;
mod collector;
mod collectors;
pub mod config;
mod config_command;
mod daemon;
mod deadlines;
mod detected;
pub mod device;
pub mod disks;
mod duration;
mod escape;
mod exclude;
mod export;
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
mod privileges;
pub mod publish;
pub mod published;
mod reader;
mod recurring;
pub mod report;
mod signals;
mod status;
pub mod trusted_users;
mod version;
pub mod vmware;
pub mod worker;
mod writable;
