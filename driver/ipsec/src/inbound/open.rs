//! A packet and its SA: AH, then ESP.

use core::ops::Range;

use ipsec_crypto::Simd;

use super::select::Selected;
use crate::ah::transform::AhTransform;
use crate::ah::{self, Place};
use crate::esp;
use crate::esp::transform::EspTransform;
use crate::packet;
use crate::sa::Association;
use crate::sa::cache::Current;
use crate::sa::encapsulation;
use crate::sa::lookup::Selector;
use crate::verdict::{CryptoStatus, Payload, Trailer};

/// What an SA has opened.
pub(super) struct Opened {
    /// What the last of its headers carries, and where that is in the packet.
    pub next_header: u8,
    pub payload: Range<usize>,
    /// Of ESP.
    pub trailer: Option<Trailer>,
    /// Of the body, or of what AH carries.
    pub bytes: u64,
    pub sa_delete_request: bool,
}

impl Opened {
    /// What it carries; the packet that was opened is at `start` in the received one.
    pub(super) fn payload(&self, start: usize) -> Payload {
        let Range { start: from, end } = self.payload;
        Payload {
            protocol: self.next_header,
            range: from.saturating_add(start)..end.saturating_add(start),
        }
    }
}

/// Why an SA has opened nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The packet is wrong.
    Failed(CryptoStatus),
    /// AH cannot account for a header before it: the packet is left to the transport.
    UnsupportedHeader,
}

impl From<CryptoStatus> for Refused {
    fn from(status: CryptoStatus) -> Self {
        Self::Failed(status)
    }
}

/// ESP that was opened.
struct EspOpened {
    number: u64,
    trailer: Trailer,
    payload: Range<usize>,
    bytes: usize,
}

