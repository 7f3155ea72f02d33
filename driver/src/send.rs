//! The send path: each NET_BUFFER is gathered from its MDLs straight into the receive buffer of the
//! first adapter that takes the frame, tagged, sealed there in place, and copied for further takers.
//!
//! A call sends at most [`BUDGET`] packets; the rest goes into the adapter's queue, in order, for its
//! DPC, and can be cancelled there. While the queue is not empty everything goes through it.
//!
//! ```text
//!  MiniportSendNetBufferLists ---(queue idle)---> run ---> wire ---> receivers' queues
//!         |                                        ^  |
//!         +--(busy, or over budget)--> queue --DPC-+  +--> Completions --> NDIS
//! ```

use alloc::{boxed::Box, vec::Vec};

use ipsec::{OutboundBurst, SaHandle, SendRequest};
use ndis::{
    Completions, Dispatch, Dpc, Frame, FrameQueue, GatherError, InfoSlot, MiniportHandle,
    NetBuffer, OutOfMemory, SendChain, SendNbl, SpinLock, try_with_capacity, try_zeroed,
};
use ndis_sys::{
    NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_TRANSMIT as HeaderInfo,
    NDIS_NET_BUFFER_LIST_8021Q_INFO_TAG_HEADER as TagInfo, NDIS_STATUS, NDIS_STATUS_FAILURE,
    NDIS_STATUS_INVALID_LENGTH, NDIS_STATUS_RESOURCES, NDIS_STATUS_SEND_ABORTED,
    NDIS_STATUS_SUCCESS, PVOID,
};

use crate::{
    adapter::Adapter,
    ethernet::{self, HEADER, MIN_FRAME, TAG},
    offload,
    simd::with_simd,
    stats::{self, Tally},
    wire::{MAX_PORTS, Routes},
};

/// Packets per call, or per run of the DPC.
pub const BUDGET: usize = 128;
/// Frames that a burst takes from a receiver's pool at a time.
const FRAMES_AT_ONCE: usize = 16;

/// What is waiting to be sent.
struct Queue {
    chain: SendChain,
    /// The DPC is queued or running, and holds a reference on the adapter's send rundown.
    active: bool,
}

/// The sending half of an adapter.
pub struct Sender {
    queue: SpinLock<Queue>,
    pub dpc: Dpc,
    contexts: SpinLock<Vec<Context>>,
}

/// What a burst works with; allocated when the adapter initializes, one per processor and one for
/// the DPC.
struct Context {
    /// A frame that nobody takes is made here: it must succeed or fail as any other does.
    scratch: Box<[u8]>,
    /// By port number: the frames that the burst holds of each receiver.
    batches: Vec<Batch>,
}

/// A receiver's frames within one burst: its locks are taken once.
struct Batch {
    free: FrameQueue,
    filled: FrameQueue,
}

impl Context {
    fn new(capacity: usize) -> Result<Self, OutOfMemory> {
        let mut batches = try_with_capacity(MAX_PORTS)?;
        for _ in 0..MAX_PORTS {
            batches.push(Batch {
                free: FrameQueue::new(),
                filled: FrameQueue::new(),
            });
        }
        Ok(Self {
            scratch: try_zeroed(capacity)?,
            batches,
        })
    }
}

impl Sender {
    /// Allocates for `processors`, and frames of `capacity` bytes. The DPC is yet to be initialised.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(
        adapter: MiniportHandle,
        processors: usize,
        capacity: usize,
    ) -> Result<Self, OutOfMemory> {
        let count = processors.saturating_add(1);
        let mut contexts = try_with_capacity(count)?;
        for _ in 0..count {
            contexts.push(Context::new(capacity)?);
        }
        Ok(Self {
            queue: SpinLock::new(Queue {
                chain: SendChain::empty(adapter),
                active: false,
            }),
            dpc: Dpc::uninitialized(),
            contexts: SpinLock::new(contexts),
        })
    }

    /// A context for an inline send. The last one is the DPC's, which can so always go on.
    fn inline_context(&self, at: Dispatch<'_>) -> Option<Context> {
        let mut contexts = self.contexts.lock(at);
        if contexts.len() > 1 {
            contexts.pop()
        } else {
            None
        }
    }

    /// A context for the DPC.
    fn dpc_context(&self, at: Dispatch<'_>) -> Option<Context> {
        self.contexts.lock(at).pop()
    }

    fn put_back(&self, context: Context, at: Dispatch<'_>) {
        // There was room for it before it was taken: this does not allocate.
        self.contexts.lock(at).push(context);
    }

    /// Completes what is queued with `status`. What the DPC or an inline send works on goes out.
    pub fn abort(&self, status: NDIS_STATUS, at: Dispatch<'_>) {
        let chain = self.queue.lock(at).chain.take();
        chain.complete(status, at);
    }

    /// MiniportCancelSend: completes what is queued under `id` with NDIS_STATUS_SEND_ABORTED.
    pub fn cancel(&self, id: PVOID, at: Dispatch<'_>) {
        let chain = self
            .queue
            .lock(at)
            .chain
            .extract(|nbl| nbl.info(InfoSlot::CancelId) == id);
        chain.complete(NDIS_STATUS_SEND_ABORTED, at);
    }

    /// How many lists are queued.
    pub fn queued(&self, at: Dispatch<'_>) -> usize {
        self.queue.lock(at).chain.len()
    }
}

