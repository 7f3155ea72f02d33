//! Packets to send: framed by the transport, sealed here.

mod large;
mod portion;
mod seal;

use core::num::NonZeroU32;

use ipsec_crypto::Simd;
use sa_table::Ref;

use crate::counters::Counters;
use crate::engine::Engine;
use crate::sa::cache::{Cached, Current};
use crate::sa::encapsulation::Place;
use crate::sa::params::Direction;
use crate::sa::{Sa, SaHandle};
use crate::verdict::Payloads;
use portion::Portion;

pub use large::{LargeFraming, LargeSegments};

/// The out-of-band data of a packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRequest {
    /// `NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO.Transmit.OffloadHandle`: the only SA,
    /// of whichever mode, or that of the transport-mode portion.
    pub transport: Option<SaHandle>,
    /// `NDIS_IPSEC_OFFLOAD_V2_TUNNEL_NET_BUFFER_LIST_INFO.Transmit.TunnelHandle`: the SA
    /// of the tunnel-mode portion.
    ///
    /// With both, the packet has an ESP header of its own for each, and the documentation
    /// does not say which of them the members below are about: they may be about either.
    pub tunnel: Option<SaHandle>,
    /// `NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO.Transmit.NextHeader`.
    pub next_header: u8,
    /// Likewise `PadLength`, in bytes.
    pub pad_length: u8,
    /// Likewise `AhHeaderOffset`: from the start of the packet, in units of 4 bytes.
    pub ah_header_offset: u8,
    /// Likewise `EspHeaderOffset`, in units of 4 bytes.
    pub esp_header_offset: u8,
}

impl SendRequest {
    /// The SA of the outer portion, or of the only one, and that of the inner.
    const fn handles(&self) -> Result<(SaHandle, Option<SaHandle>), SendError> {
        match (self.tunnel, self.transport) {
            (Some(tunnel), Some(transport)) => Ok((tunnel, Some(transport))),
            (Some(only), None) | (None, Some(only)) => Ok((only, None)),
            (None, None) => Err(SendError::UnknownSa),
        }
    }
}

/// Why a packet was not sealed. Its bytes are as they were, and it must not be sent: the
/// NET_BUFFER_LIST completes with `NDIS_STATUS_FAILURE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No handle was given, or no SA has the handle.
    UnknownSa,
    /// The SA is for received packets.
    WrongDirection,
    /// Not an IP packet, or its headers do not parse.
    Malformed,
    /// A fragment: offload is for whole packets.
    Fragment,
    /// The packet has not the IPsec header of the SA at the end of its IP headers, or not with
    /// the SA's UDP header in front of it, or the out-of-band data says that it is elsewhere.
    HeaderMismatch,
    /// The packet has another SPI than the SA.
    SpiMismatch,
    /// The packet is too short for the SA's IV, trailer and ICV, longer than the buffer, its
    /// UDP length is another, or its payload is not padded to the cipher's alignment.
    LengthMismatch,
    /// The ESP trailer differs from the out-of-band data, or its padding is longer than
    /// the payload.
    TrailerMismatch,
    /// The SA's sequence numbers are used up (RFC 4303 section 3.3.3).
    SequenceExhausted,
    /// A large packet in a tunnel: "the IPsec layer ensures that large send offload (LSO) is not
    /// used for those packets" (page of NDIS_IPSEC_OFFLOAD_V2).
    LargeInTunnel,
}

/// One packet.
const ONE: NonZeroU32 = NonZeroU32::MIN;

/// A burst of packets to send. Consecutive packets of the same SAs pay for finding them
/// once. Dropping it adds up the counters.
#[derive(Debug)]
pub struct OutboundBurst<'a> {
    engine: &'a Engine,
    simd: &'a Simd,
    /// Of the only IPsec payload, or of the tunnel.
    outer: Cached<'a, SaHandle>,
    /// Of the transport-mode payload in a tunnel.
    inner: Cached<'a, SaHandle>,
    counters: Counters,
}

impl<'a> OutboundBurst<'a> {
    pub(crate) fn new(engine: &'a Engine, simd: &'a Simd) -> Self {
        Self {
            engine,
            simd,
            outer: Cached::default(),
            inner: Cached::default(),
            counters: Counters::default(),
        }
    }

