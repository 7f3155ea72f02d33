//! Authentication Header, RFC 4302.
//!
//! ```text
//!   next header | length | reserved | SPI | sequence number | ICV | padding
//!   1             1        2          4     4                 icv   0 or 4
//! ```
//!
//! The ICV is over the whole IP packet: mutable fields of the headers before AH and the ICV
//! itself count as zeros, predictable ones as what they will be when the packet arrives; the
//! high half of an extended sequence number comes last.

pub(crate) mod gmac;
pub(crate) mod hmac;
mod mutable;
pub(crate) mod transform;

use core::ops::Range;

use crate::packet::Headers;
use transform::AhTransform;

pub(crate) use mutable::Unpredictable;

/// All before the ICV.
pub(crate) const HEADER: usize = 12;

/// The lengths in the packet do not fit the SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidLength;

/// An AH and where it is in its IP packet.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub next_header: u8,
    pub spi: u32,
    /// Low half of the sequence number.
    pub low: u32,
    /// Where the ICV is, without its padding.
    pub icv: Range<usize>,
    /// Where the payload is.
    pub payload: Range<usize>,
}

/// SPI of the header at the start of `ah`.
pub(crate) fn spi(ah: &[u8]) -> Option<u32> {
    let (_, rest) = ah.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*rest.first_chunk::<4>()?))
}

impl Place {
    /// Reads the AH behind `headers`.
    pub(crate) fn find(
        packet: &[u8],
        headers: &Headers,
        transform: &dyn AhTransform,
    ) -> Result<Self, InvalidLength> {
        let ah = packet
            .get(headers.offset..headers.end)
            .ok_or(InvalidLength)?;
        let (header, _) = ah.split_first_chunk::<HEADER>().ok_or(InvalidLength)?;
        let [next_header, length, _, _, p0, p1, p2, p3, l0, l1, l2, l3] = *header;
        let length = usize::from(length).saturating_add(2).saturating_mul(4);
        let icv = transform.icv_bytes();
        // Padding makes the header a multiple of 8 bytes over IPv6; over IPv4 there are
        // senders that do so too (RFC 4302 section 3.3.3.2.1 asks for 4).
        let padding = length
            .checked_sub(HEADER)
            .and_then(|rest| rest.checked_sub(icv))
            .ok_or(InvalidLength)?;
        let aligned = !headers.destination.is_v6() || length.is_multiple_of(8);
        if padding >= 8 || !aligned || length > ah.len() {
            return Err(InvalidLength);
        }
        let start = headers.offset.saturating_add(HEADER);
        Ok(Self {
            next_header,
            spi: u32::from_be_bytes([p0, p1, p2, p3]),
            low: u32::from_be_bytes([l0, l1, l2, l3]),
            icv: start..start.saturating_add(icv),
            payload: headers.offset.saturating_add(length)..headers.end,
        })
    }

    /// Where AH is.
    pub(crate) fn start(&self) -> usize {
        self.icv.start.saturating_sub(HEADER)
    }

    /// Feeds everything that the ICV is over to `feed`, but for the high half of the
    /// sequence number.
    pub(crate) fn authenticated(
        &self,
        packet: &[u8],
        feed: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Unpredictable> {
        const ZEROS: [u8; 32] = [0; 32];
        let start = self.start();
        let headers = packet.get(..start).ok_or(Unpredictable)?;
        mutable::headers(headers, feed)?;
        feed(packet.get(start..self.icv.start).ok_or(Unpredictable)?);
        feed(ZEROS.get(..self.icv.len()).ok_or(Unpredictable)?);
        let rest = packet.get(self.icv.end..self.payload.end);
        feed(rest.ok_or(Unpredictable)?);
        Ok(())
    }
}
