//! AES-GCM (NIST SP 800-38D) with 96-bit nonces, in place, in one pass over the cache.
//!
//! ```text
//!   counter block:  nonce (12 bytes) | counter (4 bytes)
//!     counter 1 ->  mask of the tag
//!     counter 2 ->  first block of the message, and so on
//!
//!   seal, per batch:  key stream for N blocks -> xor -> GHASH over the N blocks,
//!                     which are still in the first-level cache
//!   open:             first batch of key stream -> GHASH over all -> compare
//!                     -> xor, batch by batch
//! ```
//!
//! N is what the `aes` backend works on at once: 64 blocks with VAES-512, 32 with
//! VAES-256, 8 with AES-NI. The mask of the tag is made in the first batch.

use aes::cipher::{
    Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser, ParBlocks,
    array::ArraySize, consts::U16, typenum::Unsigned,
};
use core::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::hash::Hash;
use crate::{Aes128, Aes192, Aes256, BlockCipher, Simd};

/// Length of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Length of a whole tag.
pub const TAG_BYTES: usize = 16;
/// Longest message under one nonce: 2^32 - 2 counter values are left for it (SP 800-38D
/// section 5.2.1.1).
pub const MAX_MESSAGE_BYTES: u64 = ((1 << 32) - 2) * 16;

/// AES-GCM with a 128-bit key.
pub type Aes128Gcm = Gcm<Aes128>;
/// AES-GCM with a 192-bit key.
pub type Aes192Gcm = Gcm<Aes192>;
/// AES-GCM with a 256-bit key.
pub type Aes256Gcm = Gcm<Aes256>;

/// The key has not the length that the cipher takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeyLength;

/// The message is longer than [`MAX_MESSAGE_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageTooLong;

/// Why a message was not decrypted. Its bytes are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The tag is not that of the message.
    WrongTag,
    /// SP 800-38D (section 5.2.1.2) has no tag of this length: it knows 4, 8 and 12 to 16
    /// bytes.
    TagLength,
    /// The message is longer than [`MAX_MESSAGE_BYTES`].
    MessageTooLong,
}

/// A key set up for GCM over the block cipher `C`.
pub struct Gcm<C> {
    cipher: C,
    hash: Hash,
}

impl<C: BlockCipher> Gcm<C> {
    /// Length of the key in bytes.
    pub const KEY_BYTES: usize = <C::KeySize as Unsigned>::USIZE;

    /// Sets the key up.
    ///
    /// # Errors
    /// [`InvalidKeyLength`] unless `key` has [`Self::KEY_BYTES`] bytes.
    pub fn new(_simd: &Simd, key: &[u8]) -> Result<Self, InvalidKeyLength> {
        let cipher = C::new_from_slice(key).map_err(|_| InvalidKeyLength)?;
        let mut hash_key = Array([0; 16]);
        cipher.encrypt_block(&mut hash_key);
        let hash = Hash::new(&hash_key.0);
        hash_key.as_mut_slice().zeroize();
        Ok(Self { cipher, hash })
    }

    pub(crate) fn hash(&self) -> &Hash {
        &self.hash
    }

    /// What hides the hash of the message with this nonce: the first block of key stream.
    pub(crate) fn mask(&self, _simd: &Simd, nonce: &[u8; NONCE_BYTES]) -> [u8; TAG_BYTES] {
        let [n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11] = *nonce;
        let mut block = Array([n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, 0, 0, 0, 1]);
        self.cipher.encrypt_block(&mut block);
        block.0
    }

    /// Encrypts `message` in place and returns the tag over `aad` and the ciphertext.
    /// A shorter tag is the first bytes of it.
    ///
    /// # Errors
    /// [`MessageTooLong`]; nothing was written then.
    pub fn seal_in_place(
        &self,
        _simd: &Simd,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        message: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], MessageTooLong> {
        let lengths = length_block(aad, message).ok_or(MessageTooLong)?;
        let mut tag = [0; TAG_BYTES];
        self.cipher.encrypt_with_backend(Seal {
            hash: &mut self.hash.clone(),
            nonce,
            aad,
            message,
            lengths,
            tag: &mut tag,
        });
        Ok(tag)
    }

    /// Compares `tag` with that of `aad` and `message` in constant time and, if it is
    /// right, decrypts `message` in place. `tag` may be truncated.
    ///
    /// # Errors
    /// [`OpenError`]; `message` was not changed then.
    pub fn open_in_place(
        &self,
        _simd: &Simd,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        message: &mut [u8],
        tag: &[u8],
    ) -> Result<(), OpenError> {
        if !matches!(tag.len(), 4 | 8 | 12..=TAG_BYTES) {
            return Err(OpenError::TagLength);
        }
        let lengths = length_block(aad, message).ok_or(OpenError::MessageTooLong)?;
        let mut authentic = false;
        self.cipher.encrypt_with_backend(Open {
            hash: &mut self.hash.clone(),
            nonce,
            aad,
            message,
            lengths,
            tag,
            authentic: &mut authentic,
        });
        if authentic {
            Ok(())
        } else {
            Err(OpenError::WrongTag)
        }
    }
}

impl<C> fmt::Debug for Gcm<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gcm { .. }")
    }
}

/// len(A) and len(C) in bits, the last block that GHASH takes.
fn length_block(aad: &[u8], message: &[u8]) -> Option<[u8; 16]> {
    let message = u64::try_from(message.len()).ok()?;
    if message > MAX_MESSAGE_BYTES {
        return None;
    }
    let aad = u64::try_from(aad.len()).ok()?.checked_mul(8)?;
    let bits = (u128::from(aad) << 64) | u128::from(message.checked_mul(8)?);
    Some(bits.to_be_bytes())
}

