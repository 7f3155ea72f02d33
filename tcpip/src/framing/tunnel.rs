//! Tunnel mode: the outer IP header (RFC 4301 section 5.1.2).

use std::net::IpAddr;

use super::{FramingError, Numbers};
use crate::{
    packet::{
        ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Layout, PROTOCOL_IPV4, PROTOCOL_IPV6,
    },
    sas::Sa,
};

/// TTL and hop limit of the outer header: the tunnel's own.
const HOPS: u8 = 64;

/// Ethernet header and outer IP header, without protocol, length and checksum.
pub(super) struct Outer {
    pub headers: Vec<u8>,
    /// Offset of the byte for the protocol.
    pub protocol_field: usize,
}

/// The protocol number of a packet in a tunnel.
pub fn protocol_of(version: u8) -> u8 {
    if version == 4 {
        PROTOCOL_IPV4
    } else {
        PROTOCOL_IPV6
    }
}

/// The headers in front of a packet in the tunnel of `sa`. The traffic class is copied
/// (RFC 6040's normal mode), and so is DF, which stands for IPv6 as well.
pub(super) fn outer_header(
    sa: &Sa,
    frame: &[u8],
    layout: &Layout,
    numbers: &Numbers,
) -> Result<Outer, FramingError> {
    let inner = &frame[layout.ip..];
    let (class, dont_fragment) = if layout.version == 4 {
        (inner[1], inner[6] & 0x40)
    } else {
        (inner[0] << 4 | inner[1] >> 4, 0x40)
    };
    let mut headers = frame[..ETHERNET_HEADER - 2].to_vec();
    let protocol_field = match (sa.source, sa.destination) {
        (Some(IpAddr::V4(source)), Some(IpAddr::V4(destination))) => {
            let [id_high, id_low] = ((numbers.esp ^ numbers.ah) as u16).to_be_bytes();
            headers.extend_from_slice(&ETHERTYPE_IPV4);
            headers.extend_from_slice(&[0x45, class, 0, 0, id_high, id_low]);
            headers.extend_from_slice(&[dont_fragment, 0, HOPS, 0, 0, 0]);
            headers.extend_from_slice(&source.octets());
            headers.extend_from_slice(&destination.octets());
            ETHERNET_HEADER + 9
        }
        (Some(IpAddr::V6(source)), Some(IpAddr::V6(destination))) => {
            headers.extend_from_slice(&ETHERTYPE_IPV6);
            headers.extend_from_slice(&[0x60 | class >> 4, class << 4, 0, 0, 0, 0, 0, HOPS]);
            headers.extend_from_slice(&source.octets());
            headers.extend_from_slice(&destination.octets());
            ETHERNET_HEADER + 6
        }
        _ => return Err(FramingError::NoGateways),
    };
    Ok(Outer {
        headers,
        protocol_field,
    })
}
