//! The algorithms that the interface names, and what framing must know of each.
//!
//! Nothing here says what the driver can do: an SA with any of these is offered
//! to it, and a refusal is reported with the driver's own status.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Serialize,
    de::{IntoDeserializer, value::Error as NameError, value::StrDeserializer},
};

/// Confidentiality algorithms (`IPSEC_OFFLOAD_V2_ENCRYPTION_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encryption {
    /// No confidentiality (RFC 2410).
    #[serde(rename = "null")]
    Null,
    /// DES-CBC (RFC 2405). Broken; the driver refuses it unless told otherwise.
    #[serde(rename = "des-cbc")]
    DesCbc,
    /// Triple DES in CBC mode (RFC 2451).
    #[serde(rename = "3des-cbc")]
    TripleDesCbc,
    /// AES-CBC with a 128-bit key (RFC 3602).
    #[serde(rename = "aes-cbc-128")]
    AesCbc128,
    /// AES-CBC with a 192-bit key.
    #[serde(rename = "aes-cbc-192")]
    AesCbc192,
    /// AES-CBC with a 256-bit key.
    #[serde(rename = "aes-cbc-256")]
    AesCbc256,
    /// AES-GCM with a 128-bit key (RFC 4106): encrypts and authenticates.
    #[serde(rename = "aes-gcm-128")]
    AesGcm128,
    /// AES-GCM with a 192-bit key.
    #[serde(rename = "aes-gcm-192")]
    AesGcm192,
    /// AES-GCM with a 256-bit key.
    #[serde(rename = "aes-gcm-256")]
    AesGcm256,
}

impl Encryption {
    /// All that the interface names.
    pub const ALL: [Self; 9] = [
        Self::Null,
        Self::DesCbc,
        Self::TripleDesCbc,
        Self::AesCbc128,
        Self::AesCbc192,
        Self::AesCbc256,
        Self::AesGcm128,
        Self::AesGcm192,
        Self::AesGcm256,
    ];

    /// Bytes of key, without the salt.
    pub fn key_len(self) -> usize {
        match self {
            Self::Null => 0,
            Self::DesCbc => 8,
            Self::TripleDesCbc => 24,
            Self::AesCbc128 | Self::AesGcm128 => 16,
            Self::AesCbc192 | Self::AesGcm192 => 24,
            Self::AesCbc256 | Self::AesGcm256 => 32,
        }
    }

    /// Bytes of salt that follow the key (RFC 4106 section 8.1).
    pub fn salt_len(self) -> usize {
        if self.is_gcm() { 4 } else { 0 }
    }

    /// Bytes of IV at the front of the ESP payload.
    pub fn iv_len(self) -> usize {
        match self {
            Self::Null => 0,
            Self::DesCbc | Self::TripleDesCbc => 8,
            Self::AesCbc128 | Self::AesCbc192 | Self::AesCbc256 => 16,
            Self::AesGcm128 | Self::AesGcm192 | Self::AesGcm256 => 8,
        }
    }

    /// What the payload, padding and two trailer bytes must fill (RFC 4303 section 2.4).
    pub fn alignment(self) -> usize {
        match self {
            Self::AesCbc128 | Self::AesCbc192 | Self::AesCbc256 => 16,
            Self::DesCbc | Self::TripleDesCbc => 8,
            _ => 4,
        }
    }

    /// Whether the algorithm authenticates as well.
    pub fn is_gcm(self) -> bool {
        matches!(self, Self::AesGcm128 | Self::AesGcm192 | Self::AesGcm256)
    }

    /// Bytes of ICV, for an algorithm that makes one.
    pub fn default_icv_len(self) -> Option<usize> {
        self.is_gcm().then_some(16)
    }
}

