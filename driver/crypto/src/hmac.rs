//! HMAC (RFC 2104) over MD5, SHA-1 and SHA-256.
//!
//! ```text
//!   key set-up:  inner = compress(initial, key ^ 36..36)
//!                outer = compress(initial, key ^ 5C..5C)
//!   packet:      H(outer; H(inner; message)), from copies of the two states
//! ```
//!
//! The functions from `md-5`, `sha1` and `sha2` are used as what they are, compressions of
//! blocks, so that a packet costs no key set-up.

use core::fmt;
use core::marker::PhantomData;
use zeroize::Zeroize;

use crate::Simd;

/// Length of a block of the hash functions.
const BLOCK: usize = 64;
/// Length of the message's length in bits, at the end of the last block.
const LENGTH: usize = 8;

/// Length of the longest tag.
pub const MAX_DIGEST_BYTES: usize = 32;

/// A hash function for [`Hmac`].
pub trait HashFunction: sealed::Compress {}

/// MD5, RFC 1321.
#[derive(Debug)]
pub enum Md5 {}

/// SHA-1, FIPS 180-4.
#[derive(Debug)]
pub enum Sha1 {}

/// SHA-256, FIPS 180-4.
#[derive(Debug)]
pub enum Sha256 {}

impl HashFunction for Md5 {}
impl HashFunction for Sha1 {}
impl HashFunction for Sha256 {}

mod sealed {
    use super::{BLOCK, LENGTH, Md5, Sha1, Sha256};
    use zeroize::Zeroize;

    pub trait Compress: 'static {
        type State: AsRef<[u32]> + Copy + Send + Sync + Zeroize;
        const INITIAL: Self::State;
        fn compress(state: &mut Self::State, blocks: &[[u8; BLOCK]]);
        fn word(word: u32) -> [u8; 4];
        fn length(bits: u64) -> [u8; LENGTH];
    }

    impl Compress for Md5 {
        type State = [u32; 4];
        const INITIAL: Self::State = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];

        fn compress(state: &mut Self::State, blocks: &[[u8; BLOCK]]) {
            md5::block_api::compress(state, blocks);
        }

        fn word(word: u32) -> [u8; 4] {
            word.to_le_bytes()
        }

        fn length(bits: u64) -> [u8; LENGTH] {
            bits.to_le_bytes()
        }
    }

    impl Compress for Sha1 {
        type State = [u32; 5];
        const INITIAL: Self::State = [
            0x6745_2301,
            0xEFCD_AB89,
            0x98BA_DCFE,
            0x1032_5476,
            0xC3D2_E1F0,
        ];

        fn compress(state: &mut Self::State, blocks: &[[u8; BLOCK]]) {
            sha1::block_api::compress(state, blocks);
        }

        fn word(word: u32) -> [u8; 4] {
            word.to_be_bytes()
        }

        fn length(bits: u64) -> [u8; LENGTH] {
            bits.to_be_bytes()
        }
    }

    impl Compress for Sha256 {
        type State = [u32; 8];
        const INITIAL: Self::State = [
            0x6A09_E667,
            0xBB67_AE85,
            0x3C6E_F372,
            0xA54F_F53A,
            0x510E_527F,
            0x9B05_688C,
            0x1F83_D9AB,
            0x5BE0_CD19,
        ];

        fn compress(state: &mut Self::State, blocks: &[[u8; BLOCK]]) {
            sha2::block_api::compress256(state, blocks);
        }

        fn word(word: u32) -> [u8; 4] {
            word.to_be_bytes()
        }

        fn length(bits: u64) -> [u8; LENGTH] {
            bits.to_be_bytes()
        }
    }
}

/// A key set up for HMAC with the hash function `H`.
pub struct Hmac<H: HashFunction> {
    inner: H::State,
    outer: H::State,
}

impl<H: HashFunction> Hmac<H> {
    /// Length of a whole tag in bytes. A shorter one is the first bytes of it.
    pub const DIGEST_BYTES: usize = size_of::<H::State>();

    /// Sets a key of any length up.
    #[must_use]
    pub fn new(_simd: &Simd, key: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        if key.len() > BLOCK {
            let mut state = Running::<H>::new(H::INITIAL, 0);
            state.update(key);
            put(&mut block, &digest::<H>(&state.finish()));
        } else {
            put(&mut block, key);
        }
        let mut keyed = |pad: u8| {
            let mut state = H::INITIAL;
            block.iter_mut().for_each(|byte| *byte ^= pad);
            H::compress(&mut state, &[block]);
            block.iter_mut().for_each(|byte| *byte ^= pad);
            state
        };
        let (inner, outer) = (keyed(0x36), keyed(0x5C));
        block.zeroize();
        Self { inner, outer }
    }

