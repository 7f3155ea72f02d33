//! OID_GEN_CURRENT_PACKET_FILTER and the multicast list: what the adapter receives. NDIS has merged
//! what its protocols want before it sets them, and answers the queries itself; they are answered
//! here too, for those who ask the miniport.

use ndis::{Answered, OidRequest, at_dispatch};
use ndis_sys::{
    NDIS_STATUS_FAILURE, NDIS_STATUS_INVALID_DATA, NDIS_STATUS_INVALID_LENGTH,
    NDIS_STATUS_MULTICAST_FULL, NDIS_STATUS_NOT_SUPPORTED,
};

use super::input_u32;
use crate::{
    adapter::Adapter,
    ethernet::Mac,
    wire::{MAX_MULTICAST, Port, SUPPORTED_FILTERS},
};

const ADDRESS: usize = size_of::<Mac>();

/// OID_GEN_CURRENT_PACKET_FILTER.
pub fn query(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let filter = at_dispatch(false, |at| adapter.plug()?.read(Port::filter, at));
    match filter {
        Some(filter) => request.report_u32(filter),
        None => request.refuse(NDIS_STATUS_FAILURE),
    }
}

/// OID_GEN_CURRENT_PACKET_FILTER. A filter that is not in SupportedPacketFilters is refused with
/// NDIS_STATUS_NOT_SUPPORTED, and the old one stays.
pub fn set(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let (filter, request) = match input_u32(request) {
        Ok(input) => input,
        Err(answered) => return answered,
    };
    if filter & !SUPPORTED_FILTERS != 0 {
        return request.refuse(NDIS_STATUS_NOT_SUPPORTED);
    }
    let done = at_dispatch(false, |at| {
        adapter
            .plug()?
            .configure(|port| port.set_filter(filter), at)
    });
    match done {
        Some(()) => request.accept(size_of::<u32>()),
        None => request.refuse(NDIS_STATUS_FAILURE),
    }
}

/// OID_802_3_MAXIMUM_LIST_SIZE.
pub fn query_maximum_list_size(request: OidRequest<'_>) -> Answered {
    request.report_u32(MAX_MULTICAST as u32)
}

/// OID_802_3_MULTICAST_LIST.
pub fn query_multicast_list(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let mut list = [0; MAX_MULTICAST * ADDRESS];
    let count = at_dispatch(false, |at| {
        adapter.plug()?.read(
            |port| {
                let places = list.as_chunks_mut::<ADDRESS>().0.iter_mut();
                places
                    .zip(port.multicast())
                    .map(|(place, mac)| *place = mac.0)
                    .count()
            },
            at,
        )
    });
    match count.and_then(|count| list.get(..count.saturating_mul(ADDRESS))) {
        Some(list) => request.report(list),
        None => request.refuse(NDIS_STATUS_FAILURE),
    }
}

/// OID_802_3_MULTICAST_LIST: replaces the list; an empty buffer clears it.
pub fn set_multicast_list(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let bytes = request.input();
    let (addresses, rest) = bytes.as_chunks::<ADDRESS>();
    if !rest.is_empty() {
        return request.refuse(NDIS_STATUS_INVALID_LENGTH);
    }
    if addresses.len() > MAX_MULTICAST {
        return request.refuse(NDIS_STATUS_MULTICAST_FULL);
    }
    if addresses.iter().any(|address| !Mac(*address).is_group()) {
        return request.refuse(NDIS_STATUS_INVALID_DATA);
    }
    let done = at_dispatch(false, |at| {
        adapter.plug()?.configure(
            |port| port.set_multicast(addresses.iter().map(|mac| Mac(*mac))),
            at,
        )
    });
    let read = bytes.len();
    match done {
        Some(()) => request.accept(read),
        None => request.refuse(NDIS_STATUS_FAILURE),
    }
}
