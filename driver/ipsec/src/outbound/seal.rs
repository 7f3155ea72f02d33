//! Framed packets are sealed: first ESP, then AH over the result.

use core::num::NonZeroU32;

use ipsec_crypto::Simd;

use super::portion::{Lows, Portion};
use super::{ONE, SendError};
use crate::esp;
use crate::esp::transform::Sequence;
use crate::sa::SaHandle;
use crate::sa::cache::Current;

/// The sequence numbers of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub esp: Option<Sequence>,
    pub ah: Option<Sequence>,
}

impl Numbers {
    /// Those of a packet that comes so many after this one.
    pub(super) fn after(self, packets: u32) -> Self {
        let after = |first: Sequence| Sequence {
            number: first.number.saturating_add(packets.into()),
            ..first
        };
        Self {
            esp: self.esp.map(after),
            ah: self.ah.map(after),
        }
    }
}

impl Current<'_, SaHandle> {
    /// Those of the first of `count` packets; all of them are taken.
    pub(super) fn numbers(&self, lows: Lows, count: NonZeroU32) -> Result<Numbers, SendError> {
        let esp = self.sa.esp.as_ref().zip(lows.esp);
        let ah = self.sa.ah.as_ref().zip(lows.ah);
        let esp = esp.map(|(esp, low)| esp.outbound(low, count)).transpose();
        let ah = ah.map(|(ah, low)| ah.outbound(low, count)).transpose();
        Ok(Numbers {
            esp: esp.map_err(|_| SendError::SequenceExhausted)?,
            ah: ah.map_err(|_| SendError::SequenceExhausted)?,
        })
    }

    pub(super) fn seal(
        &mut self,
        simd: &Simd,
        portion: &Portion,
        packet: &mut [u8],
    ) -> Result<u64, SendError> {
        let numbers = self.numbers(portion.lows(), ONE)?;
        self.seal_as(simd, portion, numbers, packet)
    }

    /// Seals with these sequence numbers: first ESP, then AH over the result. Returns the
    /// bytes of the body, or of what AH carries.
    pub(super) fn seal_as(
        &mut self,
        simd: &Simd,
        portion: &Portion,
        numbers: Numbers,
        packet: &mut [u8],
    ) -> Result<u64, SendError> {
        let mut bytes = 0;
        if let (Some(esp), Some(place), Some(number)) = (&self.sa.esp, &portion.esp, numbers.esp) {
            let transform = &*esp.transform;
            let esp = packet
                .get_mut(place.esp.clone())
                .ok_or(SendError::LengthMismatch)?;
            let fields = esp::split(esp, transform).map_err(|_| SendError::LengthMismatch)?;
            bytes = fields.body.len();
            transform
                .seal(simd, fields, number)
                .map_err(|_| SendError::LengthMismatch)?;
        }
        if let (Some(ah), Some(place), Some(number)) = (&self.sa.ah, &portion.ah, numbers.ah) {
            let ip = packet
                .get_mut(portion.ip.clone())
                .ok_or(SendError::LengthMismatch)?;
            ah.transform
                .seal(simd, place, ip, number)
                .map_err(|_| SendError::Malformed)?;
            if portion.esp.is_none() {
                bytes = place.payload.len();
            }
        }
        let bytes = bytes as u64;
        self.counters.packets = self.counters.packets.saturating_add(1);
        self.counters.bytes = self.counters.bytes.saturating_add(bytes);
        Ok(bytes)
    }
}
