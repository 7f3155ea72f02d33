//! Received packets: verified, then decrypted, in place.

use core::ops::Range;

use ipsec_crypto::Simd;
use sa_table::Ref;

use crate::counters::{Counters, SaCounters};
use crate::engine::Engine;
use crate::esp::{self, transform::Sequence};
use crate::packet::{self, Headers};
use crate::sa::Sa;
use crate::sa::lookup::Selector;
use crate::sa::params::Operation;
use crate::verdict::{CryptoStatus, NotProcessed, Outcome, Trailer, Verdict};

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
            counters: Counters::default(),
        }
    }

    /// Looks for the packet's SA, checks the ICV and decrypts in place; if that was a tunnel,
    /// once more for the packet in it.
    ///
    /// `packet` begins with the IP header and is contiguous; Ethernet padding may follow.
    /// Headers, trailers and ICVs stay in it. A payload with a wrong ICV was not changed, nor
    /// anything outside of it. Replays are the transport's to find.
    pub fn open(&mut self, packet: &mut [u8]) -> Verdict {
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
        let outcome = match &opened {
            Err(status) => Outcome::failed(*status),
            Ok(outer) => self.open_inner(outer, packet).unwrap_or(Outcome {
                next_crypto_done: false,
                status: CryptoStatus::Success,
                sa_delete_request: outer.sa_delete_request,
                trailer: Some(outer.trailer),
            }),
        };
        let bytes = opened.map_or(0, |outer| outer.body.len());
        self.count(outcome.status, bytes as u64);
        Verdict::Processed(outcome)
    }

    /// Opens the packet in a tunnel. `None` if this is no tunnel, or the packet in it has no
    /// IPsec header or no SA: it is not the engine's then, and is as the tunnel had it.
    fn open_inner(&mut self, outer: &Opened, packet: &mut [u8]) -> Option<Outcome> {
        let body = packet.get_mut(outer.body.clone())?;
        let inner = body.get_mut(esp::tunnelled(body, outer.trailer)?)?;
        let selected = select(inner).ok()?;
        let current = self.inner.find(self.engine, selected.selector)?;
        let opened = current.open(self.simd, &selected, inner);
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
        packet::ESP => (Operation::Esp, rest.first_chunk::<4>()),
        // RFC 4302 section 2: next header, length, two reserved bytes, SPI.
        packet::AH => (
            Operation::Ah,
            rest.get(4..).and_then(|rest| rest.first_chunk::<4>()),
        ),
        _ => return Err(NotProcessed::NotIpsec),
    };
    let spi = spi.ok_or(NotProcessed::NotIpsec)?;
    Ok(Selected {
        selector: Selector {
            spi: u32::from_be_bytes(*spi),
            operation,
            destination: headers.destination,
            source: headers.source,
        },
        headers,
    })
}

/// A payload that was authentic.
struct Opened {
    /// Where in the packet its body is, decrypted.
    body: Range<usize>,
    trailer: Trailer,
    sa_delete_request: bool,
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
                counters.bytes = counters.bytes.saturating_add(opened.body.len() as u64);
                &mut counters.packets
            }
            Err(CryptoStatus::TransportEspAuthFailed | CryptoStatus::TunnelEspAuthFailed) => {
                &mut counters.authentication_failures
            }
            Err(_) => &mut counters.syntax_errors,
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
        if sa.operation != selected.selector.operation {
            return Err(CryptoStatus::InvalidProtocol);
        }
        if headers.truncated {
            return Err(CryptoStatus::InvalidPacketSyntax);
        }
        let esp = packet
            .get_mut(headers.offset..headers.end)
            .ok_or(CryptoStatus::InvalidPacketSyntax)?;
        let (_, low) = esp::header(esp).ok_or(CryptoStatus::InvalidPacketSyntax)?;
        let transform = &*sa.transform;
        let range =
            esp::body(esp.len(), transform).map_err(|_| CryptoStatus::InvalidPacketSyntax)?;
        let fields = esp::split(esp, transform).map_err(|_| CryptoStatus::InvalidPacketSyntax)?;
        let sequence = Sequence {
            number: sa.sequence.inbound(low),
            extended: sa.sequence.extended(),
        };
        transform.open(simd, fields, sequence).map_err(|_| {
            if sa.is_tunnel() {
                CryptoStatus::TunnelEspAuthFailed
            } else {
                CryptoStatus::TransportEspAuthFailed
            }
        })?;
        sa.sequence.seen(sequence.number);
        sa.touch();

        // Authentic, so the sender made it wrong.
        let body = esp.get(range.clone());
        let trailer = body
            .and_then(esp::trailer)
            .ok_or(CryptoStatus::InvalidPacketSyntax)?;
        sa.learn_mode(matches!(trailer.next_header, packet::IPV4 | packet::IPV6));
        let volume = sa
            .tally
            .bytes()
            .saturating_add(self.counters.bytes)
            .saturating_add(range.len() as u64);
        let start = range.start.saturating_add(headers.offset);
        Ok(Opened {
            body: start..start.saturating_add(range.len()),
            trailer,
            sa_delete_request: sa.wants_deletion(sequence.number, volume),
        })
    }
}
