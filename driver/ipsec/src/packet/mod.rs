//! IP headers up to the first IPsec header. Every byte is read with a check; the walk
//! over extension headers is bounded.

mod ipv4;
mod ipv6;
pub(crate) mod udp;

pub(crate) use ipv6::{
    DESTINATION as IPV6_DESTINATION, FIXED as IPV6_FIXED, HOP_BY_HOP, ROUTING as IPV6_ROUTING,
};

/// IP protocol number of an IPv4 packet, in a tunnel.
pub(crate) const IPV4: u8 = 4;
/// IP protocol number of TCP.
pub(crate) const TCP: u8 = 6;
/// IP protocol number of UDP.
pub(crate) const UDP: u8 = 17;
/// IP protocol number of an IPv6 packet, in a tunnel.
pub(crate) const IPV6: u8 = 41;
/// IP protocol number of ESP.
pub(crate) const ESP: u8 = 50;
/// IP protocol number of AH.
pub(crate) const AH: u8 = 51;

/// An IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 16]),
}

impl Address {
    pub(crate) const fn is_v6(&self) -> bool {
        matches!(self, Self::V6(_))
    }
}

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Headers {
    pub source: Address,
    pub destination: Address,
    /// The protocol at `offset`: the first that is not an IPv6 extension header.
    pub protocol: u8,
    /// Where the headers end.
    pub offset: usize,
    /// Where the IP packet ends; Ethernet padding may follow. At most the buffer's length.
    pub end: usize,
    /// The IP header says that the packet is longer than the buffer, or the UDP header that
    /// its data are of another length than the IP header says.
    pub wrong_length: bool,
    /// A piece of a packet.
    pub fragment: bool,
    /// The last header before `offset` is UDP's: see [`Headers::behind_udp`].
    pub udp: bool,
}

/// The headers cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotIp;

impl Headers {
    /// Reads the headers of the IP packet at the start of `packet`.
    pub(crate) fn parse(packet: &[u8]) -> Result<Self, NotIp> {
        Self::parse_sized(packet, None)
    }

    /// Reads the headers of a large packet that is yet to be cut. `head` ends where the headers
    /// end; the length in the IP header is not looked at (zero with version 2 of large send
    /// offload).
    pub(crate) fn parse_large(head: &[u8]) -> Result<Self, NotIp> {
        Self::parse_sized(head, Some(head.len()))
    }

    fn parse_sized(packet: &[u8], length: Option<usize>) -> Result<Self, NotIp> {
        match packet.first().map(|first| first >> 4) {
            Some(4) => ipv4::parse(packet, length),
            Some(6) => ipv6::parse(packet, length),
            _ => Err(NotIp),
        }
    }

    /// The same packet from behind an IPsec header, whose payload of `protocol` begins at
    /// `offset`: with IPv6 there may be more extension headers.
    pub(crate) fn behind_ipsec(
        mut self,
        packet: &[u8],
        protocol: u8,
        offset: usize,
    ) -> Result<Self, NotIp> {
        (self.protocol, self.offset) = (protocol, offset);
        if self.destination.is_v6() {
            self.skip_extensions(packet)?;
        }
        Ok(self)
    }
}

/// Whether this next header says tunnel mode.
pub(crate) const fn is_tunnel(next_header: u8) -> bool {
    matches!(next_header, IPV4 | IPV6)
}

/// Whether `payload` is the packet of the IP version that the next header before it names.
pub(crate) fn tunnelled(next_header: u8, payload: &[u8]) -> bool {
    let version = match next_header {
        IPV4 => 4,
        IPV6 => 6,
        _ => return false,
    };
    payload.first().is_some_and(|first| first >> 4 == version)
}
