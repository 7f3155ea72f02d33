//! Packets to send: framed by the transport, sealed here.

use core::ops::Range;

use ipsec_crypto::Simd;
use sa_table::Ref;

use crate::ah::{self, Place};
use crate::counters::{Counters, SaCounters};
use crate::engine::Engine;
use crate::esp;
use crate::esp::transform::{EspTransform, Sequence};
use crate::packet::{self, Headers};
use crate::sa::params::Direction;
use crate::sa::{Association, Sa, SaHandle};
use crate::verdict::{Payload, Payloads, Trailer};

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
    /// The packet has not the IPsec header of the SA at the end of its IP headers, or the
    /// out-of-band data says that it is elsewhere.
    HeaderMismatch,
    /// The packet has another SPI than the SA.
    SpiMismatch,
    /// The packet is too short for the SA's IV, trailer and ICV, longer than the buffer, or
    /// its payload is not padded to the cipher's alignment.
    LengthMismatch,
    /// The ESP trailer differs from the out-of-band data, or its padding is longer than
    /// the payload.
    TrailerMismatch,
    /// The SA's sequence numbers are used up (RFC 4303 section 3.3.3).
    SequenceExhausted,
}

/// A burst of packets to send. Consecutive packets of the same SAs pay for finding them
/// once. Dropping it adds up the counters.
#[derive(Debug)]
pub struct OutboundBurst<'a> {
    engine: &'a Engine,
    simd: &'a Simd,
    /// Of the only IPsec payload, or of the tunnel.
    outer: Cached<'a>,
    /// Of the transport-mode payload in a tunnel.
    inner: Cached<'a>,
    counters: Counters,
}

/// The SA that the last packet had here.
#[derive(Debug, Default)]
struct Cached<'a>(Option<Current<'a>>);

/// An SA, and what it has done since it became that of the last packet.
#[derive(Debug)]
struct Current<'a> {
    handle: SaHandle,
    sa: Ref<'a, Sa>,
    counters: SaCounters,
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        self.sa.tally.add(&self.counters);
    }
}

impl<'a> Cached<'a> {
    /// The SA of this handle: that of the last packet, or looked up.
    #[inline]
    fn find(
        &mut self,
        engine: &'a Engine,
        handle: SaHandle,
    ) -> Result<&mut Current<'a>, SendError> {
        let found = match self.0.take() {
            Some(current) if current.handle == handle => current,
            _ => {
                let sa = engine.table.acquire(handle.0).ok_or(SendError::UnknownSa)?;
                if sa.direction != Direction::Outbound {
                    return Err(SendError::WrongDirection);
                }
                Current {
                    handle,
                    sa,
                    counters: SaCounters::default(),
                }
            }
        };
        Ok(self.0.insert(found))
    }
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
        match sealed {
            Ok(bytes) => {
                self.counters.sealed = self.counters.sealed.saturating_add(1);
                self.counters.sealed_bytes = self.counters.sealed_bytes.saturating_add(bytes);
                Ok(())
            }
            Err(error) => {
                self.counters.seal_errors = self.counters.seal_errors.saturating_add(1);
                Err(error)
            }
        }
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
        let (outer, inner) = request.handles()?;
        let current = self.outer.find(self.engine, outer)?;
        let outside = Portion::find(&current.sa, packet, 0..packet.len())?;
        let inner = match inner {
            None => None,
            Some(inner) => {
                let within = self.inner.find(self.engine, inner)?;
                let inside = Portion::find(&within.sa, packet, outside.tunnelled(packet)?)?;
                Some(inside.payload(packet)?)
            }
        };
        Ok(Payloads {
            outer: Some(outside.payload(packet)?),
            inner,
        })
    }

    /// Returns the bytes of the outer body.
    fn try_seal(&mut self, request: &SendRequest, packet: &mut [u8]) -> Result<u64, SendError> {
        let (outer, inner) = request.handles()?;
        let current = self.outer.find(self.engine, outer)?;
        let outside = Portion::find(&current.sa, packet, 0..packet.len())?;
        let Some(inner) = inner else {
            outside.check(request)?;
            return current.seal(self.simd, &outside, packet);
        };
        let within = self.inner.find(self.engine, inner)?;
        let inside = Portion::find(&within.sa, packet, outside.tunnelled(packet)?)?;
        // What the request does not tell of one portion it has to tell of the other.
        outside.check(request).or_else(|error| match error {
            SendError::HeaderMismatch => inside.check(request),
            _ => Err(error),
        })?;
        // The last reasons to refuse, before anything is written.
        let numbers = current.numbers(&outside)?;
        let numbers_within = within.numbers(&inside)?;
        within.seal_as(self.simd, &inside, numbers_within, packet)?;
        current.seal_as(self.simd, &outside, numbers, packet)
    }
}

/// Where one SA's headers are in a packet. Offsets count from the start of the packet, but
/// for those in [`Place`], which count from the start of `ip`.
struct Portion {
    ip: Range<usize>,
    ah: Option<Place>,
    esp: Option<EspPlace>,
}

/// Where ESP is.
struct EspPlace {
    /// The sequence number's low half.
    low: u32,
    /// From the SPI to the ICV.
    esp: Range<usize>,
    /// Payload, padding and trailer.
    body: Range<usize>,
    trailer: Trailer,
}

