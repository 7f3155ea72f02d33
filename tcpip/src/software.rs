//! ESP without the driver: the second opinion on every frame of the wire, and the maker of
//! protected traffic for tests. Written against RFC 4303 and the RFCs of the algorithms (2404,
//! 3602, 4106, 4543, 4868) over the crates `aes-gcm`, `cbc` and `hmac`.

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{
        Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt,
        BlockSizeUser, InnerIvInit, KeyInit, consts::U16,
    },
};
use aes_gcm::{
    AesGcm, Nonce,
    aead::{AeadInOut, consts::U12},
};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::{
    algorithm::{Authentication, Encryption, Suite},
    packet::{Layout, NoLayout, PROTOCOL_ESP},
    sas::Esp,
};

/// AES-GCM with 16 bytes of tag; shorter ICVs are its truncation (SP 800-38D section 5.2.1.2).
enum Gcm {
    Aes128(Box<AesGcm<Aes128, U12>>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<AesGcm<Aes256, U12>>),
}

/// What makes the ICV, and with AES-GCM the ciphertext.
enum Transform {
    /// RFC 4106.
    Gcm(Gcm, [u8; 4]),
    /// RFC 4543: AES-GCM of which nothing is encrypted.
    Gmac(Gcm, [u8; 4]),
    /// A cipher, and an HMAC over its result.
    Separate(Encryption, Vec<u8>, Authenticator),
}

/// HMAC, keyed.
enum Authenticator {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
}

/// Keys of an ESP header, ready for use.
pub struct SoftwareEsp {
    transform: Transform,
    iv_len: usize,
    icv_len: usize,
    esn: bool,
}

/// Why software cannot process an SA or a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoftwareError {
    /// Legacy algorithms, and pairs that make no SA, are not implemented in software.
    #[error("no software implementation of {0}")]
    Algorithm(Suite),
    /// Key or salt has not the length that the algorithm needs.
    #[error("key of {key} and salt of {salt} bytes")]
    KeyLength {
        /// Bytes of key.
        key: usize,
        /// Bytes of salt.
        salt: usize,
    },
    /// No complete IP packet.
    #[error("{0}")]
    Packet(#[from] NoLayout),
    /// The packet is not ESP or too short for it.
    #[error("no room for ESP")]
    NotEsp,
    /// What is encrypted does not fill the blocks of the cipher.
    #[error("{0} bytes are no whole blocks")]
    Blocks(usize),
    /// The ICV is wrong.
    #[error("wrong ICV")]
    Icv,
}

impl SoftwareEsp {
    /// Prepares the keys of `esp`.
    pub fn new(esp: &Esp) -> Result<Self, SoftwareError> {
        let suite = esp.suite();
        let encryption = &esp.encryption;
        let transform = match (encryption.algorithm, &esp.authentication) {
            (algorithm, None) if algorithm.is_gcm() => {
                let (gcm, salt) = gcm(&encryption.key, algorithm.key_len(), &encryption.salt)?;
                Transform::Gcm(gcm, salt)
            }
            (Encryption::Null, Some(key)) if key.algorithm.is_gmac() => {
                let (gcm, salt) = gcm(&key.key, key.algorithm.key_len(), &key.salt)?;
                Transform::Gmac(gcm, salt)
            }
            (
                Encryption::Null
                | Encryption::AesCbc128
                | Encryption::AesCbc192
                | Encryption::AesCbc256,
                Some(key),
            ) => {
                check_length(&encryption.key, encryption.algorithm.key_len(), 0)?;
                check_length(&key.key, key.algorithm.key_len(), 0)?;
                let mac = match key.algorithm {
                    Authentication::HmacSha1 => {
                        KeyInit::new_from_slice(&key.key).map(Authenticator::Sha1)
                    }
                    Authentication::HmacSha256 => {
                        KeyInit::new_from_slice(&key.key).map(Authenticator::Sha256)
                    }
                    _ => return Err(SoftwareError::Algorithm(suite)),
                }
                .expect("HMAC takes keys of any length");
                Transform::Separate(encryption.algorithm, encryption.key.clone(), mac)
            }
            _ => return Err(SoftwareError::Algorithm(suite)),
        };
        Ok(Self {
            transform,
            iv_len: esp.iv_len(),
            icv_len: esp.icv_len(),
            esn: esp.esn,
        })
    }

