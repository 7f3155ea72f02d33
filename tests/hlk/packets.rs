//! The packets that the IPsec jobs send.

use std::net::IpAddr;

use etherparse::PacketBuilder;
use ipsecov2_tests::link::Course;
use tcpip::{
    large_send::{LargePacket, LsoVersion, tcp_head},
    plan::Version,
};

/// Longest IP packet of an Ethernet frame.
const MTU: usize = 1500;
/// TCP options as Windows sends them: time stamps (RFC 7323).
const OPTIONS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    fn header_len(self) -> usize {
        match self {
            Self::Tcp => 20,
            Self::Udp | Self::Icmp => 8,
        }
    }
}

/// "IPv4" or "IPv6".
pub fn name(version: Version) -> &'static str {
    match version {
        Version::V4 => "IPv4",
        Version::V6 => "IPv6",
    }
}

/// A pair of hosts, one at each end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// Their IP version.
    pub version: Version,
    /// Which pair.
    pub number: u16,
    /// Which of the two sends.
    pub course: Course,
}

impl Hosts {
    /// Source and destination.
    pub fn addresses(self) -> (IpAddr, IpAddr) {
        let [high, low] = self.number.to_be_bytes();
        let [a, b] = [1, 2].map(|host: u8| match self.version {
            Version::V4 => [10, high, low, host].into(),
            Version::V6 => [0x2001, 0xDB8, 0, self.number, 0, 0, 0, host.into()].into(),
        });
        match self.course {
            Course::Forth => (a, b),
            Course::Back => (b, a),
        }
    }

    fn ip_header_len(self) -> usize {
        match self.version {
            Version::V4 => 20,
            Version::V6 => 40,
        }
    }

    /// The most payload of a packet that leaves room for so many bytes of IPsec.
    pub fn most(self, payload: Payload, overhead: usize) -> usize {
        MTU - self.ip_header_len() - payload.header_len() - overhead
    }

    /// A frame with so many bytes of payload, which depend on `seed`.
    pub fn frame(self, payload: Payload, len: usize, seed: u64) -> Vec<u8> {
        let bytes = random(len, seed);
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip = match self.addresses() {
            (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from.octets(), to.octets(), 64),
            _ => unreachable!("addresses of one version"),
        };
        let mut frame = Vec::new();
        let (sequence, bytes) = (seed as u16, bytes.as_slice());
        let written = match (payload, self.version) {
            (Payload::Tcp, _) => {
                let segment = ip.tcp(49_152, 445, seed as u32, 8192).ack(1).psh();
                segment.write(&mut frame, bytes)
            }
            (Payload::Udp, _) => ip.udp(49_153, 5_001).write(&mut frame, bytes),
            (Payload::Icmp, Version::V4) => {
                let echo = ip.icmpv4_echo_request(7, sequence);
                echo.write(&mut frame, bytes)
            }
            (Payload::Icmp, Version::V6) => {
                let echo = ip.icmpv6_echo_request(7, sequence);
                echo.write(&mut frame, bytes)
            }
        };
        written.expect("a packet that fits its length fields");
        frame
    }

    /// Frames of these payloads, from none to the most that leaves room for `overhead`.
    pub fn frames(self, payloads: &[Payload], overhead: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for &payload in payloads {
            let most = self.most(payload, overhead);
            for len in [0, 1, 2, 3, 64, 256, 576, 1024, most - 1, most] {
                frames.push(self.frame(payload, len, frames.len() as u64));
            }
        }
        frames
    }

    /// The MSS that leaves room for so many bytes of IPsec.
    pub fn mss(self, overhead: usize) -> usize {
        self.most(Payload::Tcp, overhead) - OPTIONS.len()
    }

    /// The versions of large send offload that there are for packets of this IP version.
    pub fn lso(self) -> &'static [LsoVersion] {
        match self.version {
            Version::V4 => &[LsoVersion::V1, LsoVersion::V2],
            Version::V6 => &[LsoVersion::V2],
        }
    }

    /// A large TCP packet, which the driver has to cut.
    pub fn large(self, len: usize, mss: usize, version: LsoVersion) -> LargePacket {
        let (source, destination) = self.addresses();
        // CWR, ACK, PSH and FIN: not in every segment.
        let flags = 0x99;
        LargePacket {
            head: tcp_head(source, destination, &OPTIONS, flags),
            payload: random(len, len as u64),
            mss,
            version,
            discard: 0,
        }
    }
}

fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}
