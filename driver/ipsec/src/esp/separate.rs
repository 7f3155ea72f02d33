//! ESP with a cipher and an authenticator of its own each.
//!
//! ```text
//!   ICV: HMAC over SPI | sequence number | IV | encrypted body [ | high half, with ESN ]
//! ```
//!
//! The high half is not in the packet (RFC 4303 section 2.2.1). The ICV is over what is on
//! the wire, so that it is checked before anything is decrypted.

use ipsec_crypto::{Cbc, CbcCipher, Hmac, MAX_DIGEST_BYTES, Simd, same_tag};

use super::put;
use super::transform::{EspTransform, Fields, Refused, Sequence};
use crate::hmac::IpsecHash;

/// The half of the transform that encrypts.
pub(crate) trait Cipher: Send + Sync + 'static {
    const IV: usize;
    const ALIGNMENT: usize;
    const VOLUME_LIMIT: u64;
    /// Writes the IV and encrypts the body.
    fn encrypt(
        &self,
        simd: &Simd,
        number: u64,
        iv: &mut [u8],
        body: &mut [u8],
    ) -> Result<(), Refused>;
    fn decrypt(&self, simd: &Simd, iv: &[u8], body: &mut [u8]) -> Result<(), Refused>;
}

/// AES in CBC mode (RFC 3602); DES (RFC 2405) and Triple DES (RFC 2451) likewise.
impl<C: CbcCipher> Cipher for Cbc<C> {
    const IV: usize = Self::BLOCK_BYTES;
    const ALIGNMENT: usize = Self::BLOCK_BYTES;

    /// With blocks of 16 bytes as GCM. With blocks of 8 bytes 2^20 of them (SP 800-67
    /// section 3.3.1.2): they begin to come again after 2^32.
    const VOLUME_LIMIT: u64 = if Self::BLOCK_BYTES == 8 {
        1 << 23
    } else {
        1 << 51
    };

    fn encrypt(
        &self,
        simd: &Simd,
        number: u64,
        iv: &mut [u8],
        body: &mut [u8],
    ) -> Result<(), Refused> {
        self.write_iv(simd, number, iv).map_err(|_| Refused)?;
        self.encrypt_in_place(simd, iv, body).map_err(|_| Refused)
    }

    fn decrypt(&self, simd: &Simd, iv: &[u8], body: &mut [u8]) -> Result<(), Refused> {
        self.decrypt_in_place(simd, iv, body).map_err(|_| Refused)
    }
}

/// NULL encryption, RFC 2410.
pub(crate) struct Null;

impl Cipher for Null {
    const IV: usize = 0;
    const ALIGNMENT: usize = 4;
    const VOLUME_LIMIT: u64 = u64::MAX;

    fn encrypt(&self, _: &Simd, _: u64, _: &mut [u8], _: &mut [u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn decrypt(&self, _: &Simd, _: &[u8], _: &mut [u8]) -> Result<(), Refused> {
        Ok(())
    }
}

/// A cipher and an HMAC, keyed.
pub(crate) struct Separate<C, H: IpsecHash> {
    cipher: C,
    hmac: Hmac<H>,
}

impl<C, H: IpsecHash> Separate<C, H> {
    pub(crate) fn new(cipher: C, hmac: Hmac<H>) -> Self {
        Self { cipher, hmac }
    }

    fn tag(&self, simd: &Simd, fields: &Fields<'_>, sequence: Sequence) -> [u8; MAX_DIGEST_BYTES] {
        let mut message = self.hmac.start(simd);
        message.update(&fields.header);
        message.update(fields.iv);
        message.update(fields.body);
        if sequence.extended {
            message.update(&sequence.high().to_be_bytes());
        }
        message.finish()
    }
}

impl<C: Cipher, H: IpsecHash> EspTransform for Separate<C, H> {
    fn iv_bytes(&self) -> usize {
        C::IV
    }

    fn icv_bytes(&self) -> usize {
        H::ICV
    }

    fn alignment(&self) -> usize {
        C::ALIGNMENT
    }

    fn volume_limit(&self) -> u64 {
        C::VOLUME_LIMIT
    }

    fn seal(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused> {
        self.cipher
            .encrypt(simd, sequence.number, fields.iv, fields.body)?;
        let tag = self.tag(simd, &fields, sequence);
        put(fields.icv, &tag);
        Ok(())
    }

    fn open(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused> {
        let tag = self.tag(simd, &fields, sequence);
        let (expected, _) = tag.split_at(H::ICV);
        if !same_tag(expected, fields.icv) {
            return Err(Refused);
        }
        self.cipher.decrypt(simd, fields.iv, fields.body)
    }
}

/// A cipher alone, for ESP within AH: that authenticates the packet.
pub(crate) struct EncryptionOnly<C>(pub C);

impl<C: Cipher> EspTransform for EncryptionOnly<C> {
    fn iv_bytes(&self) -> usize {
        C::IV
    }

    fn icv_bytes(&self) -> usize {
        0
    }

    fn alignment(&self) -> usize {
        C::ALIGNMENT
    }

    fn volume_limit(&self) -> u64 {
        C::VOLUME_LIMIT
    }

    fn seal(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused> {
        self.0
            .encrypt(simd, sequence.number, fields.iv, fields.body)
    }

    fn open(&self, simd: &Simd, fields: Fields<'_>, _: Sequence) -> Result<(), Refused> {
        self.0.decrypt(simd, fields.iv, fields.body)
    }
}
