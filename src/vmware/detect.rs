//! Detects whether this machine is a VMware virtual machine.

use std::path::Path;

use crate::kernel;

/// Hypervisor vendor of VMware in CPUID leaf 0x40000000.
const VMWARE_VENDOR: &[u8; 12] = b"VMwareVMware";
const MAX_VENDOR_BYTES: u64 = 256;

/// The result of [`detect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// Whether CPUID or DMI reports VMware.
    pub is_vmware: bool,
    /// Whether CPUID reports VMware. DMI data can be copied from another machine: the guest library decides then.
    pub is_certain: bool,
    /// The vendors that CPUID and DMI report, for the log.
    pub evidence: String,
}

/// Reads CPUID, and the DMI data in sysfs under `sys`.
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

/// Returns the vendor of the hypervisor by CPUID; `None` on bare metal.
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

/// Other processors have no CPUID: DMI decides alone.
#[cfg(not(target_arch = "x86_64"))]
fn hypervisor_vendor() -> Option<[u8; 12]> {
    None
}

#[cfg(test)]
mod tests {
    use super::decide;

    #[test]
    fn vmware_is_detected_by_cpuid_or_dmi() {
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
