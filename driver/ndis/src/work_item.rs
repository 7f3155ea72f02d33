//! Work items: what a system worker thread does, at `PASSIVE_LEVEL`.

use core::{
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

use ndis_sys::{
    NDIS_HANDLE, NDIS_IO_WORKITEM_FUNCTION, NdisAllocateIoWorkItem, NdisFreeIoWorkItem,
    NdisQueueIoWorkItem, PVOID,
};

use crate::{
    event::Event,
    irql::{Dispatch, Passive, at_dispatch},
    lock::SpinLock,
    memory::OutOfMemory,
    miniport::MiniportHandle,
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
    uses: SpinLock<Uses>,
    /// Signalled while there is no use. Changed with the lock held.
    unused: Event,
}

struct Uses {
    /// Those that are queued or running.
    count: u32,
    queued: bool,
    retired: bool,
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
            uses: SpinLock::new(Uses {
                count: 0,
                queued: false,
                retired: false,
            }),
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
        self.unused.set();
    }

    /// Queues it; false when it is queued already, or [retired](Self::retire). One that runs may be
    /// queued again: "the system dequeues a work item before it runs the work item's callback routine"
    /// (IoFreeWorkItem).
    #[must_use]
    pub fn queue(&self, at: Dispatch<'_>) -> bool {
        let mut uses = self.uses.lock(at);
        if uses.queued || uses.retired {
            return false;
        }
        uses.queued = true;
        uses.count = uses.count.saturating_add(1);
        self.unused.clear();
        drop(uses);
        let context = self.context.load(Ordering::Relaxed);
        // SAFETY: allocated in `new` and freed on drop only, after `retire`, which waits for this use; not
        // queued.
        unsafe { NdisQueueIoWorkItem(self.item, Some(self.routine), context) }
        true
    }

    /// What the routine does. The work item, and what its context points at, may be gone afterwards.
    pub fn run(&self, at: Dispatch<'_>, work: impl FnOnce()) {
        self.uses.lock(at).queued = false;
        work();
        let mut uses = self.uses.lock(at);
        uses.count = uses.count.saturating_sub(1);
        if uses.count == 0 {
            self.unused.set();
        }
    }

    /// Waits until it is neither queued nor running, once.
    pub fn wait(&self, at: Passive<'_>) {
        self.unused.wait(at);
    }

    /// Lets nobody queue it any more, and waits until it is neither queued nor running.
    pub fn retire(&self, at: Passive<'_>) {
        at_dispatch(false, |at| self.uses.lock(at).retired = true);
        self.unused.wait(at);
        // The last one has set the event, and may hold the lock yet.
        at_dispatch(false, |at| drop(self.uses.lock(at)));
    }
}

impl Drop for WorkItem {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, freed once; not queued: it is retired, or was never initialised.
        unsafe { NdisFreeIoWorkItem(self.item) }
    }
}
