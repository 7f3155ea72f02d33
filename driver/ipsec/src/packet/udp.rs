//! The UDP header in front of ESP, RFC 3948.
//!
//! ```text
//!   source port | destination port | length | checksum | ESP, or four zero bytes and IKE
//!   2             2                  2        2
//! ```
//!
//! The checksum is neither checked nor written: a receiver must not depend on it (RFC 3948
//! section 2.1), and ESP's ICV is the better one.

use super::{ESP, Headers};

/// The only port that UDP-encapsulated ESP is received on ("UDP-ESP SAs and Parser
/// Entries").
const PORT: u16 = 4500;

const HEADER: usize = 8;

impl Headers {
    /// As if the ESP behind the UDP header were at the end of the IP headers. `None` if there
    /// is no UDP header, or what is behind it is IKE, a keep-alive or nothing. The UDP length
    /// has to be that of what the IP packet holds.
    pub(crate) fn behind_udp(&self, packet: &[u8]) -> Option<Self> {
        let datagram = packet.get(self.offset..self.end)?;
        let (header, data) = datagram.split_first_chunk::<HEADER>()?;
        let [_, _, _, _, length0, length1, _, _] = *header;
        // Zeros where an SPI would be are IKE's (section 2.2), a keep-alive is a single byte
        // (section 2.3).
        if data.first_chunk::<4>()? == &[0; 4] {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([length0, length1]));
        Some(Self {
            protocol: ESP,
            offset: self.offset.saturating_add(HEADER),
            wrong_length: self.wrong_length || length != datagram.len(),
            udp: true,
            ..*self
        })
    }
}

/// Whether the datagram is to the port of UDP-encapsulated ESP. Its source may be any: an
/// address translator chooses it.
pub(crate) fn is_to_port(datagram: &[u8]) -> bool {
    matches!(datagram, [_, _, p0, p1, ..] if u16::from_be_bytes([*p0, *p1]) == PORT)
}
