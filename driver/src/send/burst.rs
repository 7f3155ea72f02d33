//! One burst of sends: locks, references and the extended-state bracket are taken once.

use alloc::{boxed::Box, vec::Vec};

use ndis::{
    Completions, Dispatch, Frame, FrameQueue, InfoSlot, NetBuffer, OutOfMemory, SendChain, SendNbl,
    try_with_capacity, try_zeroed,
};
use ndis_sys::{
    NDIS_NET_BUFFER_LIST_8021Q_INFO_TAG_HEADER as TagInfo, NDIS_STATUS, NDIS_STATUS_FAILURE,
    NDIS_STATUS_INVALID_LENGTH, NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS,
};
use task_offload::{LargeSendRequest, large_send::MAX_HEAD};

use super::{
    BUDGET,
    compose::{self, Sealer, gather_status},
    request::{self, Refused, Request, Stateless},
    segments::{Asked, Large},
};
use crate::{
    adapter::Adapter,
    ethernet::{self, HEADER, MIN_FRAME, Mac, TAG},
    offload,
    simd::with_simd,
    stats::{self, Tally},
    wire::{MAX_PORTS, Routes},
};

/// Frames that a burst takes from a receiver's pool at a time.
const FRAMES_AT_ONCE: usize = 16;

/// What a burst works with; allocated when the adapter initializes, one per processor and one for
/// the DPC.
pub struct Context {
    /// A frame that nobody takes is made here: it must succeed or fail as any other does.
    scratch: Box<[u8]>,
    /// The head of a large packet, for its segments.
    head: Box<[u8]>,
    /// By port number: the frames that the burst holds of each receiver.
    batches: Vec<Batch>,
}

/// A receiver's frames within one burst: its locks are taken once.
struct Batch {
    free: FrameQueue,
    filled: FrameQueue,
}

impl Context {
    /// For frames of `capacity` bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(capacity: usize) -> Result<Self, OutOfMemory> {
        let mut batches = try_with_capacity(MAX_PORTS)?;
        for _ in 0..MAX_PORTS {
            batches.push(Batch {
                free: FrameQueue::new(),
                filled: FrameQueue::new(),
            });
        }
        Ok(Self {
            scratch: try_zeroed(capacity)?,
            head: try_zeroed(MAX_HEAD)?,
            batches,
        })
    }
}

