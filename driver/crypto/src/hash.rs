//! GHASH, with a key that is wiped quickly.

use core::ptr;
use core::sync::atomic::{Ordering, compiler_fence};

use ghash::{GHash, universal_hash::UniversalHash};

/// A running GHASH: the powers of the hash key, and the sum so far.
///
/// Every packet works on a copy, so that wiping it is part of a packet's cost. The
/// `zeroize` feature of `ghash` would do it byte by byte, which is a quarter of the
/// time of a packet of 64 bytes; here it is done in words.
#[derive(Clone)]
#[repr(C, align(16))]
pub(crate) struct Hash(GHash);

const WORDS: usize = size_of::<Hash>() / size_of::<u64>();

impl Hash {
    #[inline]
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self(GHash::new(&(*key).into()))
    }

    /// Hashes `bytes`, padded with zeros to whole blocks.
    ///
    /// Not inlined into what the `aes` backend calls, which is compiled with that
    /// backend's features: with AVX-512 the copies inside `ghash` become 64-byte loads of
    /// what four stores of 16 bytes wrote, which no processor forwards, and hashing takes
    /// twice as long.
    #[inline(never)]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update_padded(bytes);
    }

    /// The hash. The value is of no use afterwards.
    #[inline(never)]
    pub(crate) fn finish(&mut self) -> [u8; 16] {
        GHash::clone(&self.0).finalize().0
    }
}

impl Drop for Hash {
    #[inline]
    fn drop(&mut self) {
        const {
            assert!(size_of::<Hash>().is_multiple_of(size_of::<u64>()));
        }
        let words = ptr::from_mut(self).cast::<u64>();
        for word in 0..WORDS {
            // SAFETY: inside `self`, which is aligned to 16. `GHash` is plain data, for which
            // all zeros is a value, and its own drop does nothing.
            unsafe { ptr::write_volatile(words.add(word), 0) };
        }
        // Nothing that comes later may be moved before the wiping.
        compiler_fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::MaybeUninit;

    #[test]
    fn a_dropped_hash_leaves_zeros() {
        let mut place = MaybeUninit::new(Hash::new(&[0x5A; 16]));
        let bytes = place.as_mut_ptr().cast::<u8>();
        // SAFETY: the value is there, and its place outlives it. Reading bytes that were
        // written one by one as words is fine.
        unsafe {
            let before: [u8; size_of::<Hash>()] = ptr::read_volatile(bytes.cast());
            assert!(before.iter().filter(|&&byte| byte != 0).count() > 64);
            place.assume_init_drop();
            let after: [u8; size_of::<Hash>()] = ptr::read_volatile(bytes.cast());
            assert_eq!(after, [0; size_of::<Hash>()]);
        }
    }
}
