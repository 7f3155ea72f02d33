//! Large send offload with IPsec: a large TCP packet is cut by someone else; here each segment
//! becomes a packet of the SA.
//!
//! ```text
//!  large packet   | IP | (AH) | (UDP) | ESP, IV | (options) TCP | payload ........ | padding |
//!  segment        | IP | (AH) | (UDP) | ESP, IV | (options) TCP | payload | trailer, ICV |
//!                 '------------------ head --------------------'          '---- tail ----'
//! ```
//!
//! - "When a protocol driver transmits a packet that requests both LSO and IPsecOV2, it will not
//!   frame the ESP trailer": nothing of it is there, and so not the ICV behind it either. Each
//!   segment gets its own, with the next header of the out-of-band data.
//! - "The NET_BUFFER might have padding that will be discarded": `PadLength` bytes at the end.
//! - The headers are framed as those of any packet, with the first segment's sequence number;
//!   the others follow it in a row ("Sending Network Data with IPsec Offload Version 2").
//! - The UDP length is that of each segment. The checksum is zero, as RFC 3948 section 2.1 asks of
//!   IPv4 and RFC 6935 allows over IPv6: the transport cannot know another.
//! - LsoSupported is about every connection "secured with IPsec", so that AH is done too; "the
//!   packet won't be sent through a tunnel" (offloading the segmentation of large TCP packets).

use core::num::NonZeroU32;

use super::portion::{Lows, Portion, find_ah, told, up_to_ipsec};
use super::seal::Numbers;
use super::{OutboundBurst, SendError, SendRequest};
use crate::esp;
use crate::packet::{self, Headers};
use crate::sa::encapsulation::Place;
use crate::sa::{Sa, SaHandle};

/// Where the length and the checksum of a UDP header are.
const UDP_HEADER: usize = 8;
const UDP_LENGTH: usize = 4;
/// Where a sequence number is in ESP, and in AH.
const ESP_SEQUENCE: usize = 4;
const AH_SEQUENCE: usize = 8;
/// Where a TCP header has its own length.
const TCP_DATA_OFFSET: usize = 12;

/// How a large packet is framed for its SA. Offsets count from its IP header.
#[derive(Clone, Debug)]
pub struct LargeFraming {
    sa: SaHandle,
    /// Bytes before the TCP payload.
    head: usize,
    ah: Option<usize>,
    udp: Option<usize>,
    esp: Option<EspFraming>,
    lows: Lows,
}

#[derive(Clone, Debug)]
struct EspFraming {
    start: usize,
    /// Where the IV ends.
    body: usize,
    alignment: usize,
    icv: usize,
    next_header: u8,
    discard: u8,
}

/// The segments of a large packet that are yet to be sealed: their sequence numbers are taken.
#[derive(Clone, Debug)]
pub struct LargeSegments {
    framing: LargeFraming,
    /// Of the first segment of all.
    numbers: Numbers,
    next: u32,
    count: NonZeroU32,
}

