//! Whether this machine is a VMware virtual machine.

use std::path::Path;

use crate::kernel;

/// What CPUID leaf 0x40000000 answers on VMware.
const VMWARE_VENDOR: &[u8; 12] = b"VMwareVMware";

/// Longest name of a vendor: the firmware's tables have no longer strings that anyone would print.
const MAX_VENDOR_BYTES: u64 = 256;

/// The answer and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// Whether the machine is a VMware virtual machine, as far as they say.
    pub is_vmware: bool,
    /// Whether that is certain. The firmware's tables can be a copy: there, the guest library may still deny it.
    pub is_certain: bool,
    /// For the log: what the processor and the firmware say.
    pub evidence: String,
}

/// Asks the processor, then the firmware's tables as sysfs under `sys` shows them.
pub fn detect(sys: &Path) -> Detection {
    let hypervisor = hypervisor_vendor();
    let firmware = kernel::read(&sys.join("class/dmi/id/sys_vendor"), MAX_VENDOR_BYTES).ok();
    decide(hypervisor.as_ref(), firmware.as_deref())
}

fn decide(hypervisor: Option<&[u8; 12]>, firmware: Option<&[u8]>) -> Detection {
    let by_hypervisor = hypervisor == Some(VMWARE_VENDOR);
    let by_firmware = firmware.is_some_and(|vendor| vendor.starts_with(b"VMware"));
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .trim_matches(['\0', '\n', ' '])
            .to_string()
    };
    let hypervisor = hypervisor.map_or("none".into(), |vendor| format!("{:?}", text(vendor)));
    let firmware = firmware.map_or("unknown".into(), |vendor| format!("{:?}", text(vendor)));
    Detection {
        is_vmware: by_hypervisor || by_firmware,
        is_certain: by_hypervisor,
        evidence: format!("hypervisor by CPUID: {hypervisor}, system vendor by DMI: {firmware}"),
    }
}

/// The 12 letters with which a hypervisor names itself, or `None` on bare metal.
#[cfg(target_arch = "x86_64")]
fn hypervisor_vendor() -> Option<[u8; 12]> {
    use std::arch::x86_64::__cpuid;
    const HYPERVISOR_PRESENT: u32 = 1 << 31;
    if __cpuid(1).ecx & HYPERVISOR_PRESENT == 0 {
        return None;
    }
    let leaf = __cpuid(0x4000_0000);
    let mut vendor = [0; 12];
    for (bytes, register) in vendor.chunks_exact_mut(4).zip([leaf.ebx, leaf.ecx, leaf.edx]) {
        bytes.copy_from_slice(&register.to_le_bytes());
    }
    Some(vendor)
}

/// Other processors have no such leaf: the firmware's tables decide alone.
#[cfg(not(target_arch = "x86_64"))]
fn hypervisor_vendor() -> Option<[u8; 12]> {
    None
}

#[cfg(test)]
mod tests {
    use super::decide;

    #[test]
    fn either_source_is_enough_and_neither_is_none() {
        assert!(decide(Some(b"VMwareVMware"), None).is_vmware);
        assert!(decide(Some(b"VMwareVMware"), None).is_certain);
        assert!(decide(None, Some(b"VMware, Inc.\n")).is_vmware);
        assert!(!decide(None, Some(b"VMware, Inc.\n")).is_certain);
        assert!(!decide(Some(b"KVMKVMKVM\0\0\0"), Some(b"QEMU\n")).is_vmware);
        assert!(!decide(None, None).is_vmware);
        let other = decide(Some(b"KVMKVMKVM\0\0\0"), Some(b"QEMU\n"));
        assert_eq!(
            other.evidence,
            "hypervisor by CPUID: \"KVMKVMKVM\", system vendor by DMI: \"QEMU\""
        );
    }
}
