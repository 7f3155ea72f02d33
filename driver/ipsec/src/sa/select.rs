//! From what the transport asks for to an [`Sa`]: the only place that knows algorithms
//! by name.
//!
//! What makes a transform is `inline(never)`: a transform is a KiB or more until it is in the heap,
//! and the frame of a function has room for all that is inlined into it.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};

use ipsec_crypto::{
    Aes128, Aes192, Aes256, BlockCipher, Cbc, CbcCipher, Des, Md5, Sha1, Sha256, Simd, TripleDes,
};

use super::encapsulation::Encapsulation;
use super::params::{
    Algorithm, AuthenticationAlgorithm, EncryptionAlgorithm, Operation, SaParams,
    SecurityAssociation,
};
use super::{AddError, Association, Sa, UNKNOWN_MODE};
use crate::ah;
use crate::ah::hmac::HmacTransform;
use crate::ah::transform::AhTransform;
use crate::counters::SaTally;
use crate::esn::SequenceTracker;
use crate::esp::gcm::{GcmTransform, IcvLength};
use crate::esp::gmac::GmacTransform;
use crate::esp::separate::{Cipher, EncryptionOnly, Null, Separate};
use crate::esp::transform::{EspTransform, boxed};
use crate::hmac::{self, IpsecHash};

/// Checks the parameters and sets the keys up.
pub(crate) fn build(
    simd: &Simd,
    params: &SaParams<'_>,
    legacy_algorithms: bool,
    use_number: u64,
    now: u64,
) -> Result<Sa, AddError> {
    // ESP, then AH over the result, is the only documented combination.
    let (esp, ah) = match params.associations {
        [one] if one.operation == Operation::Esp => (Some(one), None),
        [one] => (None, Some(one)),
        [esp, ah] if esp.operation == Operation::Esp && ah.operation == Operation::Ah => {
            (Some(esp), Some(ah))
        }
        _ => return Err(AddError::InvalidParameter),
    };
    params.associations.iter().try_for_each(check_spi)?;
    // The table of NumExtHdrs (page of IPSEC_OFFLOAD_V2_ADD_SA) has UDP-ESP as one header,
    // and AH would authenticate what an address translator changes (RFC 3948 section 1).
    if !params.udp_encapsulation.is_empty() && ah.is_some() {
        return Err(AddError::InvalidParameter);
    }
    let encapsulation = Encapsulation::new(params.udp_encapsulation);
    Ok(Sa {
        direction: params.direction,
        endpoints: params.endpoints,
        encapsulation,
        esp: esp
            .map(|esp| {
                let transform =
                    esp_transform(simd, esp, ah.is_some(), legacy_algorithms, use_number)?;
                Ok(associated(esp, transform))
            })
            .transpose()?,
        ah: ah
            .map(|ah| Ok(associated(ah, ah_transform(simd, ah, legacy_algorithms)?)))
            .transpose()?,
        tally: SaTally::default(),
        mode: AtomicU8::new(UNKNOWN_MODE),
        used: AtomicU64::new(now),
        displaced: AtomicBool::new(false),
    })
}

fn associated<T: ?Sized>(
    association: &SecurityAssociation<'_>,
    transform: Box<T>,
) -> Association<T> {
    Association {
        spi: association.spi,
        sequence: SequenceTracker::new(
            association.extended_sequence_numbers,
            association.sequence_number_high,
        ),
        transform,
    }
}

/// AH "will not have an encryption algorithm" (page of IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION).
fn ah_transform(
    simd: &Simd,
    association: &SecurityAssociation<'_>,
    legacy_algorithms: bool,
) -> Result<Box<dyn AhTransform>, AddError> {
    // Naming null encryption without a key says the same as naming none.
    let no_cipher = association.encryption.is_none_or(|encryption| {
        encryption.identifier == EncryptionAlgorithm::Null && encryption.key.is_empty()
    });
    let Some(authentication) = association.authentication.filter(|_| no_cipher) else {
        return Err(AddError::InvalidParameter);
    };
    match authentication.identifier {
        AuthenticationAlgorithm::Md5 if !legacy_algorithms => Err(AddError::NotSupported),
        AuthenticationAlgorithm::Md5 => ah_hmac::<Md5>(simd, &authentication),
        AuthenticationAlgorithm::Sha1 => ah_hmac::<Sha1>(simd, &authentication),
        AuthenticationAlgorithm::Sha256 => ah_hmac::<Sha256>(simd, &authentication),
        AuthenticationAlgorithm::AesGmac128 => ah_gmac::<Aes128>(simd, &authentication),
        AuthenticationAlgorithm::AesGmac192 => ah_gmac::<Aes192>(simd, &authentication),
        AuthenticationAlgorithm::AesGmac256 => ah_gmac::<Aes256>(simd, &authentication),
    }
}

