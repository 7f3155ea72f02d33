//! The ciphers: AES-GCM, and CBC over AES, DES and Triple DES.

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{
        Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt,
        InnerIvInit, KeyInit,
    },
};
use aes_gcm::{
    AesGcm, Nonce,
    aead::{AeadInOut, consts::U12},
};
use des::{Des, TdesEde3};

use super::{SoftwareError, check_length};
use crate::algorithm::Encryption;

/// AES-GCM with 16 bytes of tag; shorter ICVs are its truncation (SP 800-38D section 5.2.1.2).
pub(super) struct Gcm {
    key: GcmKey,
    salt: [u8; 4],
}

enum GcmKey {
    Aes128(Box<AesGcm<Aes128, U12>>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<AesGcm<Aes256, U12>>),
}

impl Gcm {
    pub(super) fn new(key: &[u8], key_len: usize, salt: &[u8]) -> Result<Self, SoftwareError> {
        check_length(key, key_len, salt.len())?;
        let wrong_length = || SoftwareError::KeyLength {
            key: key.len(),
            salt: salt.len(),
        };
        let keyed = match key_len {
            16 => AesGcm::new_from_slice(key).map(|k| GcmKey::Aes128(Box::new(k))),
            24 => AesGcm::new_from_slice(key).map(|k| GcmKey::Aes192(Box::new(k))),
            _ => AesGcm::new_from_slice(key).map(|k| GcmKey::Aes256(Box::new(k))),
        };
        Ok(Self {
            key: keyed.map_err(|_| wrong_length())?,
            salt: salt.try_into().map_err(|_| wrong_length())?,
        })
    }

    /// Encrypts `text`, and returns the tag.
    pub(super) fn encrypt(&self, iv: &[u8], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(iv);
        let nonce = Nonce::from(nonce);
        let tag = match &self.key {
            GcmKey::Aes128(gcm) => gcm.encrypt_inout_detached(&nonce, aad, text.into()),
            GcmKey::Aes192(gcm) => gcm.encrypt_inout_detached(&nonce, aad, text.into()),
            GcmKey::Aes256(gcm) => gcm.encrypt_inout_detached(&nonce, aad, text.into()),
        };
        tag.expect("an IP packet is shorter than GCM's limit")
            .into()
    }
}

#[derive(Clone, Copy)]
pub(super) enum Direction {
    Encrypt,
    Decrypt,
}

/// CBC over whole blocks; nothing with null encryption.
pub(super) fn cbc(
    cipher: Encryption,
    key: &[u8],
    iv: &[u8],
    text: &mut [u8],
    direction: Direction,
) -> Result<(), SoftwareError> {
    match cipher {
        Encryption::AesCbc128 => cbc_with::<Aes128>(key, iv, text, direction),
        Encryption::AesCbc192 => cbc_with::<Aes192>(key, iv, text, direction),
        Encryption::AesCbc256 => cbc_with::<Aes256>(key, iv, text, direction),
        Encryption::DesCbc => cbc_with::<Des>(key, iv, text, direction),
        Encryption::TripleDesCbc => cbc_with::<TdesEde3>(key, iv, text, direction),
        _ => Ok(()),
    }
}

fn cbc_with<C>(
    key: &[u8],
    iv: &[u8],
    text: &mut [u8],
    direction: Direction,
) -> Result<(), SoftwareError>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + KeyInit,
{
    let cipher = C::new_from_slice(key).expect("the length was checked");
    let iv = iv.try_into().expect("the length is the cipher's");
    let length = text.len();
    let (blocks, []) = Array::slice_as_chunks_mut(text) else {
        return Err(SoftwareError::Blocks(length));
    };
    match direction {
        Direction::Encrypt => cbc::Encryptor::inner_iv_init(cipher, iv).encrypt_blocks(blocks),
        Direction::Decrypt => cbc::Decryptor::inner_iv_init(cipher, iv).decrypt_blocks(blocks),
    }
    Ok(())
}