/// Integrity algorithms (`IPSEC_OFFLOAD_V2_AUTHENTICATION_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Authentication {
    /// HMAC-MD5-96 (RFC 2403).
    #[serde(rename = "hmac-md5-96")]
    HmacMd5,
    /// HMAC-SHA-1-96 (RFC 2404).
    #[serde(rename = "hmac-sha-1-96")]
    HmacSha1,
    /// HMAC-SHA-256-128 (RFC 4868).
    #[serde(rename = "hmac-sha-256-128")]
    HmacSha256,
    /// AES-GMAC with a 128-bit key (RFC 4543).
    #[serde(rename = "aes-gmac-128")]
    AesGmac128,
    /// AES-GMAC with a 192-bit key.
    #[serde(rename = "aes-gmac-192")]
    AesGmac192,
    /// AES-GMAC with a 256-bit key.
    #[serde(rename = "aes-gmac-256")]
    AesGmac256,
}

impl Authentication {
    /// All that the interface names.
    pub const ALL: [Self; 6] = [
        Self::HmacMd5,
        Self::HmacSha1,
        Self::HmacSha256,
        Self::AesGmac128,
        Self::AesGmac192,
        Self::AesGmac256,
    ];

    /// Bytes of key, without the salt.
    pub fn key_len(self) -> usize {
        match self {
            Self::HmacMd5 | Self::AesGmac128 => 16,
            Self::HmacSha1 => 20,
            Self::AesGmac192 => 24,
            Self::HmacSha256 | Self::AesGmac256 => 32,
        }
    }

    /// Bytes of salt that follow the key (RFC 4543 section 3.2).
    pub fn salt_len(self) -> usize {
        if self.is_gmac() { 4 } else { 0 }
    }

    /// Bytes of IV that the algorithm itself puts into the packet.
    pub fn iv_len(self) -> usize {
        if self.is_gmac() { 8 } else { 0 }
    }

    /// Whether it is AES-GMAC.
    pub fn is_gmac(self) -> bool {
        matches!(self, Self::AesGmac128 | Self::AesGmac192 | Self::AesGmac256)
    }

    /// Whether it needs the driver's keyword `LegacyAlgorithms`.
    pub fn is_legacy(self) -> bool {
        self == Self::HmacMd5
    }

    /// Bytes of ICV.
    pub fn icv_len(self) -> usize {
        match self {
            Self::HmacMd5 | Self::HmacSha1 => 12,
            _ => 16,
        }
    }
}

/// The algorithms of an ESP SA: `aes-gcm-256`, `aes-cbc-128+hmac-sha-256-128`,
/// `null+aes-gmac-128`, and within AH `aes-cbc-256+none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Suite {
    /// Confidentiality.
    pub encryption: Encryption,
    /// Integrity; none beside AES-GCM.
    pub authentication: Option<Authentication>,
}

impl Suite {
    /// Every pair that makes an ESP SA of its own, legacy algorithms included.
    pub fn all() -> Vec<Self> {
        let authentications = || {
            let each = Authentication::ALL.into_iter().map(Some);
            each.chain([None])
        };
        let pairs = Encryption::ALL.into_iter().flat_map(|encryption| {
            authentications().map(move |authentication| Self {
                encryption,
                authentication,
            })
        });
        pairs.filter(|suite| suite.check(false).is_ok()).collect()
    }

    /// Every pair that makes the ESP of a bundle with AH: there ESP need not authenticate.
    pub fn all_within_ah() -> Vec<Self> {
        let alone = Encryption::ALL.into_iter().filter(|e| !e.is_gcm());
        let mut suites = Self::all();
        suites.extend(alone.map(Self::from));
        suites
    }

    /// Whether any of the algorithms needs the driver's keyword `LegacyAlgorithms`.
    pub fn is_legacy(self) -> bool {
        matches!(
            self.encryption,
            Encryption::DesCbc | Encryption::TripleDesCbc
        ) || self.authentication == Some(Authentication::HmacMd5)
    }

