//! Large TCP packets as the transport frames them for IPsec, cut by the crate that cuts them in
//! the driver; and the same segments as a TCP sender would have made each.

use std::num::NonZeroU32;

use ipsec::{Engine, LargeFraming, SendError, SendRequest};
use task_offload::large_send::LargeSendVersion;
use task_offload::{IpVersion, LargeSend, LargeSendRequest};

use super::*;

pub const TCP: u8 = 6;
/// What the transport appends, to be thrown away.
const DISCARDED: usize = 7;

/// A large TCP packet without IPsec.
#[derive(Clone, Debug)]
pub struct Large {
    pub ip: Ip,
    pub version: LargeSendVersion,
    /// A multiple of 4 bytes.
    pub tcp_options: Vec<u8>,
    pub flags: u8,
    pub payload: Vec<u8>,
    pub mss: usize,
    /// In ESP before TCP: destination options.
    pub options_in_esp: bool,
}

impl Large {
    pub fn new(ip: Ip, payload_len: usize, mss: usize) -> Self {
        Self {
            ip,
            version: LargeSendVersion::V2,
            tcp_options: vec![1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
            // CWR, ACK, PSH, FIN.
            flags: 0b1001_1001,
            payload: payload(payload_len),
            mss,
            options_in_esp: false,
        }
    }

    pub fn segments(&self) -> usize {
        self.payload.len().div_ceil(self.mss)
    }

    /// What ESP or AH names as its payload.
    pub fn next_header(&self) -> u8 {
        if self.options_in_esp { 60 } else { TCP }
    }

    fn inner_options(&self) -> &[u8] {
        match self.options_in_esp {
            true => &[TCP, 0, 1, 4, 0, 0, 0, 0],
            false => &[],
        }
    }

    fn tcp(&self, sequence: u32, flags: u8) -> Vec<u8> {
        let mut tcp = vec![0x12, 0x34, 0x00, 0x50];
        tcp.extend(sequence.to_be_bytes());
        tcp.extend([9, 8, 7, 6]);
        tcp.extend([
            ((20 + self.tcp_options.len()) / 4 * 16) as u8,
            flags,
            0x20,
            0,
        ]);
        // The transport's sum over the pseudo-header, which nobody needs.
        tcp.extend([0xDE, 0xAD, 0, 0]);
        tcp.extend(&self.tcp_options);
        tcp
    }

    /// Near the end of the sequence space, so that it wraps.
    const SEQUENCE: u32 = u32::MAX - 1000;

    /// What comes behind the IPsec headers of the large packet: headers, and payload.
    pub fn transport(&self) -> [Vec<u8>; 2] {
        let tcp = self.tcp(Self::SEQUENCE, self.flags);
        [[self.inner_options(), &tcp].concat(), self.payload.clone()]
    }

    /// What comes behind the IPsec headers of segment `index`: as a TCP sender makes it.
    pub fn segment(&self, index: usize) -> Vec<u8> {
        let chunk = self.payload.chunks(self.mss).nth(index).unwrap();
        let mut flags = self.flags;
        if index + 1 != self.segments() {
            flags &= !0b1001;
        }
        if index != 0 {
            flags &= !0b1000_0000;
        }
        let sequence = Self::SEQUENCE.wrapping_add((index * self.mss) as u32);
        let mut tcp = self.tcp(sequence, flags);
        tcp[16..18].fill(0);
        tcp.extend(chunk);
        let mut pseudo = match self.ip.is_v6() {
            true => [SOURCE_V6, DESTINATION_V6].concat(),
            false => [SOURCE_V4, DESTINATION_V4].concat(),
        };
        pseudo.extend((tcp.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, TCP]);
        pseudo.extend(&tcp);
        let checksum = internet_checksum(&pseudo);
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        [self.inner_options(), &tcp].concat()
    }

    /// Makes the IP header of `packet` that of segment `index`.
    pub fn finish_ip(&self, packet: &mut [u8], index: usize) {
        if self.ip.is_v6() {
            return;
        }
        let header = usize::from(packet[0] & 15) * 4;
        let identification = (0x1234 + index) % 0x8000;
        packet[4..6].copy_from_slice(&(identification as u16).to_be_bytes());
        packet[10..12].fill(0);
        let checksum = internet_checksum(&packet[..header]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }

    /// The large packet as the transport frames it: `front` is everything up to the payload of
    /// ESP or AH. The out-of-band data are to have [`Self::request`]'s `PadLength`.
    pub fn framed(&self, front: &[u8], esp: bool) -> Framed {
        let [headers, payload] = self.transport();
        let discarded = if esp { DISCARDED } else { 0 };
        let tcp_offset = front.len() + self.inner_options().len();
        let mut bytes = [front, &headers, &payload, &vec![0xDD; discarded]].concat();
        let length = match self.version {
            LargeSendVersion::V1 => bytes.len() as u16,
            LargeSendVersion::V2 => 0,
        };
        let field = if self.ip.is_v6() { 4 } else { 2 };
        bytes[field..field + 2].copy_from_slice(&length.to_be_bytes());
        Framed { bytes, tcp_offset }
    }

    /// The members of the out-of-band data that are about ESP.
    pub fn request(&self, request: SendRequest) -> SendRequest {
        SendRequest {
            next_header: self.next_header(),
            pad_length: DISCARDED as u8,
            ..request
        }
    }
}

/// A large packet that is framed for IPsec, without a link header.
#[derive(Clone, Debug)]
pub struct Framed {
    pub bytes: Vec<u8>,
    pub tcp_offset: usize,
}

impl Framed {
    pub fn cut(&self, large: &Large, discard: usize) -> LargeSend {
        let request = LargeSendRequest {
            version: large.version,
            ip_version: match large.ip.is_v6() {
                true => IpVersion::V6,
                false => IpVersion::V4,
            },
            mss: large.mss,
            tcp_header_offset: self.tcp_offset,
            discard,
            enveloped: true,
        };
        LargeSend::new(&self.bytes, 0, self.bytes.len(), &request).unwrap()
    }

    pub fn plan(&self, engine: &Engine, request: &SendRequest) -> Result<LargeFraming, SendError> {
        let simd = simd();
        let head = &self.bytes[..self.tcp_offset + 60.min(self.bytes.len() - self.tcp_offset)];
        engine.outbound(&simd).large(request, head, self.tcp_offset)
    }

    /// Cuts and seals it as the driver does. Every `burst` segments it goes on in another burst
    /// that knows the number of the next segment only.
    pub fn send(
        &self,
        engine: &Engine,
        large: &Large,
        request: &SendRequest,
        burst: usize,
    ) -> Result<Vec<Vec<u8>>, SendError> {
        let mut sent = Vec::new();
        loop {
            let simd = simd();
            let mut outbound = engine.outbound(&simd);
            let framing = outbound.large(request, &self.bytes, self.tcp_offset)?;
            let cut = self.cut(large, framing.discard());
            assert_eq!(cut.head_len(), framing.head_len());
            let count = NonZeroU32::new(cut.segments() as u32).unwrap();
            let mut segments = outbound.reserve(framing, count, sent.len() as u32)?;
            for _ in 0..burst {
                let Some(segment) = cut.segment(sent.len()) else {
                    return Ok(sent);
                };
                let payload = segment.payload.len();
                let tail = segments.framing().tail(payload);
                let head = &self.bytes[..cut.head_len()];
                let from = &self.bytes[cut.head_len()..][segment.payload.clone()];
                let mut packet = [head, from, &vec![0xCC; tail]].concat();
                cut.finish(&segment, &mut packet, tail).unwrap();
                outbound.seal_segment(&mut segments, payload, &mut packet)?;
                sent.push(packet);
            }
        }
    }
}

/// RFC 1071, the slow way.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = bytes
        .chunks(2)
        .map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    !(sum as u16)
}
