//! The algorithms that the interface names, and what framing must know of each.
//!
//! Nothing here says what the driver can do: an SA with any of these is offered
//! to it, and a refusal is reported with the driver's own status.

use serde::{Deserialize, Serialize};

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

    /// Bytes of ICV.
    pub fn icv_len(self) -> usize {
        match self {
            Self::HmacMd5 | Self::HmacSha1 => 12,
            _ => 16,
        }
    }
}
