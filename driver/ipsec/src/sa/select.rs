//! From what the transport asks for to an [`Sa`]: the only place that knows algorithms
//! by name.

use alloc::boxed::Box;
use core::sync::atomic::AtomicBool;

use ipsec_crypto::{Aes128, Aes192, Aes256, BlockCipher, Simd};

use super::params::{
    Algorithm, AuthenticationAlgorithm, EncryptionAlgorithm, Operation, SaParams,
    SecurityAssociation, UdpEncapsulation,
};
use super::{AddError, Sa};
use crate::counters::SaTally;
use crate::esn::SequenceTracker;
use crate::esp::gcm::{GcmTransform, IcvLength};
use crate::esp::transform::{EspTransform, boxed};

/// Checks the parameters and sets the keys up.
pub(crate) fn build(simd: &Simd, params: &SaParams<'_>) -> Result<Sa, AddError> {
    let association = match params.associations {
        [association] => association,
        // The only documented combination: ESP, then AH over the result.
        [esp, ah] if esp.operation == Operation::Esp && ah.operation == Operation::Ah => {
            check_spi(esp)?;
            check_spi(ah)?;
            return Err(AddError::NotSupported);
        }
        _ => return Err(AddError::InvalidParameter),
    };
    check_spi(association)?;
    let transform = match association.operation {
        Operation::Esp => esp_transform(simd, association)?,
        Operation::Ah => return Err(AddError::NotSupported),
    };
    if params.udp_encapsulation != UdpEncapsulation::None {
        return Err(AddError::NotSupported);
    }
    Ok(Sa {
        direction: params.direction,
        endpoints: params.endpoints,
        operation: association.operation,
        spi: association.spi,
        sequence: SequenceTracker::new(
            association.extended_sequence_numbers,
            association.sequence_number_high,
        ),
        transform,
        tally: SaTally::default(),
        used: AtomicBool::new(true),
        displaced: AtomicBool::new(false),
    })
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
) -> Result<Box<dyn EspTransform>, AddError> {
    let Some(encryption) = association.encryption else {
        // "ESP authentication only" asks for null encryption by name.
        return Err(AddError::InvalidParameter);
    };
    match encryption.identifier {
        EncryptionAlgorithm::AesGcm128 => gcm::<Aes128>(simd, &encryption),
        EncryptionAlgorithm::AesGcm192 => gcm::<Aes192>(simd, &encryption),
        EncryptionAlgorithm::AesGcm256 => gcm::<Aes256>(simd, &encryption),
        EncryptionAlgorithm::Null
        | EncryptionAlgorithm::DesCbc
        | EncryptionAlgorithm::TripleDesCbc
        | EncryptionAlgorithm::AesCbc128
        | EncryptionAlgorithm::AesCbc192
        | EncryptionAlgorithm::AesCbc256 => separate(association.authentication.as_ref()),
    }
}

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

/// A cipher that does not authenticate.
fn separate(
    authentication: Option<&Algorithm<'_, AuthenticationAlgorithm>>,
) -> Result<Box<dyn EspTransform>, AddError> {
    match authentication {
        // A packet must be authenticated (requirements and restrictions that apply to IPsec
        // offloads).
        None => Err(AddError::InvalidParameter),
        Some(_) => Err(AddError::NotSupported),
    }
}
