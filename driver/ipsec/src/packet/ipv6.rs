//! The IPv6 header and its extension headers, RFC 8200.

use super::{Address, Headers, NotIp};

pub(crate) const FIXED: usize = 40;

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// More extension headers than this before ESP are not followed. RFC 8200 section 4.1
/// has four, and one of them twice.
const MOST_EXTENSION_HEADERS: usize = 8;

/// `length` is that of the packet, if not the one in its header.
pub(super) fn parse(packet: &[u8], length: Option<usize>) -> Result<Headers, NotIp> {
    let (header, _) = packet.split_first_chunk::<FIXED>().ok_or(NotIp)?;
    let [_, _, _, _, length0, length1, next_header, _, addresses @ ..] = header;
    let (source, destination) = addresses.split_first_chunk::<16>().ok_or(NotIp)?;
    let destination = destination.first_chunk::<16>().ok_or(NotIp)?;

    // A jumbogram (RFC 2675) has length zero here; no link of this driver carries one.
    let payload = u16::from_be_bytes([*length0, *length1]);
    let total = length.unwrap_or_else(|| usize::from(payload).saturating_add(FIXED));
    let mut headers = Headers {
        source: Address::V6(*source),
        destination: Address::V6(*destination),
        protocol: *next_header,
        offset: FIXED,
        end: total.min(packet.len()),
        wrong_length: total > packet.len(),
        fragment: false,
        udp: false,
    };
    headers.skip_extensions(packet)?;
    Ok(headers)
}

impl Headers {
    /// Goes on over the extension headers at `offset`, to the first header that is none, a
    /// fragment header, or as far as the engine goes: `protocol` is whatever comes then.
    pub(super) fn skip_extensions(&mut self, packet: &[u8]) -> Result<(), NotIp> {
        for _ in 0..MOST_EXTENSION_HEADERS {
            let fragment = match self.protocol {
                HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6 => false,
                FRAGMENT => true,
                _ => return Ok(()),
            };
            let extension = packet.get(self.offset..self.end).ok_or(NotIp)?;
            let Some(([next_header, length], _)) = extension.split_first_chunk::<2>() else {
                return Err(NotIp);
            };
            if fragment {
                // One with nothing before or after it (RFC 6946) needs the stack's reassembly
                // all the same, for the header to go away.
                self.fragment = true;
                return Ok(());
            }
            let size = usize::from(*length).saturating_add(1).saturating_mul(8);
            if size > extension.len() {
                return Err(NotIp);
            }
            self.protocol = *next_header;
            self.offset = self.offset.saturating_add(size);
        }
        Ok(())
    }
}
