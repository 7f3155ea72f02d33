//! OID_GEN_*: sizes, vendor, lookahead, VLAN.

use ndis::{Answered, OidRequest};
use ndis_sys::{NDIS_STATUS_INVALID_DATA, NDIS_STATUS_NOT_SUPPORTED};

use super::{input_u32, supported};
use crate::{adapter::Adapter, entry::DRIVER_VERSION};

/// The first three bytes are the vendor's IEEE number, which nobody gave us: locally administered,
/// as our MAC addresses are. The last byte numbers the vendor's adapters.
const VENDOR_ID: u32 = u32::from_le_bytes([0x02, b'I', b'P', 1]);

/// OID_GEN_VENDOR_DESCRIPTION: "a null-terminated string".
const VENDOR_DESCRIPTION: &[u8] = b"IPsec Task Offload Version 2 Virtual Ethernet\0";

/// OID_GEN_SUPPORTED_LIST.
pub fn supported_list(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let list = supported(adapter.version);
    let mut bytes = [0; 4 * 64];
    for (to, oid) in bytes.as_chunks_mut().0.iter_mut().zip(list) {
        *to = oid.to_ne_bytes();
    }
    let len = size_of_val(list);
    request.report(bytes.get(..len).unwrap_or_default())
}

/// OID_GEN_TRANSMIT_BUFFER_SPACE: packets that a call sends at once, in bytes. "The amount of memory,
/// in bytes, on the NIC that is available for buffering transmit data."
pub fn transmit_buffer_space(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let bytes = crate::send::BUDGET.saturating_mul(adapter.config.max_frame);
    request.report_u32(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// OID_GEN_RECEIVE_BUFFER_SPACE.
pub fn receive_buffer_space(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let bytes = adapter
        .frames
        .count()
        .saturating_mul(adapter.frames.capacity());
    request.report_u32(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// OID_GEN_MAXIMUM_TOTAL_SIZE, and the block sizes: a frame occupies one block of that size.
pub fn frame_size(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    request.report_u32(u32::try_from(adapter.config.max_frame).unwrap_or(u32::MAX))
}

/// OID_GEN_VENDOR_ID.
pub fn vendor_id(request: OidRequest<'_>) -> Answered {
    request.report_u32(VENDOR_ID)
}

/// OID_GEN_VENDOR_DESCRIPTION.
pub fn vendor_description(request: OidRequest<'_>) -> Answered {
    request.report(VENDOR_DESCRIPTION)
}

/// OID_GEN_VENDOR_DRIVER_VERSION: "The low-order half of the return value specifies the minor
/// version; the high-order half specifies the major version."
pub fn vendor_driver_version(request: OidRequest<'_>) -> Answered {
    let (major, minor) = DRIVER_VERSION;
    request.report_u32(u32::from(major) << 16 | u32::from(minor))
}

/// OID_GEN_DRIVER_VERSION: the NDIS version, two bytes: "The high-order byte specifies the major
/// version number."
pub fn driver_version(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let version = u16::from(adapter.version.major()) << 8 | u16::from(adapter.version.minor());
    request.report(&version.to_ne_bytes())
}

/// OID_GEN_CURRENT_LOOKAHEAD. Frames are indicated whole, so every size up to a packet is met.
pub fn set_lookahead(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let (bytes, request) = match input_u32(request) {
        Ok(input) => input,
        Err(answered) => return answered,
    };
    if bytes as usize > adapter.config.mtu() {
        return request.refuse(NDIS_STATUS_INVALID_DATA);
    }
    adapter.set_lookahead(bytes);
    request.accept(size_of::<u32>())
}

/// OID_GEN_VLAN_ID, for adapters that do VLANs.
pub fn query_vlan_id(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    if !adapter.config.vlan {
        return request.refuse(NDIS_STATUS_NOT_SUPPORTED);
    }
    request.report_u32(adapter.vlan_id().into())
}

/// OID_GEN_VLAN_ID: "contains the VLAN ID in the 12 least significant bits. Higher order bits are
/// reserved and must be set to 0." 4095 is reserved by IEEE 802.1Q.
pub fn set_vlan_id(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    if !adapter.config.vlan {
        return request.refuse(NDIS_STATUS_NOT_SUPPORTED);
    }
    let (id, request) = match input_u32(request) {
        Ok(input) => input,
        Err(answered) => return answered,
    };
    match u16::try_from(id) {
        Ok(id) if id < 0x0fff => {
            adapter.set_vlan_id(id);
            request.accept(size_of::<u32>())
        }
        _ => request.refuse(NDIS_STATUS_INVALID_DATA),
    }
}