impl LargeFraming {
    fn find(
        sa: &Sa,
        handle: SaHandle,
        request: &SendRequest,
        head: &[u8],
        tcp_offset: usize,
    ) -> Result<Self, SendError> {
        if sa.encapsulation.says_tunnel() {
            return Err(SendError::LargeInTunnel);
        }
        let ip = Headers::parse_large(head).map_err(|_| SendError::Malformed)?;
        let headers = up_to_ipsec(sa, ip, head, Place::Outermost)?;
        let (mut protocol, mut offset) = (headers.protocol, headers.offset);
        let ah = find_ah(sa, &headers, head)?;
        if let Some(ah) = &ah {
            if told(request.ah_header_offset) != ah.start() {
                return Err(SendError::HeaderMismatch);
            }
            (protocol, offset) = (ah.next_header, ah.payload.start);
        }
        let mut lows = Lows {
            esp: None,
            ah: ah.as_ref().map(|ah| ah.low),
        };
        let mut framing = None;
        if let Some(esp) = &sa.esp {
            if protocol != packet::ESP || told(request.esp_header_offset) != offset {
                return Err(SendError::HeaderMismatch);
            }
            let header = head.get(offset..).and_then(esp::header);
            let (spi, low) = header.ok_or(SendError::LengthMismatch)?;
            if spi != esp.spi {
                return Err(SendError::SpiMismatch);
            }
            lows.esp = Some(low);
            let body = offset
                .saturating_add(esp::HEADER)
                .saturating_add(esp.transform.iv_bytes());
            framing = Some(EspFraming {
                start: offset,
                body,
                alignment: esp.transform.alignment(),
                icv: esp.transform.icv_bytes(),
                next_header: request.next_header,
                discard: request.pad_length,
            });
            (protocol, offset) = (request.next_header, body);
        }
        if packet::is_tunnel(protocol) {
            return Err(SendError::LargeInTunnel);
        }
        let tcp = headers
            .behind_ipsec(head, protocol, offset)
            .map_err(|_| SendError::Malformed)?;
        if tcp.fragment {
            return Err(SendError::Fragment);
        }
        if tcp.protocol != packet::TCP || tcp.offset != tcp_offset {
            return Err(SendError::HeaderMismatch);
        }
        let data_offset = head
            .get(tcp_offset.saturating_add(TCP_DATA_OFFSET))
            .ok_or(SendError::Malformed)?;
        let tcp_header = usize::from(data_offset >> 4).saturating_mul(4);
        let udp = headers
            .udp
            .then(|| headers.offset.saturating_sub(UDP_HEADER));
        Ok(Self {
            sa: handle,
            head: tcp_offset.saturating_add(tcp_header),
            ah: ah.map(|ah| ah.start()),
            udp,
            esp: framing,
            lows,
        })
    }

    /// Bytes before the TCP payload, from the IP header on: what every segment begins with.
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.head
    }

    /// Bytes at the end of the large packet that are not payload.
    #[must_use]
    pub fn discard(&self) -> usize {
        self.esp.as_ref().map_or(0, |esp| esp.discard.into())
    }

    /// Bytes behind the payload of a segment: padding, trailer and ICV.
    #[must_use]
    pub fn tail(&self, payload: usize) -> usize {
        let Some(esp) = &self.esp else {
            return 0;
        };
        esp.padding(self.head, payload)
            .saturating_add(esp::TRAILER)
            .saturating_add(esp.icv)
    }
}

impl EspFraming {
    fn padding(&self, head: usize, payload: usize) -> usize {
        let content = head
            .saturating_sub(self.body)
            .saturating_add(payload)
            .saturating_add(esp::TRAILER);
        // An alignment of zero is none; a body that long fits nowhere.
        let body = content.checked_next_multiple_of(self.alignment);
        body.unwrap_or(usize::MAX).saturating_sub(content)
    }
}

impl LargeSegments {
    /// How it is framed.
    #[must_use]
    pub fn framing(&self) -> &LargeFraming {
        &self.framing
    }

    /// Makes a segment an ordinary packet to send: everything that is not in the large packet's
    /// headers, or differs from segment to segment. `None` if a header is not in it.
    fn frame(&self, numbers: Numbers, payload: usize, packet: &mut [u8]) -> Option<()> {
        let framing = &self.framing;
        let length = packet.len();
        if let Some((ah, number)) = framing.ah.zip(numbers.ah) {
            put_low(packet, ah.checked_add(AH_SEQUENCE)?, number.number)?;
        }
        if let Some(udp) = framing.udp {
            let length = u16::try_from(length.checked_sub(udp)?).ok()?;
            let [l0, l1] = length.to_be_bytes();
            let field = packet.get_mut(udp.checked_add(UDP_LENGTH)?..)?;
            *field.first_chunk_mut()? = [l0, l1, 0, 0];
        }
        if let Some((esp, number)) = framing.esp.as_ref().zip(numbers.esp) {
            put_low(packet, esp.start.checked_add(ESP_SEQUENCE)?, number.number)?;
            let padding = esp.padding(framing.head, payload);
            let tail = packet.get_mut(framing.head.checked_add(payload)?..)?;
            let (padding, rest) = tail.split_at_mut_checked(padding)?;
            // RFC 4303 section 2.4.
            for (byte, value) in padding.iter_mut().zip(1..=u8::MAX) {
                *byte = value;
            }
            let pad_length = u8::try_from(padding.len()).ok()?;
            *rest.first_chunk_mut()? = [pad_length, esp.next_header];
        }
        Some(())
    }
}

