//! scapy's names of algorithms.

use ipsec::{AuthenticationAlgorithm, EncryptionAlgorithm};

use super::Sa;

/// An SA of scapy's `crypt_algo`, `crypt_key`, `auth_algo` and `auth_key`, the keys in
/// hexadecimal, `-` for none. AES-GMAC is a cipher with scapy.
pub fn sa(fields: [&str; 4]) -> Sa {
    let [cipher, key, authentication, authentication_key] = fields;
    let unhex = |field: &str| hex::decode(field.trim_matches('-')).unwrap();
    let key = unhex(key);
    let gmac = cipher == "AES-NULL-GMAC";
    let algorithm = match (cipher, key.len()) {
        ("NULL", _) | ("AES-NULL-GMAC", _) => EncryptionAlgorithm::Null,
        ("DES", _) => EncryptionAlgorithm::DesCbc,
        ("3DES", _) => EncryptionAlgorithm::TripleDesCbc,
        ("AES-CBC", 16) => EncryptionAlgorithm::AesCbc128,
        ("AES-CBC", 24) => EncryptionAlgorithm::AesCbc192,
        ("AES-CBC", 32) => EncryptionAlgorithm::AesCbc256,
        ("AES-GCM", 20) => EncryptionAlgorithm::AesGcm128,
        ("AES-GCM", 28) => EncryptionAlgorithm::AesGcm192,
        ("AES-GCM", 36) => EncryptionAlgorithm::AesGcm256,
        _ => panic!("{cipher} with {} bytes", key.len()),
    };
    let authentication = match (authentication, key.len()) {
        ("HMAC-MD5-96", _) => Some(AuthenticationAlgorithm::Md5),
        ("HMAC-SHA1-96", _) => Some(AuthenticationAlgorithm::Sha1),
        ("SHA2-256-128", _) => Some(AuthenticationAlgorithm::Sha256),
        ("NULL", 20) if gmac => Some(AuthenticationAlgorithm::AesGmac128),
        ("NULL", 28) if gmac => Some(AuthenticationAlgorithm::AesGmac192),
        ("NULL", 36) if gmac => Some(AuthenticationAlgorithm::AesGmac256),
        _ => None,
    };
    let mut sa = match authentication {
        Some(authentication) => Sa::separate(algorithm, authentication),
        None => Sa::new(algorithm, 16),
    };
    match (&mut sa.authentication, gmac) {
        (Some((_, salted)), true) => *salted = key,
        (Some((_, other)), false) => {
            *other = unhex(authentication_key);
            sa.key = key;
        }
        (None, _) => sa.key = key,
    }
    sa
}

/// A sequence number's high half, `-` for none.
pub fn esn(field: &str) -> Option<u32> {
    (field != "-").then(|| u32::from_str_radix(field, 16).unwrap())
}
