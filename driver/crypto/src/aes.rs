//! AES, encryption only: all that counter mode and CMAC-like uses need.

use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};

pub use aes::{Aes128Enc as Aes128, Aes192Enc as Aes192, Aes256Enc as Aes256};

/// A block cipher with blocks of 16 bytes that wipes its round keys when dropped.
pub trait BlockCipher:
    KeyInit
    + BlockCipherEncrypt
    + BlockSizeUser<BlockSize = U16>
    + Send
    + Sync
    + sealed::Sealed
    + 'static
{
}

impl BlockCipher for Aes128 {}
impl BlockCipher for Aes192 {}
impl BlockCipher for Aes256 {}

mod sealed {
    pub trait Sealed: zeroize::ZeroizeOnDrop {}
    impl Sealed for super::Aes128 {}
    impl Sealed for super::Aes192 {}
    impl Sealed for super::Aes256 {}
}
