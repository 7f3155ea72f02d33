//! ESP (RFC 4303).

use super::ROOM;
use crate::sas::Esp;

/// What framing needs to know of the SA and of the packet's place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspParameters {
    /// Security parameters index.
    pub spi: u32,
    /// Sequence number, low 32 bits.
    pub sequence: u32,
    /// Bytes of IV.
    pub iv_len: usize,
    /// Bytes of ICV.
    pub icv_len: usize,
    /// What the encrypted part must be a multiple of.
    pub alignment: usize,
}

impl EspParameters {
    /// Those of a packet of the SA.
    pub fn of(esp: &Esp, sequence: u32) -> Self {
        Self {
            spi: esp.spi.0,
            sequence,
            iv_len: esp.iv_len(),
            icv_len: esp.icv_len(),
            alignment: esp.encryption.algorithm.alignment(),
        }
    }
}

/// Turns a payload of protocol `next` into ESP, and returns the pad length.
pub(super) fn wrap(body: &mut Vec<u8>, next: u8, parameters: &EspParameters) -> u8 {
    let unpadded = body.len() + 2;
    let pad_len = unpadded.next_multiple_of(parameters.alignment.max(4)) - unpadded;
    let mut esp = Vec::with_capacity(unpadded + pad_len + 8 + 2 * 16);
    esp.extend_from_slice(&parameters.spi.to_be_bytes());
    esp.extend_from_slice(&parameters.sequence.to_be_bytes());
    esp.resize(esp.len() + parameters.iv_len, ROOM);
    esp.extend_from_slice(body);
    esp.extend((1..=u8::MAX).take(pad_len));
    esp.extend_from_slice(&[pad_len as u8, next]);
    esp.resize(esp.len() + parameters.icv_len, ROOM);
    *body = esp;
    pad_len as u8
}
