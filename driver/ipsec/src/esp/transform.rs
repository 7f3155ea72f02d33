//! What an algorithm has to be able to do for ESP.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ipsec_crypto::Simd;

use crate::engine::OutOfMemory;

/// The parts of an ESP packet that a transform works on.
pub(crate) struct Fields<'p> {
    /// SPI and low half of the sequence number, as in the packet.
    pub header: [u8; super::HEADER],
    pub iv: &'p mut [u8],
    /// Payload, padding and trailer: plain on one side, encrypted on the other.
    pub body: &'p mut [u8],
    pub icv: &'p mut [u8],
}

/// The sequence number of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequence {
    pub number: u64,
    /// The high half goes into the authenticated data.
    pub extended: bool,
}

impl Sequence {
    /// The half that is not in the packet.
    pub(crate) fn high(self) -> u32 {
        (self.number >> 32) as u32
    }
}

/// The packet is not what the sender made, or the transform cannot take it. Nothing was
/// written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// The cipher and the authenticator of an SA, keyed. Chosen when the SA is added; the
/// packet path calls it without knowing what it is.
///
/// An implementation wipes its keys when it is dropped, without vector code.
pub(crate) trait EspTransform: Send + Sync {
    fn iv_bytes(&self) -> usize;
    fn icv_bytes(&self) -> usize;
    /// The body's length is a multiple of this; at least 4 (RFC 4303 section 2.4).
    fn alignment(&self) -> usize;
    /// Bytes after which the keys should be replaced.
    fn volume_limit(&self) -> u64;
    /// Writes the IV, encrypts the body and writes the ICV.
    fn seal(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused>;
    /// Checks the ICV and only then decrypts the body.
    fn open(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused>;
}

/// `Box::new` that does not abort without memory.
pub(crate) fn boxed<T: EspTransform + 'static>(
    transform: T,
) -> Result<Box<dyn EspTransform>, OutOfMemory> {
    let mut one = Vec::new();
    one.try_reserve_exact(1).map_err(|_| OutOfMemory)?;
    one.push(transform);
    let one: Box<[T; 1]> = one.into_boxed_slice().try_into().map_err(|_| OutOfMemory)?;
    Ok(one)
}

/// So that the `Box<[T; 1]>` of [`boxed`] is a transform.
impl<T: EspTransform> EspTransform for [T; 1] {
    fn iv_bytes(&self) -> usize {
        let [transform] = self;
        transform.iv_bytes()
    }

    fn icv_bytes(&self) -> usize {
        let [transform] = self;
        transform.icv_bytes()
    }

    fn alignment(&self) -> usize {
        let [transform] = self;
        transform.alignment()
    }

    fn volume_limit(&self) -> u64 {
        let [transform] = self;
        transform.volume_limit()
    }

    fn seal(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused> {
        let [transform] = self;
        transform.seal(simd, fields, sequence)
    }

    fn open(&self, simd: &Simd, fields: Fields<'_>, sequence: Sequence) -> Result<(), Refused> {
        let [transform] = self;
        transform.open(simd, fields, sequence)
    }
}
