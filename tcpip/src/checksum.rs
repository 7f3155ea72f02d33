//! Internet checksums: what a miniport is asked to fill in, and whether what it says of received
//! ones is true. The sums themselves are etherparse's.

use anyhow::{Result, ensure};
use etherparse::{TcpSlice, UdpHeader, UdpSlice};
use ndis_sys::{
    NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO_RECEIVE as Received,
    NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO_TRANSMIT as Transmit, Zero,
};
use std::net::IpAddr;

use crate::{
    packet::{Layout, PROTOCOL_TCP, PROTOCOL_UDP, ipv4_checksum},
    protection::Protection,
    software::settle,
};

/// The TCP or UDP header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer {
    /// TCP or UDP.
    pub protocol: u8,
    /// Where the header is.
    pub at: usize,
    /// The address that counts as the destination: the last one of a route.
    pub destination: IpAddr,
}

impl UpperLayer {
    /// Finds it. None in a fragment, and for other protocols.
    pub fn find(frame: &[u8], layout: &Layout) -> Option<Self> {
        if layout.fragment {
            return None;
        }
        let (mut protocol, mut at) = (layout.protocol, layout.payload);
        // Destination options stand behind the place for IPsec.
        while protocol == 60 {
            let len = (usize::from(*frame.get(at + 1)?) + 1) * 8;
            (protocol, at) = (*frame.get(at)?, at + len);
        }
        ([PROTOCOL_TCP, PROTOCOL_UDP].contains(&protocol) && at < layout.end).then_some(Self {
            protocol,
            at,
            destination: destination(frame, layout),
        })
    }

    /// Where its checksum is.
    pub fn checksum_field(&self) -> usize {
        self.at + if self.protocol == PROTOCOL_TCP { 16 } else { 6 }
    }

    /// The right checksum of the bytes from here to the end of the packet.
    pub fn checksum(&self, frame: &[u8], layout: &Layout) -> Option<u16> {
        let bytes = frame.get(self.at..layout.end)?;
        if self.protocol == PROTOCOL_TCP {
            let tcp = TcpSlice::from_slice(bytes).ok()?;
            return match (layout.source, self.destination) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    tcp.calc_checksum_ipv4(from.octets(), to.octets()).ok()
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    tcp.calc_checksum_ipv6(from.octets(), to.octets()).ok()
                }
                _ => None,
            };
        }
        let udp = UdpSlice::from_slice(bytes).ok()?;
        let (header, payload): (UdpHeader, _) = (udp.to_header(), udp.payload());
        match (layout.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => header
                .calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
                .ok(),
            (IpAddr::V6(from), IpAddr::V6(to)) => header
                .calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
                .ok(),
            _ => None,
        }
    }

    /// Writes the right checksum.
    pub fn fill(&self, frame: &mut [u8], layout: &Layout) {
        if let Some(right) = self.checksum(frame, layout) {
            let field = self.checksum_field();
            frame[field..field + 2].copy_from_slice(&right.to_be_bytes());
        }
    }
}

/// Where the packet ends up: RFC 1122 section 4.1.3.5 and RFC 8200 section 8.1 have the pseudo header
/// over the last address of a route. AH counts the header as it arrives there, too.
fn destination(frame: &[u8], layout: &Layout) -> IpAddr {
    let arrived = || {
        let mut headers = frame.get(layout.ip..layout.payload)?.to_vec();
        let len = headers.len();
        settle(&mut headers, len).ok()?;
        Some(if layout.version == 4 {
            IpAddr::from(*headers.get(16..)?.first_chunk::<4>()?)
        } else {
            IpAddr::from(*headers.get(24..)?.first_chunk::<16>()?)
        })
    };
    arrived().unwrap_or(layout.destination)
}

