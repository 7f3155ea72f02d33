//! Packets to send: framed by the transport, sealed here.

use ipsec_crypto::Simd;
use sa_table::Ref;

use crate::counters::{Counters, SaCounters};
use crate::engine::Engine;
use crate::esp::{self, transform::Sequence};
use crate::packet::{self, Headers};
use crate::sa::params::{Direction, Operation};
use crate::sa::{Sa, SaHandle};
use crate::verdict::Trailer;

/// The out-of-band data of a packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRequest {
    /// `NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO.Transmit.OffloadHandle`: the only SA,
    /// or that of the transport-mode portion.
    pub transport: Option<SaHandle>,
    /// `NDIS_IPSEC_OFFLOAD_V2_TUNNEL_NET_BUFFER_LIST_INFO.Transmit.TunnelHandle`: the SA
    /// of the tunnel-mode portion.
    pub tunnel: Option<SaHandle>,
    /// `NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO.Transmit.NextHeader`.
    pub next_header: u8,
    /// Likewise `PadLength`, in bytes.
    pub pad_length: u8,
    /// Likewise `AhHeaderOffset`: from the start of the IP header, in units of 4 bytes.
    pub ah_header_offset: u8,
    /// Likewise `EspHeaderOffset`, in units of 4 bytes.
    pub esp_header_offset: u8,
}

/// Why a packet was not sealed. Its bytes are as they were, and it must not be sent: the
/// NET_BUFFER_LIST completes with `NDIS_STATUS_FAILURE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No handle was given, or no SA has the handle.
    UnknownSa,
    /// The SA is for received packets.
    WrongDirection,
    /// The engine does not do this: a tunnel SA over the transport SA.
    NotSupported,
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

/// A burst of packets to send. Consecutive packets of one SA pay for finding it once.
/// Dropping it adds up the counters.
#[derive(Debug)]
pub struct OutboundBurst<'a> {
    engine: &'a Engine,
    simd: &'a Simd,
    current: Option<Current<'a>>,
    counters: Counters,
}

/// The SA of the last packet, and what it has done since it became that.
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

impl<'a> OutboundBurst<'a> {
    pub(crate) fn new(engine: &'a Engine, simd: &'a Simd) -> Self {
        Self {
            engine,
            simd,
            current: None,
            counters: Counters::default(),
        }
    }

    /// Encrypts one packet in place, writes its IV and its ICV.
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

    fn try_seal(&mut self, request: &SendRequest, packet: &mut [u8]) -> Result<u64, SendError> {
        if request.tunnel.is_some() {
            return Err(SendError::NotSupported);
        }
        let handle = request.transport.ok_or(SendError::UnknownSa)?;
        let simd = self.simd;
        let current = self.current(handle)?;
        let sa = &current.sa;

        let headers = Headers::parse(packet).map_err(|_| SendError::Malformed)?;
        if headers.fragment {
            return Err(SendError::Fragment);
        }
        if headers.truncated {
            return Err(SendError::LengthMismatch);
        }
        let told = usize::from(request.esp_header_offset).saturating_mul(4);
        if headers.protocol != packet::ESP
            || sa.operation != Operation::Esp
            || told != headers.offset
        {
            return Err(SendError::HeaderMismatch);
        }
        let esp = packet
            .get_mut(headers.offset..headers.end)
            .ok_or(SendError::LengthMismatch)?;
        let (spi, low) = esp::header(esp).ok_or(SendError::LengthMismatch)?;
        if spi != sa.spi {
            return Err(SendError::SpiMismatch);
        }
        let transform = &*sa.transform;
        let fields = esp::split(esp, transform).map_err(|_| SendError::LengthMismatch)?;
        let expected = Trailer {
            next_header: request.next_header,
            pad_length: request.pad_length,
        };
        if esp::trailer(fields.body) != Some(expected) {
            return Err(SendError::TrailerMismatch);
        }
        let number = sa
            .sequence
            .outbound(low)
            .map_err(|_| SendError::SequenceExhausted)?;
        let bytes = fields.body.len() as u64;
        let sequence = Sequence {
            number,
            extended: sa.sequence.extended(),
        };
        transform
            .seal(simd, fields, sequence)
            .map_err(|_| SendError::LengthMismatch)?;
        current.counters.packets = current.counters.packets.saturating_add(1);
        current.counters.bytes = current.counters.bytes.saturating_add(bytes);
        Ok(bytes)
    }

    /// The SA of this handle: that of the last packet, or looked up.
    #[inline]
    fn current(&mut self, handle: SaHandle) -> Result<&mut Current<'a>, SendError> {
        let found = match self.current.take() {
            Some(current) if current.handle == handle => current,
            _ => {
                let sa = self
                    .engine
                    .table
                    .acquire(handle.0)
                    .ok_or(SendError::UnknownSa)?;
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
        Ok(self.current.insert(found))
    }
}

impl Drop for OutboundBurst<'_> {
    fn drop(&mut self) {
        self.engine.tally.add(&self.counters);
    }
}
