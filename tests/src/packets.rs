//! TCP and UDP packets over IPv4 and IPv6, whole, unfinished as a transport leaves them to an adapter,
//! and cut into segments. Headers and checksums are etherparse's: nothing here is the driver's.

use std::fmt;

use etherparse::{IpNumber, Ipv4Header, TcpHeader, UdpHeader};

/// The IP header, with whatever stands between it and the transport.
#[derive(Clone)]
pub enum Net {
    /// IPv4, with the destination that the transport's checksum is over.
    V4(Ipv4Header, [u8; 4]),
    /// IPv6: the fixed header with the protocol of what follows it, the extension headers, and the
    /// addresses that the transport's checksum is over.
    V6([u8; 40], Vec<u8>, [u8; 16], [u8; 16]),
}

/// The header of the transport.
#[derive(Clone)]
pub enum Transport {
    /// TCP.
    Tcp(TcpHeader),
    /// UDP.
    Udp(UdpHeader),
}

/// A packet.
#[derive(Clone)]
pub struct Packet {
    /// What the packet has that is worth naming.
    pub name: String,
    /// Destination, source, and any tag.
    pub link: Vec<u8>,
    /// IP.
    pub net: Net,
    /// TCP or UDP.
    pub transport: Transport,
    /// The user's bytes.
    pub payload: Vec<u8>,
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} bytes", self.name, self.payload.len())
    }
}

const V4: ([u8; 4], [u8; 4]) = ([192, 0, 2, 1], [198, 51, 100, 2]);
const HOP: [u8; 4] = [203, 0, 113, 9];
const V6_SOURCE: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
const V6_DESTINATION: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2];
const V6_HOP: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 3];

fn v4(options: &[u8], end: [u8; 4]) -> Net {
    let mut header = Ipv4Header::new(0, 64, IpNumber::TCP, V4.0, V4.1).expect("it fits");
    header.identification = 0x7fff;
    header.dont_fragment = true;
    header.options = options.try_into().expect("a multiple of 4");
    Net::V4(header, end)
}

/// `extensions`: protocol and bytes of each, the first byte of which is written here.
fn v6(extensions: &[(u8, &[u8])], source: [u8; 16], end: [u8; 16]) -> Net {
    let mut fixed = [0; 40];
    fixed[0] = 0x60;
    fixed[7] = 64;
    fixed[8..24].copy_from_slice(&V6_SOURCE);
    fixed[24..].copy_from_slice(&V6_DESTINATION);
    let mut bytes = vec![];
    // The protocol of the transport is filled in later: 0xfe stands for it.
    let mut next = 0xfe;
    for (protocol, extension) in extensions.iter().rev() {
        bytes = [&[next], &extension[1..], &bytes].concat();
        next = *protocol;
    }
    fixed[6] = next;
    Net::V6(fixed, bytes, source, end)
}

/// Every kind of header that the adapter says it can do.
#[must_use]
pub fn nets() -> Vec<(&'static str, Net)> {
    let route = [&[131, 7, 4][..], &HOP, &[0]].concat();
    let routing = [&[0, 2, 0, 1, 0, 0, 0, 0][..], &V6_HOP].concat();
    let segments = [&[0, 2, 4, 1, 0, 0, 0, 0][..], &V6_HOP].concat();
    let home = [&[0, 2, 1, 1, 1, 0, 201, 16][..], &V6_HOP].concat();
    let long = [&[0, 15, 1, 124][..], &[0; 124]].concat();
    vec![
        ("IPv4", v4(&[], V4.1)),
        ("IPv4, router alert", v4(&[148, 4, 0, 0], V4.1)),
        ("IPv4, 40 bytes of options", v4(&[1; 40], V4.1)),
        ("IPv4, source route", v4(&route, HOP)),
        ("IPv6", v6(&[], V6_SOURCE, V6_DESTINATION)),
        (
            "IPv6, hop-by-hop",
            v6(&[(0, &[0, 0, 5, 2, 0, 0, 1, 0])], V6_SOURCE, V6_DESTINATION),
        ),
        (
            "IPv6, 128 bytes of destination options",
            v6(&[(60, &long)], V6_SOURCE, V6_DESTINATION),
        ),
        (
            "IPv6, routing header",
            v6(&[(43, &routing)], V6_SOURCE, V6_HOP),
        ),
        (
            "IPv6, segment routing header behind hop-by-hop",
            v6(
                &[(0, &[0, 0, 5, 2, 0, 0, 1, 0]), (43, &segments)],
                V6_SOURCE,
                V6_HOP,
            ),
        ),
        (
            "IPv6, home address",
            v6(&[(60, &home)], V6_HOP, V6_DESTINATION),
        ),
    ]
}