/// Writes the half of a sequence number that is in the packet.
fn put_low(packet: &mut [u8], at: usize, number: u64) -> Option<()> {
    *packet.get_mut(at..)?.first_chunk_mut()? = (number as u32).to_be_bytes();
    Some(())
}

impl OutboundBurst<'_> {
    /// Looks at a large packet: `head` begins with its IP header and reaches to the end of its
    /// TCP header, which is at `tcp_offset`, or beyond.
    ///
    /// # Errors
    /// [`SendError`]: the packet cannot be sent.
    pub fn large(
        &mut self,
        request: &SendRequest,
        head: &[u8],
        tcp_offset: usize,
    ) -> Result<LargeFraming, SendError> {
        self.try_large(request, head, tcp_offset)
            .map_err(|error| self.refused(error))
    }

    fn try_large(
        &mut self,
        request: &SendRequest,
        head: &[u8],
        tcp_offset: usize,
    ) -> Result<LargeFraming, SendError> {
        let handle = match (request.transport, request.tunnel) {
            (_, Some(_)) => return Err(SendError::LargeInTunnel),
            (None, None) => return Err(SendError::UnknownSa),
            (Some(handle), None) => handle,
        };
        LargeFraming::find(&self.outer(handle)?.sa, handle, request, head, tcp_offset)
    }

    /// Takes the sequence numbers of all segments of a large packet, the first of which has
    /// `framing`'s. They are not given back whatever becomes of the segments.
    ///
    /// `done` of them were sealed in another burst: the numbers of those that are left are the
    /// same as they would have been there.
    ///
    /// # Errors
    /// [`SendError::SequenceExhausted`], or that the SA is gone.
    pub fn reserve(
        &mut self,
        framing: LargeFraming,
        segments: NonZeroU32,
        done: u32,
    ) -> Result<LargeSegments, SendError> {
        let current = self.outer(framing.sa);
        let numbers = current.and_then(|current| current.numbers(framing.lows, segments));
        Ok(LargeSegments {
            numbers: numbers.map_err(|error| self.refused(error))?,
            framing,
            next: done,
            count: segments,
        })
    }

    /// Frames and seals the next segment: `packet` is all of it, from the IP header to the end
    /// of the tail. It has `payload` bytes of TCP payload behind a copy of the large packet's
    /// head, in which the lengths and identification of the IP header and the TCP header are
    /// the segment's already; what the tail holds does not matter.
    ///
    /// # Errors
    /// [`SendError`]. The segment must not be sent, and its sequence number is spent.
    pub fn seal_segment(
        &mut self,
        segments: &mut LargeSegments,
        payload: usize,
        packet: &mut [u8],
    ) -> Result<(), SendError> {
        let sealed = self.try_seal_segment(segments, payload, packet);
        self.count(sealed)
    }

    fn try_seal_segment(
        &mut self,
        segments: &mut LargeSegments,
        payload: usize,
        packet: &mut [u8],
    ) -> Result<u64, SendError> {
        let index = segments.next;
        if index >= segments.count.get() {
            return Err(SendError::SequenceExhausted);
        }
        segments.next = index.saturating_add(1);
        let numbers = segments.numbers.after(index);
        let framing = &segments.framing;
        let length = framing
            .head
            .saturating_add(payload)
            .saturating_add(framing.tail(payload));
        if packet.len() != length {
            return Err(SendError::LengthMismatch);
        }
        let simd = self.simd;
        let current = self.outer(framing.sa)?;
        segments
            .frame(numbers, payload, packet)
            .ok_or(SendError::LengthMismatch)?;
        let portion = Portion::find(&current.sa, packet, 0..length, Place::Outermost)?;
        current.seal_as(simd, &portion, numbers, packet)
    }
}