/// Sends up to [`BUDGET`] frames from the front of the chain, and completes what is done.
pub fn run(adapter: &Adapter, chain: &mut SendChain, context: &mut Context, at: Dispatch<'_>) {
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
        // A list without packets has nothing that could have been sent.
        let request = match self.request(nbl, sealer) {
            Ok(request) if nbl.current().is_some() => request,
            _ => {
                // What is wrong with the out-of-band data is wrong with each of its packets.
                *budget = budget.saturating_sub(1);
                self.errors = self.errors.wrapping_add(nbl.left().max(1) as u64);
                return Progress::Done(NDIS_STATUS_FAILURE);
            }
        };
        let progress = match &request.stateless {
            Stateless::LargeSend(large) => {
                self.transmit_segments(nbl, large, &request, context, sealer, budget)
            }
            Stateless::None | Stateless::Checksum(_) => {
                self.transmit_packets(nbl, &request, context, sealer, budget)
            }
        };
        progress.unwrap_or_else(|status| {
            let counter = if status == NDIS_STATUS_RESOURCES {
                &mut self.discards
            } else {
                &mut self.errors
            };
            *counter = counter.wrapping_add(1);
            // Those behind it are not sent, and nothing is wrong with them.
            let behind = nbl.left().saturating_sub(1) as u64;
            self.discards = self.discards.wrapping_add(behind);
            Progress::Done(status)
        })
    }

    fn request(&self, nbl: &SendNbl, sealer: &Sealer<'_, '_>) -> Result<Request, Refused> {
        Ok(Request {
            tag: self.tag(nbl),
            ipsec: match sealer {
                Sealer::NotWanted => None,
                Sealer::Unavailable | Sealer::Ready(_) => request::ipsec(nbl),
            },
            stateless: request::stateless(nbl, self.current)?,
        })
    }

    fn transmit_packets(
        &mut self,
        nbl: &mut SendNbl,
        request: &Request,
        context: &mut Context,
        sealer: &mut Sealer<'_, '_>,
        budget: &mut usize,
    ) -> Result<Progress, NDIS_STATUS> {
        while let Some(packet) = nbl.current() {
            let Some(rest) = budget.checked_sub(1) else {
                return Ok(Progress::OutOfBudget);
            };
            *budget = rest;
            let (destination, most) = self.begin(packet)?;
            if packet.len() > most {
                return Err(NDIS_STATUS_INVALID_LENGTH);
            }
            let Context {
                scratch, batches, ..
            } = context;
            let current = self.current;
            self.put(destination, packet.len(), scratch, batches, |buffer| {
                compose::compose(buffer, packet, request, current, sealer)
            })?;
            nbl.advance();
        }
        Ok(Progress::Done(NDIS_STATUS_SUCCESS))
    }

    /// Sends what is left of a large packet. The head is looked at anew in each burst; the payload goes
    /// on where the last one stopped.
    fn transmit_segments(
        &mut self,
        nbl: &mut SendNbl,
        cut: &LargeSendRequest,
        request: &Request,
        context: &mut Context,
        sealer: &mut Sealer<'_, '_>,
        budget: &mut usize,
    ) -> Result<Progress, NDIS_STATUS> {
        let Context {
            scratch,
            head,
            batches,
        } = context;
        // Looking at the head is work too.
        *budget = budget.saturating_sub(1);
        let packet = nbl.current().ok_or(NDIS_STATUS_FAILURE)?;
        let (destination, most) = self.begin(packet)?;
        let len = packet.len();
        let head = head.get_mut(..len.min(MAX_HEAD)).unwrap_or_default();
        packet.peek(head).map_err(gather_status)?;
        let asked = Asked {
            cut,
            ipsec: request.ipsec.as_ref(),
            tag: request.tag,
            most,
            sent: nbl.payload_sent(),
        };
        let mut large = Large::plan(head, len, &asked, self.current, sealer)?;
        let head = head
            .get_mut(..large.cut().head_len())
            .ok_or(NDIS_STATUS_FAILURE)?;
        if asked.sent == 0 {
            nbl.restart();
            nbl.read(head).map_err(gather_status)?;
        }
        for index in large.done(&asked)..large.cut().segments() {
            let segment = large.cut().segment(index).ok_or(NDIS_STATUS_FAILURE)?;
            let Some(rest) = budget.checked_sub(1) else {
                return Ok(Progress::OutOfBudget);
            };
            *budget = rest;
            let length = large.frame_len(&segment);
            self.put(destination, length, scratch, batches, |buffer| {
                large.compose(buffer, nbl, head, &segment, sealer)
            })?;
            nbl.set_payload_sent(segment.payload.end);
        }
        nbl.advance();
        Ok(Progress::Done(NDIS_STATUS_SUCCESS))
    }

    /// Whom a packet is for, and the most bytes that a frame with its link-layer header may have.
    fn begin(&self, packet: NetBuffer<'_>) -> Result<(Mac, usize), NDIS_STATUS> {
        let mut head = [0; HEADER];
        packet.peek(&mut head).map_err(gather_status)?;
        let destination = ethernet::destination(&head).ok_or(NDIS_STATUS_FAILURE)?;
        Ok((destination, self.adapter.max_packet(&head)))
    }

    /// Puts a frame onto the wire that `compose` makes, of a packet with `len` bytes: in the buffer of
    /// the first taker with room, and copied for the others.
    fn put(
        &mut self,
        destination: Mac,
        len: usize,
        scratch: &mut [u8],
        batches: &mut [Batch],
        compose: impl FnOnce(&mut [u8]) -> Result<usize, NDIS_STATUS>,
    ) -> Result<(), NDIS_STATUS> {
        let longest = len.saturating_add(TAG).max(MIN_FRAME);
        let Some(routes) = &self.routes else {
            return Err(NDIS_STATUS_FAILURE);
        };
        let mut takers = routes.takers(destination);
        let mut without = PortSet::default();
        let first = takers.find_map(|(port, receiver)| {
            let frame = batches.get_mut(port)?.frame(receiver, longest, self.at);
            if frame.is_none() {
                without.add(port);
            }
            Some((port, frame?))
        });
        let length = match first {
            None => compose(scratch)?,
            Some((port, mut frame)) => {
                let composed = compose(frame.buffer_mut());
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
                        lose(receiver, length);
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
        // Now that there is a frame, somebody has lost it.
        if !without.is_empty() {
            for (port, receiver) in routes.takers(destination) {
                if without.has(port) {
                    lose(receiver, longest);
                }
            }
        }
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
    /// A frame of `receiver` for `length` bytes. None when its frames are too small or none is left.
    fn frame(&mut self, receiver: &Adapter, length: usize, at: Dispatch<'_>) -> Option<Frame> {
        if length > receiver.frames.capacity() {
            return None;
        }
        if self.free.is_empty() {
            self.free.append(receiver.frames.take(FRAMES_AT_ONCE, at));
        }
        self.free.pop()
    }
}

/// Counts a frame of `length` bytes for which `receiver` had no buffer.
fn lose(receiver: &Adapter, length: usize) {
    let counter = if length > receiver.frames.capacity() {
        &receiver.stats.receive_errors
    } else {
        &receiver.stats.receive_no_buffer
    };
    stats::add(counter, 1);
}

/// Ports by their numbers.
#[derive(Clone, Copy, Default)]
struct PortSet(u64);

const _: () = assert!(MAX_PORTS <= u64::BITS as usize);

impl PortSet {
    fn bit(port: usize) -> u64 {
        u32::try_from(port)
            .ok()
            .and_then(|port| 1_u64.checked_shl(port))
            .unwrap_or(0)
    }

    fn add(&mut self, port: usize) {
        self.0 |= Self::bit(port);
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, port: usize) -> bool {
        self.0 & Self::bit(port) != 0
    }
}
