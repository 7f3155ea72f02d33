//! AH (RFC 4302) with keys.

use super::{Authenticator, SoftwareError, cipher::Gcm, mutable};
use crate::{
    places::{AhPlace, Places},
    sas::Ah,
};

/// What makes the ICV.
enum Transform {
    Hmac(Authenticator),
    /// RFC 4543: the IV is the front of the ICV field.
    Gmac(Gcm),
}

/// Keys of an AH header, ready for use.
pub struct SoftwareAh {
    transform: Transform,
    icv_len: usize,
    esn: bool,
}

impl SoftwareAh {
    /// Prepares the keys.
    pub fn new(ah: &Ah) -> Result<Self, SoftwareError> {
        let key = &ah.authentication;
        let transform = if key.algorithm.is_gmac() {
            Transform::Gmac(Gcm::new(&key.key, key.algorithm.key_len(), &key.salt)?)
        } else {
            Authenticator::new(key.algorithm, &key.key)?
                .map(Transform::Hmac)
                .expect("what is no AES-GMAC is an HMAC")
        };
        Ok(Self {
            transform,
            icv_len: key.algorithm.icv_len(),
            esn: ah.esn,
        })
    }

    /// Writes the ICV; of AES-GMAC the IV, which is the 64-bit sequence number, too.
    pub(super) fn seal_at(
        &self,
        frame: &mut [u8],
        places: &Places,
        high: u32,
    ) -> Result<(), SoftwareError> {
        let Some(place) = &places.ah else {
            return Ok(());
        };
        if let Transform::Gmac(_) = self.transform {
            let low = &frame[place.header.start + 8..place.header.start + 12];
            let high = if self.esn { high } else { 0 };
            let iv = [&high.to_be_bytes(), low].concat();
            frame[place.icv.start..place.icv.start + 8].copy_from_slice(&iv);
        }
        let icv = self.icv(frame, places, place, high)?;
        frame[place.icv.end - icv.len()..place.icv.end].copy_from_slice(&icv);
        Ok(())
    }

    /// Checks the ICV.
    pub(super) fn check_at(
        &self,
        frame: &[u8],
        places: &Places,
        high: u32,
    ) -> Result<(), SoftwareError> {
        let Some(place) = &places.ah else {
            return Ok(());
        };
        let icv = self.icv(frame, places, place, high)?;
        if frame[place.icv.end - icv.len()..place.icv.end] == icv {
            Ok(())
        } else {
            Err(SoftwareError::Icv("AH"))
        }
    }

    fn icv(
        &self,
        frame: &[u8],
        places: &Places,
        place: &AhPlace,
        high: u32,
    ) -> Result<Vec<u8>, SoftwareError> {
        let layout = &places.layout;
        let mut message = frame[layout.ip..layout.end].to_vec();
        // Section 3.3.3.1: the ICV counts as zeros. RFC 4543 does not say what the IV in the ICV
        // field counts as while the tag is made; the field as a whole is zeros here too.
        message[place.icv.start - layout.ip..place.icv.end - layout.ip].fill(0);
        mutable::settle(&mut message, layout.payload - layout.ip)?;
        if self.esn {
            message.extend_from_slice(&high.to_be_bytes());
        }
        let whole = match &self.transform {
            Transform::Hmac(mac) => mac.of(&message),
            Transform::Gmac(gcm) => {
                let iv = &frame[place.icv.start..place.icv.start + 8];
                gcm.encrypt(iv, &message, &mut []).to_vec()
            }
        };
        Ok(whole[..self.icv_len].to_vec())
    }
}
