//! Encapsulating Security Payload, RFC 4303.
//!
//! ```text
//!   SPI | sequence number | IV | payload | padding | pad length | next header | ICV
//!   4     4                 iv   n         0..255    1            1             icv
//!   <----- header ------->       <-------------- body --------------------->
//! ```

pub(crate) mod gcm;
pub(crate) mod gmac;
pub(crate) mod separate;
pub(crate) mod transform;

use core::ops::Range;

use transform::{EspTransform, Fields};

use crate::verdict::Trailer;

/// SPI and sequence number.
pub(crate) const HEADER: usize = 8;

/// Pad length and next header.
pub(crate) const TRAILER: usize = 2;

/// The lengths in the packet do not fit the SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidLength;

/// SPI and low half of the sequence number.
pub(crate) fn header(esp: &[u8]) -> Option<(u32, u32)> {
    let (spi, rest) = esp.split_first_chunk::<4>()?;
    let sequence = rest.first_chunk::<4>()?;
    Some((u32::from_be_bytes(*spi), u32::from_be_bytes(*sequence)))
}

/// Where the body of an ESP packet is, of this length from its SPI to its ICV.
pub(crate) fn body(
    length: usize,
    transform: &dyn EspTransform,
) -> Result<Range<usize>, InvalidLength> {
    let start = HEADER.saturating_add(transform.iv_bytes());
    let end = length
        .checked_sub(transform.icv_bytes())
        .ok_or(InvalidLength)?;
    let bytes = end.checked_sub(start).ok_or(InvalidLength)?;
    if bytes < TRAILER || !bytes.is_multiple_of(transform.alignment()) {
        return Err(InvalidLength);
    }
    Ok(start..end)
}

/// Cuts an ESP packet (from its SPI to its ICV) into its fields.
pub(crate) fn split<'p>(
    esp: &'p mut [u8],
    transform: &dyn EspTransform,
) -> Result<Fields<'p>, InvalidLength> {
    let body = body(esp.len(), transform)?;
    let (rest, icv) = esp.split_at_mut_checked(body.end).ok_or(InvalidLength)?;
    let (rest, body) = rest.split_at_mut_checked(body.start).ok_or(InvalidLength)?;
    let (header, iv) = rest
        .split_first_chunk_mut::<HEADER>()
        .ok_or(InvalidLength)?;
    Ok(Fields {
        header: *header,
        iv,
        body,
        icv,
    })
}

/// Reads the trailer of a body in plain text. `None` if the padding is longer than the
/// body.
pub(crate) fn trailer(body: &[u8]) -> Option<Trailer> {
    let (payload, &[pad_length, next_header]) = body.split_last_chunk::<TRAILER>()?;
    (usize::from(pad_length) <= payload.len()).then_some(Trailer {
        next_header,
        pad_length,
    })
}

/// Where in a body in plain text the payload is.
pub(crate) fn payload(body: &[u8], trailer: Trailer) -> Option<Range<usize>> {
    let end = body
        .len()
        .checked_sub(TRAILER)?
        .checked_sub(trailer.pad_length.into())?;
    Some(0..end)
}

/// Fills a field; what does not fit is left out.
pub(crate) fn put(field: &mut [u8], bytes: &[u8]) {
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from;
    }
}