impl Current<'_, Selector> {
    pub(super) fn open(
        &mut self,
        simd: &Simd,
        now: u64,
        selected: &Selected,
        packet: &mut [u8],
    ) -> Result<Opened, Refused> {
        let opened = self.try_open(simd, now, selected, packet);
        let counters = &mut self.counters;
        let counter = match &opened {
            Ok(opened) => {
                counters.bytes = counters.bytes.saturating_add(opened.bytes);
                &mut counters.packets
            }
            Err(Refused::UnsupportedHeader) => return opened,
            Err(Refused::Failed(
                CryptoStatus::InvalidPacketSyntax
                | CryptoStatus::InvalidProtocol
                | CryptoStatus::GenericError,
            )) => &mut counters.syntax_errors,
            Err(Refused::Failed(_)) => &mut counters.authentication_failures,
        };
        *counter = counter.saturating_add(1);
        opened
    }

    fn try_open(
        &self,
        simd: &Simd,
        now: u64,
        selected: &Selected,
        packet: &mut [u8],
    ) -> Result<Opened, Refused> {
        let sa = &self.sa;
        let headers = &selected.headers;
        if !sa.shows(selected.selector.operation, selected.selector.spi) {
            return Err(CryptoStatus::InvalidProtocol.into());
        }
        if headers.wrong_length {
            return Err(CryptoStatus::InvalidPacketSyntax.into());
        }
        let (mut protocol, mut payload) = (headers.protocol, headers.offset..headers.end);
        let mut ah_number = None;
        if let Some(ah) = &sa.ah {
            let (place, number) = self.open_ah(simd, ah, selected, packet)?;
            (protocol, payload) = (place.next_header, place.payload);
            ah_number = Some(number);
        }
        let (mut trailer, mut bytes, mut esp_number) = (None, payload.len(), None);
        if let Some(esp) = &sa.esp {
            if protocol != packet::ESP {
                return Err(CryptoStatus::InvalidProtocol.into());
            }
            let opened = self.open_esp(simd, esp, payload, packet)?;
            esp_number = Some(opened.number);
            bytes = opened.bytes;
            trailer = Some(opened.trailer);
            (protocol, payload) = (opened.trailer.next_header, opened.payload);
        }
        sa.touch(now);
        sa.learn_mode(packet::is_tunnel(protocol));
        let bytes = bytes as u64;
        let volume = sa
            .tally
            .bytes()
            .saturating_add(self.counters.bytes)
            .saturating_add(bytes);
        Ok(Opened {
            next_header: protocol,
            payload,
            trailer,
            bytes,
            sa_delete_request: sa.wants_deletion(esp_number, ah_number, volume),
        })
    }

    /// Checks AH. Returns where it is and its 64-bit sequence number.
    fn open_ah(
        &self,
        simd: &Simd,
        ah: &Association<dyn AhTransform>,
        selected: &Selected,
        packet: &[u8],
    ) -> Result<(Place, u64), Refused> {
        let headers = &selected.headers;
        let packet = packet.get(..headers.end).unwrap_or_default();
        let transform = &*ah.transform;
        let place = Place::find(packet, headers, transform)
            .map_err(|_| CryptoStatus::InvalidPacketSyntax)?;
        // A bundle whose ESP is missing is not the SA's whatever AH says.
        if self.sa.esp.is_some() && place.next_header != packet::ESP {
            return Err(CryptoStatus::InvalidProtocol.into());
        }
        // A tunnel within a tunnel is the transport's.
        let is_within = selected.selector.place == encapsulation::Place::Within;
        if is_within && packet::is_tunnel(place.next_header) {
            return Err(Refused::UnsupportedHeader);
        }
        let sequence = ah.inbound(place.low);
        transform
            .open(simd, &place, packet, sequence)
            .map_err(|refused| match refused {
                ah::transform::Refused::Unpredictable => Refused::UnsupportedHeader,
                ah::transform::Refused::WrongIcv if self.shows_tunnel(place.next_header) => {
                    Refused::Failed(CryptoStatus::TunnelAhAuthFailed)
                }
                ah::transform::Refused::WrongIcv => {
                    Refused::Failed(CryptoStatus::TransportAhAuthFailed)
                }
            })?;
        ah.sequence.seen(sequence.number);
        Ok((place, sequence.number))
    }

    /// The mode of a packet with this next header: ESP hides it.
    fn shows_tunnel(&self, next_header: u8) -> bool {
        packet::is_tunnel(next_header) || (next_header == packet::ESP && self.sa.is_tunnel())
    }

    /// Checks ESP, which is at `range` in the packet, and decrypts it.
    fn open_esp(
        &self,
        simd: &Simd,
        association: &Association<dyn EspTransform>,
        range: Range<usize>,
        packet: &mut [u8],
    ) -> Result<EspOpened, CryptoStatus> {
        const SYNTAX: CryptoStatus = CryptoStatus::InvalidPacketSyntax;
        let start = range.start;
        let esp = packet.get_mut(range).ok_or(SYNTAX)?;
        let (spi, low) = esp::header(esp).ok_or(SYNTAX)?;
        if spi != association.spi {
            return Err(CryptoStatus::InvalidProtocol);
        }
        let transform = &*association.transform;
        let body = esp::body(esp.len(), transform).map_err(|_| SYNTAX)?;
        let fields = esp::split(esp, transform).map_err(|_| SYNTAX)?;
        let sequence = association.inbound(low);
        transform.open(simd, fields, sequence).map_err(|_| {
            if self.sa.is_tunnel() {
                CryptoStatus::TunnelEspAuthFailed
            } else {
                CryptoStatus::TransportEspAuthFailed
            }
        })?;
        association.sequence.seen(sequence.number);
        // Authentic, so the sender made it wrong.
        const WRONG_TRAILER: CryptoStatus = CryptoStatus::GenericError;
        let plain = esp.get(body.clone()).ok_or(SYNTAX)?;
        let trailer = esp::trailer(plain).ok_or(WRONG_TRAILER)?;
        let payload = esp::payload(plain, trailer).ok_or(WRONG_TRAILER)?;
        let start = start.saturating_add(body.start);
        Ok(EspOpened {
            number: sequence.number,
            trailer,
            payload: start..start.saturating_add(payload.end),
            bytes: body.len(),
        })
    }
}