impl Portion {
    /// Finds them behind the IP header at the start of `ip`, and checks that they are the
    /// SA's.
    fn find(sa: &Sa, packet: &[u8], ip: Range<usize>) -> Result<Self, SendError> {
        let start = ip.start;
        let bytes = packet.get(ip.clone()).ok_or(SendError::LengthMismatch)?;
        let headers = Headers::parse(bytes).map_err(|_| SendError::Malformed)?;
        if headers.fragment {
            return Err(SendError::Fragment);
        }
        if headers.truncated {
            return Err(SendError::LengthMismatch);
        }
        let (mut protocol, mut payload) = (headers.protocol, headers.offset..headers.end);
        let mut place = None;
        if let Some(ah) = &sa.ah {
            if protocol != packet::AH {
                return Err(SendError::HeaderMismatch);
            }
            let found = Place::find(bytes, &headers, &*ah.transform)
                .map_err(|_| SendError::LengthMismatch)?;
            if found.spi != ah.spi {
                return Err(SendError::SpiMismatch);
            }
            found
                .authenticated(bytes, &mut |_| {})
                .map_err(|_| SendError::Malformed)?;
            (protocol, payload) = (found.next_header, found.payload.clone());
            place = Some(found);
        }
        let mut esp_place = None;
        if let Some(esp) = &sa.esp {
            if protocol != packet::ESP {
                return Err(SendError::HeaderMismatch);
            }
            let bytes = bytes
                .get(payload.clone())
                .ok_or(SendError::LengthMismatch)?;
            esp_place = Some(EspPlace::find(
                esp,
                bytes,
                start.saturating_add(payload.start),
            )?);
        }
        Ok(Self {
            ip: shifted(&(0..headers.end), start),
            ah: place,
            esp: esp_place,
        })
    }

    /// Compares it with the out-of-band data: [`SendError::HeaderMismatch`] if that is about
    /// other headers.
    fn check(&self, request: &SendRequest) -> Result<(), SendError> {
        let told = |offset: u8| usize::from(offset).saturating_mul(4);
        if let Some(ah) = &self.ah {
            let offset = ah.icv.start.saturating_sub(ah::HEADER);
            if told(request.ah_header_offset) != self.ip.start.saturating_add(offset) {
                return Err(SendError::HeaderMismatch);
            }
        }
        let Some(esp) = &self.esp else {
            return Ok(());
        };
        if told(request.esp_header_offset) != esp.esp.start {
            return Err(SendError::HeaderMismatch);
        }
        let told = Trailer {
            next_header: request.next_header,
            pad_length: request.pad_length,
        };
        if told != esp.trailer {
            return Err(SendError::TrailerMismatch);
        }
        Ok(())
    }

    /// What it carries.
    fn payload(&self, packet: &[u8]) -> Result<Payload, SendError> {
        let (range, protocol) = match (&self.esp, &self.ah) {
            (Some(esp), _) => {
                let body = packet.get(esp.body.clone());
                let payload = body.and_then(|body| esp::payload(body, esp.trailer));
                let payload = payload.ok_or(SendError::TrailerMismatch)?;
                (shifted(&payload, esp.body.start), esp.trailer.next_header)
            }
            (None, Some(ah)) => (shifted(&ah.payload, self.ip.start), ah.next_header),
            (None, None) => return Err(SendError::HeaderMismatch),
        };
        Ok(Payload { protocol, range })
    }

    /// The packet in this tunnel.
    fn tunnelled(&self, packet: &[u8]) -> Result<Range<usize>, SendError> {
        let Payload { protocol, range } = self.payload(packet)?;
        let bytes = packet.get(range.clone()).unwrap_or_default();
        if packet::tunnelled(protocol, bytes) {
            Ok(range)
        } else {
            Err(SendError::HeaderMismatch)
        }
    }
}

impl EspPlace {
    /// `bytes` are all of ESP, at `start` in the packet.
    fn find(
        esp: &Association<dyn EspTransform>,
        bytes: &[u8],
        start: usize,
    ) -> Result<Self, SendError> {
        let (spi, low) = esp::header(bytes).ok_or(SendError::LengthMismatch)?;
        if spi != esp.spi {
            return Err(SendError::SpiMismatch);
        }
        let body =
            esp::body(bytes.len(), &*esp.transform).map_err(|_| SendError::LengthMismatch)?;
        let trailer = bytes
            .get(body.clone())
            .and_then(esp::trailer)
            .ok_or(SendError::TrailerMismatch)?;
        Ok(Self {
            low,
            esp: shifted(&(0..bytes.len()), start),
            body: shifted(&body, start),
            trailer,
        })
    }
}

fn shifted(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start.saturating_add(by)..range.end.saturating_add(by)
}

/// The sequence numbers of a packet.
struct Numbers {
    esp: Option<Sequence>,
    ah: Option<Sequence>,
}

impl Current<'_> {
    fn numbers(&self, portion: &Portion) -> Result<Numbers, SendError> {
        let esp = self.sa.esp.as_ref().zip(portion.esp.as_ref());
        let ah = self.sa.ah.as_ref().zip(portion.ah.as_ref());
        let esp = esp.map(|(esp, place)| esp.outbound(place.low)).transpose();
        let ah = ah.map(|(ah, place)| ah.outbound(place.low)).transpose();
        Ok(Numbers {
            esp: esp.map_err(|_| SendError::SequenceExhausted)?,
            ah: ah.map_err(|_| SendError::SequenceExhausted)?,
        })
    }

    fn seal(
        &mut self,
        simd: &Simd,
        portion: &Portion,
        packet: &mut [u8],
    ) -> Result<u64, SendError> {
        let numbers = self.numbers(portion)?;
        self.seal_as(simd, portion, numbers, packet)
    }

    /// Seals with these sequence numbers: first ESP, then AH over the result. Returns the
    /// bytes of the body, or of what AH carries.
    fn seal_as(
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

impl Drop for OutboundBurst<'_> {
    fn drop(&mut self) {
        self.engine.tally.add(&self.counters);
    }
}
