//! UDP encapsulation of ESP (RFC 3948).

use crate::{packet::TooLong, sas::UdpPorts};

/// Bytes of a UDP header.
pub const UDP_HEADER: usize = 8;

/// Puts a UDP header in front of ESP. Its checksum is zero (RFC 3948 section 2.1; over IPv6 it may
/// be for tunnels, RFC 6935): nobody knows it before the ICV is there.
pub(super) fn wrap(body: &mut Vec<u8>, ports: UdpPorts) -> Result<(), TooLong> {
    let length = body.len() + UDP_HEADER;
    let length = u16::try_from(length).map_err(|_| TooLong(length))?;
    let mut datagram = Vec::with_capacity(length.into());
    for field in [ports.source, ports.destination, length, 0] {
        datagram.extend_from_slice(&field.to_be_bytes());
    }
    datagram.append(body);
    *body = datagram;
    Ok(())
}
