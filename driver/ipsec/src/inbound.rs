//! Received packets: verified, then decrypted, in place.

use core::ops::Range;

use ipsec_crypto::Simd;
use sa_table::Ref;

use crate::ah::transform::AhTransform;
use crate::ah::{self, Place};
use crate::counters::{Counters, SaCounters};
use crate::engine::Engine;
use crate::esp;
use crate::esp::transform::EspTransform;
use crate::packet::{self, Headers};
use crate::sa::lookup::Selector;
use crate::sa::params::Operation;
use crate::sa::{Association, Sa};
use crate::verdict::{CryptoStatus, NotProcessed, Outcome, Payload, Payloads, Trailer, Verdict};

/// A burst of received packets. Consecutive packets of the same SAs pay for finding them
/// once. Dropping it adds up the counters.
#[derive(Debug)]
pub struct InboundBurst<'a> {
    engine: &'a Engine,
    simd: &'a Simd,
    /// Of the outermost IPsec payload.
    outer: Cached<'a>,
    /// Of the payload in a tunnel.
    inner: Cached<'a>,
    payloads: Payloads,
    counters: Counters,
}

/// The SA that the last packet had here.
#[derive(Debug, Default)]
struct Cached<'a>(Option<Current<'a>>);

/// An SA, and what it has done since it became that of the last packet.
#[derive(Debug)]
struct Current<'a> {
    selector: Selector,
    sa: Ref<'a, Sa>,
    counters: SaCounters,
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        self.sa.tally.add(&self.counters);
    }
}

impl<'a> Cached<'a> {
    /// The SA that fits best: that of the last packet, or looked up.
    #[inline]
    fn find(&mut self, engine: &'a Engine, selector: Selector) -> Option<&mut Current<'a>> {
        let found = match self.0.take() {
            Some(current) if current.selector == selector => current,
            _ => Current {
                selector,
                sa: selector.find(&engine.table)?,
                counters: SaCounters::default(),
            },
        };
        Some(self.0.insert(found))
    }
}

impl<'a> InboundBurst<'a> {
    pub(crate) fn new(engine: &'a Engine, simd: &'a Simd) -> Self {
        Self {
            engine,
            simd,
            outer: Cached::default(),
            inner: Cached::default(),
            payloads: Payloads::default(),
            counters: Counters::default(),
        }
    }

    /// What the IPsec headers of the packet that was opened last carry, as far as it was found
    /// authentic.
    pub const fn payloads(&self) -> &Payloads {
        &self.payloads
    }

    /// Looks for the packet's SA, checks the ICV and decrypts in place; if that was a tunnel,
    /// once more for the packet in it.
    ///
    /// `packet` begins with the IP header and is contiguous; Ethernet padding may follow.
    /// Headers, trailers and ICVs stay in it. A payload with a wrong ICV was not changed, nor
    /// anything outside of it. Replays are the transport's to find.
    pub fn open(&mut self, packet: &mut [u8]) -> Verdict {
        self.payloads = Payloads::default();
        let selected = match select(packet) {
            Ok(selected) => selected,
            Err(reason) => {
                if reason == NotProcessed::Fragment {
                    self.counters.fragments = self.counters.fragments.saturating_add(1);
                }
                return Verdict::NotProcessed(reason);
            }
        };
        let Some(current) = self.outer.find(self.engine, selected.selector) else {
            self.counters.no_sa = self.counters.no_sa.saturating_add(1);
            return Verdict::NotProcessed(NotProcessed::NoSa);
        };
        let opened = current.open(self.simd, &selected, packet);
        self.payloads.outer = opened.as_ref().ok().map(|outer| outer.payload(0));
        let outcome = match &opened {
            Err(status) => Outcome::failed(*status),
            Ok(outer) => self.open_inner(outer, packet).unwrap_or(Outcome {
                next_crypto_done: false,
                status: CryptoStatus::Success,
                sa_delete_request: outer.sa_delete_request,
                trailer: outer.trailer,
            }),
        };
        self.count(outcome.status, opened.map_or(0, |outer| outer.bytes));
        Verdict::Processed(outcome)
    }

