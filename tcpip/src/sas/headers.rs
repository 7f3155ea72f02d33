//! The headers of an SA, with their keys.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text;
use crate::algorithm::{Authentication, Encryption, Suite};

/// Security parameters index; written as `0x` and eight hex digits, read in any base.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spi(pub u32);

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Spi {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Spi {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::number_or_text(deserializer).map(Self)
    }
}

/// An ESP header of an SA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object: the ESP header")]
pub struct Esp {
    /// Security parameters index.
    pub spi: Spi,
    /// Confidentiality; with AES-GCM integrity too.
    pub encryption: EncryptionKey,
    /// Integrity of its own; absent with AES-GCM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationKey>,
    /// Extended (64-bit) sequence numbers, RFC 4303 section 2.2.1.
    #[serde(default, skip_serializing_if = "is_false")]
    pub esn: bool,
    /// The next number to be sent, low 32 bits.
    #[serde(
        default = "first_sequence_number",
        deserialize_with = "text::number::<_, _, 0, 0xFFFF_FFFF>"
    )]
    pub sequence: u32,
    /// High 32 bits (`SequenceNumberHighOrder`).
    #[serde(
        default,
        deserialize_with = "text::number::<_, _, 0, 0xFFFF_FFFF>",
        skip_serializing_if = "is_zero"
    )]
    pub sequence_high: u32,
}

impl Esp {
    /// Bytes of IV between the ESP header and the payload.
    pub fn iv_len(&self) -> usize {
        self.suite().iv_len()
    }

    /// Bytes of ICV at the end of the packet.
    pub fn icv_len(&self) -> usize {
        self.encryption.icv_len()
            + self
                .authentication
                .as_ref()
                .map_or(0, |a| a.algorithm.icv_len())
    }

    /// The first sequence number of 64 bits.
    pub fn first(&self) -> u64 {
        first(self.esn, self.sequence, self.sequence_high)
    }

    /// Its algorithms.
    pub fn suite(&self) -> Suite {
        Suite {
            encryption: self.encryption.algorithm,
            authentication: self.authentication.as_ref().map(|key| key.algorithm),
        }
    }

    /// The most bytes that the ESP header, padding and trailer add to a packet.
    pub fn max_overhead(&self) -> usize {
        self.suite().max_overhead(self.encryption.icv_len())
    }
}

/// An AH header of an SA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object: the AH header")]
pub struct Ah {
    /// Security parameters index.
    pub spi: Spi,
    /// Integrity.
    pub authentication: AuthenticationKey,
    /// Extended (64-bit) sequence numbers, RFC 4303 section 2.2.1.
    #[serde(default, skip_serializing_if = "is_false")]
    pub esn: bool,
    /// The next number to be sent, low 32 bits.
    #[serde(
        default = "first_sequence_number",
        deserialize_with = "text::number::<_, _, 0, 0xFFFF_FFFF>"
    )]
    pub sequence: u32,
    /// High 32 bits (`SequenceNumberHighOrder`).
    #[serde(
        default,
        deserialize_with = "text::number::<_, _, 0, 0xFFFF_FFFF>",
        skip_serializing_if = "is_zero"
    )]
    pub sequence_high: u32,
}

impl Ah {
    /// The first sequence number of 64 bits.
    pub fn first(&self) -> u64 {
        first(self.esn, self.sequence, self.sequence_high)
    }
}

/// Without extended sequence numbers there is no high half (RFC 4303 section 2.2).
fn first(esn: bool, low: u32, high: u32) -> u64 {
    let high = if esn { high } else { 0 };
    u64::from(high) << 32 | u64::from(low)
}

fn first_sequence_number() -> u32 {
    1
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Confidentiality with its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with algorithm, key and salt"
)]
pub struct EncryptionKey {
    /// Which algorithm.
    #[serde(deserialize_with = "text::name")]
    pub algorithm: Encryption,
    /// Key, hexadecimal.
    #[serde(
        default,
        deserialize_with = "text::hexadecimal",
        serialize_with = "hex::serialize",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub key: Vec<u8>,
    /// Salt (AES-GCM: 4 bytes), hexadecimal.
    #[serde(
        default,
        deserialize_with = "text::hexadecimal",
        serialize_with = "hex::serialize",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub salt: Vec<u8>,
    /// AES-GCM: bytes of ICV (8, 12 or 16); absent: 16.
    #[serde(
        default,
        deserialize_with = "text::optional_number::<_, _, 0, 0xFFFF_FFFF>",
        skip_serializing_if = "Option::is_none"
    )]
    pub icv_length: Option<usize>,
}

impl EncryptionKey {
    /// Bytes of ICV that encryption itself makes.
    pub fn icv_len(&self) -> usize {
        let default = self.algorithm.default_icv_len();
        default.map_or(0, |default| self.icv_length.unwrap_or(default))
    }
}

/// Integrity with its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with algorithm, key and salt"
)]
pub struct AuthenticationKey {
    /// Which algorithm.
    #[serde(deserialize_with = "text::name")]
    pub algorithm: Authentication,
    /// Key, hexadecimal.
    #[serde(
        deserialize_with = "text::hexadecimal",
        serialize_with = "hex::serialize"
    )]
    pub key: Vec<u8>,
    /// Salt (AES-GMAC: 4 bytes), hexadecimal.
    #[serde(
        default,
        deserialize_with = "text::hexadecimal",
        serialize_with = "hex::serialize",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub salt: Vec<u8>,
}
