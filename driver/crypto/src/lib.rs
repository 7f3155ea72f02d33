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

mod aes;
mod gcm;
mod hash;
mod simd;

pub use crate::aes::{Aes128, Aes192, Aes256, BlockCipher};
pub use gcm::{
    Aes128Gcm, Aes192Gcm, Aes256Gcm, Gcm, InvalidKeyLength, MAX_MESSAGE_BYTES, MessageTooLong,
    NONCE_BYTES, OpenError, TAG_BYTES,
};
pub use simd::Simd;
