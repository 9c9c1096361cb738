//! Sets `no_new_privs` and drops the capabilities that a process never needs, if no sandbox did.
//!
//! Under systemd, the unit did the same, and this changes nothing. The init script can do it only with the `setpriv`
//! of a recent util-linux.

use anyhow::{Context, Result};
use rustix::thread::{
    CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// Capabilities of the count worker, and of the daemon in the unit.
pub const COLLECTING: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::FOWNER);
/// Capabilities of a daemon of root, which also starts and kills the VMware helper. The helper becomes `nobody`.
pub const DAEMON: CapabilitySet = COLLECTING
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL);

/// Sets `no_new_privs`, and drops all capabilities but `kept`, for this thread and the programs that it executes.
/// Returns the remaining capabilities.
///
/// The bounding set remains if CAP_SETPCAP is missing. It has no effect then, because of `no_new_privs`.
pub fn keep(kept: CapabilitySet) -> Result<CapabilitySet> {
    set_no_new_privs(true).context("setting no_new_privs")?;
    let mut sets = capabilities(None).context("reading the capabilities")?;
    if sets.effective.contains(CapabilitySet::SETPCAP) {
        for capability in one_by_one(!kept) {
            // Fails for numbers that the kernel does not know.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    if !kept.contains(sets.permitted | sets.inheritable) {
        sets.effective &= kept;
        sets.permitted &= kept;
        sets.inheritable &= kept;
        set_capabilities(None, sets).context("dropping capabilities")?;
    }
    Ok(sets.permitted)
}

/// Returns the capabilities of a set, including those that are newer than this program.
pub fn one_by_one(set: CapabilitySet) -> impl Iterator<Item = CapabilitySet> {
    let bits = (0..u64::BITS).map(|bit| 1 << bit);
    bits.filter(move |bit| set.bits() & bit != 0)
        .map(CapabilitySet::from_bits_retain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_keeps_the_capabilities_of_the_unit() {
        let unit = include_str!("../systemd/shinken-gatherer.service");
        let bounds = unit
            .lines()
            .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
        let kept: Vec<_> = COLLECTING
            .iter_names()
            .map(|(name, _)| format!("CAP_{name}"))
            .collect();
        assert_eq!(bounds, Some(kept.join(" ").as_str()));
    }
}
