//! The ciphers of the IPsec engine, over RustCrypto's primitives.
//!
//! - No heap, no `std`. A call uses less than 6 KiB of stack: AES-256 over VAES-512
//!   takes 1 KiB for round keys and 1 KiB for key stream, and `aes` keeps 2 KiB for its
//!   portable code whether it comes to that or not.
//! - Every function that may execute vector code beyond SSE takes a [`Simd`], which
//!   says that the processor's extended state is saved.
//! - Keys, round keys and hash keys are wiped when a key is dropped. Wiping is plain
//!   stores and needs no [`Simd`]: a key may go wherever its last user lets go of it.
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

use subtle::ConstantTimeEq;

mod block_cipher;
mod cbc;
mod gcm;
mod gmac;
mod hash;
mod hmac;
mod simd;

pub use crate::cbc::{Cbc, NotWholeBlocks};
pub use block_cipher::{Aes128, Aes192, Aes256, BlockCipher, CbcCipher, Des, TripleDes};
pub use gcm::{
    Aes128Gcm, Aes192Gcm, Aes256Gcm, Gcm, InvalidKeyLength, MAX_MESSAGE_BYTES, MessageTooLong,
    NONCE_BYTES, OpenError, TAG_BYTES,
};
pub use gmac::{Gmac, GmacMessage};
pub use hmac::{HashFunction, Hmac, HmacMessage, MAX_DIGEST_BYTES, Md5, Sha1, Sha256};
pub use simd::Simd;

/// Compares a tag with what it should be, in a time that does not depend on the bytes.
/// `false` if the lengths differ.
#[must_use]
pub fn same_tag(expected: &[u8], tag: &[u8]) -> bool {
    expected.ct_eq(tag).into()
}