    /// Does to a framed packet what the driver should, if it is not the driver that chooses the
    /// IV: writes the IV (the 64-bit sequence number), encrypts, and writes the ICV.
    pub fn seal(&self, frame: &mut [u8], sequence_high: u32) -> Result<(), SoftwareError> {
        // RFC 8750's way of choosing the IV; without ESN the high half is zero. A longer IV is
        // not safe so, but this is not what protects anybody.
        let sequence = self.split(frame, sequence_high)?.sequence.to_be_bytes();
        let iv: Vec<u8> = sequence.into_iter().cycle().take(self.iv_len).collect();
        self.seal_with_iv(frame, sequence_high, &iv)
    }

    /// The same with this IV.
    pub fn seal_with_iv(
        &self,
        frame: &mut [u8],
        sequence_high: u32,
        iv: &[u8],
    ) -> Result<(), SoftwareError> {
        let parts = self.split(frame, sequence_high)?;
        parts.iv.copy_from_slice(iv);
        match &self.transform {
            Transform::Gcm(gcm, salt) => {
                let tag = gcm.encrypt(salt, iv, &parts.aad(), parts.text);
                parts.icv.copy_from_slice(&tag[..self.icv_len]);
            }
            Transform::Gmac(gcm, salt) => {
                let tag = gcm.encrypt(salt, iv, &parts.gmac_input(), &mut []);
                parts.icv.copy_from_slice(&tag);
            }
            Transform::Separate(cipher, key, mac) => {
                cbc(*cipher, key, iv, parts.text, Direction::Encrypt)?;
                let icv = mac.of(&parts.hmac_input());
                parts.icv.copy_from_slice(&icv[..self.icv_len]);
            }
        }
        Ok(())
    }

    /// Verifies and decrypts a frame of the wire in place; IV and ICV stay as they are.
    pub fn open(&self, frame: &mut [u8], sequence_high: u32) -> Result<(), SoftwareError> {
        let parts = self.split(frame, sequence_high)?;
        let mut plaintext = parts.text.to_vec();
        let icv: Vec<u8> = match &self.transform {
            // GCM's cipher is its own inverse, and the tag is over the ciphertext: decrypt by
            // encrypting, then encrypt a copy again for the tag. Works for every ICV length.
            Transform::Gcm(gcm, salt) => {
                gcm.encrypt(salt, parts.iv, &parts.aad(), &mut plaintext);
                let mut again = plaintext.clone();
                gcm.encrypt(salt, parts.iv, &parts.aad(), &mut again)
                    .to_vec()
            }
            Transform::Gmac(gcm, salt) => gcm
                .encrypt(salt, parts.iv, &parts.gmac_input(), &mut [])
                .to_vec(),
            Transform::Separate(cipher, key, mac) => {
                cbc(*cipher, key, parts.iv, &mut plaintext, Direction::Decrypt)?;
                mac.of(&parts.hmac_input())
            }
        };
        if icv[..self.icv_len] != *parts.icv {
            return Err(SoftwareError::Icv);
        }
        parts.text.copy_from_slice(&plaintext);
        Ok(())
    }

    fn split<'a>(
        &self,
        frame: &'a mut [u8],
        sequence_high: u32,
    ) -> Result<Parts<'a>, SoftwareError> {
        let layout = Layout::of(frame)?;
        let esp = &mut frame[layout.payload..layout.end];
        if layout.protocol != PROTOCOL_ESP || esp.len() < 8 + self.iv_len + 2 + self.icv_len {
            return Err(SoftwareError::NotEsp);
        }
        let (header, rest) = esp.split_at_mut(8);
        let (iv, rest) = rest.split_at_mut(self.iv_len);
        let (text, icv) = rest.split_at_mut(rest.len() - self.icv_len);
        let (spi, low) = header.split_at(4);
        let low = u32::from_be_bytes([low[0], low[1], low[2], low[3]]);
        let high = if self.esn { sequence_high } else { 0 };
        Ok(Parts {
            spi: [spi[0], spi[1], spi[2], spi[3]],
            sequence: u64::from(high) << 32 | u64::from(low),
            esn: self.esn,
            iv,
            text,
            icv,
        })
    }
}

