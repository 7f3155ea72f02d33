//! The receive path: frames that the wire put into this adapter's queue are opened, stamped and
//! indicated from the adapter's DPC, or the work item that stands in for it, a bounded number per run.
//! Sender and receiver are decoupled by the queue, so a transport that answers inside a receive
//! indication cannot recurse.

use ipsec::{CryptoStatus, InboundBurst, Outcome, Payloads, Verdict};
use ndis::{
    Deferred, Dispatch, Frame, FrameQueue, InfoSlot, MiniportHandle, OutOfMemory, Passive, SpinLock,
};
use ndis_sys::{
    CRYPTO_GENERIC_ERROR, CRYPTO_INVALID_PACKET_SYNTAX, CRYPTO_INVALID_PROTOCOL, CRYPTO_SUCCESS,
    CRYPTO_TRANSPORT_AH_AUTH_FAILED, CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
    CRYPTO_TUNNEL_AH_AUTH_FAILED, CRYPTO_TUNNEL_ESP_AUTH_FAILED, NDIS_IO_WORKITEM_FUNCTION,
    NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_RECEIVE as HeaderInfo,
    NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO_RECEIVE as IpsecInfo,
    NDIS_NET_BUFFER_LIST_8021Q_INFO_TAG_HEADER as TagInfo,
    NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO_RECEIVE as ChecksumInfo, PVOID, Zero as _,
};
use task_offload::checksum::{self, Validated};

use crate::{
    adapter::Adapter,
    ethernet,
    offload::{Current, carried},
    simd::with_simd,
    stats::{self, Tally},
};

/// Frames per burst.
const BURST: usize = 64;

/// What is waiting to be indicated.
struct Queue {
    frames: FrameQueue,
    /// The DPC or the work item is queued or running. A DPC that runs may be queued on another processor
    /// and run there at the same time; frames would overtake each other. So it is queued by whoever turns
    /// this on.
    active: bool,
}

/// Frames on their way up.
pub struct Receiver {
    queue: SpinLock<Queue>,
    pub deferred: Deferred,
}

impl Receiver {
    /// Nothing received; what is deferred is yet to be initialised.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(
        adapter: MiniportHandle,
        work_item: NDIS_IO_WORKITEM_FUNCTION,
        at: Passive<'_>,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            queue: SpinLock::new(Queue {
                frames: FrameQueue::new(),
                active: false,
            }),
            deferred: Deferred::new(adapter, work_item, at)?,
        })
    }

    /// Takes frames of this adapter's pool, filled by a sender. The queue is bounded by the pool.
    pub fn deliver(&self, frames: FrameQueue, at: Dispatch<'_>) {
        if frames.is_empty() {
            return;
        }
        let mut queue = self.queue.lock(at);
        queue.frames.append(frames);
        let started = !core::mem::replace(&mut queue.active, true);
        drop(queue);
        if started {
            self.deferred.queue();
        }
    }

    /// Drops what is queued. The runner finds nothing then.
    pub fn purge(&self, adapter: &Adapter, at: Dispatch<'_>) {
        let frames = self.queue.lock(at).frames.take();
        adapter.frames.give(frames, at);
    }

    /// The end of a burst: the DPC goes on if there is more.
    fn rest(&self, at: Dispatch<'_>) {
        let mut queue = self.queue.lock(at);
        queue.active = !queue.frames.is_empty();
        let again = queue.active;
        drop(queue);
        if again {
            self.deferred.queue();
        }
    }
}

/// The DPC.
pub fn run_dpc(adapter: &Adapter, at: Dispatch<'_>) {
    if !adapter.receiver.deferred.makes_way(at) {
        run(adapter, at);
    }
}

/// The work item. The caller touches the adapter no more.
pub fn run_work_item(adapter: &Adapter, at: Dispatch<'_>) {
    let deferred = &adapter.receiver.deferred;
    deferred.run_as_work_item(at, || run(adapter, at));
}

