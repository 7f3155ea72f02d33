//! Where the headers of an SA are in a packet to send.

use core::ops::Range;

use super::{SendError, SendRequest};
use crate::ah;
use crate::esp;
use crate::esp::transform::EspTransform;
use crate::packet::{self, Headers};
use crate::sa::encapsulation::Place;
use crate::sa::{Association, Sa};
use crate::verdict::{Payload, Trailer};

/// Where one SA's headers are in a packet. Offsets count from the start of the packet, but
/// for those in [`ah::Place`], which count from the start of `ip`.
pub(super) struct Portion {
    pub ip: Range<usize>,
    /// A UDP header is in front of ESP.
    pub udp: bool,
    pub ah: Option<ah::Place>,
    pub esp: Option<EspPlace>,
}

/// Where ESP is.
pub(super) struct EspPlace {
    /// The sequence number's low half.
    pub low: u32,
    /// From the SPI to the ICV.
    pub esp: Range<usize>,
    /// Payload, padding and trailer.
    body: Range<usize>,
    trailer: Trailer,
}

impl Portion {
    /// Finds them behind the IP header at the start of `ip`, and checks that they are the
    /// SA's.
    pub(super) fn find(
        sa: &Sa,
        packet: &[u8],
        ip: Range<usize>,
        place: Place,
    ) -> Result<Self, SendError> {
        let start = ip.start;
        let bytes = packet.get(ip.clone()).ok_or(SendError::LengthMismatch)?;
        let headers = Headers::parse(bytes).map_err(|_| SendError::Malformed)?;
        let headers = up_to_ipsec(sa, headers, bytes, place)?;
        if headers.wrong_length {
            return Err(SendError::LengthMismatch);
        }
        let (mut protocol, mut payload) = (headers.protocol, headers.offset..headers.end);
        let ah_place = find_ah(sa, &headers, bytes)?;
        if let Some(found) = &ah_place {
            (protocol, payload) = (found.next_header, found.payload.clone());
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
            udp: headers.udp,
            ah: ah_place,
            esp: esp_place,
        })
    }

    /// The low halves of the sequence numbers in the packet.
    pub(super) fn lows(&self) -> Lows {
        Lows {
            esp: self.esp.as_ref().map(|esp| esp.low),
            ah: self.ah.as_ref().map(|ah| ah.low),
        }
    }

    /// Compares it with the out-of-band data: [`SendError::HeaderMismatch`] if that is about
    /// other headers.
    ///
    /// Of PadLength one page says that it is "used for a combined large send offload (LSO) and IPsec
    /// offload", another that it is there without LSO too: zero says nothing of a packet that has its
    /// trailer.
    pub(super) fn check(&self, request: &SendRequest) -> Result<(), SendError> {
        if let Some(ah) = &self.ah
            && told(request.ah_header_offset) != self.ip.start.saturating_add(ah.start())
        {
            return Err(SendError::HeaderMismatch);
        }
        let Some(esp) = &self.esp else {
            return Ok(());
        };
        if told(request.esp_header_offset) != esp.esp.start {
            return Err(SendError::HeaderMismatch);
        }
        let Trailer {
            next_header,
            pad_length,
        } = esp.trailer;
        let other_padding = request.pad_length != 0 && request.pad_length != pad_length;
        if request.next_header != next_header || other_padding {
            return Err(SendError::TrailerMismatch);
        }
        Ok(())
    }

    /// What it carries.
    pub(super) fn payload(&self, packet: &[u8]) -> Result<Payload, SendError> {
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
    pub(super) fn tunnelled(&self, packet: &[u8]) -> Result<Range<usize>, SendError> {
        let Payload { protocol, range } = self.payload(packet)?;
        let bytes = packet.get(range.clone()).unwrap_or_default();
        if packet::tunnelled(protocol, bytes) {
            Ok(range)
        } else {
            Err(SendError::HeaderMismatch)
        }
    }
}

/// What a packet shows of its sequence numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lows {
    pub esp: Option<u32>,
    pub ah: Option<u32>,
}

/// The headers of an SA's packet before AH or ESP, UDP's included.
pub(super) fn up_to_ipsec(
    sa: &Sa,
    ip: Headers,
    packet: &[u8],
    place: Place,
) -> Result<Headers, SendError> {
    if ip.fragment {
        return Err(SendError::Fragment);
    }
    let headers = if ip.protocol == packet::UDP {
        ip.behind_udp(packet).ok_or(SendError::HeaderMismatch)?
    } else {
        ip
    };
    if !sa.encapsulation.allows(headers.udp, place) {
        return Err(SendError::HeaderMismatch);
    }
    Ok(headers)
}

/// The SA's AH behind `headers`, if it has one.
pub(super) fn find_ah(
    sa: &Sa,
    headers: &Headers,
    packet: &[u8],
) -> Result<Option<ah::Place>, SendError> {
    let Some(ah) = &sa.ah else {
        return Ok(None);
    };
    if headers.protocol != packet::AH {
        return Err(SendError::HeaderMismatch);
    }
    let found =
        ah::Place::find(packet, headers, &*ah.transform).map_err(|_| SendError::LengthMismatch)?;
    if found.spi != ah.spi {
        return Err(SendError::SpiMismatch);
    }
    found
        .authenticated(packet, &mut |_| {})
        .map_err(|_| SendError::Malformed)?;
    Ok(Some(found))
}

/// A header offset of the out-of-band data, in bytes.
pub(super) fn told(offset: u8) -> usize {
    usize::from(offset).saturating_mul(4)
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
