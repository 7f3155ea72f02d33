//! Work that goes on in the background, in bursts: by a DPC, and by a work item when DPCs have had the
//! processor for long enough.
//!
//! A DPC that queues itself again, or the one of another adapter that queues it back, runs before the
//! processor goes below `DISPATCH_LEVEL`: no thread runs there, and the watchdog counts the time of the
//! whole series. A work item is a thread as any other, so whoever waits for the processor has a turn.

use core::sync::atomic::{AtomicU32, Ordering};

use ndis_sys::{KDEFERRED_ROUTINE, NDIS_IO_WORKITEM_FUNCTION, PVOID};

use crate::{
    dpc::{self, Dpc},
    irql::{Dispatch, Passive},
    memory::OutOfMemory,
    miniport::MiniportHandle,
    work_item::WorkItem,
};

/// Every so many runs of the DPC the work item goes on, whatever the watchdog says: it may be switched
/// off, and its limit is minutes, in which the threads of the processor would have no turn. At 100
/// microseconds, what a DPC should take ("Guidelines for Writing DPC Routines"), they wait 50
/// milliseconds. A power of two.
const TURNS: u32 = 512;

/// A DPC, and the work item that stands in for it. Its owner sees to it that there is one runner at a
/// time: one of the two is queued or running, and hands over to the other or to itself.
pub struct Deferred {
    dpc: Dpc,
    work_item: WorkItem,
    turns: AtomicU32,
}

impl Deferred {
    /// Allocates it, to be [initialised](Self::initialize) where it will stay.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(
        adapter: MiniportHandle,
        work_item: NDIS_IO_WORKITEM_FUNCTION,
        at: Passive<'_>,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            dpc: Dpc::uninitialized(),
            work_item: WorkItem::new(adapter, work_item, at)?,
            turns: AtomicU32::new(0),
        })
    }

    /// Gives both routines their context, and the DPC its routine.
    ///
    /// # Safety
    /// As for [`Dpc::initialize`] and [`WorkItem::initialize`], until [`retire`] has returned.
    pub unsafe fn initialize(&self, dpc: KDEFERRED_ROUTINE, context: PVOID) {
        // SAFETY: by the caller's promise.
        unsafe {
            self.dpc.initialize(dpc, context);
            self.work_item.initialize(context);
        }
    }

    /// Queues the DPC: the runner that there is now, or the one that goes on.
    pub fn queue(&self) {
        self.dpc.queue();
    }

    /// For the DPC, before its burst: true when the work item goes on instead, because the processor
    /// has to be let go. The DPC is done then. Never true once the work item is retired.
    #[must_use]
    pub fn makes_way(&self, at: Dispatch<'_>) -> bool {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        (turn & TURNS.wrapping_sub(1) == 0 || dpc::is_time_short(at)) && self.work_item.queue(at)
    }

    /// What the routine of the work item does, at `DISPATCH_LEVEL`: one burst, as the DPC. What `work`
    /// has borrowed may be gone afterwards.
    pub fn run_as_work_item(&self, at: Dispatch<'_>, work: impl FnOnce()) {
        // A DPC that this queues on its own processor comes when the IRQL is lowered.
        self.work_item.run(at, work);
    }

    /// Waits until the bursts are over that have begun. Those that begin meanwhile may be missed.
    pub fn flush(&self, at: Passive<'_>) {
        self.work_item.wait(at);
        dpc::flush(at);
    }
}

/// Stops all of them for good: afterwards none of their routines runs, provided that nobody queues
/// them any more but they themselves, and that they find nothing to do.
pub fn retire<'a>(all: impl Iterator<Item = &'a Deferred> + Clone, at: Passive<'_>) {
    // First, for a work item may queue its DPC, and not the other way round any more.
    for deferred in all.clone() {
        deferred.work_item.retire(at);
    }
    dpc::retire(all.map(|deferred| &deferred.dpc), at);
}
