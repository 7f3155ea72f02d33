//! Where things are in an Ethernet frame: what framing, stripping and the policy ask.

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice,
};

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: [u8; 2] = EtherType::IPV4.0.to_be_bytes();

/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: [u8; 2] = EtherType::IPV6.0.to_be_bytes();

/// Bytes of an Ethernet header without a tag.
pub const ETHERNET_HEADER: usize = 14;

/// The shortest Ethernet frame without its check sequence; shorter ones travel padded.
pub const ETHERNET_MINIMUM: usize = 60;

/// IP protocol number of ESP.
pub const PROTOCOL_ESP: u8 = IpNumber::ENCAPSULATING_SECURITY_PAYLOAD.0;

/// IP protocol number of AH.
pub const PROTOCOL_AH: u8 = IpNumber::AUTHENTICATION_HEADER.0;

/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = IpNumber::TCP.0;

/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = IpNumber::UDP.0;

/// IP protocol number of an IPv4 packet in a tunnel.
pub const PROTOCOL_IPV4: u8 = IpNumber::IPV4.0;

/// IP protocol number of an IPv6 packet in a tunnel.
pub const PROTOCOL_IPV6: u8 = IpNumber::IPV6.0;

/// Offsets, in bytes from the start of the frame, in a frame with a complete IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// 4 or 6.
    pub version: u8,
    /// The IP header.
    pub ip: usize,
    /// The byte that names the protocol at `payload`: the protocol field of the IPv4 header or
    /// the next-header field of the last IPv6 header before `payload`.
    pub protocol_field: usize,
    /// That protocol.
    pub protocol: u8,
    /// Where IPsec headers of transport mode stand: behind the IPv4 options, and behind the IPv6
    /// headers that every hop reads (RFC 4303 section 3.1.1): hop-by-hop options, routing, and
    /// the destination options in front of a routing header.
    pub payload: usize,
    /// End of the IP packet; what follows in the frame is padding of the link.
    pub end: usize,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The packet is a fragment.
    pub fragment: bool,
    /// The IPv4 header has options.
    pub ipv4_options: bool,
    /// There are IPv6 extension headers, before or behind `payload`.
    pub ipv6_extension_headers: bool,
}

/// Why a frame has no [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLayout {
    /// Not IPv4 and not IPv6 directly over Ethernet II.
    #[error("not IP")]
    NotIp,
    /// Headers are wrong or the frame is shorter than the packet in it.
    #[error("incomplete or malformed IP packet")]
    Malformed,
}

