//! Large send offload: one large TCP packet becomes segments of at most MSS bytes of payload
//! ("Offloading the Segmentation of Large TCP Packets").
//!
//! ```text
//!  large packet   | link, IP, options | (IPsec) | TCP, options | payload ........................ |
//!                 '-------------- head --------------------------'
//!  segment i      | head, rewritten                              | payload[i*MSS..] | (tail)
//! ```
//!
//! Nothing is copied or held here: the caller copies the head, gathers a segment's payload behind it,
//! and has [`LargeSend::finish`] rewrite the headers.

use core::ops::Range;

use crate::checksum::{self, TCP_CHECKSUM};
use crate::{Ip, IpVersion, Sum, TCP, ip};

const TCP_SEQUENCE: usize = 4;
const TCP_FLAGS: usize = 13;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// IP identifications of segments keep below 0x8000: "the range from 0x8000 to 0xFFFF is reserved
/// for TCP chimney offload-capable devices".
const IDENTIFICATION_MASK: u16 = 0x7fff;

/// The most bytes of payload of a version 2 large send that is taken.
pub const MAX_PAYLOAD_V2: usize = 256 * 1024;
/// Likewise of version 1, whose packet has its whole length in the IPv4 header: what is left of
/// 65,535 bytes beside the longest IPv4 and TCP headers.
pub const MAX_PAYLOAD_V1: usize = 65_535 - 60 - 60;
/// The least segments that a large send has to have.
pub const MIN_SEGMENTS: usize = 2;
/// The longest head that is taken: a tagged Ethernet header, an IPv6 header with the 128 bytes of
/// extension headers that "Combining Types of Task Offloads" requires and as much again, the longest
/// TCP header, and the longest headers of AH and of ESP in UDP with IV.
pub const MAX_HEAD: usize = 512;

/// The versions of large send offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeSendVersion {
    /// The IPv4 header has the length of the large packet.
    V1,
    /// The length in the IP header is zero: the buffer's length counts.
    V2,
}

/// What is asked for with a large packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeSendRequest {
    /// Version 1 or 2.
    pub version: LargeSendVersion,
    /// The IP version that the request names.
    pub ip_version: IpVersion,
    /// The most bytes of TCP payload in a segment.
    pub mss: usize,
    /// Where the TCP header is, in bytes from the start of the frame.
    pub tcp_header_offset: usize,
    /// Bytes at the end of the packet that are not payload and not to be sent (with IPsec:
    /// `PadLength`).
    pub discard: usize,
    /// The TCP header is behind IPsec headers, which are not looked at: the caller knows the SA and
    /// has checked that it is there.
    pub enveloped: bool,
}

/// Why a packet cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeSendError {
    /// Not an IP packet, or its headers do not parse or are longer than [`MAX_HEAD`].
    Malformed,
    /// The packet is of another IP version than the request says, or version 1 over IPv6.
    WrongIpVersion,
    /// The packet does not carry TCP.
    NotTcp,
    /// The TCP header is elsewhere than the request says.
    WrongOffset,
    /// The packet is a fragment.
    Fragment,
    /// The MSS is zero.
    NoMss,
    /// The buffer has not the length that the headers ask for.
    WrongLength,
    /// More payload than [`MAX_PAYLOAD_V1`] or [`MAX_PAYLOAD_V2`].
    TooLarge,
    /// There is nothing to cut. A packet of a single segment is no error: the transport should not
    /// ask for less than [`MIN_SEGMENTS`], and would send it again and again.
    NoPayload,
    /// The packet is to take a route whose end cannot be told.
    UnknownDestination,
}

/// A large packet that can be cut.
#[derive(Clone, Debug)]
pub struct LargeSend {
    ip: Ip,
    /// Where the IP and the TCP header are in the frame.
    ip_offset: usize,
    tcp_offset: usize,
    /// Bytes before the payload.
    head: usize,
    payload: usize,
    mss: usize,
    flags: u8,
    sequence: u32,
    identification: u16,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number, from 0 on.
    pub index: usize,
    /// Where its payload is in that of the large packet.
    pub payload: Range<usize>,
    /// The last one.
    pub last: bool,
}

