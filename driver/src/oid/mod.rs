//! MiniportOidRequest: which requests there are and where they are answered. NDIS sends them one
//! after the other, at PASSIVE_LEVEL; each is answered before the handler returns.

mod general;
mod link;
mod offload;
mod packet_filter;
mod power;
mod statistics;

use ndis::{Answered, OidRequest, Passive, Verb, Version};
use ndis_sys::*;

use crate::adapter::{Adapter, state::Reason};

/// OID_GEN_SUPPORTED_LIST: what the driver answers itself. What NDIS answers for miniports from
/// their attributes is not in it, except where the WDK's own sample lists it.
const SUPPORTED: [NDIS_OID; 50] = [
    OID_GEN_HARDWARE_STATUS,
    OID_GEN_TRANSMIT_BUFFER_SPACE,
    OID_GEN_RECEIVE_BUFFER_SPACE,
    OID_GEN_TRANSMIT_BLOCK_SIZE,
    OID_GEN_RECEIVE_BLOCK_SIZE,
    OID_GEN_VENDOR_ID,
    OID_GEN_VENDOR_DESCRIPTION,
    OID_GEN_VENDOR_DRIVER_VERSION,
    OID_GEN_CURRENT_PACKET_FILTER,
    OID_GEN_CURRENT_LOOKAHEAD,
    OID_GEN_DRIVER_VERSION,
    OID_GEN_MAXIMUM_TOTAL_SIZE,
    OID_GEN_LINK_PARAMETERS,
    OID_GEN_INTERRUPT_MODERATION,
    OID_GEN_VLAN_ID,
    OID_GEN_XMIT_OK,
    OID_GEN_RCV_OK,
    OID_GEN_XMIT_ERROR,
    OID_GEN_RCV_ERROR,
    OID_GEN_RCV_NO_BUFFER,
    OID_GEN_STATISTICS,
    OID_GEN_TRANSMIT_QUEUE_LENGTH,
    OID_GEN_DIRECTED_BYTES_XMIT,
    OID_GEN_DIRECTED_FRAMES_XMIT,
    OID_GEN_MULTICAST_BYTES_XMIT,
    OID_GEN_MULTICAST_FRAMES_XMIT,
    OID_GEN_BROADCAST_BYTES_XMIT,
    OID_GEN_BROADCAST_FRAMES_XMIT,
    OID_GEN_DIRECTED_BYTES_RCV,
    OID_GEN_DIRECTED_FRAMES_RCV,
    OID_GEN_MULTICAST_BYTES_RCV,
    OID_GEN_MULTICAST_FRAMES_RCV,
    OID_GEN_BROADCAST_BYTES_RCV,
    OID_GEN_BROADCAST_FRAMES_RCV,
    OID_GEN_BYTES_RCV,
    OID_GEN_BYTES_XMIT,
    OID_GEN_RCV_DISCARDS,
    OID_GEN_XMIT_DISCARDS,
    OID_802_3_PERMANENT_ADDRESS,
    OID_802_3_CURRENT_ADDRESS,
    OID_802_3_MULTICAST_LIST,
    OID_802_3_MAXIMUM_LIST_SIZE,
    OID_OFFLOAD_ENCAPSULATION,
    OID_TCP_OFFLOAD_PARAMETERS,
    OID_PNP_CAPABILITIES,
    OID_PNP_QUERY_POWER,
    OID_PNP_SET_POWER,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
];

static BEFORE_6_20: [NDIS_OID; 50] = SUPPORTED;

/// From NDIS 6.20 on there is OID_PM_PARAMETERS.
static BEFORE_6_30: [NDIS_OID; 51] = since_6_20(OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA);

/// From NDIS 6.30 on ADD_SA_EX takes the place of ADD_SA.
static SINCE_6_30: [NDIS_OID; 51] = since_6_20(OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX);

const fn since_6_20(add_sa: NDIS_OID) -> [NDIS_OID; 51] {
    let mut oids = [OID_PM_PARAMETERS; 51];
    let (front, _) = oids.split_at_mut(SUPPORTED.len());
    front.copy_from_slice(&SUPPORTED);
    if let [.., last] = front {
        *last = add_sa;
    }
    oids
}

/// The list for the general attributes.
pub fn supported(version: Version) -> &'static [NDIS_OID] {
    if version < Version::V6_20 {
        &BEFORE_6_20
    } else if version < Version::V6_30 {
        &BEFORE_6_30
    } else {
        &SINCE_6_30
    }
}

