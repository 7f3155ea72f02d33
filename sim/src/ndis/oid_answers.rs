//! OIDs that NDIS answers itself, from what the miniport reported at
//! initialization and indicated since, and those that it merges over all
//! bindings ("NDIS handles this OID for miniport drivers" on the OID's page).

use std::sync::Arc;

use ndis_sys::{
    MediaConnectStateConnected, NDIS_STATUS, NDIS_STATUS_FAILURE, NDIS_STATUS_INVALID_LENGTH,
    NDIS_STATUS_MULTICAST_FULL, NDIS_STATUS_NOT_SUPPORTED, NDIS_STATUS_SUCCESS,
    OID_802_3_ADD_MULTICAST_ADDRESS, OID_802_3_DELETE_MULTICAST_ADDRESS, OID_802_3_MULTICAST_LIST,
    OID_GEN_CURRENT_LOOKAHEAD, OID_GEN_CURRENT_PACKET_FILTER, OID_GEN_DRIVER_VERSION,
    OID_GEN_HARDWARE_STATUS, OID_GEN_LINK_SPEED, OID_GEN_LINK_STATE, OID_GEN_MAC_OPTIONS,
    OID_GEN_MAX_LINK_SPEED, OID_GEN_MAXIMUM_FRAME_SIZE, OID_GEN_MAXIMUM_LOOKAHEAD,
    OID_GEN_MEDIA_CONNECT_STATUS, OID_GEN_MEDIA_IN_USE, OID_GEN_MEDIA_SUPPORTED,
    OID_GEN_PHYSICAL_MEDIUM, OID_GEN_PHYSICAL_MEDIUM_EX, OID_GEN_SUPPORTED_LIST,
    OID_OFFLOAD_ENCAPSULATION, OID_PM_PARAMETERS, OID_TCP_OFFLOAD_CURRENT_CONFIG,
    OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES, OID_TCP_OFFLOAD_PARAMETERS,
};

use super::{
    adapter::AdapterBlock,
    header::{self, Version},
    offload_keywords,
    oid::{OidKind, OidRequest},
    oid_block::OidBlock,
    protocol::OpenBlock,
};

/// Answers a request that the miniport does not get; false for the others.
pub(super) fn answer(adapter: &Arc<AdapterBlock>, block: &OidBlock) -> bool {
    if !matches!(block.kind, OidKind::Query | OidKind::QueryStatistics) {
        return false;
    }
    match query(adapter, block) {
        Some(Some(data)) => block.answer(NDIS_STATUS_SUCCESS, &data),
        Some(None) => block.answer(NDIS_STATUS_NOT_SUPPORTED, &[]),
        None => return false,
    }
    true
}

