//! OID_GEN_STATISTICS and the single counters.

use ndis::{Answered, ObjectKind, OidRequest, Passive, bytes_of, header};
use ndis_sys::*;

use crate::{adapter::Adapter, stats};

/// All members of NDIS_STATISTICS_INFO are valid.
const VALID: u32 = NDIS_STATISTICS_FLAGS_VALID_DIRECTED_FRAMES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_MULTICAST_FRAMES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_BROADCAST_FRAMES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_BYTES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_RCV_DISCARDS
    | NDIS_STATISTICS_FLAGS_VALID_RCV_ERROR
    | NDIS_STATISTICS_FLAGS_VALID_DIRECTED_FRAMES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_MULTICAST_FRAMES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_BROADCAST_FRAMES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_BYTES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_XMIT_ERROR
    | NDIS_STATISTICS_FLAGS_VALID_XMIT_DISCARDS
    | NDIS_STATISTICS_FLAGS_VALID_DIRECTED_BYTES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_MULTICAST_BYTES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_BROADCAST_BYTES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_DIRECTED_BYTES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_MULTICAST_BYTES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_BROADCAST_BYTES_XMIT;

/// OID_GEN_STATISTICS.
pub fn all(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let stats = &adapter.stats;
    let (sent, received) = (&stats.sent, &stats.received);
    let mut info = NDIS_STATISTICS_INFO::ZERO;
    info.Header = header(ObjectKind::StatisticsInfo, adapter.version);
    info.SupportedStatistics = VALID;
    info.ifInDiscards = receive_discards(adapter);
    info.ifInErrors = stats::value(&stats.receive_errors);
    info.ifHCInOctets = received.total().bytes;
    info.ifHCInUcastPkts = received.directed().frames;
    info.ifHCInMulticastPkts = received.multicast().frames;
    info.ifHCInBroadcastPkts = received.broadcast().frames;
    info.ifHCOutOctets = sent.total().bytes;
    info.ifHCOutUcastPkts = sent.directed().frames;
    info.ifHCOutMulticastPkts = sent.multicast().frames;
    info.ifHCOutBroadcastPkts = sent.broadcast().frames;
    info.ifOutErrors = stats::value(&stats.send_errors);
    info.ifOutDiscards = stats::value(&stats.send_discards);
    info.ifHCInUcastOctets = received.directed().bytes;
    info.ifHCInMulticastOctets = received.multicast().bytes;
    info.ifHCInBroadcastOctets = received.broadcast().bytes;
    info.ifHCOutUcastOctets = sent.directed().bytes;
    info.ifHCOutMulticastOctets = sent.multicast().bytes;
    info.ifHCOutBroadcastOctets = sent.broadcast().bytes;
    request.report(bytes_of(&info, usize::from(info.Header.Size)))
}

/// Frames that were meant for this adapter, without fault, and not indicated: no buffer, or another
/// VLAN.
fn receive_discards(adapter: &Adapter) -> u64 {
    let stats = &adapter.stats;
    stats::value(&stats.receive_no_buffer).wrapping_add(stats::value(&stats.receive_filtered))
}

/// The counter behind an OID; None when it is none.
pub fn counter(adapter: &Adapter, oid: NDIS_OID, _at: Passive<'_>) -> Option<u64> {
    let stats = &adapter.stats;
    let (sent, received) = (&stats.sent, &stats.received);
    Some(match oid {
        OID_GEN_XMIT_OK => sent.total().frames,
        OID_GEN_RCV_OK => received.total().frames,
        OID_GEN_XMIT_ERROR => stats::value(&stats.send_errors),
        OID_GEN_RCV_ERROR => stats::value(&stats.receive_errors),
        OID_GEN_RCV_NO_BUFFER => stats::value(&stats.receive_no_buffer),
        OID_GEN_DIRECTED_BYTES_XMIT => sent.directed().bytes,
        OID_GEN_DIRECTED_FRAMES_XMIT => sent.directed().frames,
        OID_GEN_MULTICAST_BYTES_XMIT => sent.multicast().bytes,
        OID_GEN_MULTICAST_FRAMES_XMIT => sent.multicast().frames,
        OID_GEN_BROADCAST_BYTES_XMIT => sent.broadcast().bytes,
        OID_GEN_BROADCAST_FRAMES_XMIT => sent.broadcast().frames,
        OID_GEN_DIRECTED_BYTES_RCV => received.directed().bytes,
        OID_GEN_DIRECTED_FRAMES_RCV => received.directed().frames,
        OID_GEN_MULTICAST_BYTES_RCV => received.multicast().bytes,
        OID_GEN_MULTICAST_FRAMES_RCV => received.multicast().frames,
        OID_GEN_BROADCAST_BYTES_RCV => received.broadcast().bytes,
        OID_GEN_BROADCAST_FRAMES_RCV => received.broadcast().frames,
        OID_GEN_BYTES_RCV => received.total().bytes,
        OID_GEN_BYTES_XMIT => sent.total().bytes,
        OID_GEN_RCV_DISCARDS => receive_discards(adapter),
        OID_GEN_XMIT_DISCARDS => stats::value(&stats.send_discards),
        OID_GEN_TRANSMIT_QUEUE_LENGTH => {
            ndis::at_dispatch(false, |at| adapter.sender.queued(at)) as u64
        }
        _ => return None,
    })
}
