//! Packets as the transport frames them: room for what the engine writes, and where that is.

use std::ops::Range;

use ipsec::{SaHandle, SendRequest};

use crate::headers::{self, Headers};
use crate::sa::{self, Sa};

/// A packet framed for one SA. Offsets count from its start.
#[derive(Clone, Debug)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// From the first byte of the outermost IPsec header to the end of the packet: all of it is
    /// authenticated, or is what authenticates.
    pub ipsec: Range<usize>,
    /// Offset of the AH header, and where its ICV is.
    pub ah: Option<(usize, Range<usize>)>,
    pub esp: Option<Esp>,
    /// What the IPsec headers carry.
    pub payload: Range<usize>,
}

/// Where ESP is in a frame.
#[derive(Clone, Debug)]
pub struct Esp {
    /// Offset of the SPI.
    pub start: usize,
    /// Payload, padding and trailer.
    pub body: Range<usize>,
    pub pad_length: u8,
    pub next_header: u8,
}

/// Sequence numbers' low halves, and what the transport is free to choose.
#[derive(Clone, Copy, Debug, arbitrary::Arbitrary)]
pub struct Choices {
    pub esp_number: u32,
    pub ah_number: u32,
    /// More padding than is needed, in units of the alignment.
    more_padding: u8,
    /// AH over IPv4 padded to 8 bytes.
    wide_ah: bool,
}

impl Frame {
    /// `payload` of the protocol `next_header`, in the IPsec headers of `sa`.
    pub fn new(
        sa: &Sa,
        headers: &Headers,
        choices: &Choices,
        payload: &[u8],
        next_header: u8,
    ) -> Self {
        let (mut inside, mut protocol) = (payload.to_vec(), next_header);
        let mut esp = None;
        let mut at = 0..payload.len();
        if let Some(suite) = sa.esp() {
            let alignment = suite.alignment();
            let least = (payload.len() + 2).next_multiple_of(alignment) - payload.len() - 2;
            let most = (255 - least) / alignment;
            let padding = least + usize::from(choices.more_padding) % (most + 1) * alignment;
            let body = 8 + suite.iv();
            let mut bytes = sa.esp_spi().to_be_bytes().to_vec();
            bytes.extend(choices.esp_number.to_be_bytes());
            bytes.resize(body, 0xEE);
            bytes.extend(payload);
            bytes.extend((1..=padding).map(|byte| byte as u8));
            bytes.extend([padding as u8, next_header]);
            esp = Some(Esp {
                start: 0,
                body: body..bytes.len(),
                pad_length: padding as u8,
                next_header,
            });
            at = body..body + payload.len();
            bytes.resize(bytes.len() + suite.icv(), 0xEE);
            (inside, protocol) = (bytes, headers::ESP);
        }
        let mut ah = None;
        let mut before = 0;
        if let Some(authentication) = sa.ah() {
            let icv = sa::ah_icv(authentication);
            let wide = headers.v6 || choices.wide_ah;
            before = (12 + icv).next_multiple_of(if wide { 8 } else { 4 });
            let mut bytes = vec![protocol, (before / 4 - 2) as u8, 0, 0];
            bytes.extend(sa.ah_spi().to_be_bytes());
            bytes.extend(choices.ah_number.to_be_bytes());
            bytes.resize(before, 0);
            bytes[12..12 + icv].fill(0xEE);
            bytes.extend(inside);
            ah = Some((0, 12..12 + icv));
            (inside, protocol) = (bytes, headers::AH);
        }
        let mut bytes = headers.before(protocol, inside.len());
        let start = bytes.len();
        bytes.extend(inside);
        if let Some((offset, icv)) = &mut ah {
            *offset += start;
            *icv = icv.start + start..icv.end + start;
        }
        let inner = start + before;
        if let Some(esp) = &mut esp {
            esp.start += inner;
            esp.body = esp.body.start + inner..esp.body.end + inner;
        }
        Self {
            ipsec: start..bytes.len(),
            payload: at.start + inner..at.end + inner,
            bytes,
            ah,
            esp,
        }
    }

    /// The out-of-band data that belong to it. `None` if the header is further away than they can say.
    pub fn request(
        &self,
        transport: Option<SaHandle>,
        tunnel: Option<SaHandle>,
    ) -> Option<SendRequest> {
        let words = |offset: usize| u8::try_from(offset / 4).ok();
        let ah = self
            .ah
            .as_ref()
            .map_or(Some(0), |(offset, _)| words(*offset))?;
        let esp = self.esp.as_ref().map_or(Some(0), |esp| words(esp.start))?;
        Some(SendRequest {
            transport,
            tunnel,
            next_header: self.esp.as_ref().map_or(0, |esp| esp.next_header),
            pad_length: self.esp.as_ref().map_or(0, |esp| esp.pad_length),
            ah_header_offset: ah,
            esp_header_offset: esp,
        })
    }

    /// What sealing may write: IV, body and ICV of ESP, ICV of AH.
    pub fn sealed(&self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = self.ah.iter().map(|(_, icv)| icv.clone()).collect();
        ranges.extend(self.esp.as_ref().map(|esp| esp.start + 8..self.bytes.len()));
        ranges
    }

    /// What sealing adds to the plain packet: IV and ICV of ESP, ICV of AH.
    pub fn added(&self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = self.ah.iter().map(|(_, icv)| icv.clone()).collect();
        if let Some(esp) = &self.esp {
            ranges.extend([
                esp.start + 8..esp.body.start,
                esp.body.end..self.bytes.len(),
            ]);
        }
        ranges
    }

    /// What opening may write: the body of ESP.
    pub fn opened(&self) -> Vec<Range<usize>> {
        self.esp.iter().map(|esp| esp.body.clone()).collect()
    }
}

/// Panics if two versions of a packet differ outside of the ranges.
pub fn assert_same_outside(before: &[u8], after: &[u8], ranges: &[Range<usize>]) {
    assert_eq!(before.len(), after.len());
    let mut at = 0;
    let mut ranges: Vec<&Range<usize>> = ranges.iter().collect();
    ranges.sort_by_key(|range| range.start);
    for range in ranges {
        let end = range.start.max(at);
        assert_eq!(before[at..end], after[at..end], "before {range:?}");
        at = end.max(range.end);
    }
    assert_eq!(before[at..], after[at..], "from {at} on");
}
