//! OID_TCP_OFFLOAD_PARAMETERS and OID_OFFLOAD_ENCAPSULATION. Every change is followed by
//! NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG with what is on now.

use ndis::{Answered, OidRequest, read, read_prefix};
use ndis_sys::*;

use crate::{
    adapter::Adapter,
    offload::{self, Current, Encapsulation, IpsecSetting},
};

/// OID_TCP_OFFLOAD_PARAMETERS: NDIS has put the values into the registry already. Of the members,
/// IPsecV2 is the one that this adapter has; enabling another offload is refused, for it would not
/// be done.
pub fn set_parameters(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let input = request.input();
    let Some(head) = read::<NDIS_OBJECT_HEADER>(input) else {
        return request.too_short(NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_1);
    };
    // Revision 1 (NDIS 6.0) ends before IPsecV2, which then is "no change".
    let size = match head.Revision {
        0 => return request.refuse(NDIS_STATUS_INVALID_DATA),
        NDIS_OFFLOAD_PARAMETERS_REVISION_1 => NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_1,
        NDIS_OFFLOAD_PARAMETERS_REVISION_2 => NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_2,
        _ => NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_3,
    };
    if head.Type != NDIS_OBJECT_TYPE_DEFAULT || usize::from(head.Size) < size {
        return request.refuse(NDIS_STATUS_INVALID_DATA);
    }
    let Some(wanted) = read_prefix::<NDIS_OFFLOAD_PARAMETERS>(input, size) else {
        return request.too_short(size);
    };
    let current = adapter.offload.current();
    let ipsec = match wanted.IPsecV2 {
        NDIS_OFFLOAD_PARAMETERS_NO_CHANGE => current.ipsec,
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED => IpsecSetting::from_keyword(0),
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED => IpsecSetting::from_keyword(1),
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED => IpsecSetting::from_keyword(2),
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED => IpsecSetting::from_keyword(3),
        _ => return request.refuse(NDIS_STATUS_INVALID_DATA),
    };
    // "No change" and "disabled" agree with an offload that is not there.
    let others = [
        wanted.IPv4Checksum,
        wanted.TCPIPv4Checksum,
        wanted.UDPIPv4Checksum,
        wanted.TCPIPv6Checksum,
        wanted.UDPIPv6Checksum,
        wanted.LsoV1,
        wanted.IPsecV1,
        wanted.LsoV2IPv4,
        wanted.LsoV2IPv6,
        wanted.TcpConnectionIPv4,
        wanted.TcpConnectionIPv6,
        wanted.RscIPv4,
        wanted.RscIPv6,
    ];
    // The largest value that any of them knows: TX_RX_ENABLED.
    if others
        .iter()
        .any(|&value| value > NDIS_OFFLOAD_PARAMETERS_TX_RX_ENABLED)
    {
        return request.refuse(NDIS_STATUS_INVALID_DATA);
    }
    if others
        .iter()
        .any(|&value| value > NDIS_OFFLOAD_PARAMETERS_TX_RX_DISABLED)
    {
        return request.refuse(NDIS_STATUS_NOT_SUPPORTED);
    }
    change(adapter, Current { ipsec, ..current });
    request.accept(size)
}

/// OID_OFFLOAD_ENCAPSULATION: starts or stops all offloads that are configured, per IP version.
pub fn set_encapsulation(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let size = NDIS_SIZEOF_OFFLOAD_ENCAPSULATION_REVISION_1;
    let Some(wanted) = read::<NDIS_OFFLOAD_ENCAPSULATION>(request.input()) else {
        return request.too_short(size);
    };
    if wanted.Header.Type != NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION
        || wanted.Header.Revision < NDIS_OFFLOAD_ENCAPSULATION_REVISION_1
        || usize::from(wanted.Header.Size) < size
    {
        return request.refuse(NDIS_STATUS_INVALID_PARAMETER);
    }
    let current = adapter.offload.current();
    let v4 = encapsulation(wanted.IPv4, current.v4);
    let v6 = encapsulation(wanted.IPv6, current.v6);
    let (Some(v4), Some(v6)) = (v4, v6) else {
        // "If a miniport driver supports any offload type that supports the requested encapsulation
        // type, [success]. Otherwise NDIS_STATUS_INVALID_PARAMETER."
        return request.refuse(NDIS_STATUS_INVALID_PARAMETER);
    };
    change(adapter, Current { v4, v6, ..current });
    request.accept(size)
}

/// The state that a member asks for; None when it cannot be met. Nothing but Ethernet is
/// encapsulated here, and its header's size is read from the frames.
fn encapsulation(
    wanted: NDIS_OFFLOAD_ENCAPSULATION_IP,
    current: Encapsulation,
) -> Option<Encapsulation> {
    match wanted.Enabled {
        NDIS_OFFLOAD_SET_NO_CHANGE => Some(current),
        NDIS_OFFLOAD_SET_ON => (wanted.EncapsulationType & NDIS_ENCAPSULATION_IEEE_802_3 != 0)
            .then_some(Encapsulation::On),
        NDIS_OFFLOAD_SET_OFF => Some(Encapsulation::Off),
        _ => None,
    }
}

fn change(adapter: &Adapter, current: Current) {
    adapter.offload.set(current);
    let report = offload::report(
        &adapter.engine.capabilities(),
        current,
        adapter.config.vlan,
        adapter.version,
    );
    adapter.handle.indicate_status(
        adapter.version,
        NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG,
        &report,
        offload::report_size(adapter.version),
    );
}