/// One burst. The reference on the rundown covers the frames until they come back, and one
/// more the indication itself, for pause must wait until that has returned (MiniportPause).
fn run(adapter: &Adapter, at: Dispatch<'_>) {
    let receiver = &adapter.receiver;
    let frames = receiver.queue.lock(at).frames.split_front(BURST);
    let taken = u32::try_from(frames.len()).unwrap_or(u32::MAX);
    if taken == 0 {
        receiver.rest(at);
        return;
    }
    if !adapter.gates.enter_rx(taken.saturating_add(1)) {
        adapter.frames.give(frames, at);
        receiver.purge(adapter, at);
        receiver.rest(at);
        return;
    }
    let mut tally = Tally::default();
    let frames = open(adapter, frames, &mut tally, at);
    let kept = u32::try_from(frames.len()).unwrap_or(u32::MAX);
    adapter.stats.received.add(&tally);
    frames.indicate(adapter.handle, at);
    receiver.rest(at);
    // Last: when this is what a pause waits for, NDIS may go on to halt the adapter, which waits
    // for this burst.
    adapter.leave_rx(taken.saturating_sub(kept).saturating_add(1), at);
}

/// Opens the IPsec packets of a burst, validates checksums, and stamps every frame. Returns those to be
/// indicated.
fn open(
    adapter: &Adapter,
    mut frames: FrameQueue,
    tally: &mut Tally,
    at: Dispatch<'_>,
) -> FrameQueue {
    let current = adapter.offload.current();
    frames.for_each(Frame::clear_info);
    // The bracket is opened only when there is a packet that an SA could match.
    let mut candidates = false;
    if current.any_receives() {
        frames.for_each(|frame| {
            candidates = candidates
                || ethernet::ip(frame.data()).is_some_and(|(family, at)| {
                    let packet = frame.data().get(at..).unwrap_or_default();
                    current.receives(family) && adapter.engine.is_candidate(packet)
                });
        });
    }
    let opened = candidates
        && with_simd(adapter.features, at, |simd| {
            let mut burst = adapter.engine.inbound(simd);
            frames.for_each(|frame| inspect(frame, current, Some(&mut burst)));
        })
        .is_ok();
    // When the state cannot be saved, IPsec packets go up as they are: no flag says otherwise.
    if !opened && current.validates().any() {
        frames.for_each(|frame| inspect(frame, current, None));
    }
    untag(adapter, frames, tally, at)
}

/// Opens a packet, if there is an SA for it, then validates its checksums: those of a transport are
/// over what IPsec carries.
fn inspect(frame: &mut Frame, current: Current, burst: Option<&mut InboundBurst<'_>>) {
    let Some((family, at)) = ethernet::ip(frame.data()) else {
        return;
    };
    let Some(packet) = frame.data_mut().get_mut(at..) else {
        return;
    };
    let (mut words, mut payloads) = (None, Payloads::default());
    if let Some(burst) = burst.filter(|_| current.receives(family)) {
        words = Some(verdict_words(burst.open(packet)));
        payloads = burst.payloads().clone();
    }
    let enabled = current.validates();
    let checksums = if enabled.any() {
        checksum_word(checksum::validate(packet, carried(payloads), enabled))
    } else {
        ChecksumInfo::ZERO
    };
    if let Some(words) = words {
        stamp(words, frame);
    }
    frame.set_info(InfoSlot::Checksum, word(checksums.Bits));
}

/// NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO: neither flag of what was not looked at.
fn checksum_word(found: Validated) -> ChecksumInfo {
    [
        (
            found.ip_header,
            ChecksumInfo::IpChecksumSucceeded,
            ChecksumInfo::IpChecksumFailed,
        ),
        (
            found.tcp,
            ChecksumInfo::TcpChecksumSucceeded,
            ChecksumInfo::TcpChecksumFailed,
        ),
        (
            found.udp,
            ChecksumInfo::UdpChecksumSucceeded,
            ChecksumInfo::UdpChecksumFailed,
        ),
    ]
    .into_iter()
    .fold(
        ChecksumInfo::ZERO,
        |info, (right, succeeded, failed)| match right {
            Some(true) => info.with(succeeded, 1),
            Some(false) => info.with(failed, 1),
            None => info,
        },
    )
}