/// A TCP header with so many bytes of options.
#[must_use]
pub fn tcp(options: usize) -> Transport {
    let mut header = TcpHeader::new(49_152, 80, 0xffff_f000, 8192);
    header.ack = true;
    header.psh = true;
    header.ece = true;
    header.acknowledgment_number = 77;
    let mut bytes = vec![1, 1, 8, 10, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];
    bytes.resize(options, 1);
    header.set_options_raw(&bytes).expect("at most 40");
    Transport::Tcp(header)
}

/// A UDP header.
#[must_use]
pub fn udp() -> Transport {
    Transport::Udp(UdpHeader {
        source_port: 5000,
        destination_port: 6000,
        length: 0,
        checksum: 0,
    })
}

impl Packet {
    /// A packet from one station to another.
    #[must_use]
    pub fn new(
        (name, net): (&str, Net),
        transport: Transport,
        payload: usize,
        destination: [u8; 6],
        source: [u8; 6],
    ) -> Self {
        let kind = match &transport {
            Transport::Tcp(header) => format!("TCP with {} bytes of options", header.options.len()),
            Transport::Udp(_) => "UDP".to_owned(),
        };
        Self {
            name: format!("{name}, {kind}"),
            link: [destination, source].concat(),
            net,
            transport,
            payload: (0..payload).map(|i| (i * 7 + i / 251) as u8).collect(),
        }
    }

    /// Whether it is IPv4.
    #[must_use]
    pub fn is_v4(&self) -> bool {
        matches!(self.net, Net::V4(..))
    }

