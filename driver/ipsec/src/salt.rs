//! The salt of AES-GCM and AES-GMAC: the last 4 bytes of the key material, and the first 4
//! of every nonce (RFC 4106 section 8.1, RFC 4543 section 5.4).

use ipsec_crypto::NONCE_BYTES;
use zeroize::Zeroize;

/// Its length in bytes.
const SALT: usize = 4;

/// Length of the IV in a packet.
pub(crate) const IV: usize = 8;

/// A salt, wiped when it goes.
pub(crate) struct Salt([u8; SALT]);

impl Salt {
    /// Cuts key material into the key and the salt.
    pub(crate) fn split(key: &[u8]) -> Option<(&[u8], Self)> {
        let (key, salt) = key.split_last_chunk::<SALT>()?;
        Some((key, Self(*salt)))
    }

    pub(crate) fn nonce(&self, iv: &[u8; IV]) -> [u8; NONCE_BYTES] {
        let [s0, s1, s2, s3] = self.0;
        let [i0, i1, i2, i3, i4, i5, i6, i7] = *iv;
        [s0, s1, s2, s3, i0, i1, i2, i3, i4, i5, i6, i7]
    }
}

impl Drop for Salt {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
