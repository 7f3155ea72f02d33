//! Deferred procedure calls that cannot outlive what they point at.

use core::{cell::UnsafeCell, ptr::null_mut};

use ndis_sys::{
    KDEFERRED_ROUTINE, KDPC, KDPC_WATCHDOG_INFORMATION, KeFlushQueuedDpcs, KeInitializeDpc,
    KeInsertQueueDpc, KeQueryDpcWatchdogInformation, KeRemoveQueueDpc, PVOID, STATUS_SUCCESS,
    Zero as _,
};

use crate::irql::{Dispatch, Passive};

/// A `KDPC` at a fixed place.
pub struct Dpc(UnsafeCell<KDPC>);

// SAFETY: the kernel synchronises all access to a KDPC.
unsafe impl Send for Dpc {}
// SAFETY: as above.
unsafe impl Sync for Dpc {}

impl Dpc {
    /// Memory for a DPC, to be [initialised](Self::initialize) where it will stay.
    #[must_use]
    pub const fn uninitialized() -> Self {
        Self(UnsafeCell::new(KDPC::ZERO))
    }

    /// Makes the DPC run `routine` with `context` each time that it is queued.
    ///
    /// # Safety
    /// The DPC is in non-paged memory and does not move from here on; nobody uses it before this
    /// returns. `routine` is sound to call with `context` at DISPATCH_LEVEL until
    /// [`retire`](retire) has returned, and the owner calls that before freeing either.
    pub unsafe fn initialize(&self, routine: KDEFERRED_ROUTINE, context: PVOID) {
        // SAFETY: the caller's promise is what KeInitializeDpc asks for.
        unsafe { KeInitializeDpc(self.0.get(), Some(routine), context) }
    }

    /// Queues it, if it is not queued. A DPC that runs may be queued again: it runs once more.
    pub fn queue(&self) {
        // SAFETY: initialised (see `initialize`).
        unsafe { KeInsertQueueDpc(self.0.get(), null_mut(), null_mut()) };
    }
}

/// Takes the DPCs out of their queues and waits until those that run have returned. Afterwards none
/// of them runs, provided that nobody queues them any more.
pub fn retire<'a>(dpcs: impl IntoIterator<Item = &'a Dpc>, at: Passive<'_>) {
    for dpc in dpcs {
        // SAFETY: initialised.
        unsafe { KeRemoveQueueDpc(dpc.0.get()) };
    }
    flush(at);
}

/// Waits until every DPC that was queued before has run, on all processors.
pub fn flush(_at: Passive<'_>) {
    // SAFETY: PASSIVE_LEVEL by the token.
    unsafe { KeFlushQueuedDpcs() }
}

/// Whether the DPCs that have run on this processor, one after the other, have used up three quarters
/// of what the watchdog gives them together: bug check 0x133 (parameter 1) comes at the end of it, and
/// only a processor that goes below DISPATCH_LEVEL starts anew. False when there is no limit.
#[must_use]
pub fn is_time_short(_at: Dispatch<'_>) -> bool {
    let mut left = KDPC_WATCHDOG_INFORMATION::ZERO;
    // SAFETY: DISPATCH_LEVEL by the token; the kernel writes the structure and does not keep it.
    let status = unsafe { KeQueryDpcWatchdogInformation(&raw mut left) };
    // Without a limit both are 0. It fails when no DPC runs: then none uses up anything.
    status == STATUS_SUCCESS && left.DpcWatchdogCount < left.DpcWatchdogLimit / 4
}
