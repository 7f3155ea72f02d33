//! The standardized keywords of task offload, as NDIS keeps them: "while NDIS processes this OID and
//! before it passes the OID to the miniport driver, NDIS updates the miniport adapter's offload
//! standardized keywords with the new settings" (OID_TCP_OFFLOAD_PARAMETERS).

use std::mem::offset_of;

use ndis_sys::{
    NDIS_OFFLOAD_PARAMETERS, NDIS_OFFLOAD_PARAMETERS_NO_CHANGE,
    NDIS_OFFLOAD_PARAMETERS_SKIP_REGISTRY_UPDATE, NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_1,
};

use super::adapter::AdapterBlock;
use crate::inf::{self, RegValue};

/// Where a member is, the keyword that it is kept in, and the largest value of the member. Of each
/// member the value 1 is what the keyword calls 0, and so on.
const MEMBERS: [(usize, &str, u8); 9] = [
    (
        offset_of!(NDIS_OFFLOAD_PARAMETERS, IPv4Checksum),
        "*IPChecksumOffloadIPv4",
        4,
    ),
    (
        offset_of!(NDIS_OFFLOAD_PARAMETERS, TCPIPv4Checksum),
        "*TCPChecksumOffloadIPv4",
        4,
    ),
    (
        offset_of!(NDIS_OFFLOAD_PARAMETERS, UDPIPv4Checksum),
        "*UDPChecksumOffloadIPv4",
        4,
    ),
    (
        offset_of!(NDIS_OFFLOAD_PARAMETERS, TCPIPv6Checksum),
        "*TCPChecksumOffloadIPv6",
        4,
    ),
    (
        offset_of!(NDIS_OFFLOAD_PARAMETERS, UDPIPv6Checksum),
        "*UDPChecksumOffloadIPv6",
        4,
    ),
    (offset_of!(NDIS_OFFLOAD_PARAMETERS, LsoV1), "*LsoV1IPv4", 2),
    (
        offset_of!(NDIS_OFFLOAD_PARAMETERS, LsoV2IPv4),
        "*LsoV2IPv4",
        2,
    ),
    (
        offset_of!(NDIS_OFFLOAD_PARAMETERS, LsoV2IPv6),
        "*LsoV2IPv6",
        2,
    ),
    (
        offset_of!(NDIS_OFFLOAD_PARAMETERS, IPsecV2),
        "*IPsecOffloadV2",
        4,
    ),
];

/// Writes what the buffer of a set request changes into the adapter's registry. What is too short or
/// has no such value changes nothing: the miniport refuses it.
pub(super) fn keep(adapter: &AdapterBlock, parameters: &[u8]) {
    if parameters.len() < NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_1 {
        return;
    }
    let flags = offset_of!(NDIS_OFFLOAD_PARAMETERS, Flags);
    let skip = NDIS_OFFLOAD_PARAMETERS_SKIP_REGISTRY_UPDATE.to_le_bytes();
    if parameters[flags..][..4] == skip {
        return;
    }
    let mut registry = adapter.registry.lock();
    for (offset, keyword, largest) in MEMBERS {
        match parameters.get(offset) {
            Some(&value) if value != NDIS_OFFLOAD_PARAMETERS_NO_CHANGE && value <= largest => {
                let text = (value - 1).to_string();
                inf::set(&mut registry, keyword, RegValue::Sz(text));
            }
            _ => {}
        }
    }
}