#[inline(never)]
fn ah_hmac<H: IpsecHash>(
    simd: &Simd,
    authentication: &Algorithm<'_, AuthenticationAlgorithm>,
) -> Result<Box<dyn AhTransform>, AddError> {
    let hmac =
        hmac::keyed::<H>(simd, authentication.key).map_err(|_| AddError::InvalidParameter)?;
    ah::transform::boxed(HmacTransform(hmac)).map_err(|_| AddError::Resources)
}

#[inline(never)]
fn ah_gmac<C: BlockCipher>(
    simd: &Simd,
    authentication: &Algorithm<'_, AuthenticationAlgorithm>,
) -> Result<Box<dyn AhTransform>, AddError> {
    check_gmac(authentication)?;
    let transform = ah::gmac::GmacTransform::<C>::new(simd, authentication.key)
        .map_err(|_| AddError::InvalidParameter)?;
    ah::transform::boxed(transform).map_err(|_| AddError::Resources)
}

/// RFC 4543 section 3.4 has one length of ICV; who names it must mean that.
fn check_gmac(authentication: &Algorithm<'_, AuthenticationAlgorithm>) -> Result<(), AddError> {
    match authentication.additional_info {
        0 | 16 => Ok(()),
        _ => Err(AddError::InvalidParameter),
    }
}

/// RFC 4303 section 2.1: zero is never on the wire.
fn check_spi(association: &SecurityAssociation<'_>) -> Result<(), AddError> {
    match association.spi {
        0 => Err(AddError::InvalidParameter),
        _ => Ok(()),
    }
}

fn esp_transform(
    simd: &Simd,
    association: &SecurityAssociation<'_>,
    within_ah: bool,
    legacy_algorithms: bool,
    use_number: u64,
) -> Result<Box<dyn EspTransform>, AddError> {
    // An association "can have an authentication algorithm, an encryption algorithm, or both"
    // (page of IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION): no cipher is null encryption.
    let encryption = association.encryption.unwrap_or(Algorithm {
        identifier: EncryptionAlgorithm::Null,
        key: &[],
        additional_info: 0,
    });
    let identifier = encryption.identifier;
    match identifier {
        EncryptionAlgorithm::AesGcm128 => return gcm::<Aes128>(simd, &encryption),
        EncryptionAlgorithm::AesGcm192 => return gcm::<Aes192>(simd, &encryption),
        EncryptionAlgorithm::AesGcm256 => return gcm::<Aes256>(simd, &encryption),
        _ => {}
    }
    let legacy = matches!(
        identifier,
        EncryptionAlgorithm::DesCbc | EncryptionAlgorithm::TripleDesCbc
    );
    // A packet must be authenticated, by ESP or by AH (requirements and restrictions that
    // apply to IPsec offloads).
    let authentication = match association.authentication {
        Some(authentication) => authentication,
        None if !within_ah => return Err(AddError::InvalidParameter),
        None if legacy && !legacy_algorithms => return Err(AddError::NotSupported),
        None => return encryption_only(simd, &encryption, use_number),
    };
    let keys = Keys {
        simd,
        encryption: encryption.key,
        authentication: &authentication,
        legacy_algorithms,
        use_number,
    };
    match identifier {
        _ if legacy && !legacy_algorithms => Err(AddError::NotSupported),
        EncryptionAlgorithm::DesCbc => keys.cbc::<Des>(),
        EncryptionAlgorithm::TripleDesCbc => keys.cbc::<TripleDes>(),
        EncryptionAlgorithm::AesCbc128 => keys.cbc::<Aes128>(),
        EncryptionAlgorithm::AesCbc192 => keys.cbc::<Aes192>(),
        EncryptionAlgorithm::AesCbc256 => keys.cbc::<Aes256>(),
        _ => keys.null(),
    }
}