impl Layout {
    /// Finds the IP packet of an Ethernet frame.
    pub fn of(frame: &[u8]) -> Result<Self, NoLayout> {
        let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| NoLayout::NotIp)?;
        match ethernet.ether_type() {
            EtherType::IPV4 => Self::of_ipv4(frame, ETHERNET_HEADER),
            EtherType::IPV6 => Self::of_ipv6(frame, ETHERNET_HEADER),
            _ => Err(NoLayout::NotIp),
        }
    }

    /// The IP packet whose header is at `ip`, of whichever version: what a tunnel carries.
    pub fn at(frame: &[u8], ip: usize) -> Result<Self, NoLayout> {
        match frame.get(ip).map(|first| first >> 4) {
            Some(4) => Self::of_ipv4(frame, ip),
            Some(6) => Self::of_ipv6(frame, ip),
            _ => Err(NoLayout::Malformed),
        }
    }

    fn of_ipv4(frame: &[u8], ip: usize) -> Result<Self, NoLayout> {
        let header = Ipv4HeaderSlice::from_slice(&frame[ip..]).map_err(|_| NoLayout::Malformed)?;
        let header_len = header.slice().len();
        let total_len = usize::from(header.total_len());
        if total_len < header_len || frame.len() < ip + total_len {
            return Err(NoLayout::Malformed);
        }
        Ok(Self {
            version: 4,
            ip,
            protocol_field: ip + 9,
            protocol: header.protocol().0,
            payload: ip + header_len,
            end: ip + total_len,
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            fragment: header.is_fragmenting_payload(),
            ipv4_options: header_len > 20,
            ipv6_extension_headers: false,
        })
    }

    fn of_ipv6(frame: &[u8], ip: usize) -> Result<Self, NoLayout> {
        let header = Ipv6HeaderSlice::from_slice(&frame[ip..]).map_err(|_| NoLayout::Malformed)?;
        let end = ip + 40 + usize::from(header.payload_length());
        let packet = frame.get(..end).ok_or(NoLayout::Malformed)?;

        let mut layout = Self {
            version: 6,
            ip,
            protocol_field: ip + 6,
            protocol: header.next_header().0,
            payload: ip + 40,
            end,
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            fragment: false,
            ipv4_options: false,
            ipv6_extension_headers: false,
        };
        // Walk all extension headers; the insertion point only moves behind those that belong
        // in front of IPsec.
        let (mut next, mut at, mut field) = (header.next_header(), ip + 40, ip + 6);
        loop {
            let rest = &packet[at..];
            let len = match next {
                IpNumber::IPV6_HEADER_HOP_BY_HOP
                | IpNumber::IPV6_ROUTE_HEADER
                | IpNumber::IPV6_DESTINATION_OPTIONS => Ipv6RawExtHeaderSlice::from_slice(rest)
                    .map(|header| header.slice().len())
                    .map_err(|_| NoLayout::Malformed)?,
                // Atomic fragments (RFC 6946) are whole packets, but still reassembly's business.
                IpNumber::IPV6_FRAGMENTATION_HEADER => {
                    layout.fragment = true;
                    8
                }
                _ => break,
            };
            layout.ipv6_extension_headers = true;
            if layout.fragment {
                break;
            }
            let in_front_of_ipsec = next != IpNumber::IPV6_DESTINATION_OPTIONS;
            (next, field) = (IpNumber(packet[at]), at);
            at += len;
            if in_front_of_ipsec {
                (layout.protocol_field, layout.protocol, layout.payload) = (field, next.0, at);
            }
        }
        // Somebody else may have put destination options in front of IPsec headers.
        if [PROTOCOL_ESP, PROTOCOL_AH].contains(&next.0) && !layout.fragment {
            (layout.protocol_field, layout.protocol, layout.payload) = (field, next.0, at);
        }
        // Segmentation offload leaves a length of zero in a capture.
        if end == ip + 40 && layout.protocol != IpNumber::IPV6_NO_NEXT_HEADER.0 {
            return Err(NoLayout::Malformed);
        }
        Ok(layout)
    }

    /// Whether the transport payload is a UDP datagram from or to one of `ports`.
    pub fn is_udp_of(&self, frame: &[u8], ports: &[u16]) -> bool {
        let port = |at: usize| {
            let bytes = frame.get(self.payload + at..self.payload + at + 2);
            bytes.map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        self.protocol == PROTOCOL_UDP
            && !self.fragment
            && [port(0), port(2)]
                .into_iter()
                .flatten()
                .any(|port| ports.contains(&port))
    }
}

/// Writes the length of an IP packet into its header, and the checksum that IPv4 needs.
///
/// `ip` is the offset of the header, `end` the end of the packet.
pub fn set_ip_length(frame: &mut [u8], version: u8, ip: usize, end: usize) -> Result<(), TooLong> {
    let counted = if version == 4 {
        end - ip
    } else {
        end - ip - 40
    };
    let length = u16::try_from(counted).map_err(|_| TooLong(counted))?;
    if version == 4 {
        frame[ip + 2..ip + 4].copy_from_slice(&length.to_be_bytes());
        let header_len = usize::from(frame[ip] & 0x0F) * 4;
        let checksum = ipv4_checksum(&frame[ip..ip + header_len]);
        frame[ip + 10..ip + 12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        frame[ip + 4..ip + 6].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// The packet does not fit the length field of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an IP packet cannot have {0} bytes")]
pub struct TooLong(pub usize);

/// Checksum of an IPv4 header (RFC 791), whatever its checksum field holds.
pub fn ipv4_checksum(header: &[u8]) -> u16 {
    let mut sum = 0u32;
    for (index, pair) in header.chunks_exact(2).enumerate() {
        if index != 5 {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}
