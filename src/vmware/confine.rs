//! What the helper gives up before it loads the guest library.

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

/// The user and group "nobody": the kernel's own number for whoever owns nothing.
const NOBODY: u32 = 65534;
/// Address space of the helper in bytes, of which the library and what it needs take about a tenth: one that leaks
/// ends here instead of using up the machine.
const MAX_MEMORY: u64 = 256 << 20;

/// Gives up every privilege of this process, which must have one thread only, and ends it when `parent` ends.
///
/// Fails where something can't be given up, and where the parent has ended meanwhile.
pub fn confine(parent: Pid) -> Result<()> {
    // /proc/self/exe was started: without a name of its own it would be listed as "exe".
    let _ = set_name(c"guest-library");
    let held = capabilities(None).context("reading the capabilities")?.permitted;
    if held.contains(CapabilitySet::SETPCAP) {
        for capability in one_by_one(held) {
            remove_capability_from_bounding_set(capability).context("dropping capabilities")?;
        }
    }
    // Without CAP_KILL, the daemon could not kill a helper of another user. A root without capabilities is what the
    // library then runs as.
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::KILL;
    if geteuid().is_root() && held.contains(needed) {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[]).context("leaving root's groups")?;
        set_thread_res_gid(group, group, group).context("leaving root's group")?;
        set_thread_res_uid(user, user, user).context("becoming nobody")?;
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    // The ambient set follows the permitted one. A sandbox may refuse the call, where there is nothing to drop: what
    // counts is that there is none.
    let dropped = set_capabilities(None, sets);
    let held = capabilities(None).context("reading the capabilities")?;
    if !(held.permitted | held.effective).is_empty() {
        dropped.context("dropping capabilities")?;
    }
    set_no_new_privs(true).context("renouncing new privileges")?;
    // The library crashes on purpose: no core dump, whether to a file or to a collector of them.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("disabling core dumps")?;
    limit(Resource::Core, 0);
    limit(Resource::As, MAX_MEMORY);
    // Last, because a change of user would undo it.
    child::tie_to_parent(parent)
}

/// Starts this program again without ambient capabilities if it has any. Returns if it has none.
///
/// The service manager gives its user capabilities as ambient ones, and the service's system call filter forbids
/// capset(). A process that executes a program without ambient capabilities loses the others, too.
pub fn drop_ambient_capabilities() -> Result<()> {
    let held = capabilities(None).context("reading the capabilities")?.permitted;
    // A kernel that does not know a capability has none of it to drop.
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

/// The single capabilities of a set, including those that are newer than this program.
fn one_by_one(set: CapabilitySet) -> impl Iterator<Item = CapabilitySet> {
    let bits = (0..u64::BITS).map(|bit| 1 << bit);
    bits.filter(move |bit| set.bits() & bit != 0)
        .map(CapabilitySet::from_bits_retain)
}

fn limit(resource: Resource, most: u64) {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    // A sandbox may refuse it, and has limits of its own then.
    let _ = setrlimit(resource, limit);
}
