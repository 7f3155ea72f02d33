//! Work items: what a system worker thread does, at `PASSIVE_LEVEL`.

use core::{
    ptr::null_mut,
    sync::atomic::{AtomicBool, AtomicPtr, Ordering},
};

use ndis_sys::{
    NDIS_HANDLE, NDIS_IO_WORKITEM_FUNCTION, NdisAllocateIoWorkItem, NdisFreeIoWorkItem,
    NdisQueueIoWorkItem, PVOID,
};

use crate::{
    event::Event, irql::Passive, memory::OutOfMemory, miniport::MiniportHandle, rundown::Rundown,
};

/// A work item of an adapter, allocated beforehand: queueing does not fail.
///
/// A work item must not be freed while it is queued (IoFreeWorkItem), nor run when the adapter is gone,
/// and NDIS has no call that waits for it. So each use is counted, from queueing to the end of the
/// routine.
pub struct WorkItem {
    item: NDIS_HANDLE,
    routine: NDIS_IO_WORKITEM_FUNCTION,
    context: AtomicPtr<core::ffi::c_void>,
    queued: AtomicBool,
    uses: Rundown,
    /// Signalled while it is retired and not in use.
    unused: Event,
}

// SAFETY: NDIS takes the handle on any processor, and the rest is shared by design.
unsafe impl Send for WorkItem {}
// SAFETY: as above.
unsafe impl Sync for WorkItem {}

impl WorkItem {
    /// Allocates it, to be [initialised](Self::initialize) where it will stay.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(
        adapter: MiniportHandle,
        routine: NDIS_IO_WORKITEM_FUNCTION,
        _at: Passive<'_>,
    ) -> Result<Self, OutOfMemory> {
        // SAFETY: MiniportInitializeEx's handle, which this page allows.
        let item = unsafe { NdisAllocateIoWorkItem(adapter.raw()) };
        if item.is_null() {
            return Err(OutOfMemory);
        }
        Ok(Self {
            item,
            routine,
            context: AtomicPtr::new(null_mut()),
            queued: AtomicBool::new(false),
            uses: Rundown::closed(),
            unused: Event::uninitialized(),
        })
    }

    /// Makes the work item run its routine with `context` each time that it is queued.
    ///
    /// # Safety
    /// The work item is in non-paged memory and does not move from here on; nobody uses it before this
    /// returns. The routine is sound to call with `context` at `PASSIVE_LEVEL` until
    /// [`retire`](Self::retire) has returned, does all that it does within [`run`](Self::run), and the
    /// owner retires the work item before freeing it or `context`.
    pub unsafe fn initialize(&self, context: PVOID) {
        self.context.store(context, Ordering::Relaxed);
        // SAFETY: by the caller's promise.
        unsafe { self.unused.initialize() };
        self.uses.open();
    }

    /// Queues it; false when it is queued already, or [retired](Self::retire). One that runs may be
    /// queued again: "the system dequeues a work item before it runs the work item's callback routine"
    /// (IoFreeWorkItem). IRQL <= `DISPATCH_LEVEL`.
    #[must_use]
    pub fn queue(&self) -> bool {
        if !self.uses.enter(1) {
            return false;
        }
        if self.queued.swap(true, Ordering::AcqRel) {
            self.leave();
            return false;
        }
        let context = self.context.load(Ordering::Relaxed);
        // SAFETY: allocated in `new` and freed on drop only; not queued; initialised, for the rundown
        // is open.
        unsafe { NdisQueueIoWorkItem(self.item, Some(self.routine), context) }
        true
    }

    /// What the routine does. The work item, and what its context points at, may be gone afterwards.
    /// IRQL <= `DISPATCH_LEVEL`.
    pub fn run(&self, work: impl FnOnce()) {
        self.queued.store(false, Ordering::Release);
        work();
        self.leave();
    }

    fn leave(&self) {
        if self.uses.leave(1).0 {
            self.unused.set();
        }
    }

    /// Lets nobody queue it any more, and waits until it is neither queued nor running.
    pub fn retire(&self, at: Passive<'_>) {
        if self.uses.close().0 {
            self.unused.set();
        }
        // For the event even if the last one has left by now: it may not have set it yet.
        self.unused.wait(at);
    }

    /// Lets it be queued again after [`retire`](Self::retire).
    pub fn resume(&self) {
        self.unused.clear();
        self.uses.open();
    }
}

impl Drop for WorkItem {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, freed once; not queued: it is retired, or was never initialised.
        unsafe { NdisFreeIoWorkItem(self.item) }
    }
}