/// MiniportSendNetBufferLists.
pub fn send(adapter: &Adapter, mut chain: SendChain, at: Dispatch<'_>) {
    // Covers this call, completions included, and then what it leaves in the queue.
    if !adapter.tx.enter(1) {
        chain.complete(adapter.state.refusal().unwrap_or(NDIS_STATUS_FAILURE), at);
        return;
    }
    let sender = &adapter.sender;
    if let Some(status) = adapter.state.refusal() {
        chain.take().complete(status, at);
    } else if sender.queue.lock(at).active {
        // Order is kept by going behind what waits.
    } else if let Some(mut context) = sender.inline_context(at) {
        run(adapter, &mut chain, &mut context, at);
        sender.put_back(context, at);
    }
    if enqueue(adapter, chain, at) {
        adapter.leave_tx(1);
    }
}

/// Puts what is left into the queue. Returns whether the caller keeps its reference: it goes to the
/// DPC when this starts it.
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
        sender.dpc.queue();
    }
    !started
}

/// The DPC: one burst from the queue.
pub fn run_queue(adapter: &Adapter, at: Dispatch<'_>) {
    let sender = &adapter.sender;
    let mut chain = sender.queue.lock(at).chain.split_front(BUDGET);
    // Inline sends leave one context, and this DPC does not run twice at a time.
    if let Some(mut context) = sender.dpc_context(at) {
        run(adapter, &mut chain, &mut context, at);
        sender.put_back(context, at);
    }

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
        sender.dpc.queue();
    } else {
        // Last: a pause may be complete with this; halt waits for the DPC.
        adapter.leave_tx(1);
    }
}

/// How packets with an SA are sealed in a burst.
enum Sealer<'b, 'e> {
    /// No packet of the burst has one, or IPsec offload is off and they go out as they are.
    NotWanted,
    /// The extended state could not be saved.
    Unavailable,
    /// In the bracket.
    Ready(&'b mut OutboundBurst<'e>),
}

/// Sends up to [`BUDGET`] packets from the front of the chain, and completes what is done.
fn run(adapter: &Adapter, chain: &mut SendChain, context: &mut Context, at: Dispatch<'_>) {
    let current = adapter.offload.current();
    let wanted = current.any_sends()
        && chain.any_of_first(BUDGET, |nbl| {
            !nbl.info(InfoSlot::IpsecV2).is_null() || !nbl.info(InfoSlot::IpsecV2Tunnel).is_null()
        });
    let mut burst = Burst {
        adapter,
        current,
        routes: adapter.plug().map(|plug| plug.routes(at)),
        at,
        sent: Tally::default(),
        errors: 0,
        discards: 0,
    };
    let mut done = Completions::new(adapter.handle, at);
    if !wanted {
        burst.transmit(chain, context, &mut Sealer::NotWanted, &mut done);
    } else if with_simd(adapter.features, at, |simd| {
        let mut sealer = adapter.engine.outbound(simd);
        burst.transmit(chain, context, &mut Sealer::Ready(&mut sealer), &mut done);
    })
    .is_err()
    {
        burst.transmit(chain, context, &mut Sealer::Unavailable, &mut done);
    }
    burst.end(context);
    // `done` hands the lists back here, outside of the bracket and with no lock held.
}

/// One burst.
struct Burst<'a> {
    adapter: &'a Adapter,
    current: offload::Current,
    routes: Option<Routes<'a>>,
    at: Dispatch<'a>,
    sent: Tally,
    errors: u64,
    discards: u64,
}