    /// Opens the packet in a tunnel. `None` if this is no tunnel, or the packet in it has no
    /// IPsec header or no SA: it is not the engine's then, and is as the tunnel had it.
    fn open_inner(&mut self, outer: &Opened, packet: &mut [u8]) -> Option<Outcome> {
        let inner = packet.get_mut(outer.payload.clone())?;
        if !packet::tunnelled(outer.next_header, inner) {
            return None;
        }
        let selected = select(inner).ok()?;
        let current = self.inner.find(self.engine, selected.selector)?;
        let opened = current.open(self.simd, &selected, inner);
        let start = outer.payload.start;
        self.payloads.inner = opened.as_ref().ok().map(|inner| inner.payload(start));
        let (status, sa_delete_request) = match opened {
            Ok(opened) => (CryptoStatus::Success, opened.sa_delete_request),
            // Whatever the SA did before, this is the portion within the tunnel.
            Err(CryptoStatus::TunnelEspAuthFailed) => (CryptoStatus::TransportEspAuthFailed, false),
            Err(status) => (status, false),
        };
        Some(Outcome {
            next_crypto_done: true,
            status,
            sa_delete_request: sa_delete_request || outer.sa_delete_request,
            // There are two, and the documentation does not say which it would be.
            trailer: None,
        })
    }

    fn count(&mut self, status: CryptoStatus, bytes: u64) {
        let counters = &mut self.counters;
        let counter = match status {
            CryptoStatus::Success => {
                counters.opened_bytes = counters.opened_bytes.saturating_add(bytes);
                &mut counters.opened
            }
            CryptoStatus::InvalidPacketSyntax => &mut counters.syntax_errors,
            CryptoStatus::InvalidProtocol => &mut counters.protocol_mismatches,
            _ => &mut counters.authentication_failures,
        };
        *counter = counter.saturating_add(1);
    }
}

impl Drop for InboundBurst<'_> {
    fn drop(&mut self) {
        self.engine.tally.add(&self.counters);
    }
}

/// What a packet shows before its SA is known.
struct Selected {
    headers: Headers,
    selector: Selector,
}

/// Whether a received packet may have an SA: it is a whole packet, and its headers lead
/// to AH or ESP. [`InboundBurst::open`] leaves all others alone.
pub(crate) fn is_candidate(packet: &[u8]) -> bool {
    select(packet).is_ok()
}

/// Finds the IPsec header of a packet.
fn select(packet: &[u8]) -> Result<Selected, NotProcessed> {
    let headers = Headers::parse(packet).map_err(|_| NotProcessed::NotIp)?;
    if headers.fragment {
        return Err(NotProcessed::Fragment);
    }
    let rest = packet
        .get(headers.offset..headers.end)
        .ok_or(NotProcessed::NotIp)?;
    let (operation, spi) = match headers.protocol {
        packet::ESP => (
            Operation::Esp,
            rest.first_chunk().map(|spi| u32::from_be_bytes(*spi)),
        ),
        packet::AH => (Operation::Ah, ah::spi(rest)),
        _ => return Err(NotProcessed::NotIpsec),
    };
    let spi = spi.ok_or(NotProcessed::NotIpsec)?;
    Ok(Selected {
        selector: Selector {
            spi,
            operation,
            destination: headers.destination,
            source: headers.source,
        },
        headers,
    })
}

/// What an SA has opened.
struct Opened {
    /// What the last of its headers carries, and where that is in the packet.
    next_header: u8,
    payload: Range<usize>,
    /// Of ESP.
    trailer: Option<Trailer>,
    /// Of the body, or of what AH carries.
    bytes: u64,
    sa_delete_request: bool,
}