/// The answer to a query: `None` when it is for the miniport, `Some(None)` when
/// NDIS has none.
fn query(adapter: &AdapterBlock, block: &OidBlock) -> Option<Option<Vec<u8>>> {
    let attributes = adapter.attributes.lock();
    let general = attributes.general.as_ref()?;
    let word = |value: u32| Some(Some(value.to_le_bytes().to_vec()));
    let offloads = adapter.offloads.lock();
    let link = adapter.link.state();
    match block.oid {
        OID_TCP_OFFLOAD_CURRENT_CONFIG => Some(offloads.current().map(|o| o.bytes().to_vec())),
        OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES => {
            Some(offloads.hardware().map(|o| o.bytes().to_vec()))
        }
        OID_OFFLOAD_ENCAPSULATION => Some(adapter.filter.lock().encapsulation.clone()),
        OID_PM_PARAMETERS if adapter.driver.version >= (6, 20) => {
            Some(Some(power_parameters(adapter.driver.version)))
        }
        OID_GEN_SUPPORTED_LIST => Some(Some(
            attributes
                .oids
                .iter()
                .flat_map(|oid| oid.to_le_bytes())
                .collect(),
        )),
        // NdisHardwareStatusReady
        OID_GEN_HARDWARE_STATUS => word(0),
        OID_GEN_MEDIA_SUPPORTED | OID_GEN_MEDIA_IN_USE => word(general.MediaType as u32),
        OID_GEN_PHYSICAL_MEDIUM | OID_GEN_PHYSICAL_MEDIUM_EX => {
            word(general.PhysicalMediumType as u32)
        }
        OID_GEN_MAXIMUM_LOOKAHEAD => word(general.LookaheadSize),
        OID_GEN_CURRENT_LOOKAHEAD => {
            let set = adapter.filter.lock().lookahead;
            word(if set == 0 { general.LookaheadSize } else { set })
        }
        OID_GEN_MAXIMUM_FRAME_SIZE => word(general.MtuSize),
        OID_GEN_MAC_OPTIONS => word(general.MacOptions),
        OID_GEN_DRIVER_VERSION => {
            let (major, minor) = adapter.driver.version;
            Some(Some(vec![minor, major]))
        }
        OID_GEN_LINK_SPEED => {
            let speed = link.map_or(general.XmitLinkSpeed, |l| {
                l.XmitLinkSpeed.min(l.RcvLinkSpeed)
            });
            word(u32::try_from(speed / 100).unwrap_or(u32::MAX))
        }
        OID_GEN_MAX_LINK_SPEED => {
            let both = [general.MaxXmitLinkSpeed, general.MaxRcvLinkSpeed];
            Some(Some(both.iter().flat_map(|s| s.to_le_bytes()).collect()))
        }
        OID_GEN_MEDIA_CONNECT_STATUS => {
            // NdisMediaStateConnected is 0, NdisMediaStateDisconnected 1.
            let connected = link.is_some_and(|l| l.MediaConnectState == MediaConnectStateConnected);
            word(u32::from(!connected))
        }
        OID_GEN_LINK_STATE => Some(link.map(|l| {
            let size = usize::from(l.Header.Size).min(size_of_val(&l));
            // SAFETY: plain data; the size is at most the structure's.
            unsafe { std::slice::from_raw_parts((&raw const l).cast::<u8>(), size) }.to_vec()
        })),
        OID_GEN_CURRENT_PACKET_FILTER => {
            word(block.open.as_ref().map_or(0, |o| o.filter.lock().packet))
        }
        OID_802_3_MULTICAST_LIST => {
            let list = block
                .open
                .as_ref()
                .map(|o| o.filter.lock().multicast.concat());
            Some(Some(list.unwrap_or_default()))
        }
        _ => None,
    }
}

/// NDIS_PM_PARAMETERS with nothing enabled: no binding asks for anything.
pub(super) fn power_parameters(version: Version) -> Vec<u8> {
    let header = header::PM_PARAMETERS.header(version);
    let mut bytes = vec![0; usize::from(header.Size)];
    bytes[..2].copy_from_slice(&[header.Type, header.Revision]);
    bytes[2..4].copy_from_slice(&header.Size.to_le_bytes());
    bytes
}

/// Makes of one binding's request what the adapter needs for all of them: the
/// union of packet filters and of multicast lists. A malformed request goes to
/// the miniport as it is; the status is that of one which NDIS ends itself.
pub(super) fn merge(
    adapter: &AdapterBlock,
    open: &OpenBlock,
    request: &mut OidRequest,
) -> Option<NDIS_STATUS> {
    if request.kind != OidKind::Set {
        return None;
    }
    if let OID_802_3_ADD_MULTICAST_ADDRESS | OID_802_3_DELETE_MULTICAST_ADDRESS = request.oid {
        if let Err(status) = to_multicast_list(adapter, open, request) {
            return Some(status);
        }
    } else if request.declared.is_some() {
        return None;
    }
    let others: Vec<_> = adapter
        .opens
        .read()
        .iter()
        .filter(|o| o.handle != open.handle)
        .map(|o| o.filter.lock().clone())
        .collect();
    let oid = request.oid;
    let bytes = request.bytes_mut()?;
    match oid {
        OID_TCP_OFFLOAD_PARAMETERS => offload_keywords::keep(adapter, bytes),
        OID_GEN_CURRENT_PACKET_FILTER => {
            if let Ok(word) = <[u8; 4]>::try_from(bytes.as_slice()) {
                let all = others
                    .iter()
                    .fold(u32::from_le_bytes(word), |all, o| all | o.packet);
                request.replace(all.to_le_bytes().to_vec());
            }
        }
        OID_802_3_MULTICAST_LIST if bytes.len().is_multiple_of(6) => {
            // "If there are duplicate addresses in the list [...], NDIS removes the duplicates."
            let mut all: Vec<[u8; 6]> = Vec::new();
            let own = bytes.as_chunks::<6>().0.iter();
            for address in own.chain(others.iter().flat_map(|o| &o.multicast)) {
                if !all.contains(address) {
                    all.push(*address);
                }
            }
            request.replace(all.concat());
        }
        _ => {}
    }
    None
}

