//! AES-GCM in ESP, RFC 4106.
//!
//! ```text
//!   nonce: salt (4 bytes, from the key material) | IV (8 bytes, in the packet)
//!   IV:    the 64-bit sequence number, as RFC 8750 has it: unique per key by itself
//!   AAD:   SPI | sequence number             (8 bytes)
//!          SPI | 64-bit sequence number      (12 bytes, with ESN)
//! ```

use ipsec_crypto::{BlockCipher, Gcm, InvalidKeyLength, Simd};

use super::put;
use super::transform::{EspTransform, Fields, Refused, Sequence};
use crate::salt::Salt;

pub(super) use crate::salt::IV;

/// The three lengths of ICV that RFC 4106 section 6 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcvLength {
    Eight,
    Twelve,
    Sixteen,
}

impl IcvLength {
    pub(crate) fn from_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            8 => Some(Self::Eight),
            12 => Some(Self::Twelve),
            16 => Some(Self::Sixteen),
            _ => None,
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Eight => 8,
            Self::Twelve => 12,
            Self::Sixteen => 16,
        }
    }
}

/// A key of RFC 4106: AES key, salt and length of the ICV.
pub(crate) struct GcmTransform<C> {
    gcm: Gcm<C>,
    salt: Salt,
    icv: IcvLength,
}

impl<C: BlockCipher> GcmTransform<C> {
    /// `key` is the AES key with the salt after it.
    pub(crate) fn new(simd: &Simd, key: &[u8], icv: IcvLength) -> Result<Self, InvalidKeyLength> {
        let (key, salt) = Salt::split(key).ok_or(InvalidKeyLength)?;
        Ok(Self {
            gcm: Gcm::new(simd, key)?,
            salt,
            icv,
        })
    }
}

/// The authenticated data (RFC 4106 section 5): the first 8 bytes of it without ESN.
pub(super) struct Aad {
    bytes: [u8; 12],
    extended: bool,
}

impl Aad {
    pub(super) fn new(header: [u8; super::HEADER], sequence: Sequence) -> Self {
        let [p0, p1, p2, p3, l0, l1, l2, l3] = header;
        let bytes = if sequence.extended {
            let [h0, h1, h2, h3, ..] = sequence.number.to_be_bytes();
            [p0, p1, p2, p3, h0, h1, h2, h3, l0, l1, l2, l3]
        } else {
            [p0, p1, p2, p3, l0, l1, l2, l3, 0, 0, 0, 0]
        };
        Self {
            bytes,
            extended: sequence.extended,
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        if self.extended {
            &self.bytes
        } else {
            self.bytes.split_at(8).0
        }
    }
}

impl<C: BlockCipher> EspTransform for GcmTransform<C> {
    fn iv_bytes(&self) -> usize {
        IV
    }

    fn icv_bytes(&self) -> usize {
        self.icv.bytes()
    }

    fn alignment(&self) -> usize {
        4
    }

    /// After 2^48 blocks a distinguisher's advantage, n^2 / 2^129, is 2^-33; half of them
    /// leaves time to replace the key.
    fn volume_limit(&self) -> u64 {
        1 << 51
    }

    fn seal(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused> {
        let iv = sequence.number.to_be_bytes();
        let aad = Aad::new(fields.header, sequence);
        let tag = self
            .gcm
            .seal_in_place(simd, &self.salt.nonce(&iv), aad.as_slice(), fields.body)
            .map_err(|_| Refused)?;
        put(fields.iv, &iv);
        put(fields.icv, &tag);
        Ok(())
    }

    fn open(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused> {
        let iv = fields.iv.first_chunk::<IV>().ok_or(Refused)?;
        let aad = Aad::new(fields.header, sequence);
        self.gcm
            .open_in_place(
                simd,
                &self.salt.nonce(iv),
                aad.as_slice(),
                fields.body,
                fields.icv,
            )
            .map_err(|_| Refused)
    }
}
