//! Received packets: verified, then decrypted, in place.

use ipsec_crypto::Simd;
use sa_table::Ref;

use crate::counters::{Counters, SaCounters};
use crate::engine::Engine;
use crate::esp::{self, transform::Sequence};
use crate::packet::{self, Headers};
use crate::sa::Sa;
use crate::sa::lookup::Selector;
use crate::sa::params::Operation;
use crate::verdict::{CryptoStatus, NotProcessed, Outcome, Verdict};

/// A burst of received packets. Consecutive packets of one SA pay for finding it once.
/// Dropping it adds up the counters.
#[derive(Debug)]
pub struct InboundBurst<'a> {
    engine: &'a Engine,
    simd: &'a Simd,
    current: Option<Current<'a>>,
    counters: Counters,
}

/// The SA of the last packet, and what it has done since it became that.
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

impl<'a> InboundBurst<'a> {
    pub(crate) fn new(engine: &'a Engine, simd: &'a Simd) -> Self {
        Self {
            engine,
            simd,
            current: None,
            counters: Counters::default(),
        }
    }

    /// Looks for the packet's SA, checks the ICV and decrypts in place.
    ///
    /// `packet` begins with the IP header and is contiguous; Ethernet padding may follow.
    /// Headers, trailer and ICV stay in it. Unless the ICV was right, no byte of it was
    /// changed. Replays are the transport's to find.
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
        let simd = self.simd;
        let Some(current) = self.current(selected.selector) else {
            self.counters.no_sa = self.counters.no_sa.saturating_add(1);
            return Verdict::NotProcessed(NotProcessed::NoSa);
        };
        let opened = current.open(simd, &selected, packet);
        self.count(&opened);
        Verdict::Processed(match opened {
            Ok(Opened { outcome, .. }) => outcome,
            Err(status) => Outcome::failed(status),
        })
    }

    fn count(&mut self, opened: &Result<Opened, CryptoStatus>) {
        let counters = &mut self.counters;
        let counter = match opened {
            Ok(opened) => {
                counters.opened_bytes = counters.opened_bytes.saturating_add(opened.bytes);
                &mut counters.opened
            }
            Err(CryptoStatus::InvalidPacketSyntax) => &mut counters.syntax_errors,
            Err(CryptoStatus::InvalidProtocol) => &mut counters.protocol_mismatches,
            Err(_) => &mut counters.authentication_failures,
        };
        *counter = counter.saturating_add(1);
    }

    /// The SA that fits best: that of the last packet, or looked up.
    #[inline]
    fn current(&mut self, selector: Selector) -> Option<&mut Current<'a>> {
        let found = match self.current.take() {
            Some(current) if current.selector == selector => current,
            _ => Current {
                selector,
                sa: selector.find(&self.engine.table)?,
                counters: SaCounters::default(),
            },
        };
        Some(self.current.insert(found))
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

/// A packet that was authentic.
struct Opened {
    outcome: Outcome,
    bytes: u64,
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
            Err(CryptoStatus::TransportEspAuthFailed) => &mut counters.authentication_failures,
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
        let fields = esp::split(esp, transform).map_err(|_| CryptoStatus::InvalidPacketSyntax)?;
        let bytes = fields.body.len();
        let sequence = Sequence {
            number: sa.sequence.inbound(low),
            extended: sa.sequence.extended(),
        };
        transform
            .open(simd, fields, sequence)
            .map_err(|_| CryptoStatus::TransportEspAuthFailed)?;
        sa.sequence.seen(sequence.number);
        sa.touch();

        let start = esp::HEADER.saturating_add(transform.iv_bytes());
        let body = esp.get(start..start.saturating_add(bytes));
        // Authentic, so the sender made it wrong.
        let trailer = body
            .and_then(esp::trailer)
            .ok_or(CryptoStatus::InvalidPacketSyntax)?;
        let bytes = bytes as u64;
        let volume = sa
            .tally
            .bytes()
            .saturating_add(self.counters.bytes)
            .saturating_add(bytes);
        Ok(Opened {
            outcome: Outcome {
                next_crypto_done: false,
                status: CryptoStatus::Success,
                sa_delete_request: sa.wants_deletion(sequence.number, volume),
                trailer: Some(trailer),
            },
            bytes,
        })
    }
}