impl Burst<'_> {
    fn transmit(
        &mut self,
        chain: &mut SendChain,
        context: &mut Context,
        sealer: &mut Sealer<'_, '_>,
        done: &mut Completions<'_>,
    ) {
        let mut budget = BUDGET;
        while budget > 0 {
            let Some(mut nbl) = chain.pop() else { return };
            match self.transmit_list(&mut nbl, context, sealer, &mut budget) {
                Progress::Done(status) => nbl.finish(status, done),
                Progress::OutOfBudget => {
                    chain.push_front(nbl);
                    return;
                }
            }
        }
    }

    /// Sends the packets of a list that are left. The first that fails ends the list with its status:
    /// those before it are on the wire, those after it are not sent.
    fn transmit_list(
        &mut self,
        nbl: &mut SendNbl,
        context: &mut Context,
        sealer: &mut Sealer<'_, '_>,
        budget: &mut usize,
    ) -> Progress {
        let request = match sealer {
            Sealer::NotWanted => None,
            Sealer::Unavailable | Sealer::Ready(_) => send_request(nbl),
        };
        let tag = self.tag(nbl);
        // A list without packets has nothing that could have been sent.
        if nbl.net_buffers().next().is_none() {
            *budget = budget.saturating_sub(1);
            self.errors = self.errors.wrapping_add(1);
            return Progress::Done(NDIS_STATUS_FAILURE);
        }
        while let Some(packet) = nbl.current() {
            let Some(rest) = budget.checked_sub(1) else {
                return Progress::OutOfBudget;
            };
            *budget = rest;
            if let Err(status) = self.transmit_packet(packet, tag, request, context, sealer) {
                let counter = if status == NDIS_STATUS_RESOURCES {
                    &mut self.discards
                } else {
                    &mut self.errors
                };
                *counter = counter.wrapping_add(1);
                return Progress::Done(status);
            }
            nbl.advance();
        }
        Progress::Done(NDIS_STATUS_SUCCESS)
    }

    fn transmit_packet(
        &mut self,
        packet: NetBuffer<'_>,
        tag: Option<u16>,
        request: Option<SendRequest>,
        context: &mut Context,
        sealer: &mut Sealer<'_, '_>,
    ) -> Result<(), NDIS_STATUS> {
        let mut head = [0; HEADER];
        packet.peek(&mut head).map_err(gather_status)?;
        let destination = ethernet::destination(&head).ok_or(NDIS_STATUS_FAILURE)?;
        if packet.len() > self.adapter.max_packet(&head) {
            return Err(NDIS_STATUS_INVALID_LENGTH);
        }
        let Context { scratch, batches } = context;
        let longest = packet.len().saturating_add(TAG).max(MIN_FRAME);

        let Some(routes) = &self.routes else {
            return Err(NDIS_STATUS_FAILURE);
        };
        let mut takers = routes.takers(destination);
        // The first taker with room: the packet goes into its buffer.
        let first = takers.find_map(|(port, receiver)| {
            let frame = batches.get_mut(port)?.frame(receiver, longest, self.at)?;
            Some((port, frame))
        });
        let compose = |buffer: &mut [u8], sealer: &mut Sealer<'_, '_>| {
            compose(buffer, packet, tag, request.as_ref(), self.current, sealer)
        };
        let length = match first {
            None => compose(scratch, sealer)?,
            Some((port, mut frame)) => {
                let composed = compose(frame.buffer_mut(), sealer);
                let batch = batches.get_mut(port).ok_or(NDIS_STATUS_FAILURE)?;
                let length = match composed {
                    Ok(length) => length,
                    Err(status) => {
                        batch.free.push_back(frame);
                        return Err(status);
                    }
                };
                frame.set_data(0, length);
                // The others get a copy of what went onto the wire.
                for (other, receiver) in takers {
                    let Some(batch) = batches.get_mut(other) else {
                        continue;
                    };
                    let Some(mut copy) = batch.frame(receiver, length, self.at) else {
                        continue;
                    };
                    if let Some(to) = copy.buffer_mut().get_mut(..length) {
                        to.copy_from_slice(frame.data());
                        copy.set_data(0, length);
                        batch.filled.push_back(copy);
                    }
                }
                if let Some(batch) = batches.get_mut(port) {
                    batch.filled.push_back(frame);
                }
                length
            }
        };
        self.sent.count(ethernet::cast(destination), length);
        Ok(())
    }

    /// The tag that out-of-band data or the adapter's VLAN asks for.
    fn tag(&self, nbl: &SendNbl) -> Option<u16> {
        let config = &self.adapter.config;
        let info = TagInfo {
            Bits: nbl.info(InfoSlot::Ieee8021Q).addr() as u32,
        };
        let priority = if config.priority {
            info.get(TagInfo::UserPriority) as u16
        } else {
            0
        };
        let vlan = match (config.vlan, info.get(TagInfo::VlanId) as u16) {
            (false, _) => 0,
            (true, 0) => self.adapter.vlan_id(),
            (true, vlan) => vlan,
        };
        (priority != 0 || vlan != 0).then_some(priority << 13 | vlan)
    }

    /// Hands the frames to their receivers, then lets go of the switch.
    fn end(self, context: &mut Context) {
        if let Some(routes) = &self.routes {
            for (port, batch) in context.batches.iter_mut().enumerate() {
                if batch.free.is_empty() && batch.filled.is_empty() {
                    continue;
                }
                if let Some(receiver) = routes.adapter(port) {
                    receiver.frames.give(batch.free.take(), self.at);
                    receiver.receiver.deliver(batch.filled.take(), self.at);
                }
            }
        }
        let stats = &self.adapter.stats;
        stats.sent.add(&self.sent);
        stats::add(&stats.send_errors, self.errors);
        stats::add(&stats.send_discards, self.discards);
    }
}

