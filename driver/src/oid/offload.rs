//! OID_TCP_OFFLOAD_PARAMETERS and OID_OFFLOAD_ENCAPSULATION. Every change is followed by
//! NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG with what is on now.

use ndis::{Answered, OidRequest, read, read_prefix};
use ndis_sys::*;

use crate::{
    adapter::Adapter,
    offload::{
        ChecksumSetting, ChecksumSettings, Current, Encapsulation, IpsecSetting, LargeSendSettings,
        Settings, report,
    },
};

/// OID_TCP_OFFLOAD_PARAMETERS: NDIS has put the values into the registry already. All of them are
/// looked at before one is taken over. Enabling an offload that this adapter does not have is refused,
/// for it would not be done.
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
    if let Err(status) = refuse_absent(&wanted) {
        return request.refuse(status);
    }
    let current = adapter.offload.current();
    match settings(&wanted, current.settings) {
        Some(settings) => {
            change(
                adapter,
                Current {
                    settings,
                    ..current
                },
            );
            request.accept(size)
        }
        None => request.refuse(NDIS_STATUS_INVALID_DATA),
    }
}

/// The offloads that this adapter does not have: "no change" and "disabled" agree with that.
fn refuse_absent(wanted: &NDIS_OFFLOAD_PARAMETERS) -> Result<(), NDIS_STATUS> {
    // The member, the largest value that it knows, and those that do not enable anything.
    let members: [(u8, u8, &[u8]); 6] = [
        (
            wanted.IPsecV1,
            NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_AND_ESP_ENABLED,
            &[
                NDIS_OFFLOAD_PARAMETERS_NO_CHANGE,
                NDIS_OFFLOAD_PARAMETERS_IPSECV1_DISABLED,
            ],
        ),
        (
            wanted.TcpConnectionIPv4,
            NDIS_OFFLOAD_PARAMETERS_CONNECTION_OFFLOAD_ENABLED,
            &[
                NDIS_OFFLOAD_PARAMETERS_NO_CHANGE,
                NDIS_OFFLOAD_PARAMETERS_CONNECTION_OFFLOAD_DISABLED,
            ],
        ),
        (
            wanted.TcpConnectionIPv6,
            NDIS_OFFLOAD_PARAMETERS_CONNECTION_OFFLOAD_ENABLED,
            &[
                NDIS_OFFLOAD_PARAMETERS_NO_CHANGE,
                NDIS_OFFLOAD_PARAMETERS_CONNECTION_OFFLOAD_DISABLED,
            ],
        ),
        (
            wanted.RscIPv4,
            NDIS_OFFLOAD_PARAMETERS_RSC_ENABLED,
            &[
                NDIS_OFFLOAD_PARAMETERS_NO_CHANGE,
                NDIS_OFFLOAD_PARAMETERS_RSC_DISABLED,
            ],
        ),
        (
            wanted.RscIPv6,
            NDIS_OFFLOAD_PARAMETERS_RSC_ENABLED,
            &[
                NDIS_OFFLOAD_PARAMETERS_NO_CHANGE,
                NDIS_OFFLOAD_PARAMETERS_RSC_DISABLED,
            ],
        ),
        (
            wanted.EncapsulatedPacketTaskOffload,
            NDIS_OFFLOAD_SET_OFF as u8,
            &[NDIS_OFFLOAD_SET_NO_CHANGE as u8, NDIS_OFFLOAD_SET_OFF as u8],
        ),
    ];
    if members.iter().any(|(value, largest, _)| value > largest) {
        return Err(NDIS_STATUS_INVALID_DATA);
    }
    if members.iter().any(|(value, _, off)| !off.contains(value)) {
        return Err(NDIS_STATUS_NOT_SUPPORTED);
    }
    Ok(())
}

/// The settings that the members ask for; None when one has a value that it does not know.
fn settings(wanted: &NDIS_OFFLOAD_PARAMETERS, now: Settings) -> Option<Settings> {
    let ipsec = match wanted.IPsecV2 {
        NDIS_OFFLOAD_PARAMETERS_NO_CHANGE => now.ipsec,
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED => IpsecSetting::from_keyword(0),
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED => IpsecSetting::from_keyword(1),
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED => IpsecSetting::from_keyword(2),
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED => IpsecSetting::from_keyword(3),
        _ => return None,
    };
    Some(Settings {
        ipsec,
        checksum: ChecksumSettings {
            ip_v4: checksum(wanted.IPv4Checksum, now.checksum.ip_v4)?,
            tcp_v4: checksum(wanted.TCPIPv4Checksum, now.checksum.tcp_v4)?,
            udp_v4: checksum(wanted.UDPIPv4Checksum, now.checksum.udp_v4)?,
            tcp_v6: checksum(wanted.TCPIPv6Checksum, now.checksum.tcp_v6)?,
            udp_v6: checksum(wanted.UDPIPv6Checksum, now.checksum.udp_v6)?,
        },
        large_send: LargeSendSettings {
            v1_ipv4: large_send(wanted.LsoV1, now.large_send.v1_ipv4)?,
            v2_ipv4: large_send(wanted.LsoV2IPv4, now.large_send.v2_ipv4)?,
            v2_ipv6: large_send(wanted.LsoV2IPv6, now.large_send.v2_ipv6)?,
        },
    })
}

const fn checksum(wanted: u8, now: ChecksumSetting) -> Option<ChecksumSetting> {
    match wanted {
        NDIS_OFFLOAD_PARAMETERS_NO_CHANGE => Some(now),
        NDIS_OFFLOAD_PARAMETERS_TX_RX_DISABLED => Some(ChecksumSetting::from_keyword(0)),
        NDIS_OFFLOAD_PARAMETERS_TX_ENABLED_RX_DISABLED => Some(ChecksumSetting::from_keyword(1)),
        NDIS_OFFLOAD_PARAMETERS_RX_ENABLED_TX_DISABLED => Some(ChecksumSetting::from_keyword(2)),
        NDIS_OFFLOAD_PARAMETERS_TX_RX_ENABLED => Some(ChecksumSetting::from_keyword(3)),
        _ => None,
    }
}

/// Versions 1 and 2 have the same values.
const fn large_send(wanted: u8, now: bool) -> Option<bool> {
    match wanted {
        NDIS_OFFLOAD_PARAMETERS_NO_CHANGE => Some(now),
        NDIS_OFFLOAD_PARAMETERS_LSOV2_DISABLED => Some(false),
        NDIS_OFFLOAD_PARAMETERS_LSOV2_ENABLED => Some(true),
        _ => None,
    }
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
    let offload = report::report(
        &adapter.engine.capabilities(),
        current,
        adapter.config.vlan,
        adapter.version,
    );
    adapter.handle.indicate_status(
        adapter.version,
        NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG,
        &offload,
        report::report_size(adapter.version),
    );
}
