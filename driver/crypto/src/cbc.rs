//! Cipher block chaining (NIST SP 800-38A section 6.2) in place, with IVs that nobody can
//! predict.
//!
//! ```text
//!   block n: FF..FF, with the use (64 bits) xored into its start and n into its end
//!   IV key:  E(key, block 1) | E(key, block 2) | ..   cut to the key's length
//!   IV:      E(IV key, 0..0 | 64-bit number)
//! ```
//!
//! The cipher is a permutation, so that different numbers have different IVs; and without
//! the IV key they are as good as random, as CBC wants them (SP 800-38A appendix C; RFC 3602
//! section 3). A key that is set up again, for another use, has other IVs for the same numbers.

use aes::cipher::{
    Array, Block, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, Key, KeyInit, typenum::Unsigned,
};
use core::fmt;
use zeroize::Zeroize;

use crate::{CbcCipher, InvalidKeyLength, Simd};

/// The message is not made of whole blocks, or the IV is not one block. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotWholeBlocks;

/// A key set up for CBC over the block cipher `C`, in both directions, and the key of the
/// IVs.
pub struct Cbc<C: CbcCipher> {
    cipher: C,
    inverse: C::Inverse,
    iv_cipher: C,
}

impl<C: CbcCipher> Cbc<C> {
    /// Length of the key in bytes.
    pub const KEY_BYTES: usize = <C::KeySize as Unsigned>::USIZE;
    /// Length of a block, and of an IV, in bytes.
    pub const BLOCK_BYTES: usize = <C::BlockSize as Unsigned>::USIZE;

    /// Sets the key up. Each `use_number` has IVs of its own.
    ///
    /// # Errors
    /// [`InvalidKeyLength`] unless `key` has [`Self::KEY_BYTES`] bytes.
    pub fn new(_simd: &Simd, key: &[u8], use_number: u64) -> Result<Self, InvalidKeyLength> {
        let cipher = C::new_from_slice(key).map_err(|_| InvalidKeyLength)?;
        let inverse = C::Inverse::new_from_slice(key).map_err(|_| InvalidKeyLength)?;
        let mut iv_key = Key::<C>::default();
        for (number, part) in (1u8..).zip(iv_key.chunks_mut(Self::BLOCK_BYTES)) {
            let mut block = Block::<C>::default();
            block.fill(0xFF);
            for (byte, mark) in block.iter_mut().zip(use_number.to_le_bytes()) {
                *byte ^= mark;
            }
            if let Some(last) = block.last_mut() {
                *last ^= number;
            }
            cipher.encrypt_block(&mut block);
            for (to, from) in part.iter_mut().zip(&block) {
                *to = *from;
            }
            block.zeroize();
        }
        let iv_cipher = C::new(&iv_key);
        iv_key.zeroize();
        Ok(Self {
            cipher,
            inverse,
            iv_cipher,
        })
    }

    /// Writes the IV of the packet with this number, which has [`Self::BLOCK_BYTES`] bytes.
    ///
    /// # Errors
    /// [`NotWholeBlocks`] for an IV of another length.
    pub fn write_iv(&self, _simd: &Simd, number: u64, iv: &mut [u8]) -> Result<(), NotWholeBlocks> {
        let iv = <&mut Block<C>>::try_from(iv).map_err(|_| NotWholeBlocks)?;
        iv.fill(0);
        for (to, from) in iv.iter_mut().rev().zip(number.to_le_bytes()) {
            *to = from;
        }
        self.iv_cipher.encrypt_block(iv);
        Ok(())
    }

    /// Encrypts `message` in place.
    ///
    /// # Errors
    /// [`NotWholeBlocks`].
    pub fn encrypt_in_place(
        &self,
        _simd: &Simd,
        iv: &[u8],
        message: &mut [u8],
    ) -> Result<(), NotWholeBlocks> {
        let iv = <&Block<C>>::try_from(iv).map_err(|_| NotWholeBlocks)?;
        let blocks = whole_blocks::<C>(message)?;
        cbc::Encryptor::inner_iv_init(&self.cipher, iv).encrypt_blocks(blocks);
        Ok(())
    }

    /// Decrypts `message` in place, many blocks at a time.
    ///
    /// # Errors
    /// [`NotWholeBlocks`].
    pub fn decrypt_in_place(
        &self,
        _simd: &Simd,
        iv: &[u8],
        message: &mut [u8],
    ) -> Result<(), NotWholeBlocks> {
        let iv = <&Block<C>>::try_from(iv).map_err(|_| NotWholeBlocks)?;
        let blocks = whole_blocks::<C>(message)?;
        cbc::Decryptor::inner_iv_init(&self.inverse, iv).decrypt_blocks(blocks);
        Ok(())
    }
}

impl<C: CbcCipher> fmt::Debug for Cbc<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cbc { .. }")
    }
}

fn whole_blocks<C: CbcCipher>(message: &mut [u8]) -> Result<&mut [Block<C>], NotWholeBlocks> {
    match Array::slice_as_chunks_mut(message) {
        (blocks, []) => Ok(blocks),
        _ => Err(NotWholeBlocks),
    }
}
