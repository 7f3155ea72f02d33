//! AH (RFC 4302).
//!
//! ```text
//!  next | length | reserved | SPI | sequence | ICV room (AES-GMAC: IV, then tag) | padding
//! ```

use super::ROOM;
use crate::{algorithm::Authentication, sas::Ah};

/// Next header, length, reserved, SPI and sequence number.
pub(crate) const AH_FIXED: usize = 12;

/// Bytes of an AH header over IP `version`: a multiple of 4, over IPv6 of 8 (RFC 4302 section
/// 3.3.3.2.1).
pub fn ah_len(algorithm: Authentication, version: u8) -> usize {
    let unit = if version == 6 { 8 } else { 4 };
    (AH_FIXED + algorithm.iv_len() + algorithm.icv_len()).next_multiple_of(unit)
}

/// Puts an AH header in front of `body`, which is of protocol `next`.
pub(super) fn wrap(body: &mut Vec<u8>, next: u8, ah: &Ah, sequence: u32, version: u8) {
    let algorithm = ah.authentication.algorithm;
    let len = ah_len(algorithm, version);
    // In 32-bit words, minus 2 (section 2.2).
    let mut header = vec![next, (len / 4 - 2) as u8, 0, 0];
    header.extend_from_slice(&ah.spi.0.to_be_bytes());
    header.extend_from_slice(&sequence.to_be_bytes());
    header.resize(AH_FIXED + algorithm.iv_len() + algorithm.icv_len(), ROOM);
    // Padding may hold anything and counts as it is (section 3.3.3.2.1); zeros are usual.
    header.resize(len, 0);
    header.append(body);
    *body = header;
}