/// The sum over the pseudo header that TCP/IP leaves in the checksum field for the miniport to go on
/// with; `length` is that of header and payload, or zero where the miniport has to add it.
pub fn pseudo_header_sum(source: IpAddr, destination: IpAddr, protocol: u8, length: u32) -> u16 {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
        }
    }
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[0, protocol]);
    let mut sum: u32 = 0;
    for pair in bytes.chunks_exact(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// Takes the checksums out of a packet, as TCP/IP leaves them to a miniport: zero in the IPv4 header,
/// the sum of the pseudo header in the transport header. Returns the word that asks for them.
///
/// The packet may be framed: `protection` says where its transport header is then.
pub fn leave_to_the_miniport(
    frame: &mut [u8],
    plain: &[u8],
    protection: Option<&Protection>,
) -> Result<usize> {
    let inner = Layout::of(plain)?;
    let upper = UpperLayer::find(plain, &inner);
    let outer = Layout::of(frame)?;
    let mut word = Transmit::ZERO.with(
        if outer.version == 4 {
            Transmit::IsIPv4
        } else {
            Transmit::IsIPv6
        },
        1,
    );
    if outer.version == 4 {
        frame[outer.ip + 10..outer.ip + 12].fill(0);
        word = word.with(Transmit::IpHeaderChecksum, 1);
    }
    let moved = protection.map_or(0, |found| found.moved(inner.end, outer.end));
    let in_tunnel = protection.is_some_and(|found| found.carries_ip(inner.ip + moved));
    if in_tunnel && inner.version == 4 && outer.version == 4 {
        // Of a tunnel: "the NIC should calculate the checksum for both IP headers".
        let field = inner.ip + moved + 10;
        frame[field..field + 2].fill(0);
    }
    if let Some(upper) = upper {
        let moved_upper = UpperLayer {
            at: upper.at + moved,
            ..upper
        };
        let field = moved_upper.checksum_field();
        let length = (inner.end - upper.at) as u32;
        let sum = pseudo_header_sum(inner.source, upper.destination, upper.protocol, length);
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        if upper.protocol == PROTOCOL_TCP {
            ensure!(moved_upper.at < 1024, "TcpHeaderOffset has 10 bits");
            word = word
                .with(Transmit::TcpChecksum, 1)
                .with(Transmit::TcpHeaderOffset, moved_upper.at as u32);
        } else {
            word = word.with(Transmit::UdpChecksum, 1);
        }
    }
    Ok(word.Bits as usize)
}

/// `TcpIpChecksumNetBufferListInfo` of a received packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksumStamp {
    /// Of the IPv4 header: None if the driver says nothing.
    pub ip: Option<bool>,
    /// Of TCP.
    pub tcp: Option<bool>,
    /// Of UDP.
    pub udp: Option<bool>,
    /// A checksum is said to be right and wrong at once, or a bit is set that only a driver with
    /// receive segment coalescing may set.
    pub contradiction: bool,
}

impl ChecksumStamp {
    /// From the word of a received NET_BUFFER_LIST.
    pub fn from_info(info: usize) -> Self {
        let word = Received { Bits: info as u32 };
        let mut contradiction = word.get(Received::TcpChecksumValueInvalid) != 0
            || word.get(Received::IpChecksumValueInvalid) != 0;
        let mut judged = |succeeded: u32, failed: u32| {
            contradiction |= succeeded != 0 && failed != 0;
            (succeeded != 0 || failed != 0).then_some(succeeded != 0)
        };
        let ip = judged(
            word.get(Received::IpChecksumSucceeded),
            word.get(Received::IpChecksumFailed),
        );
        let tcp = judged(
            word.get(Received::TcpChecksumSucceeded),
            word.get(Received::TcpChecksumFailed),
        );
        let udp = judged(
            word.get(Received::UdpChecksumSucceeded),
            word.get(Received::UdpChecksumFailed),
        );
        Self {
            ip,
            tcp,
            udp,
            contradiction,
        }
    }
}

/// The truth about a frame as it is: its own headers, and of what it carries in the clear.
///
/// An 802.1Q tag does not matter: adapters look behind one.
pub fn truth(frame: &[u8]) -> ChecksumStamp {
    const TAG: std::ops::Range<usize> = 12..16;
    if frame.get(12..14) == Some(&[0x81, 0]) && frame.len() >= TAG.end {
        let mut untagged = frame.to_vec();
        untagged.drain(TAG);
        return truth_of(&untagged);
    }
    truth_of(frame)
}

fn truth_of(frame: &[u8]) -> ChecksumStamp {
    let mut truth = ChecksumStamp::default();
    let Ok(layout) = Layout::of(frame) else {
        return truth;
    };
    if layout.version == 4 {
        let header = &frame[layout.ip..layout.ip + usize::from(frame[layout.ip] & 0x0F) * 4];
        let is = u16::from_be_bytes([header[10], header[11]]);
        truth.ip = Some(is == ipv4_checksum(header));
    }
    if let Some(upper) = UpperLayer::find(frame, &layout)
        && let Some(right) = upper.checksum(frame, &layout)
    {
        let field = upper.checksum_field();
        let is = u16::from_be_bytes([frame[field], frame[field + 1]]);
        if upper.protocol == PROTOCOL_TCP {
            truth.tcp = Some(is == right);
        } else if is != 0 {
            truth.udp = Some(is == right);
        }
    }
    truth
}

/// What the driver says of checksums must be true. It need not say anything ("the miniport is not
/// required to validate the checksum on every packet"). With `plain`, which is what a packet carries
/// in IPsec, the transport header is there, and of a tunnel both IP headers count.
pub fn check(said: ChecksumStamp, frame: &[u8], plain: Option<&[u8]>) -> Result<()> {
    ensure!(
        !said.contradiction,
        "a checksum is said to be right and wrong"
    );
    let mut right = truth(frame);
    if let Some(plain) = plain {
        let inner = truth(plain);
        (right.tcp, right.udp) = (inner.tcp, inner.udp);
        right.ip = match (right.ip, inner.ip) {
            (Some(outer), Some(inner)) => Some(outer && inner),
            (outer, inner) => outer.or(inner),
        };
    }
    for (name, said, right) in [
        ("IP", said.ip, right.ip),
        ("TCP", said.tcp, right.tcp),
        ("UDP", said.udp, right.udp),
    ] {
        ensure!(
            said.is_none() || said == right,
            "the driver says that the {name} checksum is {}, which is not so",
            if said == Some(true) { "right" } else { "wrong" }
        );
    }
    Ok(())
}
