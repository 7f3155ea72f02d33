//! ESP without the driver: the second opinion on every frame of the wire, and the maker of
//! protected traffic for tests. Written against RFC 4303 and RFC 4106 over the `aes-gcm` crate.

use aes_gcm::{
    AesGcm, KeyInit, Nonce,
    aead::{AeadInOut, consts::U12},
    aes::{Aes128, Aes192, Aes256},
};

use crate::{
    algorithm::Encryption,
    packet::{Layout, NoLayout, PROTOCOL_ESP},
    sas::Esp,
};

/// AES-GCM with 16 bytes of tag; shorter ICVs are its truncation (SP 800-38D section 5.2.1.2).
enum Gcm {
    Aes128(Box<AesGcm<Aes128, U12>>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<AesGcm<Aes256, U12>>),
}

/// Keys of an ESP header, ready for use.
pub struct SoftwareEsp {
    gcm: Gcm,
    salt: [u8; 4],
    icv_len: usize,
    esn: bool,
}

/// Why software cannot process an SA or a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoftwareError {
    /// Only AES-GCM is implemented in software.
    #[error("no software implementation of {0:?}")]
    Algorithm(Encryption),
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
    /// The ICV is wrong.
    #[error("wrong ICV")]
    Icv,
}

impl SoftwareEsp {
    /// Prepares the keys of `esp`.
    pub fn new(esp: &Esp) -> Result<Self, SoftwareError> {
        let encryption = &esp.encryption;
        if !encryption.algorithm.is_gcm() || esp.authentication.is_some() {
            return Err(SoftwareError::Algorithm(encryption.algorithm));
        }
        let wrong_length = || SoftwareError::KeyLength {
            key: encryption.key.len(),
            salt: encryption.salt.len(),
        };
        let key = encryption.key.as_slice();
        let gcm = match encryption.algorithm {
            Encryption::AesGcm128 => AesGcm::new_from_slice(key).map(|k| Gcm::Aes128(Box::new(k))),
            Encryption::AesGcm192 => AesGcm::new_from_slice(key).map(|k| Gcm::Aes192(Box::new(k))),
            _ => AesGcm::new_from_slice(key).map(|k| Gcm::Aes256(Box::new(k))),
        }
        .map_err(|_| wrong_length())?;
        Ok(Self {
            gcm,
            salt: encryption
                .salt
                .as_slice()
                .try_into()
                .map_err(|_| wrong_length())?,
            icv_len: encryption.icv_len(),
            esn: esp.esn,
        })
    }

    /// Does to a framed packet what the driver should: writes the IV (the 64-bit sequence
    /// number), encrypts, and writes the ICV.
    pub fn seal(&self, frame: &mut [u8], sequence_high: u32) -> Result<(), SoftwareError> {
        let parts = self.split(frame, sequence_high)?;
        // RFC 8750's way of choosing the IV; without ESN the high half is zero.
        parts.iv.copy_from_slice(&parts.sequence.to_be_bytes());
        let nonce = self.nonce(parts.iv);
        let tag = self.encrypt(&nonce, &parts.aad, parts.text);
        parts.icv.copy_from_slice(&tag[..self.icv_len]);
        Ok(())
    }

    /// Verifies and decrypts a frame of the wire in place; IV and ICV stay as they are.
    pub fn open(&self, frame: &mut [u8], sequence_high: u32) -> Result<(), SoftwareError> {
        let parts = self.split(frame, sequence_high)?;
        let nonce = self.nonce(parts.iv);
        // GCM's cipher is its own inverse, and the tag is over the ciphertext: decrypt by
        // encrypting, then encrypt a copy again for the tag. Works for every ICV length.
        let mut plaintext = parts.text.to_vec();
        self.encrypt(&nonce, &parts.aad, &mut plaintext);
        let mut again = plaintext.clone();
        let tag = self.encrypt(&nonce, &parts.aad, &mut again);
        if tag[..self.icv_len] != *parts.icv {
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
        if layout.protocol != PROTOCOL_ESP || esp.len() < 8 + 8 + 2 + self.icv_len {
            return Err(SoftwareError::NotEsp);
        }
        let (header, rest) = esp.split_at_mut(8);
        let (iv, rest) = rest.split_at_mut(8);
        let (text, icv) = rest.split_at_mut(rest.len() - self.icv_len);
        // RFC 4106 section 5: SPI and sequence number, the latter with its high half under ESN.
        let (spi, sequence) = header.split_at(4);
        let high = if self.esn { sequence_high } else { 0 };
        let low = u32::from_be_bytes([sequence[0], sequence[1], sequence[2], sequence[3]]);
        let mut aad = spi.to_vec();
        if self.esn {
            aad.extend_from_slice(&high.to_be_bytes());
        }
        aad.extend_from_slice(sequence);
        Ok(Parts {
            aad,
            sequence: u64::from(high) << 32 | u64::from(low),
            iv,
            text,
            icv,
        })
    }

    fn nonce(&self, iv: &[u8]) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(iv);
        nonce
    }

    fn encrypt(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        let nonce = Nonce::from(*nonce);
        let tag = match &self.gcm {
            Gcm::Aes128(gcm) => gcm.encrypt_inout_detached(&nonce, aad, text.into()),
            Gcm::Aes192(gcm) => gcm.encrypt_inout_detached(&nonce, aad, text.into()),
            Gcm::Aes256(gcm) => gcm.encrypt_inout_detached(&nonce, aad, text.into()),
        };
        tag.expect("an IP packet is shorter than GCM's limit")
            .into()
    }
}

/// An ESP packet, cut at its seams.
struct Parts<'a> {
    aad: Vec<u8>,
    sequence: u64,
    iv: &'a mut [u8],
    text: &'a mut [u8],
    icv: &'a mut [u8],
}