    /// Whether the two go together: every packet is authenticated, by AH if not by ESP, and in
    /// ESP by one algorithm. AES-GMAC has an IV of its own and so stands alone (RFC 4543
    /// section 3).
    pub fn check(self, within_ah: bool) -> Result<(), SuiteError> {
        match self.authentication {
            None if !self.encryption.is_gcm() && !within_ah => Err(SuiteError::NoAuthentication),
            Some(_) if self.encryption.is_gcm() => Err(SuiteError::TwoAuthentications),
            Some(gmac) if gmac.is_gmac() && self.encryption != Encryption::Null => {
                Err(SuiteError::Gmac)
            }
            _ => Ok(()),
        }
    }

    /// Bytes of IV between the ESP header and the payload.
    pub fn iv_len(self) -> usize {
        self.encryption.iv_len() + self.authentication.map_or(0, Authentication::iv_len)
    }

    /// The most bytes that header, padding and trailer add to a packet; `icv_length` is AES-GCM's.
    pub fn max_overhead(self, icv_length: usize) -> usize {
        let icv = self.authentication.map_or(0, Authentication::icv_len);
        let icv = if self.encryption.is_gcm() {
            icv_length
        } else {
            icv
        };
        8 + self.iv_len() + self.encryption.alignment() + 1 + icv
    }

    /// Whether the IV is the sequence number, and so the whole packet what the SA makes of it.
    /// Otherwise the sender chooses the IV.
    pub fn iv_is_sequence(self) -> bool {
        self.encryption.is_gcm() || self.authentication.is_some_and(Authentication::is_gmac)
    }
}

impl From<Encryption> for Suite {
    fn from(encryption: Encryption) -> Self {
        Self {
            encryption,
            authentication: None,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        match self.authentication {
            Some(authentication) => write!(f, "+{authentication}"),
            None if self.encryption.is_gcm() => Ok(()),
            None => f.write_str("+none"),
        }
    }
}

impl FromStr for Suite {
    type Err = SuiteError;

    fn from_str(text: &str) -> Result<Self, SuiteError> {
        let (encryption, authentication) = match text.split_once('+') {
            Some((encryption, authentication)) => (encryption, Some(authentication)),
            None => (text, None),
        };
        let suite = Self {
            encryption: encryption.parse()?,
            authentication: match authentication {
                None | Some("none") => None,
                Some(name) => Some(name.parse()?),
            },
        };
        // "+none" is for bundles, and whoever says it knows.
        let within_ah = authentication == Some("none") && !suite.encryption.is_gcm();
        suite.check(within_ah).map(|()| suite)
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl FromStr for Encryption {
    type Err = SuiteError;

    fn from_str(name: &str) -> Result<Self, SuiteError> {
        named(name).ok_or_else(|| SuiteError::Encryption(name.to_owned()))
    }
}

impl FromStr for Authentication {
    type Err = SuiteError;

    fn from_str(name: &str) -> Result<Self, SuiteError> {
        named(name).ok_or_else(|| SuiteError::Authentication(name.to_owned()))
    }
}

fn named<'a, T: Deserialize<'a>>(name: &'a str) -> Option<T> {
    let name: StrDeserializer<'a, NameError> = name.into_deserializer();
    T::deserialize(name).ok()
}

fn list(all: &[impl ToString]) -> String {
    let names: Vec<_> = all.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Why a text names no [`Suite`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SuiteError {
    /// No such algorithm.
    #[error("{0:?} is no encryption algorithm; there are {all}", all = list(&Encryption::ALL))]
    Encryption(String),
    /// No such algorithm.
    #[error("{0:?} is no authentication algorithm; there are {all}", all = list(&Authentication::ALL))]
    Authentication(String),
    /// A packet must be authenticated (NDIS page "Requirements and Restrictions").
    #[error("an authentication algorithm is missing, as in aes-cbc-128+hmac-sha-1-96")]
    NoAuthentication,
    /// AES-GCM authenticates.
    #[error("AES-GCM needs no other authentication algorithm")]
    TwoAuthentications,
    /// See RFC 4543.
    #[error("AES-GMAC goes with null encryption only")]
    Gmac,
}
