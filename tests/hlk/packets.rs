//! The packets that the IPsec jobs send.

use etherparse::PacketBuilder;
use tcpip::plan::Version;

/// Longest IP packet of an Ethernet frame.
const MTU: usize = 1500;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A TCP segment.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An ICMP or ICMPv6 echo request.
    Icmp,
}

impl Payload {
    /// Bytes of its header.
    pub fn header_len(self) -> usize {
        match self {
            Self::Tcp => 20,
            Self::Udp | Self::Icmp => 8,
        }
    }
}

/// Bytes of an IP header.
pub fn ip_header_len(version: Version) -> usize {
    match version {
        Version::V4 => 20,
        Version::V6 => 40,
    }
}

/// The most payload that leaves room for so many bytes of IPsec in a packet.
pub fn most(version: Version, payload: Payload, overhead: usize) -> usize {
    MTU - ip_header_len(version) - payload.header_len() - overhead
}

/// A frame between the hosts number `pair` with so many bytes of payload, which depend on `seed`.
pub fn frame(version: Version, payload: Payload, pair: u8, len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = match version {
        Version::V4 => link.ipv4([192, 0, 2, pair], [198, 51, 100, pair], 64),
        Version::V6 => {
            let address = |net| [0x20, 1, 0xD, 0xB8, 0, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, pair];
            link.ipv6(address(1), address(2), 64)
        }
    };
    let mut frame = Vec::new();
    let sequence = seed as u16;
    match (payload, version) {
        (Payload::Tcp, _) => {
            let segment = ip.tcp(49_152, 445, seed as u32, 8192).ack(1).psh();
            segment.write(&mut frame, &bytes)
        }
        (Payload::Udp, _) => ip.udp(49_153, 5_001).write(&mut frame, &bytes),
        (Payload::Icmp, Version::V4) => {
            let echo = ip.icmpv4_echo_request(7, sequence);
            echo.write(&mut frame, &bytes)
        }
        (Payload::Icmp, Version::V6) => {
            let echo = ip.icmpv6_echo_request(7, sequence);
            echo.write(&mut frame, &bytes)
        }
    }
    .expect("a packet that fits its length fields");
    frame
}