/// Answers a request.
pub fn handle(adapter: &Adapter, request: OidRequest<'_>, at: Passive<'_>) -> Answered {
    // "If the driver receives any OID requests before NDIS calls MiniportHaltEx, it should
    // immediately complete such requests with a status value of NDIS_STATUS_NOT_ACCEPTED."
    if adapter.state.is(Reason::Removed) {
        return request.refuse(NDIS_STATUS_NOT_ACCEPTED);
    }
    if request.oid() == OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA {
        // A direct OID; whatever path it takes, it must not end with NOT_SUPPORTED (see there).
        return request.refuse(NDIS_STATUS_NOT_ACCEPTED);
    }
    match request.verb() {
        Verb::Query => query(adapter, request, at),
        Verb::Set => set(adapter, request, at),
        Verb::Other => request.refuse(NDIS_STATUS_NOT_SUPPORTED),
    }
}

fn query(adapter: &Adapter, request: OidRequest<'_>, at: Passive<'_>) -> Answered {
    match request.oid() {
        OID_GEN_SUPPORTED_LIST => general::supported_list(adapter, request),
        OID_GEN_HARDWARE_STATUS => request.report_u32(NdisHardwareStatusReady as u32),
        OID_GEN_TRANSMIT_BUFFER_SPACE => general::transmit_buffer_space(adapter, request),
        OID_GEN_RECEIVE_BUFFER_SPACE => general::receive_buffer_space(adapter, request),
        OID_GEN_MAXIMUM_TOTAL_SIZE | OID_GEN_TRANSMIT_BLOCK_SIZE | OID_GEN_RECEIVE_BLOCK_SIZE => {
            general::frame_size(adapter, request)
        }
        OID_GEN_VENDOR_ID => general::vendor_id(request),
        OID_GEN_VENDOR_DESCRIPTION => general::vendor_description(request),
        OID_GEN_VENDOR_DRIVER_VERSION => general::vendor_driver_version(request),
        OID_GEN_DRIVER_VERSION => general::driver_version(adapter, request),
        OID_GEN_CURRENT_LOOKAHEAD => request.report_u32(adapter.lookahead()),
        OID_GEN_CURRENT_PACKET_FILTER => packet_filter::query(adapter, request),
        OID_GEN_INTERRUPT_MODERATION => link::query_interrupt_moderation(adapter, request),
        OID_GEN_VLAN_ID => general::query_vlan_id(adapter, request),
        OID_802_3_PERMANENT_ADDRESS => request.report(&adapter.permanent_address.0),
        OID_802_3_CURRENT_ADDRESS => request.report(&adapter.address.0),
        OID_802_3_MAXIMUM_LIST_SIZE => packet_filter::query_maximum_list_size(request),
        OID_802_3_MULTICAST_LIST => packet_filter::query_multicast_list(adapter, request),
        OID_PNP_CAPABILITIES => power::query_capabilities(request),
        OID_PNP_QUERY_POWER => power::query_power(request),
        OID_GEN_STATISTICS => statistics::all(adapter, request),
        oid => match statistics::counter(adapter, oid, at) {
            Some(value) => request.report_counter(value),
            None => request.refuse(NDIS_STATUS_NOT_SUPPORTED),
        },
    }
}

fn set(adapter: &Adapter, request: OidRequest<'_>, at: Passive<'_>) -> Answered {
    match request.oid() {
        OID_GEN_CURRENT_LOOKAHEAD => general::set_lookahead(adapter, request),
        OID_GEN_CURRENT_PACKET_FILTER => packet_filter::set(adapter, request),
        OID_GEN_INTERRUPT_MODERATION => link::set_interrupt_moderation(request),
        OID_GEN_LINK_PARAMETERS => link::set_parameters(request),
        OID_GEN_VLAN_ID => general::set_vlan_id(adapter, request),
        OID_802_3_MULTICAST_LIST => packet_filter::set_multicast_list(adapter, request),
        OID_TCP_OFFLOAD_PARAMETERS => offload::set_parameters(adapter, request),
        OID_OFFLOAD_ENCAPSULATION => offload::set_encapsulation(adapter, request),
        OID_PM_PARAMETERS => power::set_parameters(adapter, request),
        OID_PNP_SET_POWER => power::set_power(adapter, request, at),
        _ => request.refuse(NDIS_STATUS_NOT_SUPPORTED),
    }
}

/// A 32-bit value to set, or the answer to a request that has none.
fn input_u32(request: OidRequest<'_>) -> Result<(u32, OidRequest<'_>), Answered> {
    match read::<u32>(request.input()) {
        Some(value) => Ok((value, request)),
        None => Err(request.too_short(size_of::<u32>())),
    }
}
