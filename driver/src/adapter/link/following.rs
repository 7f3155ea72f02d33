//! A link that follows the other adapters: who looks, when, and in which order it is told.

use ndis::{Dispatch, MiniportHandle, OutOfMemory, Passive, SpinLock, WorkItem};
use ndis_sys::{NDIS_IO_WORKITEM_FUNCTION, PVOID};

/// What changes is looked at in a work item, one look at a time, so that what is told last is true.
pub struct Following {
    watch: SpinLock<Watch>,
    work_item: WorkItem,
}

struct Watch {
    /// What NDIS was told last; None until it has the attributes.
    told: Option<bool>,
    /// Changes may be told.
    started: bool,
    /// Something has changed since the last look.
    changed: bool,
    /// The work item is queued or running.
    active: bool,
}

impl Following {
    /// Allocates the work item, to be [initialised](Self::initialize) where it will stay.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(
        adapter: MiniportHandle,
        work_item: NDIS_IO_WORKITEM_FUNCTION,
        at: Passive<'_>,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            watch: SpinLock::new(Watch {
                told: None,
                started: false,
                changed: false,
                active: false,
            }),
            work_item: WorkItem::new(adapter, work_item, at)?,
        })
    }

    /// Gives the work item its context.
    ///
    /// # Safety
    /// As for [`WorkItem::initialize`].
    pub unsafe fn initialize(&self, context: PVOID) {
        // SAFETY: by the caller's promise.
        unsafe { self.work_item.initialize(context) };
    }

    /// `up` has been told.
    pub fn begin(&self, up: bool, at: Dispatch<'_>) {
        self.watch.lock(at).told = Some(up);
    }

    /// From now on changes are told, and those that there were since then.
    pub fn start(&self, at: Dispatch<'_>) {
        self.watch.lock(at).started = true;
        self.changed(at);
    }

    /// Something has changed: it is looked at soon. The caller may hold other locks.
    pub fn changed(&self, at: Dispatch<'_>) {
        let mut watch = self.watch.lock(at);
        watch.changed = true;
        let starts = watch.started && !core::mem::replace(&mut watch.active, true);
        drop(watch);
        if starts {
            self.queue(at);
        }
    }

    fn queue(&self, at: Dispatch<'_>) {
        // Refused when it is retired: nobody looks any more then.
        let _ = self.work_item.queue(at);
    }

    /// What the work item does: asks `is_up` whether there is a link, None for an adapter that may not
    /// tell of it, and if that is news has it told. All that this has borrowed may be gone afterwards.
    pub fn run(
        &self,
        at: Dispatch<'_>,
        is_up: impl FnOnce() -> Option<bool>,
        tell: impl FnOnce(bool),
    ) {
        self.work_item.run(at, || {
            // Taken back before it looks: what changes from here on is looked at again.
            self.watch.lock(at).changed = false;
            let news = is_up().filter(|&up| self.watch.lock(at).told.replace(up) != Some(up));
            if let Some(up) = news {
                tell(up);
            }
            let mut watch = self.watch.lock(at);
            watch.active = watch.changed;
            let again = watch.active;
            drop(watch);
            if again {
                self.queue(at);
            }
        });
    }

    /// Waits until no look is under way that began before.
    pub fn flush(&self, at: Passive<'_>) {
        self.work_item.wait(at);
    }

    /// Nothing is told any more once this has returned.
    pub fn retire(&self, at: Passive<'_>) {
        self.work_item.retire(at);
    }
}