/// ESP that leaves authentication to the AH around it.
fn encryption_only(
    simd: &Simd,
    encryption: &Algorithm<'_, EncryptionAlgorithm>,
    use_number: u64,
) -> Result<Box<dyn EspTransform>, AddError> {
    #[inline(never)]
    fn cbc<C: CbcCipher>(
        simd: &Simd,
        key: &[u8],
        use_number: u64,
    ) -> Result<Box<dyn EspTransform>, AddError> {
        let cipher =
            Cbc::<C>::new(simd, key, use_number).map_err(|_| AddError::InvalidParameter)?;
        boxed(EncryptionOnly(cipher)).map_err(|_| AddError::Resources)
    }
    match encryption.identifier {
        EncryptionAlgorithm::DesCbc => cbc::<Des>(simd, encryption.key, use_number),
        EncryptionAlgorithm::TripleDesCbc => cbc::<TripleDes>(simd, encryption.key, use_number),
        EncryptionAlgorithm::AesCbc128 => cbc::<Aes128>(simd, encryption.key, use_number),
        EncryptionAlgorithm::AesCbc192 => cbc::<Aes192>(simd, encryption.key, use_number),
        EncryptionAlgorithm::AesCbc256 => cbc::<Aes256>(simd, encryption.key, use_number),
        _ if encryption.key.is_empty() => {
            boxed(EncryptionOnly(Null)).map_err(|_| AddError::Resources)
        }
        _ => Err(AddError::InvalidParameter),
    }
}

#[inline(never)]
fn gcm<C: BlockCipher>(
    simd: &Simd,
    encryption: &Algorithm<'_, EncryptionAlgorithm>,
) -> Result<Box<dyn EspTransform>, AddError> {
    let icv =
        IcvLength::from_bytes(encryption.additional_info).ok_or(AddError::InvalidParameter)?;
    let transform = GcmTransform::<C>::new(simd, encryption.key, icv)
        .map_err(|_| AddError::InvalidParameter)?;
    boxed(transform).map_err(|_| AddError::Resources)
}

/// What a cipher that does not authenticate, and its authenticator, are made of.
struct Keys<'a> {
    simd: &'a Simd,
    encryption: &'a [u8],
    authentication: &'a Algorithm<'a, AuthenticationAlgorithm>,
    legacy_algorithms: bool,
    use_number: u64,
}

impl Keys<'_> {
    fn cbc<C: CbcCipher>(&self) -> Result<Box<dyn EspTransform>, AddError> {
        let cipher = || {
            Cbc::<C>::new(self.simd, self.encryption, self.use_number)
                .map_err(|_| AddError::InvalidParameter)
        };
        match self.authentication.identifier {
            // AES-GMAC in ESP is a transform of its own, with null encryption (RFC 4543
            // section 6).
            AuthenticationAlgorithm::AesGmac128
            | AuthenticationAlgorithm::AesGmac192
            | AuthenticationAlgorithm::AesGmac256 => Err(AddError::NotSupported),
            _ => self.with_hmac(cipher),
        }
    }

    fn null(&self) -> Result<Box<dyn EspTransform>, AddError> {
        match self.authentication.identifier {
            AuthenticationAlgorithm::AesGmac128 => self.gmac::<Aes128>(),
            AuthenticationAlgorithm::AesGmac192 => self.gmac::<Aes192>(),
            AuthenticationAlgorithm::AesGmac256 => self.gmac::<Aes256>(),
            _ => self.with_hmac(|| self.no_key().map(|()| Null)),
        }
    }

    /// Null encryption has no key.
    fn no_key(&self) -> Result<(), AddError> {
        if self.encryption.is_empty() {
            Ok(())
        } else {
            Err(AddError::InvalidParameter)
        }
    }

    #[inline(never)]
    fn gmac<C: BlockCipher>(&self) -> Result<Box<dyn EspTransform>, AddError> {
        self.no_key()?;
        check_gmac(self.authentication)?;
        let transform = GmacTransform::<C>::new(self.simd, self.authentication.key)
            .map_err(|_| AddError::InvalidParameter)?;
        boxed(transform).map_err(|_| AddError::Resources)
    }

    fn with_hmac<C: Cipher>(
        &self,
        cipher: impl FnOnce() -> Result<C, AddError>,
    ) -> Result<Box<dyn EspTransform>, AddError> {
        match self.authentication.identifier {
            AuthenticationAlgorithm::Sha1 => self.separate::<C, Sha1>(cipher),
            AuthenticationAlgorithm::Sha256 => self.separate::<C, Sha256>(cipher),
            AuthenticationAlgorithm::Md5 if self.legacy_algorithms => {
                self.separate::<C, Md5>(cipher)
            }
            _ => Err(AddError::NotSupported),
        }
    }

    #[inline(never)]
    fn separate<C: Cipher, H: IpsecHash>(
        &self,
        cipher: impl FnOnce() -> Result<C, AddError>,
    ) -> Result<Box<dyn EspTransform>, AddError> {
        let hmac = hmac::keyed::<H>(self.simd, self.authentication.key)
            .map_err(|_| AddError::InvalidParameter)?;
        boxed(Separate::new(cipher()?, hmac)).map_err(|_| AddError::Resources)
    }
}
