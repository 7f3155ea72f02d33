//! The NDIS handle of an adapter, and what may be told to NDIS through it at any time.

use core::ffi::c_void;

use ndis_sys::{
    NDIS_HANDLE, NDIS_STATUS, NDIS_STATUS_INDICATION, NdisMIndicateStatusEx, NdisMPauseComplete,
    NdisMResetComplete, Zero as _,
};

use crate::{ObjectKind, Version, header};

/// MiniportAdapterHandle: what MiniportInitializeEx was given. Valid until MiniportHaltEx returns.
#[derive(Clone, Copy)]
pub struct MiniportHandle(NDIS_HANDLE);

// SAFETY: NDIS takes the handle on any processor.
unsafe impl Send for MiniportHandle {}
// SAFETY: as above.
unsafe impl Sync for MiniportHandle {}

impl MiniportHandle {
    /// # Safety
    /// `raw` is the handle that NDIS gave to MiniportInitializeEx, and the value is not used after
    /// MiniportHaltEx has returned (or initialization has failed).
    #[must_use]
    pub const unsafe fn from_raw(raw: NDIS_HANDLE) -> Self {
        Self(raw)
    }

    /// The handle for calls to NDIS.
    #[must_use]
    pub const fn raw(self) -> NDIS_HANDLE {
        self.0
    }

    /// Indicates a change of state. `report` is the structure that the status asks for, plain data.
    /// IRQL <= DISPATCH_LEVEL; call with no lock held.
    pub fn indicate_status<T: ndis_sys::Zero>(
        self,
        version: Version,
        code: NDIS_STATUS,
        report: &T,
        size: u16,
    ) {
        let mut indication = NDIS_STATUS_INDICATION::ZERO;
        indication.Header = header(ObjectKind::StatusIndication, version);
        indication.SourceHandle = self.0;
        indication.StatusCode = code;
        indication.StatusBuffer = (&raw const *report).cast::<c_void>().cast_mut();
        indication.StatusBufferSize = u32::from(size).min(size_of::<T>() as u32);
        // SAFETY: NDIS reads StatusBufferSize bytes of `report`, which is at least that large, and
        // is done with it on return.
        unsafe { NdisMIndicateStatusEx(self.0, &raw mut indication) }
    }

    /// Completes a pause for which MiniportPause returned NDIS_STATUS_PENDING. IRQL <= DISPATCH_LEVEL.
    /// NDIS may halt the adapter at once: the caller touches nothing of it afterwards.
    ///
    /// # Safety
    /// Such a pause is pending, and nobody else completes it.
    pub unsafe fn pause_complete(self) {
        // SAFETY: by the caller's promise.
        unsafe { NdisMPauseComplete(self.0) }
    }

    /// Completes a reset for which MiniportResetEx returned NDIS_STATUS_PENDING, with nothing for NDIS
    /// to restore. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// Such a reset is pending, and nobody else completes it.
    pub unsafe fn reset_complete(self, status: NDIS_STATUS) {
        // SAFETY: by the caller's promise.
        unsafe { NdisMResetComplete(self.0, status, 0) }
    }
}