impl Opened {
    /// What it carries; the packet that was opened is at `start` in the received one.
    fn payload(&self, start: usize) -> Payload {
        let Range { start: from, end } = self.payload;
        Payload {
            protocol: self.next_header,
            range: from.saturating_add(start)..end.saturating_add(start),
        }
    }
}

/// ESP that was opened.
struct EspOpened {
    number: u64,
    trailer: Trailer,
    payload: Range<usize>,
    bytes: usize,
}

impl Current<'_> {
    fn open(
        &mut self,
        simd: &Simd,
        selected: &Selected,
        packet: &mut [u8],
    ) -> Result<Opened, CryptoStatus> {
        let opened = self.try_open(simd, selected, packet);
        let counters = &mut self.counters;
        let counter = match &opened {
            Ok(opened) => {
                counters.bytes = counters.bytes.saturating_add(opened.bytes);
                &mut counters.packets
            }
            Err(
                CryptoStatus::InvalidPacketSyntax
                | CryptoStatus::InvalidProtocol
                | CryptoStatus::GenericError,
            ) => &mut counters.syntax_errors,
            Err(_) => &mut counters.authentication_failures,
        };
        *counter = counter.saturating_add(1);
        opened
    }

    fn try_open(
        &self,
        simd: &Simd,
        selected: &Selected,
        packet: &mut [u8],
    ) -> Result<Opened, CryptoStatus> {
        let sa = &self.sa;
        let headers = &selected.headers;
        if sa.operation() != selected.selector.operation {
            return Err(CryptoStatus::InvalidProtocol);
        }
        if headers.truncated {
            return Err(CryptoStatus::InvalidPacketSyntax);
        }
        let (mut protocol, mut payload) = (headers.protocol, headers.offset..headers.end);
        let mut ah_number = None;
        if let Some(ah) = &sa.ah {
            let (place, number) = self.open_ah(simd, ah, headers, packet)?;
            (protocol, payload) = (place.next_header, place.payload);
            ah_number = Some(number);
        }
        let (mut trailer, mut bytes, mut esp_number) = (None, payload.len(), None);
        if let Some(esp) = &sa.esp {
            if protocol != packet::ESP {
                return Err(CryptoStatus::InvalidProtocol);
            }
            let opened = self.open_esp(simd, esp, payload, packet)?;
            esp_number = Some(opened.number);
            bytes = opened.bytes;
            trailer = Some(opened.trailer);
            (protocol, payload) = (opened.trailer.next_header, opened.payload);
        }
        sa.touch();
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
        headers: &Headers,
        packet: &[u8],
    ) -> Result<(Place, u64), CryptoStatus> {
        let packet = packet.get(..headers.end).unwrap_or_default();
        let transform = &*ah.transform;
        let place = Place::find(packet, headers, transform)
            .map_err(|_| CryptoStatus::InvalidPacketSyntax)?;
        // A bundle whose ESP is missing is not the SA's whatever AH says.
        if self.sa.esp.is_some() && place.next_header != packet::ESP {
            return Err(CryptoStatus::InvalidProtocol);
        }
        let sequence = ah.inbound(place.low);
        transform
            .open(simd, &place, packet, sequence)
            .map_err(|refused| match refused {
                ah::transform::Refused::Unpredictable => CryptoStatus::GenericError,
                ah::transform::Refused::WrongIcv if self.shows_tunnel(place.next_header) => {
                    CryptoStatus::TunnelAhAuthFailed
                }
                ah::transform::Refused::WrongIcv => CryptoStatus::TransportAhAuthFailed,
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
        let plain = esp.get(body.clone()).ok_or(SYNTAX)?;
        let trailer = esp::trailer(plain).ok_or(SYNTAX)?;
        let payload = esp::payload(plain, trailer).ok_or(SYNTAX)?;
        let start = start.saturating_add(body.start);
        Ok(EspOpened {
            number: sequence.number,
            trailer,
            payload: start..start.saturating_add(payload.end),
            bytes: body.len(),
        })
    }
}
