//! HMAC as an ICV of ESP and AH: HMAC-MD5-96 (RFC 2403), HMAC-SHA-1-96 (RFC 2404) and
//! HMAC-SHA-256-128 (RFC 4868). The key has the length of the whole tag, the ICV is the
//! beginning of the tag.

use ipsec_crypto::{HashFunction, Hmac, Md5, Sha1, Sha256, Simd};

/// A hash function, and how IPsec uses it.
pub(crate) trait IpsecHash: HashFunction {
    const ICV: usize;
}

impl IpsecHash for Md5 {
    const ICV: usize = 12;
}

impl IpsecHash for Sha1 {
    const ICV: usize = 12;
}

impl IpsecHash for Sha256 {
    const ICV: usize = 16;
}

/// The key has not the length that the algorithm takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidKeyLength;

/// A key of one of them.
pub(crate) fn keyed<H: IpsecHash>(simd: &Simd, key: &[u8]) -> Result<Hmac<H>, InvalidKeyLength> {
    if key.len() == Hmac::<H>::DIGEST_BYTES {
        Ok(Hmac::new(simd, key))
    } else {
        Err(InvalidKeyLength)
    }
}
