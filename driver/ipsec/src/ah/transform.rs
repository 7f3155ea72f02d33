//! What an algorithm has to be able to do for AH.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ipsec_crypto::Simd;

use super::{Place, Unpredictable};
use crate::engine::OutOfMemory;
use crate::esp::transform::Sequence;

/// Why an ICV is not right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is another one.
    WrongIcv,
    /// There is none for these headers.
    Unpredictable,
}

impl From<Unpredictable> for Refused {
    fn from(_: Unpredictable) -> Self {
        Self::Unpredictable
    }
}

/// The authenticator of an SA, keyed. Chosen when the SA is added.
///
/// An implementation wipes its keys when it is dropped, without vector code.
pub(crate) trait AhTransform: Send + Sync {
    /// Length of the ICV, an IV in it included, padding not.
    fn icv_bytes(&self) -> usize;
    /// Writes the ICV into the IP packet.
    fn seal(
        &self,
        simd: &Simd,
        place: &Place,
        packet: &mut [u8],
        sequence: Sequence,
    ) -> Result<(), Refused>;
    /// Checks the ICV of the IP packet.
    fn open(
        &self,
        simd: &Simd,
        place: &Place,
        packet: &[u8],
        sequence: Sequence,
    ) -> Result<(), Refused>;
}

/// `Box::new` that does not abort without memory.
pub(crate) fn boxed<T: AhTransform + 'static>(
    transform: T,
) -> Result<Box<dyn AhTransform>, OutOfMemory> {
    let mut one = Vec::new();
    one.try_reserve_exact(1).map_err(|_| OutOfMemory)?;
    one.push(transform);
    let one: Box<[T; 1]> = one.into_boxed_slice().try_into().map_err(|_| OutOfMemory)?;
    Ok(one)
}

/// So that the `Box<[T; 1]>` of [`boxed`] is a transform.
impl<T: AhTransform> AhTransform for [T; 1] {
    fn icv_bytes(&self) -> usize {
        let [transform] = self;
        transform.icv_bytes()
    }

    fn seal(
        &self,
        simd: &Simd,
        place: &Place,
        packet: &mut [u8],
        sequence: Sequence,
    ) -> Result<(), Refused> {
        let [transform] = self;
        transform.seal(simd, place, packet, sequence)
    }

    fn open(
        &self,
        simd: &Simd,
        place: &Place,
        packet: &[u8],
        sequence: Sequence,
    ) -> Result<(), Refused> {
        let [transform] = self;
        transform.open(simd, place, packet, sequence)
    }
}
