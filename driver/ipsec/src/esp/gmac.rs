//! NULL encryption with AES-GMAC in ESP, RFC 4543.
//!
//! ```text
//!   nonce: salt (4 bytes, from the key material) | IV (8 bytes, in the packet)
//!   IV:    the 64-bit sequence number, as with AES-GCM
//!   ICV:   16 bytes, over SPI | sequence number (64 bits with ESN) | IV | body
//! ```
//!
//! That the IV is covered too was left out of the RFC's figures 3 and 4 (erratum 1821).

use ipsec_crypto::{BlockCipher, Gmac, InvalidKeyLength, Simd, TAG_BYTES, same_tag};

use super::gcm::{Aad, IV};
use super::put;
use super::transform::{EspTransform, Fields, Refused, Sequence};
use crate::salt::Salt;

/// A key of RFC 4543: AES key and salt.
pub(crate) struct GmacTransform<C> {
    gmac: Gmac<C>,
    salt: Salt,
}

impl<C: BlockCipher> GmacTransform<C> {
    /// `key` is the AES key with the salt after it.
    pub(crate) fn new(simd: &Simd, key: &[u8]) -> Result<Self, InvalidKeyLength> {
        let (key, salt) = Salt::split(key).ok_or(InvalidKeyLength)?;
        Ok(Self {
            gmac: Gmac::new(simd, key)?,
            salt,
        })
    }

    fn tag(
        &self,
        simd: &Simd,
        fields: &Fields<'_>,
        sequence: Sequence,
    ) -> Result<[u8; TAG_BYTES], Refused> {
        let iv = fields.iv.first_chunk::<IV>().ok_or(Refused)?;
        let mut message = self.gmac.start(simd, &self.salt.nonce(iv));
        message.update(Aad::new(fields.header, sequence).as_slice());
        message.update(iv);
        message.update(fields.body);
        Ok(message.finish())
    }
}

impl<C: BlockCipher> EspTransform for GmacTransform<C> {
    fn iv_bytes(&self) -> usize {
        IV
    }

    fn icv_bytes(&self) -> usize {
        TAG_BYTES
    }

    fn alignment(&self) -> usize {
        4
    }

    /// As with AES-GCM.
    fn volume_limit(&self) -> u64 {
        1 << 51
    }

    fn seal(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused> {
        put(fields.iv, &sequence.number.to_be_bytes());
        let tag = self.tag(simd, &fields, sequence)?;
        put(fields.icv, &tag);
        Ok(())
    }

    fn open(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused> {
        let tag = self.tag(simd, &fields, sequence)?;
        if same_tag(&tag, fields.icv) {
            Ok(())
        } else {
            Err(Refused)
        }
    }
}
