//! The send path: each NET_BUFFER is gathered from its MDLs straight into the receive buffer of the
//! first adapter that takes the frame, tagged, sealed there in place, and copied for further takers.
//!
//! A call sends at most [`BUDGET`] packets; the rest goes into the adapter's queue, in order, for its
//! DPC or the work item that stands in for it, and can be cancelled there. While the queue is not empty
//! everything goes through it.
//!
//! ```text
//!  MiniportSendNetBufferLists ---(queue idle)---> run ---> wire ---> receivers' queues
//!         |                                        ^  |
//!         +--(busy, or over budget)--> queue --DPC-+  +--> Completions --> NDIS
//! ```

mod burst;
mod compose;
mod request;
mod segments;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use ndis::{
    Deferred, Dispatch, InfoSlot, MiniportHandle, OutOfMemory, Passive, SendChain, SpinLock,
    current_processor, try_with_capacity,
};
use ndis_sys::{NDIS_IO_WORKITEM_FUNCTION, NDIS_STATUS, NDIS_STATUS_SEND_ABORTED, PVOID};

use crate::{adapter::Adapter, stack};
use burst::{Context, run};

/// Processors with a higher number send through the queue only.
pub const MAX_INLINE_PROCESSORS: usize = 64;
/// Frames per call, or per burst from the queue.
pub const BUDGET: usize = 128;

/// What is waiting to be sent.
struct Queue {
    chain: SendChain,
    /// The DPC or the work item is queued or running, and holds a reference on the adapter's send rundown.
    active: bool,
}

/// The sending half of an adapter.
pub struct Sender {
    queue: SpinLock<Queue>,
    pub deferred: Deferred,
    /// By processor.
    contexts: Vec<SpinLock<Option<Context>>>,
    queue_context: SpinLock<Option<Context>>,
}

impl Sender {
    /// Allocates for `processors`, and frames of `capacity` bytes. What is deferred is yet to be
    /// initialised.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(
        adapter: MiniportHandle,
        processors: usize,
        capacity: usize,
        work_item: NDIS_IO_WORKITEM_FUNCTION,
        at: Passive<'_>,
    ) -> Result<Self, OutOfMemory> {
        let mut contexts = try_with_capacity(processors)?;
        for _ in 0..processors {
            contexts.push(SpinLock::new(Some(Context::new(capacity)?)));
        }
        Ok(Self {
            queue: SpinLock::new(Queue {
                chain: SendChain::empty(adapter),
                active: false,
            }),
            deferred: Deferred::new(adapter, work_item, at)?,
            contexts,
            queue_context: SpinLock::new(Some(Context::new(capacity)?)),
        })
    }

    /// How many lists are queued.
    pub fn queued(&self, at: Dispatch<'_>) -> usize {
        self.queue.lock(at).chain.len()
    }
}

/// Completes what is queued with `status`. What a burst works on goes out. The caller touches the adapter
/// no more if a pause may be pending.
pub fn abort(adapter: &Adapter, status: NDIS_STATUS, at: Dispatch<'_>) {
    take_out(adapter, status, at, SendChain::take);
}

/// MiniportCancelSend: completes what is queued under `id` with NDIS_STATUS_SEND_ABORTED. The caller
/// touches the adapter no more.
pub fn cancel(adapter: &Adapter, id: PVOID, at: Dispatch<'_>) {
    take_out(adapter, NDIS_STATUS_SEND_ABORTED, at, |chain| {
        chain.extract(|nbl| nbl.info(InfoSlot::CancelId) == id)
    });
}

/// Completes some of what is queued. The reference covers it on its way from the queue, whose own reference
/// is the runner's, to NDIS: a pause or reset must not be complete before. With the gate closed nothing is
/// queued: whoever closes it says why first and empties the queue then, and nothing comes back against that.
fn take_out(
    adapter: &Adapter,
    status: NDIS_STATUS,
    at: Dispatch<'_>,
    which: impl FnOnce(&mut SendChain) -> SendChain,
) {
    if adapter.gates.enter_tx(&adapter.state, at).is_ok() {
        let chain = which(&mut adapter.sender.queue.lock(at).chain);
        chain.complete(status, at);
        adapter.leave_tx(at);
    }
}