    /// Whether it is TCP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        matches!(self.transport, Transport::Tcp(_))
    }

    /// Puts a tag into the frame.
    #[must_use]
    pub fn tagged(mut self, tci: u16) -> Self {
        self.link.extend([0x81, 0]);
        self.link.extend(tci.to_be_bytes());
        self
    }

    /// Where the IP header is in the frame.
    #[must_use]
    pub fn ip_offset(&self) -> usize {
        self.link.len() + 2
    }

    /// Where the transport's header is in the frame.
    #[must_use]
    pub fn transport_offset(&self) -> usize {
        let ip = match &self.net {
            Net::V4(header, _) => header.header_len(),
            Net::V6(fixed, extensions, ..) => fixed.len() + extensions.len(),
        };
        self.ip_offset() + ip
    }

    /// The frame, with everything in it right.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        self.frame_with(None)
    }

    /// The frame as the transport hands it to an adapter that computes the checksums: that of the IPv4
    /// header zero, and in the transport's place the sum over the pseudo-header.
    #[must_use]
    pub fn unfinished(&self) -> Vec<u8> {
        let len = (self.transport_len() + self.payload.len()) as u32;
        self.frame_with(Some(self.pseudo_header(len)))
    }

    /// The frame as the transport hands it down to be cut: the length in the IP header is zero for
    /// version 2, and the pseudo-header's sum is without a length.
    #[must_use]
    pub fn large(&self, version: u32) -> Vec<u8> {
        let mut frame = self.frame_with(Some(self.pseudo_header(0)));
        if version == 2 {
            let at = self.ip_offset() + if self.is_v4() { 2 } else { 4 };
            frame[at..at + 2].fill(0);
        }
        frame
    }

    fn transport_len(&self) -> usize {
        match &self.transport {
            Transport::Tcp(header) => header.header_len(),
            Transport::Udp(_) => 8,
        }
    }

    fn protocol(&self) -> u8 {
        if self.is_tcp() { 6 } else { 17 }
    }

    fn pseudo_header(&self, len: u32) -> u16 {
        let mut bytes = match &self.net {
            Net::V4(header, end) => [header.source, *end].concat(),
            Net::V6(_, _, source, end) => [*source, *end].concat(),
        };
        bytes.extend(len.to_be_bytes());
        bytes.extend([0, self.protocol()]);
        let sum: u32 = bytes
            .chunks(2)
            .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    /// With this instead of the transport's checksum; without the IPv4 header's then.
    fn frame_with(&self, instead: Option<u16>) -> Vec<u8> {
        let mut transport = match &self.transport {
            Transport::Tcp(header) => {
                let checksum = match &self.net {
                    Net::V4(ip, end) => header
                        .calc_checksum_ipv4_raw(ip.source, *end, &self.payload)
                        .unwrap_or_default(),
                    Net::V6(_, _, source, end) => header
                        .calc_checksum_ipv6_raw(*source, *end, &self.payload)
                        .unwrap_or_default(),
                };
                let mut header = header.clone();
                header.checksum = instead.unwrap_or(checksum);
                header.to_bytes().to_vec()
            }
            Transport::Udp(header) => {
                let mut header = header.clone();
                header.length = (8 + self.payload.len()) as u16;
                let checksum = match &self.net {
                    Net::V4(ip, end) => header
                        .calc_checksum_ipv4_raw(ip.source, *end, &self.payload)
                        .expect("it fits"),
                    Net::V6(_, _, source, end) => header
                        .calc_checksum_ipv6_raw(*source, *end, &self.payload)
                        .expect("it fits"),
                };
                header.checksum = instead.unwrap_or(checksum);
                header.to_bytes().to_vec()
            }
        };
        transport.extend(&self.payload);
        let mut frame = self.link.clone();
        match &self.net {
            Net::V4(header, _) => {
                let mut header = header.clone();
                header.protocol = IpNumber(self.protocol());
                // A large packet of version 2 may be longer than the field can say.
                header.total_len = (header.header_len() + transport.len()) as u16;
                header.header_checksum = if instead.is_some() {
                    0
                } else {
                    header.calc_header_checksum()
                };
                frame.extend([0x08, 0x00]);
                frame.extend(header.to_bytes());
            }
            Net::V6(fixed, extensions, ..) => {
                let mut fixed = *fixed;
                let mut extensions = extensions.clone();
                let mut field = &mut fixed[6];
                if *field != 0xfe {
                    let mut at = 0;
                    while extensions[at] != 0xfe {
                        at += (usize::from(extensions[at + 1]) + 1) * 8;
                    }
                    field = &mut extensions[at];
                }
                *field = self.protocol();
                let length = (extensions.len() + transport.len()) as u16;
                fixed[4..6].copy_from_slice(&length.to_be_bytes());
                frame.extend([0x86, 0xdd]);
                frame.extend(fixed);
                frame.extend(extensions);
            }
        }
        frame.extend(transport);
        frame
    }

    /// The frames that a sender without offload would have sent, with at most `mss` bytes each.
    #[must_use]
    pub fn segments(&self, mss: usize) -> Vec<Vec<u8>> {
        let Transport::Tcp(whole) = &self.transport else {
            panic!("only TCP is cut");
        };
        let count = self.payload.len().div_ceil(mss);
        let pieces = self.payload.chunks(mss).enumerate();
        let segments = pieces.map(|(index, piece)| {
            let mut header = whole.clone();
            header.sequence_number = header.sequence_number.wrapping_add((index * mss) as u32);
            let last = index + 1 == count;
            header.fin &= last;
            header.psh &= last;
            header.cwr &= index == 0;
            let mut net = self.net.clone();
            if let Net::V4(ip, _) = &mut net {
                // "IP ID values in the range from 0x0000 to 0x7FFF".
                ip.identification = ((usize::from(ip.identification) + index) % 0x8000) as u16;
            }
            let segment = Self {
                net,
                transport: Transport::Tcp(header),
                payload: piece.to_vec(),
                ..self.clone()
            };
            segment.frame()
        });
        segments.collect()
    }
}
