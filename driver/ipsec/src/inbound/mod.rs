//! Received packets: verified, then decrypted, in place.

mod open;
mod select;

use ipsec_crypto::Simd;

use crate::counters::Counters;
use crate::engine::Engine;
use crate::packet;
use crate::sa::cache::Cached;
use crate::sa::encapsulation::Place;
use crate::sa::lookup::Selector;
use crate::verdict::{CryptoStatus, NotProcessed, Outcome, Payloads, Verdict};
use open::{Opened, Refused};
use select::select;

pub(crate) use select::is_candidate;

/// A burst of received packets. Consecutive packets of the same SAs pay for finding them
/// once. Dropping it adds up the counters.
#[derive(Debug)]
pub struct InboundBurst<'a> {
    engine: &'a Engine,
    simd: &'a Simd,
    /// Of the outermost IPsec payload.
    outer: Cached<'a, Selector>,
    /// Of the payload in a tunnel.
    inner: Cached<'a, Selector>,
    payloads: Payloads,
    counters: Counters,
    now: u64,
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
            // Later than whatever was before.
            now: engine.now().saturating_add(1),
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
        match self.try_open(packet) {
            Ok(outcome) => Verdict::Processed(outcome),
            Err(reason) => {
                let counters = &mut self.counters;
                match reason {
                    NotProcessed::Fragment => add_one(&mut counters.fragments),
                    NotProcessed::NoSa => add_one(&mut counters.no_sa),
                    NotProcessed::UnsupportedHeader => add_one(&mut counters.unsupported_headers),
                    NotProcessed::NotIp | NotProcessed::NotIpsec => {}
                }
                Verdict::NotProcessed(reason)
            }
        }
    }

    fn try_open(&mut self, packet: &mut [u8]) -> Result<Outcome, NotProcessed> {
        let engine = self.engine;
        let selected = select(packet, Place::Outermost)?;
        let current = self.outer.find(selected.selector, |selector| {
            selector.find(&engine.table).ok_or(NotProcessed::NoSa)
        })?;
        let (outcome, bytes) = match current.open(self.simd, self.now, &selected, packet) {
            Err(Refused::UnsupportedHeader) => return Err(NotProcessed::UnsupportedHeader),
            Err(Refused::Failed(status)) => (Outcome::failed(status), 0),
            Ok(outer) => {
                self.payloads.outer = Some(outer.payload(0));
                let within = self.open_inner(&outer, selected.selector.udp, packet);
                let outcome = within.unwrap_or(Outcome {
                    next_crypto_done: false,
                    status: CryptoStatus::Success,
                    sa_delete_request: outer.sa_delete_request,
                    trailer: outer.trailer,
                });
                (outcome, outer.bytes)
            }
        };
        self.count(outcome.status, bytes);
        Ok(outcome)
    }

    /// Opens the packet in a tunnel. `None` if this is no tunnel, or the packet in it has no
    /// IPsec header or no SA: it is not the engine's then, and is as the tunnel had it.
    fn open_inner(&mut self, outer: &Opened, udp: bool, packet: &mut [u8]) -> Option<Outcome> {
        let engine = self.engine;
        let inner = packet.get_mut(outer.payload.clone())?;
        if !packet::tunnelled(outer.next_header, inner) {
            return None;
        }
        let selected = select(inner, Place::Within).ok()?;
        // "UDP-encapsulated transport over a UDP-encapsulated tunnel is not a supported
        // encapsulation subtype".
        if udp && selected.selector.udp {
            return None;
        }
        let look_up = |selector: &Selector| selector.find(&engine.table).ok_or(());
        let current = self.inner.find(selected.selector, look_up).ok()?;
        // NextCryptoDone is about "a tunnel and a transport-mode portion": a tunnel within the
        // tunnel is the transport's.
        if current.sa.was_tunnel() {
            return None;
        }
        let (status, sa_delete_request) = match current.open(self.simd, self.now, &selected, inner)
        {
            Ok(opened) => {
                self.payloads.inner = Some(opened.payload(outer.payload.start));
                (CryptoStatus::Success, opened.sa_delete_request)
            }
            Err(Refused::UnsupportedHeader) => return None,
            Err(Refused::Failed(status)) => (within_tunnel(status), false),
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
            CryptoStatus::InvalidPacketSyntax | CryptoStatus::GenericError => {
                &mut counters.syntax_errors
            }
            CryptoStatus::InvalidProtocol => &mut counters.protocol_mismatches,
            _ => &mut counters.authentication_failures,
        };
        add_one(counter);
    }
}

/// Whatever the SA did before, this is the portion within the tunnel.
fn within_tunnel(status: CryptoStatus) -> CryptoStatus {
    match status {
        CryptoStatus::TunnelEspAuthFailed => CryptoStatus::TransportEspAuthFailed,
        CryptoStatus::TunnelAhAuthFailed => CryptoStatus::TransportAhAuthFailed,
        status => status,
    }
}

fn add_one(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

impl Drop for InboundBurst<'_> {
    fn drop(&mut self) {
        self.engine.tally.add(&self.counters);
    }
}