    /// Begins a message.
    #[must_use]
    pub fn start<'k>(&'k self, _simd: &'k Simd) -> HmacMessage<'k, H> {
        HmacMessage {
            outer: &self.outer,
            running: Running::new(self.inner, BLOCK as u64),
            simd: PhantomData,
        }
    }
}

impl<H: HashFunction> fmt::Debug for Hmac<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hmac { .. }")
    }
}

impl<H: HashFunction> Drop for Hmac<H> {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// A message on its way through HMAC.
pub struct HmacMessage<'k, H: HashFunction> {
    outer: &'k H::State,
    running: Running<H>,
    simd: PhantomData<&'k Simd>,
}

impl<H: HashFunction> HmacMessage<'_, H> {
    /// Takes the next bytes of the message.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        self.running.update(bytes);
    }

    /// The tag: the first [`Hmac::DIGEST_BYTES`] bytes, zeros after it.
    #[must_use]
    pub fn finish(self) -> [u8; MAX_DIGEST_BYTES] {
        let inner = digest::<H>(&self.running.finish());
        let mut outer = Running::<H>::new(*self.outer, BLOCK as u64);
        outer.update(inner.split_at(size_of::<H::State>()).0);
        digest::<H>(&outer.finish())
    }
}

impl<H: HashFunction> fmt::Debug for HmacMessage<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacMessage { .. }")
    }
}

/// A hash of a message, of which `filled` bytes wait for the rest of their block.
struct Running<H: HashFunction> {
    state: H::State,
    block: [u8; BLOCK],
    filled: usize,
    length: u64,
}

impl<H: HashFunction> Running<H> {
    /// Goes on after `length` bytes, which are whole blocks.
    #[inline]
    fn new(state: H::State, length: u64) -> Self {
        Self {
            state,
            block: [0; BLOCK],
            filled: 0,
            length,
        }
    }

    #[inline]
    fn update(&mut self, bytes: &[u8]) {
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
            H::compress(&mut self.state, &[self.block]);
            rest = later;
        }
        let (blocks, rest) = rest.as_chunks();
        H::compress(&mut self.state, blocks);
        put(&mut self.block, rest);
        self.filled = rest.len();
    }

    /// Pads the message: a one, zeros, and its length in bits.
    #[inline]
    fn finish(mut self) -> H::State {
        let (_, room) = self.block.split_at_mut(self.filled.min(BLOCK));
        room.fill(0);
        if let Some(first) = room.first_mut() {
            *first = 0x80;
        }
        if room.len() <= LENGTH {
            H::compress(&mut self.state, &[self.block]);
            self.block = [0; BLOCK];
        }
        if let Some(length) = self.block.last_chunk_mut::<LENGTH>() {
            *length = H::length(self.length.wrapping_mul(8));
        }
        H::compress(&mut self.state, &[self.block]);
        self.state
    }
}

#[inline]
fn digest<H: HashFunction>(state: &H::State) -> [u8; MAX_DIGEST_BYTES] {
    let mut digest = [0; MAX_DIGEST_BYTES];
    let (words, _) = digest.as_chunks_mut();
    for (to, from) in words.iter_mut().zip(state.as_ref()) {
        *to = H::word(*from);
    }
    digest
}

/// Copies what fits.
#[inline]
fn put(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::MaybeUninit;
    use core::ptr;

    #[test]
    fn a_dropped_key_leaves_zeros() {
        // SAFETY: user mode.
        let simd = unsafe { Simd::assume_saved() };
        let mut place = MaybeUninit::new(Hmac::<Sha256>::new(&simd, &[0x5A; 32]));
        let bytes = place.as_mut_ptr().cast::<u8>();
        const SIZE: usize = size_of::<Hmac<Sha256>>();
        // SAFETY: the value is there, and its place outlives it.
        unsafe {
            let before: [u8; SIZE] = ptr::read_volatile(bytes.cast());
            assert!(before.iter().filter(|&&byte| byte != 0).count() > SIZE / 2);
            place.assume_init_drop();
            let after: [u8; SIZE] = ptr::read_volatile(bytes.cast());
            assert_eq!(after, [0; SIZE]);
        }
    }
}
