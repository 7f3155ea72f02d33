//! AES-GMAC in AH, RFC 4543 section 4.
//!
//! ```text
//!   ICV: IV (8 bytes) | tag (16 bytes)
//!   IV:  the 64-bit sequence number, as in ESP
//! ```
//!
//! The RFC does not say what the IV counts as while the tag is computed. It is a part of the
//! ICV field, and that counts as zeros (RFC 4302 section 3.3.3.1); the nonce covers it. Oracle
//! Solaris, of whose AH with AES-GMAC the source is public, reads it so too
//! (`ah_gmac_params_init`). The padding that IPv6 needs, 4 bytes to 40, is in erratum 3643.

use ipsec_crypto::{BlockCipher, Gmac, InvalidKeyLength, Simd, TAG_BYTES, same_tag};

use super::Place;
use super::transform::{AhTransform, Refused};
use crate::esp::put;
use crate::esp::transform::Sequence;
use crate::salt::{IV, Salt};

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
        place: &Place,
        packet: &[u8],
        iv: &[u8; IV],
        sequence: Sequence,
    ) -> Result<[u8; TAG_BYTES], Refused> {
        let mut message = self.gmac.start(simd, &self.salt.nonce(iv));
        place.authenticated(packet, &mut |bytes| message.update(bytes))?;
        if sequence.extended {
            message.update(&sequence.high().to_be_bytes());
        }
        Ok(message.finish())
    }
}

impl<C: BlockCipher> AhTransform for GmacTransform<C> {
    fn icv_bytes(&self) -> usize {
        IV.saturating_add(TAG_BYTES)
    }

    fn seal(
        &self,
        simd: &Simd,
        place: &Place,
        packet: &mut [u8],
        sequence: Sequence,
    ) -> Result<(), Refused> {
        let iv = sequence.number.to_be_bytes();
        let tag = self.tag(simd, place, packet, &iv, sequence)?;
        let icv = packet.get_mut(place.icv.clone()).unwrap_or_default();
        if let Some((to, icv)) = icv.split_first_chunk_mut::<IV>() {
            *to = iv;
            put(icv, &tag);
        }
        Ok(())
    }

    fn open(
        &self,
        simd: &Simd,
        place: &Place,
        packet: &[u8],
        sequence: Sequence,
    ) -> Result<(), Refused> {
        let icv = packet.get(place.icv.clone()).unwrap_or_default();
        let (iv, icv) = icv.split_first_chunk::<IV>().ok_or(Refused::WrongIcv)?;
        let tag = self.tag(simd, place, packet, iv, sequence)?;
        if same_tag(&tag, icv) {
            Ok(())
        } else {
            Err(Refused::WrongIcv)
        }
    }
}