enum Progress {
    Done(NDIS_STATUS),
    OutOfBudget,
}

impl Batch {
    /// A frame of `receiver` for `length` bytes. None, counted there, when it is too small or has
    /// none left.
    fn frame(&mut self, receiver: &Adapter, length: usize, at: Dispatch<'_>) -> Option<Frame> {
        if length > receiver.frames.capacity() {
            stats::add(&receiver.stats.receive_errors, 1);
            return None;
        }
        if self.free.is_empty() {
            self.free.append(receiver.frames.take(FRAMES_AT_ONCE, at));
        }
        let frame = self.free.pop();
        if frame.is_none() {
            stats::add(&receiver.stats.receive_no_buffer, 1);
        }
        frame
    }
}

/// Makes the wire's frame in `buffer`: gathered, sealed, tagged, padded. Returns its length.
fn compose(
    buffer: &mut [u8],
    packet: NetBuffer<'_>,
    tag: Option<u16>,
    request: Option<&SendRequest>,
    current: offload::Current,
    sealer: &mut Sealer<'_, '_>,
) -> Result<usize, NDIS_STATUS> {
    let front = if tag.is_some() { TAG } else { 0 };
    let room = buffer.get_mut(front..).ok_or(NDIS_STATUS_INVALID_LENGTH)?;
    let gathered = packet.gather(room).map_err(gather_status)?;
    if let Some(request) = request {
        let frame = room.get_mut(..gathered).ok_or(NDIS_STATUS_FAILURE)?;
        // An SA on what is no IP packet.
        let (family, at) = ethernet::ip(frame).ok_or(NDIS_STATUS_FAILURE)?;
        if current.sends(family) {
            let packet = frame.get_mut(at..).ok_or(NDIS_STATUS_FAILURE)?;
            match sealer {
                Sealer::NotWanted => {}
                Sealer::Unavailable => return Err(NDIS_STATUS_RESOURCES),
                // An unknown handle, or a packet that does not agree with its out-of-band data:
                // NDIS_STATUS_FAILURE ("Sending Network Data with IPsec Offload Version 2").
                Sealer::Ready(burst) => {
                    burst
                        .seal(request, packet)
                        .map_err(|_| NDIS_STATUS_FAILURE)?;
                }
            }
        }
    }
    let mut length = gathered.saturating_add(front);
    if let Some(tci) = tag {
        ethernet::insert_tag(buffer, tci);
    }
    if length < MIN_FRAME {
        // The medium's minimum; the buffer may hold an older frame's bytes.
        buffer
            .get_mut(length..MIN_FRAME)
            .ok_or(NDIS_STATUS_FAILURE)?
            .fill(0);
        length = MIN_FRAME;
    }
    Ok(length)
}

/// NdisMSendNetBufferListsComplete names RESOURCES and INVALID_LENGTH (too large); all else is
/// FAILURE.
const fn gather_status(error: GatherError) -> NDIS_STATUS {
    match error {
        GatherError::NotMapped => NDIS_STATUS_RESOURCES,
        GatherError::NoRoom => NDIS_STATUS_INVALID_LENGTH,
        GatherError::ChainTooShort => NDIS_STATUS_FAILURE,
    }
}

/// The SA that the list names, with the place of its headers; None without one.
fn send_request(nbl: &SendNbl) -> Option<SendRequest> {
    let handle = |slot| SaHandle::from_raw(nbl.info(slot).addr() as u64);
    let (transport, tunnel) = (handle(InfoSlot::IpsecV2), handle(InfoSlot::IpsecV2Tunnel));
    if nbl.info(InfoSlot::IpsecV2).is_null() && nbl.info(InfoSlot::IpsecV2Tunnel).is_null() {
        return None;
    }
    let header = HeaderInfo {
        Bits: nbl.info(InfoSlot::IpsecV2Header).addr() as u32,
    };
    Some(SendRequest {
        transport,
        tunnel,
        next_header: header.get(HeaderInfo::NextHeader) as u8,
        pad_length: header.get(HeaderInfo::PadLength) as u8,
        ah_header_offset: header.get(HeaderInfo::AhHeaderOffset) as u8,
        esp_header_offset: header.get(HeaderInfo::EspHeaderOffset) as u8,
    })
}