/// The key stream of one nonce, a batch at a time.
struct KeyStream<'a, B: BlockCipherEncBackend<BlockSize = U16>> {
    backend: &'a B,
    nonce: &'a [u8; NONCE_BYTES],
    counter: u32,
}

impl<'a, B: BlockCipherEncBackend<BlockSize = U16>> KeyStream<'a, B> {
    const BATCH: usize = <B::ParBlocksSize as Unsigned>::USIZE;

    /// Below this many blocks it is quicker to take them one by one than to compute a
    /// whole batch.
    const WORTH_A_BATCH: usize = Self::BATCH / 2;

    #[inline(always)]
    fn new(backend: &'a B, nonce: &'a [u8; NONCE_BYTES]) -> Self {
        Self {
            backend,
            nonce,
            counter: 1,
        }
    }

    /// Puts the next `blocks` blocks at the front of `batch`.
    #[inline(always)]
    fn fill(&mut self, batch: &mut ParBlocks<B>, blocks: usize) {
        let whole = blocks > Self::WORTH_A_BATCH;
        let wanted = if whole { Self::BATCH } else { blocks };
        let [n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11] = *self.nonce;
        for block in batch.iter_mut().take(wanted) {
            let [c0, c1, c2, c3] = self.counter.to_be_bytes();
            *block = Array([
                n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, c0, c1, c2, c3,
            ]);
            // Wraps to zero at most after the last block of the longest message.
            self.counter = self.counter.wrapping_add(1);
        }
        if whole {
            self.backend.encrypt_par_blocks(batch.into());
        } else {
            for block in batch.iter_mut().take(blocks) {
                self.backend.encrypt_block(block.into());
            }
        }
    }
}

#[inline(always)]
fn as_bytes<N: ArraySize>(blocks: &Array<Array<u8, U16>, N>) -> &[u8] {
    Array::slice_as_flattened(blocks.as_slice())
}

#[inline(always)]
fn xor(message: &mut [u8], key_stream: &[u8]) {
    for (byte, key) in message.iter_mut().zip(key_stream) {
        *byte ^= key;
    }
}

#[inline(always)]
fn xor_blocks(left: &[u8; 16], right: &[u8; 16]) -> [u8; TAG_BYTES] {
    (u128::from_ne_bytes(*left) ^ u128::from_ne_bytes(*right)).to_ne_bytes()
}

struct Seal<'a> {
    hash: &'a mut Hash,
    nonce: &'a [u8; NONCE_BYTES],
    aad: &'a [u8],
    message: &'a mut [u8],
    lengths: [u8; 16],
    tag: &'a mut [u8; TAG_BYTES],
}

impl BlockSizeUser for Seal<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Seal<'_> {
    #[inline(never)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let Self {
            hash,
            nonce,
            aad,
            message,
            lengths,
            tag,
        } = self;
        hash.update(aad);

        let mut stream = KeyStream::new(backend, nonce);
        let mut batch = ParBlocks::<B>::default();
        let mut blocks = message.len().div_ceil(16).saturating_add(1);
        stream.fill(&mut batch, blocks);
        let mask = batch.first().copied().unwrap_or_default();

        let mut rest = message;
        let mut key_stream = as_bytes(&batch).get(16..).unwrap_or(&[]);
        loop {
            let (chunk, later) = rest.split_at_mut(rest.len().min(key_stream.len()));
            xor(chunk, key_stream);
            hash.update(chunk);
            rest = later;
            if rest.is_empty() {
                break;
            }
            blocks = rest.len().div_ceil(16);
            stream.fill(&mut batch, blocks);
            key_stream = as_bytes(&batch);
        }
        hash.update(&lengths);
        *tag = xor_blocks(&hash.finish(), &mask.0);
    }
}

struct Open<'a> {
    hash: &'a mut Hash,
    nonce: &'a [u8; NONCE_BYTES],
    aad: &'a [u8],
    message: &'a mut [u8],
    lengths: [u8; 16],
    tag: &'a [u8],
    authentic: &'a mut bool,
}

impl BlockSizeUser for Open<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Open<'_> {
    #[inline(never)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let Self {
            hash,
            nonce,
            aad,
            message,
            lengths,
            tag,
            authentic,
        } = self;
        let mut stream = KeyStream::new(backend, nonce);
        let mut batch = ParBlocks::<B>::default();
        let mut blocks = message.len().div_ceil(16).saturating_add(1);
        stream.fill(&mut batch, blocks);
        let mask = batch.first().copied().unwrap_or_default();

        hash.update(aad);
        hash.update(message);
        hash.update(&lengths);
        let expected = xor_blocks(&hash.finish(), &mask.0);
        let Some(expected) = expected.get(..tag.len()) else {
            return;
        };
        if !bool::from(expected.ct_eq(tag)) {
            return;
        }
        *authentic = true;

        let mut rest = message;
        let mut key_stream = as_bytes(&batch).get(16..).unwrap_or(&[]);
        loop {
            let (chunk, later) = rest.split_at_mut(rest.len().min(key_stream.len()));
            xor(chunk, key_stream);
            rest = later;
            if rest.is_empty() {
                break;
            }
            blocks = rest.len().div_ceil(16);
            stream.fill(&mut batch, blocks);
            key_stream = as_bytes(&batch);
        }
    }
}
