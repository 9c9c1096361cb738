//! Drops the privileges of the helper before it loads the guest library.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::{Gid, Uid};
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_ambient_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_name, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::child;
use crate::privileges::one_by_one;

/// The user and group "nobody": the overflow id of the kernel.
const NOBODY: u32 = 65534;
/// Address space of the helper in bytes: ten times what the library needs, so that only a leak reaches the limit.
const MAX_MEMORY: u64 = 256 << 20;

/// Drops every privilege of this process, which must have only one thread, and makes it end when `parent` ends.
///
/// Returns an error if a privilege cannot be dropped, or if the parent has already exited.
pub fn confine(parent: Pid) -> Result<()> {
    // Started as /proc/self/exe, it would be listed as "exe".
    let _ = set_name(c"guest-library");
    let held = capabilities(None).context("reading the capabilities")?.permitted;
    if held.contains(CapabilitySet::SETPCAP) {
        for capability in one_by_one(held) {
            remove_capability_from_bounding_set(capability).context("dropping capabilities")?;
        }
    }
    // A daemon without CAP_KILL could not kill a helper of another user: the library then runs as root without
    // capabilities.
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::KILL;
    if geteuid().is_root() && held.contains(needed) {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[]).context("dropping supplementary groups")?;
        set_thread_res_gid(group, group, group).context("changing the group to nobody")?;
        set_thread_res_uid(user, user, user).context("changing the user to nobody")?;
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    // The ambient set follows the permitted one. A sandbox may refuse the call, which does not matter if there is
    // nothing to drop.
    let dropped = set_capabilities(None, sets);
    let held = capabilities(None).context("reading the capabilities")?;
    if !(held.permitted | held.effective).is_empty() {
        dropped.context("dropping capabilities")?;
    }
    set_no_new_privs(true).context("setting no_new_privs")?;
    // The library crashes on purpose: write no core dump, neither to a file nor to a collector.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("disabling core dumps")?;
    limit(Resource::Core, 0);
    limit(Resource::As, MAX_MEMORY);
    // Last, because a change of user would undo it.
    child::tie_to_parent(parent)
}

/// Executes this program again without ambient capabilities if it has any. Returns if it has none.
///
/// systemd gives the service user its capabilities as ambient ones, and the system call filter of the service forbids
/// capset(). A process of an ordinary user that executes a program without ambient capabilities loses all others too.
pub fn drop_ambient_capabilities() -> Result<()> {
    let held = capabilities(None).context("reading the capabilities")?.permitted;
    // A capability that the kernel does not know cannot be set.
    let is_ambient = |capability| capability_is_in_ambient_set(capability).unwrap_or(false);
    if !one_by_one(held).any(is_ambient) {
        return Ok(());
    }
    clear_ambient_capability_set().context("dropping ambient capabilities")?;
    let mut args = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    Err(command.args(args).exec()).context("starting the helper again without capabilities")
}

fn limit(resource: Resource, max: u64) {
    let limit = Rlimit {
        current: Some(max),
        maximum: Some(max),
    };
    // A sandbox that refuses this call has its own limits.
    let _ = setrlimit(resource, limit);
}
