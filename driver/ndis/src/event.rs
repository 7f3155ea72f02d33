//! A notification event: what a thread at `PASSIVE_LEVEL` waits for.

use core::{cell::UnsafeCell, ptr::null_mut};

use ndis_sys::{
    Executive, KEVENT, KeClearEvent, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject,
    KernelMode, NotificationEvent, Zero as _,
};

use crate::irql::Passive;

/// A `KEVENT` of the notification kind: stays signalled until cleared.
pub struct Event(UnsafeCell<KEVENT>);

// SAFETY: the kernel synchronises all access to a KEVENT.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// Memory for an event, to be [initialised](Self::initialize) where it will stay.
    #[must_use]
    pub const fn uninitialized() -> Self {
        Self(UnsafeCell::new(KEVENT::ZERO))
    }

    /// Makes the event, not signalled.
    ///
    /// # Safety
    /// The event is in non-paged memory and does not move from here on; nobody uses it before this
    /// returns.
    pub unsafe fn initialize(&self) {
        // SAFETY: the caller's promise is what KeInitializeEvent asks for.
        unsafe { KeInitializeEvent(self.0.get(), NotificationEvent, 0) }
    }

    /// Signals it. IRQL <= `DISPATCH_LEVEL`.
    pub fn set(&self) {
        // SAFETY: initialised (see `initialize`); Wait is FALSE, so DISPATCH_LEVEL is allowed.
        unsafe { KeSetEvent(self.0.get(), 0, 0) };
    }

    /// Clears it. IRQL <= `DISPATCH_LEVEL`.
    pub fn clear(&self) {
        // SAFETY: initialised.
        unsafe { KeClearEvent(self.0.get()) }
    }

    /// Waits until it is signalled.
    pub fn wait(&self, _at: Passive<'_>) {
        // SAFETY: initialised; PASSIVE_LEVEL by the token; no alert and no timeout, so the wait
        // ends only by the signal.
        unsafe { KeWaitForSingleObject(self.0.get().cast(), Executive, KernelMode, 0, null_mut()) };
    }
}
