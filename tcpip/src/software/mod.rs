//! IPsec without the driver: the second opinion on every frame of the wire, and the maker of
//! protected traffic for tests. Written against the RFCs (2403, 2404, 2405, 2451, 3602, 4106,
//! 4302, 4303, 4543, 4868) over the crates `aes-gcm`, `cbc` and `hmac`.

mod ah;
mod cipher;
mod esp;
mod mutable;

pub use ah::SoftwareAh;
pub use esp::SoftwareEsp;

pub(crate) use mutable::settle;

use crate::{
    algorithm::{Authentication, Suite},
    packet::NoLayout,
    places::{PlaceError, Places},
    protection::Portion,
    sas::Sa,
};

/// Why software cannot process an SA or a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoftwareError {
    /// Algorithms that make no SA.
    #[error("{0} makes no ESP")]
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
    /// The packet has not the headers of the SA.
    #[error("{0}")]
    Places(#[from] PlaceError),
    /// IP options or extension headers that AH cannot cover: nobody can foretell what they become.
    #[error("headers that AH cannot cover")]
    Headers,
    /// What is encrypted does not fill the blocks of the cipher.
    #[error("{0} bytes are no whole blocks")]
    Blocks(usize),
    /// The ICV of this protocol is wrong.
    #[error("wrong ICV of {0}")]
    Icv(&'static str),
}

/// An SA, ready for use.
pub struct Software<'a> {
    sa: &'a Sa,
    esp: Option<SoftwareEsp>,
    ah: Option<SoftwareAh>,
}

impl<'a> Software<'a> {
    /// Prepares the keys.
    pub fn new(sa: &'a Sa) -> Result<Self, SoftwareError> {
        let esp = sa.esp.as_ref();
        let esp = esp.map(|esp| SoftwareEsp::within(esp, sa.ah.is_some()));
        Ok(Self {
            sa,
            esp: esp.transpose()?,
            ah: sa.ah.as_ref().map(SoftwareAh::new).transpose()?,
        })
    }

    /// Does the driver's work on one portion of a framed packet: first ESP, under `iv` or one of
    /// its own choice, then AH over the result.
    pub fn seal(
        &self,
        frame: &mut [u8],
        portion: &Portion,
        iv: Option<&[u8]>,
    ) -> Result<(), SoftwareError> {
        let places = Places::find(frame, portion.ip, self.sa)?;
        if let (Some(esp), Some(range), Some(at)) = (&self.esp, places.esp.clone(), portion.esp) {
            esp.seal_at(&mut frame[range], (at.sequence >> 32) as u32, iv)?;
        }
        if let (Some(ah), Some(at)) = (&self.ah, portion.ah) {
            ah.seal_at(frame, &places, (at.sequence >> 32) as u32)?;
        }
        Ok(())
    }

    /// Does the driver's work on one portion of a received packet in place: AH is checked, then
    /// ESP is checked and decrypted. Nothing else changes.
    pub fn open(
        &self,
        frame: &mut [u8],
        ip: usize,
        high: impl Into<Highs>,
    ) -> Result<Places, SoftwareError> {
        let places = Places::find(frame, ip, self.sa)?;
        let high = high.into();
        if let Some(ah) = &self.ah {
            ah.check_at(frame, &places, high.ah)?;
        }
        if let (Some(esp), Some(range)) = (&self.esp, places.esp.clone()) {
            esp.open_at(&mut frame[range], high.esp)?;
        }
        Ok(places)
    }

    /// Decrypts without any check: a look into a tunnel.
    pub fn peek(&self, frame: &mut [u8], portion: &Portion) -> Result<(), SoftwareError> {
        let places = Places::find(frame, portion.ip, self.sa)?;
        if let (Some(esp), Some(range), Some(at)) = (&self.esp, places.esp, portion.esp) {
            esp.decrypt_at(&mut frame[range], (at.sequence >> 32) as u32)?;
        }
        Ok(())
    }
}

/// The high halves of the sequence numbers, which are not in the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Highs {
    /// Of ESP.
    pub esp: u32,
    /// Of AH.
    pub ah: u32,
}

impl From<u32> for Highs {
    fn from(both: u32) -> Self {
        Self {
            esp: both,
            ah: both,
        }
    }
}

impl From<&Portion> for Highs {
    fn from(portion: &Portion) -> Self {
        let high = |sequence: u64| (sequence >> 32) as u32;
        Self {
            esp: portion.esp.map_or(0, |esp| high(esp.sequence)),
            ah: portion.ah.map_or(0, |ah| high(ah.sequence)),
        }
    }
}

/// HMAC, keyed.
enum Authenticator {
    Md5(hmac::Hmac<md5::Md5>),
    Sha1(hmac::Hmac<sha1::Sha1>),
    Sha256(hmac::Hmac<sha2::Sha256>),
}

impl Authenticator {
    /// None for AES-GMAC, which is no HMAC.
    fn new(algorithm: Authentication, key: &[u8]) -> Result<Option<Self>, SoftwareError> {
        use hmac::KeyInit;
        check_length(key, algorithm.key_len(), 0)?;
        let keyed = match algorithm {
            Authentication::HmacMd5 => KeyInit::new_from_slice(key).map(Self::Md5),
            Authentication::HmacSha1 => KeyInit::new_from_slice(key).map(Self::Sha1),
            Authentication::HmacSha256 => KeyInit::new_from_slice(key).map(Self::Sha256),
            _ => return Ok(None),
        };
        Ok(Some(keyed.expect("HMAC takes keys of any length")))
    }

    /// The whole HMAC; ICVs are its truncations.
    fn of(&self, message: &[u8]) -> Vec<u8> {
        fn finish<M: hmac::Mac + Clone>(keyed: &M, message: &[u8]) -> Vec<u8> {
            keyed
                .clone()
                .chain_update(message)
                .finalize()
                .into_bytes()
                .to_vec()
        }
        match self {
            Self::Md5(keyed) => finish(keyed, message),
            Self::Sha1(keyed) => finish(keyed, message),
            Self::Sha256(keyed) => finish(keyed, message),
        }
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
