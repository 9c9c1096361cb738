//! Tests that run without root, by subject. `support` holds what they share with `tests/root`.

mod check;
mod cli;
mod config;
mod count;
mod daemon;
mod disks;
mod publish;
mod status;
#[allow(dead_code, reason = "tests/root uses other parts of it")]
#[path = "../support/mod.rs"]
mod support;
