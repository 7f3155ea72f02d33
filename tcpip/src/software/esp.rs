//! ESP (RFC 4303) with keys.

use super::{
    Authenticator, SoftwareError, check_length,
    cipher::{Direction, Gcm, cbc},
};
use crate::{
    algorithm::Encryption,
    packet::{Layout, PROTOCOL_ESP},
    places::PlaceError,
    sas::Esp,
};

/// What makes the ICV, and with AES-GCM the ciphertext.
enum Transform {
    /// RFC 4106.
    Gcm(Gcm),
    /// RFC 4543: AES-GCM of which nothing is encrypted.
    Gmac(Gcm),
    /// A cipher, and an HMAC over its result; none within AH.
    Separate(Encryption, Vec<u8>, Option<Authenticator>),
}

/// Keys of an ESP header, ready for use.
pub struct SoftwareEsp {
    transform: Transform,
    iv_len: usize,
    icv_len: usize,
    esn: bool,
}

impl SoftwareEsp {
    /// Prepares the keys of an SA without AH.
    pub fn new(esp: &Esp) -> Result<Self, SoftwareError> {
        Self::within(esp, false)
    }

    /// Prepares the keys; within AH no authentication of its own is needed.
    pub(super) fn within(esp: &Esp, ah: bool) -> Result<Self, SoftwareError> {
        let suite = esp.suite();
        suite
            .check(ah)
            .map_err(|_| SoftwareError::Algorithm(suite))?;
        let encryption = &esp.encryption;
        let transform = match &esp.authentication {
            None if suite.encryption.is_gcm() => Transform::Gcm(Gcm::new(
                &encryption.key,
                suite.encryption.key_len(),
                &encryption.salt,
            )?),
            Some(key) if key.algorithm.is_gmac() => {
                Transform::Gmac(Gcm::new(&key.key, key.algorithm.key_len(), &key.salt)?)
            }
            authentication => {
                check_length(&encryption.key, suite.encryption.key_len(), 0)?;
                let mac = match authentication {
                    None => None,
                    Some(key) => Authenticator::new(key.algorithm, &key.key)?,
                };
                Transform::Separate(suite.encryption, encryption.key.clone(), mac)
            }
        };
        Ok(Self {
            transform,
            iv_len: esp.iv_len(),
            icv_len: esp.icv_len(),
            esn: esp.esn,
        })
    }

    /// Does to a framed packet with ESP alone what the driver should, if it is not the driver that
    /// chooses the IV: writes the IV (the 64-bit sequence number), encrypts, and writes the ICV.
    pub fn seal(&self, frame: &mut [u8], high: u32) -> Result<(), SoftwareError> {
        self.seal_at(esp_of(frame)?, high, None)
    }

    /// The same with this IV.
    pub fn seal_with_iv(
        &self,
        frame: &mut [u8],
        high: u32,
        iv: &[u8],
    ) -> Result<(), SoftwareError> {
        self.seal_at(esp_of(frame)?, high, Some(iv))
    }

    /// Verifies and decrypts a frame with ESP alone in place; IV and ICV stay as they are.
    pub fn open(&self, frame: &mut [u8], high: u32) -> Result<(), SoftwareError> {
        self.open_at(esp_of(frame)?, high)
    }

    /// `esp` is all of ESP, from the SPI to the ICV.
    pub(super) fn seal_at(
        &self,
        esp: &mut [u8],
        high: u32,
        iv: Option<&[u8]>,
    ) -> Result<(), SoftwareError> {
        let parts = self.split(esp, high)?;
        match iv {
            Some(iv) => parts.iv.copy_from_slice(iv),
            // RFC 8750's way of choosing the IV; without ESN the high half is zero. A longer IV is
            // not safe so, but this is not what protects anybody.
            None => {
                let sequence = parts.sequence.to_be_bytes();
                for (to, from) in parts.iv.iter_mut().zip(sequence.iter().cycle()) {
                    *to = *from;
                }
            }
        }
        match &self.transform {
            Transform::Gcm(gcm) => {
                let tag = gcm.encrypt(parts.iv, &parts.aad(), parts.text);
                parts.icv.copy_from_slice(&tag[..self.icv_len]);
            }
            Transform::Gmac(gcm) => {
                let tag = gcm.encrypt(parts.iv, &parts.gmac_input(), &mut []);
                parts.icv.copy_from_slice(&tag);
            }
            Transform::Separate(cipher, key, mac) => {
                cbc(*cipher, key, parts.iv, parts.text, Direction::Encrypt)?;
                if let Some(mac) = mac {
                    let icv = mac.of(&parts.hmac_input());
                    parts.icv.copy_from_slice(&icv[..self.icv_len]);
                }
            }
        }
        Ok(())
    }

    /// Checks, and only then decrypts.
    pub(super) fn open_at(&self, esp: &mut [u8], high: u32) -> Result<(), SoftwareError> {
        let mut opened = esp.to_vec();
        self.decrypt_at(&mut opened, high)?;
        let parts = self.split(esp, high)?;
        let icv: Vec<u8> = match &self.transform {
            // The tag is over the ciphertext: encrypt again for it. Works for every ICV length.
            Transform::Gcm(gcm) => {
                let mut again = self.split(&mut opened, high)?.text.to_vec();
                gcm.encrypt(parts.iv, &parts.aad(), &mut again).to_vec()
            }
            Transform::Gmac(gcm) => gcm.encrypt(parts.iv, &parts.gmac_input(), &mut []).to_vec(),
            Transform::Separate(_, _, Some(mac)) => mac.of(&parts.hmac_input()),
            Transform::Separate(_, _, None) => Vec::new(),
        };
        if icv[..self.icv_len] != *parts.icv {
            return Err(SoftwareError::Icv("ESP"));
        }
        esp.copy_from_slice(&opened);
        Ok(())
    }

    /// Decrypts without a check.
    pub(super) fn decrypt_at(&self, esp: &mut [u8], high: u32) -> Result<(), SoftwareError> {
        let parts = self.split(esp, high)?;
        match &self.transform {
            // GCM's cipher is its own inverse.
            Transform::Gcm(gcm) => {
                gcm.encrypt(parts.iv, &parts.aad(), parts.text);
            }
            Transform::Gmac(_) => {}
            Transform::Separate(cipher, key, _) => {
                cbc(*cipher, key, parts.iv, parts.text, Direction::Decrypt)?;
            }
        }
        Ok(())
    }

    fn split<'a>(&self, esp: &'a mut [u8], high: u32) -> Result<Parts<'a>, SoftwareError> {
        if esp.len() < 8 + self.iv_len + 2 + self.icv_len {
            return Err(PlaceError::Short(esp.len(), "ESP").into());
        }
        let (header, rest) = esp.split_at_mut(8);
        let (iv, rest) = rest.split_at_mut(self.iv_len);
        let (text, icv) = rest.split_at_mut(rest.len() - self.icv_len);
        let (spi, low) = header.split_at(4);
        let low = u32::from_be_bytes([low[0], low[1], low[2], low[3]]);
        let high = if self.esn { high } else { 0 };
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

/// The ESP of a frame that has no other IPsec header.
fn esp_of(frame: &mut [u8]) -> Result<&mut [u8], SoftwareError> {
    let layout = Layout::of(frame)?;
    if layout.protocol != PROTOCOL_ESP {
        return Err(PlaceError::Protocol(layout.protocol, "ESP").into());
    }
    Ok(&mut frame[layout.payload..layout.end])
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
