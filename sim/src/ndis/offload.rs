//! Task offload, as NDIS tracks it: what the miniport reported in its offload
//! attributes and with NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG.

use ndis_sys::{NDIS_IPSEC_OFFLOAD_V2, NDIS_OBJECT_HEADER, NDIS_OFFLOAD};

use super::header::{self, Version};

/// The offload configuration of an adapter.
#[derive(Clone, Debug, Default)]
pub struct Offloads {
    default: Option<Offload>,
    hardware: Option<Offload>,
    current: Option<Offload>,
    indications: usize,
}

impl Offloads {
    pub(super) fn set(&mut self, default: Offload, hardware: Offload) {
        self.current = Some(default.clone());
        self.default = Some(default);
        self.hardware = Some(hardware);
    }

    pub(super) fn set_current(&mut self, current: Offload) {
        self.current = Some(current);
        self.indications += 1;
    }

    /// The configuration that the miniport started with.
    #[must_use]
    pub fn default_config(&self) -> Option<&Offload> {
        self.default.as_ref()
    }

    /// What the adapter could do.
    #[must_use]
    pub fn hardware(&self) -> Option<&Offload> {
        self.hardware.as_ref()
    }

    /// The configuration that the miniport indicated last: what
    /// OID_TCP_OFFLOAD_CURRENT_CONFIG answers.
    #[must_use]
    pub fn current(&self) -> Option<&Offload> {
        self.current.as_ref()
    }

    /// How often the miniport has indicated a configuration.
    #[must_use]
    pub fn indications(&self) -> usize {
        self.indications
    }
}

/// One NDIS_OFFLOAD, of the revision that the driver uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offload {
    bytes: Vec<u8>,
}

impl Offload {
    /// The structure as the driver gave it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> NDIS_OBJECT_HEADER {
        self.get().Header
    }

    /// The structure, with zeros for what the revision does not have.
    #[must_use]
    pub fn get(&self) -> NDIS_OFFLOAD {
        // SAFETY: all-zero is a valid value, as is any copy of a driver's bytes:
        // the structure consists of integers.
        unsafe {
            let mut offload: NDIS_OFFLOAD = std::mem::zeroed();
            let len = self.bytes.len().min(size_of::<NDIS_OFFLOAD>());
            std::ptr::copy_nonoverlapping(
                self.bytes.as_ptr(),
                (&raw mut offload).cast::<u8>(),
                len,
            );
            offload
        }
    }

    /// The IPsec task offload version 2 part; zeros in revision 1.
    #[must_use]
    pub fn ipsec_v2(&self) -> NDIS_IPSEC_OFFLOAD_V2 {
        self.get().IPsecV2
    }
}

/// Copies an NDIS_OFFLOAD whose header was checked.
///
/// # Safety
/// `offload` points to the structure, of the revision of `version`.
pub(super) unsafe fn read(offload: *const NDIS_OFFLOAD, version: Version) -> Offload {
    let (_, size) = header::OFFLOAD.for_version(version);
    // SAFETY: as the caller says.
    let bytes = unsafe { std::slice::from_raw_parts(offload.cast::<u8>(), usize::from(size)) };
    Offload {
        bytes: bytes.to_vec(),
    }
}
