//! The block ciphers: AES, and DES for what is old.

use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, array::ArraySize, consts::U16,
};

pub use aes::{Aes128Enc as Aes128, Aes192Enc as Aes192, Aes256Enc as Aes256};
pub use des::{Des, TdesEde3 as TripleDes};

/// A block cipher with blocks of 16 bytes that wipes its round keys when dropped.
/// Encryption only: all that counter mode needs.
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

/// A block cipher for CBC mode that wipes its round keys when dropped.
pub trait CbcCipher:
    KeyInit
    + BlockCipherEncrypt
    + BlockSizeUser<BlockSize: ArraySize>
    + Send
    + Sync
    + sealed::Sealed
    + 'static
{
    /// The inverse of the cipher.
    type Inverse: KeyInit<KeySize = Self::KeySize>
        + BlockCipherDecrypt
        + BlockSizeUser<BlockSize = Self::BlockSize>
        + Send
        + Sync
        + sealed::Sealed
        + 'static;
}

impl CbcCipher for Aes128 {
    type Inverse = aes::Aes128Dec;
}

impl CbcCipher for Aes192 {
    type Inverse = aes::Aes192Dec;
}

impl CbcCipher for Aes256 {
    type Inverse = aes::Aes256Dec;
}

impl CbcCipher for Des {
    type Inverse = Self;
}

impl CbcCipher for TripleDes {
    type Inverse = Self;
}

mod sealed {
    pub trait Sealed: zeroize::ZeroizeOnDrop {}
    impl Sealed for super::Aes128 {}
    impl Sealed for super::Aes192 {}
    impl Sealed for super::Aes256 {}
    impl Sealed for aes::Aes128Dec {}
    impl Sealed for aes::Aes192Dec {}
    impl Sealed for aes::Aes256Dec {}
    impl Sealed for super::Des {}
    impl Sealed for super::TripleDes {}
}