impl LargeSend {
    /// Looks at a large packet: `head` is the beginning of its frame, up to the end of the TCP header
    /// at least, the IP header is at `ip_offset` in it, and the frame has `frame_len` bytes.
    ///
    /// # Errors
    /// [`LargeSendError`].
    pub fn new(
        head: &[u8],
        ip_offset: usize,
        frame_len: usize,
        request: &LargeSendRequest,
    ) -> Result<Self, LargeSendError> {
        use LargeSendError as Error;

        let packet = head.get(ip_offset..).ok_or(Error::Malformed)?;
        let buffer = frame_len.saturating_sub(ip_offset);
        let length = match request.version {
            LargeSendVersion::V1 => ip::total_length(packet).map_err(|_| Error::Malformed)?,
            LargeSendVersion::V2 => buffer,
        };
        if length > buffer {
            return Err(Error::WrongLength);
        }
        let ip = Ip::parse_head(packet, length).map_err(|_| Error::Malformed)?;
        if ip.version != request.ip_version
            || (request.version == LargeSendVersion::V1 && ip.version == IpVersion::V6)
        {
            return Err(Error::WrongIpVersion);
        }
        if ip.fragment {
            return Err(Error::Fragment);
        }
        let found = ip_offset.saturating_add(ip.payload.start);
        let tcp_offset = request.tcp_header_offset;
        if request.enveloped {
            // At least the shortest IPsec header is between.
            if tcp_offset <= found {
                return Err(Error::WrongOffset);
            }
        } else if ip.protocol != TCP {
            return Err(Error::NotTcp);
        } else if tcp_offset != found {
            return Err(Error::WrongOffset);
        }
        let tcp = head.get(tcp_offset..).ok_or(Error::Malformed)?;
        let header = checksum::tcp_header(tcp).ok_or(Error::Malformed)?;
        let Some([_, _, _, _, s0, s1, s2, s3, _, _, _, _, _, flags]) = tcp.first_chunk() else {
            return Err(Error::Malformed);
        };
        let head_len = tcp_offset.saturating_add(header);
        if head_len > MAX_HEAD {
            return Err(Error::Malformed);
        }
        let payload = ip_offset
            .saturating_add(length)
            .checked_sub(request.discard)
            .and_then(|end| end.checked_sub(head_len))
            .ok_or(Error::WrongLength)?;
        if request.mss == 0 {
            return Err(Error::NoMss);
        }
        let most = match request.version {
            LargeSendVersion::V1 => MAX_PAYLOAD_V1,
            LargeSendVersion::V2 => MAX_PAYLOAD_V2,
        };
        if payload > most {
            return Err(Error::TooLarge);
        }
        if ip.pseudo_header(TCP, 0).is_none() {
            return Err(Error::UnknownDestination);
        }
        let identification = match ip.version {
            IpVersion::V4 => {
                ip::u16_at(packet, ip::IPV4_IDENTIFICATION).map_err(|_| Error::Malformed)?
            }
            IpVersion::V6 => 0,
        };
        let large = Self {
            ip,
            ip_offset,
            tcp_offset,
            head: head_len,
            payload,
            mss: request.mss,
            flags: *flags,
            sequence: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
            identification,
        };
        if payload == 0 {
            return Err(Error::NoPayload);
        }
        Ok(large)
    }

    /// Bytes of the frame before the payload: what every segment starts with.
    #[must_use]
    pub const fn head_len(&self) -> usize {
        self.head
    }

    /// Bytes of TCP payload in all.
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.payload
    }

    /// How many segments there are; at least [`MIN_SEGMENTS`].
    #[must_use]
    pub const fn segments(&self) -> usize {
        self.payload.div_ceil(self.mss)
    }

    /// The bytes of the longest segment's frame, without a tail.
    #[must_use]
    pub fn longest_frame(&self) -> usize {
        self.head.saturating_add(self.mss.min(self.payload))
    }

    /// Segment `index`; None behind the last.
    #[must_use]
    pub fn segment(&self, index: usize) -> Option<Segment> {
        let start = self.mss.checked_mul(index)?;
        if start >= self.payload {
            return None;
        }
        let end = start.saturating_add(self.mss).min(self.payload);
        Some(Segment {
            index,
            payload: start..end,
            last: end == self.payload,
        })
    }

    /// Makes the headers of `frame` those of `segment`. The frame has a copy of the head, the
    /// segment's payload, and a tail of `tail` bytes (with IPsec: padding, trailer and ICV), which
    /// only the lengths count. It must not be padded to the medium's minimum yet.
    ///
    /// Everything that a segment has of its own is written, whatever the copy holds: the length in the
    /// IP header, IPv4 identification and header checksum, TCP sequence number, flags, checksum.
    ///
    /// # Errors
    /// [`LargeSendError::WrongLength`], when the frame has another length than that, or one that the IP
    /// header cannot tell.
    pub fn finish(
        &self,
        segment: &Segment,
        frame: &mut [u8],
        tail: usize,
    ) -> Result<(), LargeSendError> {
        const WRONG: LargeSendError = LargeSendError::WrongLength;
        let end = self.head.saturating_add(segment.payload.len());
        if frame.len() != end.saturating_add(tail) {
            return Err(WRONG);
        }
        let packet = frame.get_mut(self.ip_offset..).ok_or(WRONG)?;
        self.write_ip(segment, packet).ok_or(WRONG)?;
        let tcp = frame.get_mut(self.tcp_offset..end).ok_or(WRONG)?;
        self.write_tcp(segment, tcp).ok_or(WRONG)
    }

    fn write_ip(&self, segment: &Segment, packet: &mut [u8]) -> Option<()> {
        let length = packet.len();
        match self.ip.version {
            IpVersion::V4 => {
                checksum::put(packet, ip::IPV4_TOTAL_LENGTH, u16::try_from(length).ok()?).ok()?;
                // There are fewer than 2^16 numbers, so that it does not matter what is cut off.
                let number = self.identification.wrapping_add(segment.index as u16);
                let number = number & IDENTIFICATION_MASK;
                checksum::put(packet, ip::IPV4_IDENTIFICATION, number).ok()?;
                checksum::write_ip_header(packet, &self.ip).ok()
            }
            IpVersion::V6 => {
                let payload = u16::try_from(length.checked_sub(ip::IPV6_FIXED)?).ok()?;
                checksum::put(packet, ip::IPV6_PAYLOAD_LENGTH, payload).ok()
            }
        }
    }

    fn write_tcp(&self, segment: &Segment, tcp: &mut [u8]) -> Option<()> {
        let sequence = self.sequence.wrapping_add(segment.payload.start as u32);
        *tcp.get_mut(TCP_SEQUENCE..)?.first_chunk_mut()? = sequence.to_be_bytes();
        let mut flags = self.flags;
        if !segment.last {
            flags &= !(FIN | PSH);
        }
        if segment.index != 0 {
            flags &= !CWR;
        }
        *tcp.get_mut(TCP_FLAGS)? = flags;
        checksum::put(tcp, TCP_CHECKSUM, 0).ok()?;
        let pseudo: Sum = self.ip.pseudo_header(TCP, u32::try_from(tcp.len()).ok()?)?;
        let sum = pseudo.bytes(tcp).checksum();
        checksum::put(tcp, TCP_CHECKSUM, sum).ok()
    }
}
