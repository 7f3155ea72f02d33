//! Every algorithm of ESP.

use ipsec::{AuthenticationAlgorithm, EncryptionAlgorithm};

use super::Sa;

const CIPHERS: [EncryptionAlgorithm; 6] = [
    EncryptionAlgorithm::Null,
    EncryptionAlgorithm::DesCbc,
    EncryptionAlgorithm::TripleDesCbc,
    EncryptionAlgorithm::AesCbc128,
    EncryptionAlgorithm::AesCbc192,
    EncryptionAlgorithm::AesCbc256,
];
const HASHES: [AuthenticationAlgorithm; 3] = [
    AuthenticationAlgorithm::Md5,
    AuthenticationAlgorithm::Sha1,
    AuthenticationAlgorithm::Sha256,
];
const GMACS: [AuthenticationAlgorithm; 3] = [
    AuthenticationAlgorithm::AesGmac128,
    AuthenticationAlgorithm::AesGmac192,
    AuthenticationAlgorithm::AesGmac256,
];

/// Every cipher with every authenticator.
pub fn every_pair() -> impl Iterator<Item = Sa> {
    let separate = CIPHERS
        .into_iter()
        .flat_map(|cipher| HASHES.into_iter().map(move |hash| (cipher, hash)));
    let gmac = GMACS.map(|gmac| (EncryptionAlgorithm::Null, gmac));
    separate
        .chain(gmac)
        .map(|(cipher, authentication)| Sa::separate(cipher, authentication))
}

/// AES-GCM with every key and ICV.
pub fn every_gcm() -> impl Iterator<Item = Sa> {
    [
        EncryptionAlgorithm::AesGcm128,
        EncryptionAlgorithm::AesGcm192,
        EncryptionAlgorithm::AesGcm256,
    ]
    .into_iter()
    .flat_map(|cipher| [8, 12, 16].map(|icv| Sa::new(cipher, icv)))
}