/// The two words for a verdict: NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO and
/// NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO.
fn verdict_words(verdict: Verdict) -> (IpsecInfo, HeaderInfo) {
    match verdict {
        Verdict::NotProcessed(_) => (IpsecInfo::ZERO, HeaderInfo::ZERO),
        Verdict::Processed(Outcome {
            next_crypto_done,
            status,
            sa_delete_request,
            trailer,
        }) => {
            let info = IpsecInfo::ZERO
                .with(IpsecInfo::SaDeleteReq, sa_delete_request.into())
                .with(IpsecInfo::CryptoDone, 1)
                .with(IpsecInfo::NextCryptoDone, next_crypto_done.into())
                .with(IpsecInfo::CryptoStatus, crypto_status(status));
            let header = trailer.map_or(HeaderInfo::ZERO, |trailer| {
                HeaderInfo::ZERO
                    .with(HeaderInfo::NextHeader, trailer.next_header.into())
                    .with(HeaderInfo::PadLength, trailer.pad_length.into())
                    .with(HeaderInfo::HeaderInfoSet, 1)
            });
            (info, header)
        }
    }
}

fn stamp((info, header): (IpsecInfo, HeaderInfo), frame: &mut Frame) {
    frame.set_info(InfoSlot::IpsecV2, word(info.Bits));
    frame.set_info(InfoSlot::IpsecV2Header, word(header.Bits));
}

/// A word of out-of-band data: the unions of ndis.h lay their bits over a pointer.
const fn word(bits: u32) -> PVOID {
    core::ptr::without_provenance_mut(bits as usize)
}

const fn crypto_status(status: CryptoStatus) -> u32 {
    match status {
        CryptoStatus::Success => CRYPTO_SUCCESS,
        CryptoStatus::GenericError => CRYPTO_GENERIC_ERROR,
        CryptoStatus::TransportAhAuthFailed => CRYPTO_TRANSPORT_AH_AUTH_FAILED,
        CryptoStatus::TransportEspAuthFailed => CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
        CryptoStatus::TunnelAhAuthFailed => CRYPTO_TUNNEL_AH_AUTH_FAILED,
        CryptoStatus::TunnelEspAuthFailed => CRYPTO_TUNNEL_ESP_AUTH_FAILED,
        CryptoStatus::InvalidPacketSyntax => CRYPTO_INVALID_PACKET_SYNTAX,
        CryptoStatus::InvalidProtocol => CRYPTO_INVALID_PROTOCOL,
    }
}

/// Moves 802.1Q tags from the frames into the out-of-band data ("the miniport driver must remove the
/// 802.1Q tag from the Ethernet frame and map [it] into the OOB data",
/// NDIS_NET_BUFFER_LIST_8021Q_INFO), and drops what is for another VLAN. With *PriorityVLANTag off
/// the frames stay as they are. Counts those that are left as they were on the wire: the tag belongs to
/// ifInOctets (OID_GEN_BYTES_RCV, RFC 2863).
fn untag(
    adapter: &Adapter,
    mut frames: FrameQueue,
    tally: &mut Tally,
    at: Dispatch<'_>,
) -> FrameQueue {
    let config = &adapter.config;
    if !(config.priority || config.vlan) {
        frames.for_each(|frame| tally.frame(frame.data()));
        return frames;
    }
    let vlan = adapter.vlan_id();
    let (mut kept, mut dropped) = (FrameQueue::new(), FrameQueue::new());
    while let Some(mut frame) = frames.pop() {
        let tci = ethernet::tag(frame.data());
        let id = tci.map_or(0, |tci| tci & 0x0fff);
        // An adapter in a VLAN takes that VLAN, and what has none (priority-tagged included).
        if config.vlan && vlan != 0 && id != 0 && id != vlan {
            dropped.push_back(frame);
            continue;
        }
        tally.frame(frame.data());
        if let Some(tci) = tci {
            ethernet::remove_tag(frame.data_mut());
            frame.advance(ethernet::TAG);
            let info = TagInfo::ZERO
                .with(TagInfo::UserPriority, u32::from(tci >> 13))
                .with(TagInfo::CanonicalFormatId, u32::from(tci >> 12) & 1)
                .with(TagInfo::VlanId, u32::from(id));
            frame.set_info(InfoSlot::Ieee8021Q, word(info.Bits));
        }
        kept.push_back(frame);
    }
    stats::add(&adapter.stats.receive_filtered, dropped.len() as u64);
    adapter.frames.give(dropped, at);
    kept
}

/// MiniportReturnNetBufferLists: the frames are free again.
pub fn returned(adapter: &Adapter, frames: FrameQueue, at: Dispatch<'_>) {
    let count = u32::try_from(frames.len()).unwrap_or(u32::MAX);
    adapter.frames.give(frames, at);
    // Last: a pause may be complete with this, and the adapter gone after it.
    adapter.leave_rx(count, at);
}
