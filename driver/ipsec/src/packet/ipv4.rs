//! The IPv4 header, RFC 791.

use super::{Address, Headers, NotIp};

const MINIMUM: usize = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1FFF;

/// `length` is that of the packet, if not the one in its header.
pub(super) fn parse(packet: &[u8], length: Option<usize>) -> Result<Headers, NotIp> {
    let (header, _) = packet.split_first_chunk::<MINIMUM>().ok_or(NotIp)?;
    let [
        version_length,
        _,
        total0,
        total1,
        _,
        _,
        fragment0,
        fragment1,
        _,
        protocol,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = *header;
    let offset = usize::from(version_length & 0x0F).saturating_mul(4);
    let total = length.unwrap_or_else(|| u16::from_be_bytes([total0, total1]).into());
    let fragment = u16::from_be_bytes([fragment0, fragment1]);
    if offset < MINIMUM || total < offset || packet.len() < offset {
        return Err(NotIp);
    }
    Ok(Headers {
        source: Address::V4([s0, s1, s2, s3]),
        destination: Address::V4([d0, d1, d2, d3]),
        protocol,
        offset,
        end: total.min(packet.len()),
        wrong_length: total > packet.len(),
        fragment: fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0,
        udp: false,
    })
}
