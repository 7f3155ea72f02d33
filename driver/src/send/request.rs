//! What the out-of-band data of a list ask for.

use ipsec::{SaHandle, SendRequest};
use ndis::{InfoSlot, SendNbl};
use ndis_sys::{
    NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_TRANSMIT as HeaderInfo,
    NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO_TRANSMIT as ChecksumInfo,
    NDIS_TCP_LARGE_SEND_OFFLOAD_IPv4,
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_TRANSMIT as LargeSendInfo,
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V1 as LargeSendV1Info,
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V2 as LargeSendV2Info,
    NDIS_TCP_LARGE_SEND_OFFLOAD_V1_TYPE, Zero,
};
use task_offload::{
    IpVersion, LargeSendRequest, checksum::Transport, large_send::LargeSendVersion,
};

use crate::offload::Current;

/// The list cannot be sent as its out-of-band data ask: it completes with NDIS_STATUS_FAILURE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What is to be done to the packets of a list.
#[derive(Clone, Copy)]
pub struct Request {
    /// The 802.1Q tag to insert.
    pub tag: Option<u16>,
    /// The SAs to seal with.
    pub ipsec: Option<SendRequest>,
    /// What the packets are to become.
    pub stateless: Stateless,
}

/// The offload that keeps no state.
#[derive(Clone, Copy)]
pub enum Stateless {
    /// None.
    None,
    /// Checksums.
    Checksum(ChecksumRequest),
    /// Segments, with their checksums.
    LargeSend(LargeSendRequest),
}

/// NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO.Transmit.
#[derive(Clone, Copy)]
pub struct ChecksumRequest {
    /// IsIPv4 or IsIPv6.
    pub version: IpVersion,
    /// IpHeaderChecksum.
    pub ip_header: bool,
    /// TcpChecksum, with TcpHeaderOffset from the start of the frame; or UdpChecksum.
    pub transport: Option<Transport>,
}

/// What the list asks of the offloads that keep no state.
///
/// # Errors
/// [`Refused`], when it contradicts itself, or asks for what is not enabled: a checksum that is left
/// unfinished must not go out, and "the miniport shall drop" large sends that are switched off.
pub fn stateless(nbl: &SendNbl, current: Current) -> Result<Stateless, Refused> {
    if let Some(request) = large_send(nbl, current)? {
        // Checksums of segments are computed always, whatever is asked for beside.
        return Ok(Stateless::LargeSend(request));
    }
    Ok(checksum(nbl, current)?.map_or(Stateless::None, Stateless::Checksum))
}

fn checksum(nbl: &SendNbl, current: Current) -> Result<Option<ChecksumRequest>, Refused> {
    let info = ChecksumInfo {
        Bits: nbl.info(InfoSlot::Checksum).addr() as u32,
    };
    let is = |field| info.get(field) != 0;
    let version = match (is(ChecksumInfo::IsIPv4), is(ChecksumInfo::IsIPv6)) {
        (true, false) => IpVersion::V4,
        (false, true) => IpVersion::V6,
        // "If both flags are not set, the NIC should not perform any checksum operations."
        (false, false) => return Ok(None),
        (true, true) => return Err(Refused),
    };
    let transport = match (is(ChecksumInfo::TcpChecksum), is(ChecksumInfo::UdpChecksum)) {
        (true, false) => Some(Transport::Tcp {
            header_offset: info.get(ChecksumInfo::TcpHeaderOffset) as usize,
        }),
        (false, true) => Some(Transport::Udp),
        (false, false) => None,
        (true, true) => return Err(Refused),
    };
    // IPv6 has no header checksum: the flag means nothing there.
    let ip_header = is(ChecksumInfo::IpHeaderChecksum) && version == IpVersion::V4;
    let enabled = current.computes();
    let transports = match version {
        IpVersion::V4 => enabled.v4,
        IpVersion::V6 => enabled.v6,
    };
    let allowed = match transport {
        None => true,
        Some(Transport::Tcp { .. }) => transports.tcp,
        Some(Transport::Udp) => transports.udp,
    };
    if !allowed || (ip_header && !enabled.ip_header) {
        return Err(Refused);
    }
    Ok(
        (ip_header || transport.is_some()).then_some(ChecksumRequest {
            version,
            ip_header,
            transport,
        }),
    )
}

fn large_send(nbl: &SendNbl, current: Current) -> Result<Option<LargeSendRequest>, Refused> {
    let bits = nbl.info(InfoSlot::LargeSend).addr() as u32;
    // Without MSS and offset there is no request: a word with only its type is what a miniport leaves
    // when it completes a large send, and lists are sent again.
    let no_request = LargeSendV2Info::ZERO
        .with(LargeSendV2Info::Type, 1)
        .with(LargeSendV2Info::IPVersion, 1);
    if bits & !no_request.Bits == 0 {
        return Ok(None);
    }
    let enabled = current.large_sends();
    let info = LargeSendInfo { Bits: bits };
    let (request, allowed) = if info.get(LargeSendInfo::Type) == NDIS_TCP_LARGE_SEND_OFFLOAD_V1_TYPE
    {
        let info = LargeSendV1Info { Bits: bits };
        let request = LargeSendRequest {
            version: LargeSendVersion::V1,
            ip_version: IpVersion::V4,
            mss: info.get(LargeSendV1Info::MSS) as usize,
            tcp_header_offset: info.get(LargeSendV1Info::TcpHeaderOffset) as usize,
            discard: 0,
            enveloped: false,
        };
        (request, enabled.v1_ipv4)
    } else {
        let info = LargeSendV2Info { Bits: bits };
        let is_v4 = info.get(LargeSendV2Info::IPVersion) == NDIS_TCP_LARGE_SEND_OFFLOAD_IPv4;
        let request = LargeSendRequest {
            version: LargeSendVersion::V2,
            ip_version: if is_v4 { IpVersion::V4 } else { IpVersion::V6 },
            mss: info.get(LargeSendV2Info::MSS) as usize,
            tcp_header_offset: info.get(LargeSendV2Info::TcpHeaderOffset) as usize,
            discard: 0,
            enveloped: false,
        };
        (
            request,
            if is_v4 {
                enabled.v2_ipv4
            } else {
                enabled.v2_ipv6
            },
        )
    };
    // "Any NET_BUFFER_LIST structure that contains the LSOv1 or LSOv2 OOB data also contains a single
    // NET_BUFFER structure."
    if !allowed || !nbl.is_single() {
        return Err(Refused);
    }
    Ok(Some(request))
}

/// The SA that the list names, with the place of its headers; None without one.
pub fn ipsec(nbl: &SendNbl) -> Option<SendRequest> {
    let handle = |slot| SaHandle::from_raw(nbl.info(slot).addr() as u64);
    let (transport, tunnel) = (handle(InfoSlot::IpsecV2), handle(InfoSlot::IpsecV2Tunnel));
    if nbl.info(InfoSlot::IpsecV2).is_null() && nbl.info(InfoSlot::IpsecV2Tunnel).is_null() {
        return None;
    }
    let header = HeaderInfo {
        Bits: nbl.info(InfoSlot::IpsecV2Header).addr() as u32,
    };
    Some(SendRequest {
        transport,
        tunnel,
        next_header: header.get(HeaderInfo::NextHeader) as u8,
        pad_length: header.get(HeaderInfo::PadLength) as u8,
        ah_header_offset: header.get(HeaderInfo::AhHeaderOffset) as u8,
        esp_header_offset: header.get(HeaderInfo::EspHeaderOffset) as u8,
    })
}
