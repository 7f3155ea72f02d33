//! AES-GMAC (NIST SP 800-38D section 3): GCM of a message that is only authenticated.

use core::fmt;
use core::marker::PhantomData;
use zeroize::Zeroize;

use crate::gcm::{Gcm, NONCE_BYTES, TAG_BYTES};
use crate::hash::Hash;
use crate::{BlockCipher, InvalidKeyLength, Simd};

const BLOCK: usize = 16;

/// A key set up for GMAC over the block cipher `C`.
pub struct Gmac<C>(Gcm<C>);

impl<C: BlockCipher> Gmac<C> {
    /// Length of the key in bytes.
    pub const KEY_BYTES: usize = Gcm::<C>::KEY_BYTES;

    /// Sets the key up.
    ///
    /// # Errors
    /// [`InvalidKeyLength`] unless `key` has [`Self::KEY_BYTES`] bytes.
    pub fn new(simd: &Simd, key: &[u8]) -> Result<Self, InvalidKeyLength> {
        Gcm::new(simd, key).map(Self)
    }

    /// Begins a message. No two messages may have the same nonce.
    #[must_use]
    pub fn start<'k>(&'k self, simd: &'k Simd, nonce: &[u8; NONCE_BYTES]) -> GmacMessage<'k> {
        GmacMessage {
            hash: self.0.hash().clone(),
            mask: self.0.mask(simd, nonce),
            block: [0; BLOCK],
            filled: 0,
            length: 0,
            simd: PhantomData,
        }
    }
}

impl<C> fmt::Debug for Gmac<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gmac { .. }")
    }
}

/// A message on its way through GMAC, of which `filled` bytes wait for the rest of their
/// block.
pub struct GmacMessage<'k> {
    hash: Hash,
    mask: [u8; TAG_BYTES],
    block: [u8; BLOCK],
    filled: usize,
    length: u64,
    simd: PhantomData<&'k Simd>,
}

impl GmacMessage<'_> {
    /// Takes the next bytes of the message.
    pub fn update(&mut self, bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len() as u64);
        let mut rest = bytes;
        if self.filled != 0 {
            let room = self.block.get_mut(self.filled..).unwrap_or_default();
            let (now, later) = rest.split_at(room.len().min(rest.len()));
            put(room, now);
            self.filled = self.filled.saturating_add(now.len());
            if self.filled < BLOCK {
                return;
            }
            self.hash.update(&self.block);
            rest = later;
        }
        let (blocks, rest) = rest.as_chunks::<BLOCK>();
        if !blocks.is_empty() {
            self.hash.update(blocks.as_flattened());
        }
        put(&mut self.block, rest);
        self.filled = rest.len();
    }

    /// The tag.
    #[must_use]
    pub fn finish(mut self) -> [u8; TAG_BYTES] {
        if self.filled != 0 {
            let (waiting, _) = self.block.split_at(self.filled.min(BLOCK));
            self.hash.update(waiting);
        }
        let lengths = u128::from(self.length.wrapping_mul(8)) << 64;
        self.hash.update(&lengths.to_be_bytes());
        let hash = u128::from_ne_bytes(self.hash.finish());
        (hash ^ u128::from_ne_bytes(self.mask)).to_ne_bytes()
    }
}

impl fmt::Debug for GmacMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GmacMessage { .. }")
    }
}

impl Drop for GmacMessage<'_> {
    fn drop(&mut self) {
        // With the tag, which is public, it gives the hash key away.
        self.mask.zeroize();
    }
}

/// Copies what fits.
#[inline]
fn put(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