/// MiniportSendNetBufferLists.
pub fn send(adapter: &Adapter, mut chain: SendChain, at: Dispatch<'_>) {
    // Covers this call, completions included, and then what it leaves in the queue.
    if let Err(status) = adapter.gates.enter_tx(&adapter.state, at) {
        chain.complete(status, at);
        return;
    }
    let sender = &adapter.sender;
    if let Some(status) = adapter.state.refusal() {
        chain.take().complete(status, at);
    } else if !stack::has_room() || sender.queue.lock(at).active {
        // The DPC has a stack of its own; order is kept by going behind what waits.
    } else {
        send_inline(adapter, &mut chain, at);
    }
    if enqueue(adapter, chain, at) {
        adapter.leave_tx(at);
    }
}

/// Processors that send inline now, on whatever adapter. A transport that sends from its completion
/// handler goes through the queue, so that sends do not nest on the kernel's small stack.
static SENDING: [AtomicBool; MAX_INLINE_PROCESSORS] =
    [const { AtomicBool::new(false) }; MAX_INLINE_PROCESSORS];

fn send_inline(adapter: &Adapter, chain: &mut SendChain, at: Dispatch<'_>) {
    let processor = current_processor(at);
    let (Some(sending), Some(place)) = (
        SENDING.get(processor),
        adapter.sender.contexts.get(processor),
    ) else {
        return;
    };
    // Only this processor uses its flag.
    if !sending.swap(true, Ordering::Relaxed) {
        with_context(place, at, |context| run(adapter, chain, context, at));
        sending.store(false, Ordering::Relaxed);
    }
}

/// Does some work with the context that lies at `place`, if it is there.
fn with_context(
    place: &SpinLock<Option<Context>>,
    at: Dispatch<'_>,
    work: impl FnOnce(&mut Context),
) {
    let taken = place.lock(at).take();
    if let Some(mut context) = taken {
        work(&mut context);
        *place.lock(at) = Some(context);
    }
}

/// Puts what is left into the queue. Returns whether the caller keeps its reference: it goes to the
/// runner when this starts it.
fn enqueue(adapter: &Adapter, chain: SendChain, at: Dispatch<'_>) -> bool {
    if chain.is_empty() {
        return true;
    }
    let sender = &adapter.sender;
    let mut queue = sender.queue.lock(at);
    // Asked under the lock: whoever refuses sends says so first and empties the queue then.
    if let Some(status) = adapter.state.refusal() {
        drop(queue);
        chain.complete(status, at);
        return true;
    }
    queue.chain.append(chain);
    let started = !core::mem::replace(&mut queue.active, true);
    drop(queue);
    if started {
        sender.deferred.queue();
    }
    !started
}

/// The DPC.
pub fn run_dpc(adapter: &Adapter, at: Dispatch<'_>) {
    if !adapter.sender.deferred.makes_way(at) {
        run_queue(adapter, at);
    }
}

/// The work item. The caller touches the adapter no more.
pub fn run_work_item(adapter: &Adapter, at: Dispatch<'_>) {
    let deferred = &adapter.sender.deferred;
    deferred.run_as_work_item(at, || run_queue(adapter, at));
}

/// One burst from the queue. A list is a frame at least.
fn run_queue(adapter: &Adapter, at: Dispatch<'_>) {
    let sender = &adapter.sender;
    let mut chain = sender.queue.lock(at).chain.split_front(BUDGET);
    // The context is there: there is one runner at a time.
    with_context(&sender.queue_context, at, |context| {
        run(adapter, &mut chain, context, at);
    });

    let mut queue = sender.queue.lock(at);
    let refusal = adapter.state.refusal();
    if refusal.is_none() {
        // What the budget did not reach goes back to the front.
        let behind = queue.chain.take();
        queue.chain = core::mem::replace(&mut chain, SendChain::empty(adapter.handle));
        queue.chain.append(behind);
    }
    queue.active = !queue.chain.is_empty();
    let again = queue.active;
    drop(queue);
    if let Some(status) = refusal {
        chain.complete(status, at);
    }
    if again {
        sender.deferred.queue();
    } else {
        // Last: a pause may be complete with this; halt waits for the runner.
        adapter.leave_tx(at);
    }
}