    /// Encrypts one packet in place, writes its IV and its ICV; of a bundle first ESP, then AH
    /// over the result. With an SA for the transport
    /// and one for the tunnel: first inside the tunnel, then the tunnel.
    ///
    /// `packet` begins with the IP header and is contiguous; what comes after the IP
    /// header's total length is left alone. The transport has framed it: ESP header with
    /// SPI and sequence number, room for the IV, payload, padding, trailer, room for the
    /// ICV.
    ///
    /// # Errors
    /// [`SendError`]; the packet was not changed then.
    pub fn seal(&mut self, request: &SendRequest, packet: &mut [u8]) -> Result<(), SendError> {
        let sealed = self.try_seal(request, packet);
        self.count(sealed)
    }

    fn count(&mut self, sealed: Result<u64, SendError>) -> Result<(), SendError> {
        match sealed {
            Ok(bytes) => {
                self.counters.sealed = self.counters.sealed.saturating_add(1);
                self.counters.sealed_bytes = self.counters.sealed_bytes.saturating_add(bytes);
                Ok(())
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    fn refused(&mut self, error: SendError) -> SendError {
        self.counters.seal_errors = self.counters.seal_errors.saturating_add(1);
        error
    }

    /// Where a packet's payloads are, for whoever has something to do to them before they are
    /// sealed. The packet is not changed.
    ///
    /// # Errors
    /// [`SendError`], of what [`seal`](Self::seal) would say.
    pub fn payloads(
        &mut self,
        request: &SendRequest,
        packet: &[u8],
    ) -> Result<Payloads, SendError> {
        let portions = self.portions(request, packet)?;
        let payload = |portion: &Portion| portion.payload(packet);
        Ok(Payloads {
            outer: Some(payload(&portions.outside)?),
            inner: portions.inside.as_ref().map(payload).transpose()?,
        })
    }

    /// Finds the headers of the SAs that the request names.
    fn portions(&mut self, request: &SendRequest, packet: &[u8]) -> Result<Portions, SendError> {
        let (outer, inner) = request.handles()?;
        let sa = &self.outer(outer)?.sa;
        let outside = Portion::find(sa, packet, 0..packet.len(), Place::Outermost)?;
        let Some(inner) = inner else {
            return Ok(Portions {
                outside,
                inside: None,
            });
        };
        let range = outside.tunnelled(packet)?;
        let inside = Portion::find(&self.inner(inner)?.sa, packet, range, Place::Within)?;
        // "UDP-encapsulated transport over a UDP-encapsulated tunnel is not a supported
        // encapsulation subtype".
        if outside.udp && inside.udp {
            return Err(SendError::HeaderMismatch);
        }
        Ok(Portions {
            outside,
            inside: Some(inside),
        })
    }

    fn outer(&mut self, handle: SaHandle) -> Result<&mut Current<'a, SaHandle>, SendError> {
        let engine = self.engine;
        self.outer.find(handle, |handle| acquire(engine, *handle))
    }

    fn inner(&mut self, handle: SaHandle) -> Result<&mut Current<'a, SaHandle>, SendError> {
        let engine = self.engine;
        self.inner.find(handle, |handle| acquire(engine, *handle))
    }

    /// Returns the bytes of the outer body.
    fn try_seal(&mut self, request: &SendRequest, packet: &mut [u8]) -> Result<u64, SendError> {
        let (outer, inner) = request.handles()?;
        let portions = self.portions(request, packet)?;
        let outside = &portions.outside;
        let simd = self.simd;
        let Some((inner, inside)) = inner.zip(portions.inside.as_ref()) else {
            outside.check(request)?;
            return self.outer(outer)?.seal(simd, outside, packet);
        };
        // What the request does not tell of one portion it has to tell of the other.
        outside.check(request).or_else(|error| match error {
            SendError::HeaderMismatch => inside.check(request),
            _ => Err(error),
        })?;
        // The last reasons to refuse, before anything is written.
        let numbers = self.outer(outer)?.numbers(outside.lows(), ONE)?;
        let within = self.inner(inner)?;
        let numbers_within = within.numbers(inside.lows(), ONE)?;
        within.seal_as(simd, inside, numbers_within, packet)?;
        self.outer(outer)?.seal_as(simd, outside, numbers, packet)
    }
}

/// Where the headers of a packet's SAs are.
struct Portions {
    outside: Portion,
    inside: Option<Portion>,
}

fn acquire(engine: &Engine, handle: SaHandle) -> Result<Ref<'_, Sa>, SendError> {
    let sa = engine.table.acquire(handle.0).ok_or(SendError::UnknownSa)?;
    if sa.direction != Direction::Outbound {
        return Err(SendError::WrongDirection);
    }
    Ok(sa)
}

impl Drop for OutboundBurst<'_> {
    fn drop(&mut self) {
        self.engine.tally.add(&self.counters);
    }
}
