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

/// Cuts an ESP packet (from its SPI to its ICV) into its fields.
pub(crate) fn split<'p>(
    esp: &'p mut [u8],
    transform: &dyn EspTransform,
) -> Result<Fields<'p>, InvalidLength> {
    let (header, rest) = esp.split_first_chunk_mut::<HEADER>().ok_or(InvalidLength)?;
    let (iv, rest) = rest
        .split_at_mut_checked(transform.iv_bytes())
        .ok_or(InvalidLength)?;
    let body = rest
        .len()
        .checked_sub(transform.icv_bytes())
        .ok_or(InvalidLength)?;
    let (body, icv) = rest.split_at_mut_checked(body).ok_or(InvalidLength)?;
    let aligned = body.len().is_multiple_of(transform.alignment());
    if body.len() < TRAILER || !aligned {
        return Err(InvalidLength);
    }
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

/// Fills a field; what does not fit is left out.
fn put(field: &mut [u8], bytes: &[u8]) {
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from;
    }
}