fn check_length(key: &[u8], wanted: usize, salt: usize) -> Result<(), SoftwareError> {
    if key.len() == wanted {
        Ok(())
    } else {
        Err(SoftwareError::KeyLength {
            key: key.len(),
            salt,
        })
    }
}

fn gcm(key: &[u8], key_len: usize, salt: &[u8]) -> Result<(Gcm, [u8; 4]), SoftwareError> {
    check_length(key, key_len, salt.len())?;
    let wrong_length = || SoftwareError::KeyLength {
        key: key.len(),
        salt: salt.len(),
    };
    let gcm = match key_len {
        16 => AesGcm::new_from_slice(key).map(|k| Gcm::Aes128(Box::new(k))),
        24 => AesGcm::new_from_slice(key).map(|k| Gcm::Aes192(Box::new(k))),
        _ => AesGcm::new_from_slice(key).map(|k| Gcm::Aes256(Box::new(k))),
    };
    Ok((
        gcm.map_err(|_| wrong_length())?,
        salt.try_into().map_err(|_| wrong_length())?,
    ))
}

impl Gcm {
    fn encrypt(&self, salt: &[u8; 4], iv: &[u8], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(salt);
        nonce[4..].copy_from_slice(iv);
        let nonce = Nonce::from(nonce);
        let tag = match self {
            Self::Aes128(gcm) => gcm.encrypt_inout_detached(&nonce, aad, text.into()),
            Self::Aes192(gcm) => gcm.encrypt_inout_detached(&nonce, aad, text.into()),
            Self::Aes256(gcm) => gcm.encrypt_inout_detached(&nonce, aad, text.into()),
        };
        tag.expect("an IP packet is shorter than GCM's limit")
            .into()
    }
}

impl Authenticator {
    /// The whole HMAC; ICVs are its truncations.
    fn of(&self, message: &[u8]) -> Vec<u8> {
        fn finish<M: Mac + Clone>(keyed: &M, message: &[u8]) -> Vec<u8> {
            keyed
                .clone()
                .chain_update(message)
                .finalize()
                .into_bytes()
                .to_vec()
        }
        match self {
            Self::Sha1(keyed) => finish(keyed, message),
            Self::Sha256(keyed) => finish(keyed, message),
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Encrypt,
    Decrypt,
}

/// AES-CBC over whole blocks; nothing with null encryption.
fn cbc(
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
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    let cipher = C::new_from_slice(key).expect("the length was checked");
    let iv = iv.try_into().expect("the length is AES-CBC's");
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

/// An ESP packet, cut at its seams.
struct Parts<'a> {
    spi: [u8; 4],
    sequence: u64,
    esn: bool,
    iv: &'a mut [u8],
    text: &'a mut [u8],
    icv: &'a mut [u8],
}

impl Parts<'_> {
    /// RFC 4106 section 5: SPI and sequence number, the latter with its high half under ESN.
    fn aad(&self) -> Vec<u8> {
        let sequence = self.sequence.to_be_bytes();
        let counted = if self.esn { 0 } else { 4 };
        [&self.spi[..], &sequence[counted..]].concat()
    }

    /// RFC 4543 section 3: the additional data is that of AES-GCM, the IV, and the text.
    fn gmac_input(&self) -> Vec<u8> {
        [&self.aad()[..], self.iv, self.text].concat()
    }

    /// RFC 4303 section 3.3.2: everything in front of the ICV; under ESN the high half of the
    /// sequence number behind it (section 2.8).
    fn hmac_input(&self) -> Vec<u8> {
        let (high, low) = ((self.sequence >> 32) as u32, self.sequence as u32);
        let mut input = self.spi.to_vec();
        input.extend_from_slice(&low.to_be_bytes());
        input.extend_from_slice(self.iv);
        input.extend_from_slice(self.text);
        if self.esn {
            input.extend_from_slice(&high.to_be_bytes());
        }
        input
    }
}
