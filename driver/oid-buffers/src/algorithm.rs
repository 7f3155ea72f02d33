//! IPSEC_OFFLOAD_V2_ALGORITHM_INFO: identifiers and keys.

use ipsec::{Algorithm, AuthenticationAlgorithm, EncryptionAlgorithm};
use ndis_sys::*;

/// None when the identifier is zero. Its key lies within the keys of the SA.
pub fn algorithm<'k, I>(
    of: &IPSEC_OFFLOAD_V2_ALGORITHM_INFO,
    keys: &'k [u8],
    identify: impl FnOnce(u32) -> Option<I>,
) -> Result<Option<Algorithm<'k, I>>, NDIS_STATUS> {
    if of.Identifier == 0 {
        return Ok(None);
    }
    let identifier = identify(of.Identifier).ok_or(NDIS_STATUS_NOT_SUPPORTED)?;
    let start = of.KeyOffsetBytes as usize;
    let end = start
        .checked_add(of.KeyLength as usize)
        .ok_or(NDIS_STATUS_INVALID_PARAMETER)?;
    let key = keys.get(start..end).ok_or(NDIS_STATUS_INVALID_PARAMETER)?;
    Ok(Some(Algorithm {
        identifier,
        key,
        additional_info: of.AdditionalInfo,
    }))
}

/// IPSEC_OFFLOAD_V2_ENCRYPTION_*.
pub const fn encryption(identifier: u32) -> Option<EncryptionAlgorithm> {
    Some(match identifier {
        IPSEC_OFFLOAD_V2_ENCRYPTION_NONE => EncryptionAlgorithm::Null,
        IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC => EncryptionAlgorithm::DesCbc,
        IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC => EncryptionAlgorithm::TripleDesCbc,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128 => EncryptionAlgorithm::AesGcm128,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192 => EncryptionAlgorithm::AesGcm192,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256 => EncryptionAlgorithm::AesGcm256,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128 => EncryptionAlgorithm::AesCbc128,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192 => EncryptionAlgorithm::AesCbc192,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256 => EncryptionAlgorithm::AesCbc256,
        _ => return None,
    })
}

/// IPSEC_OFFLOAD_V2_AUTHENTICATION_*.
pub const fn authentication(identifier: u32) -> Option<AuthenticationAlgorithm> {
    Some(match identifier {
        IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5 => AuthenticationAlgorithm::Md5,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1 => AuthenticationAlgorithm::Sha1,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256 => AuthenticationAlgorithm::Sha256,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128 => AuthenticationAlgorithm::AesGmac128,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_192 => AuthenticationAlgorithm::AesGmac192,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_256 => AuthenticationAlgorithm::AesGmac256,
        _ => return None,
    })
}