/// "NDIS consolidates each sequence of OID_802_3_ADD_MULTICAST_ADDRESS and OID_802_3_DELETE_MULTICAST_ADDRESS
/// OID requests into a single OID_802_3_MULTICAST_LIST OID request": the list that the binding has then. An
/// address that was added more than once has to be deleted as often.
fn to_multicast_list(
    adapter: &AdapterBlock,
    open: &OpenBlock,
    request: &mut OidRequest,
) -> Result<(), NDIS_STATUS> {
    let adding = request.oid == OID_802_3_ADD_MULTICAST_ADDRESS;
    let bytes = request.bytes_mut().ok_or(NDIS_STATUS_INVALID_LENGTH)?;
    let address = <[u8; 6]>::try_from(bytes.as_slice()).or(Err(NDIS_STATUS_INVALID_LENGTH))?;
    let mut list = open.filter.lock().multicast.clone();
    if adding {
        let attributes = adapter.attributes.lock();
        let general = attributes.general.as_ref();
        let most = general.map_or(0, |general| general.MaxMulticastListSize);
        drop(attributes);
        let others: Vec<_> = adapter.opens.read().clone();
        let mut all: Vec<[u8; 6]> = others
            .iter()
            .flat_map(|open| open.filter.lock().multicast.clone())
            .chain([address])
            .collect();
        all.sort_unstable();
        all.dedup();
        // "NDIS returns NDIS_STATUS_MULTICAST_FULL if a protocol driver exceeds this limit or if it specifies
        // an invalid multicast address."
        if address[0] & 1 == 0 || all.len() > most as usize {
            return Err(NDIS_STATUS_MULTICAST_FULL);
        }
        list.push(address);
    } else {
        let place = list.iter().position(|known| *known == address);
        list.remove(place.ok_or(NDIS_STATUS_FAILURE)?);
    }
    request.oid = OID_802_3_MULTICAST_LIST;
    request.declared = None;
    *request.bytes_mut().ok_or(NDIS_STATUS_INVALID_LENGTH)? = list.concat();
    Ok(())
}

/// Keeps what a successful set request changed.
pub(super) fn take_note(adapter: &AdapterBlock, block: &OidBlock) {
    if block.kind != OidKind::Set {
        return;
    }
    let merged = block.bytes();
    let own = block.requested.as_deref().unwrap_or(&merged);
    let open = block.open.as_ref();
    let word = |bytes: &[u8]| {
        bytes
            .get(..4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    };
    match block.oid {
        OID_GEN_CURRENT_PACKET_FILTER => {
            if let (Some(own), Some(all)) = (word(own), word(&merged)) {
                if let Some(open) = open {
                    open.filter.lock().packet = own;
                }
                adapter.filter.lock().packet = all;
            }
        }
        OID_802_3_MULTICAST_LIST => {
            let list = |bytes: &[u8]| bytes.as_chunks::<6>().0.to_vec();
            if let Some(open) = open {
                open.filter.lock().multicast = list(own);
            }
            adapter.filter.lock().multicast = list(&merged);
        }
        OID_GEN_CURRENT_LOOKAHEAD => {
            if let Some(bytes) = word(own) {
                adapter.filter.lock().lookahead = bytes;
            }
        }
        OID_OFFLOAD_ENCAPSULATION => adapter.filter.lock().encapsulation = Some(merged),
        _ => {}
    }
}
