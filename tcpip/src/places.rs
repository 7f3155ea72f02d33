//! Where the headers of an SA are in a packet of the wire, read from its bytes.
//!
//! [`crate::framing`] knows where it has put them; this does not ask it, so that the two check
//! each other.

use std::ops::Range;

use crate::{
    framing::{UDP_HEADER, ah_len},
    packet::{Layout, NoLayout, PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_UDP},
    sas::{Ah, Sa},
};

/// The headers of one SA. Ranges are of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The IP headers in front.
    pub layout: Layout,
    /// The AH header.
    pub ah: Option<AhPlace>,
    /// The UDP header.
    pub udp: Option<Range<usize>>,
    /// All of ESP: from the SPI to the ICV.
    pub esp: Option<Range<usize>>,
    /// What the SA's headers carry; with ESP its IV, trailer and ICV are in there.
    pub body: Range<usize>,
}

/// An AH header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AhPlace {
    /// The header, padding included.
    pub header: Range<usize>,
    /// The ICV without padding. Of AES-GMAC IV and tag (RFC 4543 section 4).
    pub icv: Range<usize>,
    /// What comes behind it.
    pub next_header: u8,
}

/// Why the headers are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No complete IP packet.
    #[error("{0}")]
    Packet(#[from] NoLayout),
    /// Another protocol than the SA's.
    #[error("protocol {0} instead of {1}")]
    Protocol(u8, &'static str),
    /// The packet ends within a header.
    #[error("{0} bytes of {1} are too few")]
    Short(usize, &'static str),
    /// The length field of AH does not go with the algorithm.
    #[error("AH says that it has {0} bytes instead of {1}")]
    AhLength(usize, usize),
    /// The length field of UDP is not that of the packet.
    #[error("UDP says that it has {0} bytes instead of {1}")]
    UdpLength(usize, usize),
}

impl Places {
    /// Finds the headers of `sa` behind the IP header at `ip`.
    pub fn find(frame: &[u8], ip: usize, sa: &Sa) -> Result<Self, PlaceError> {
        let layout = Layout::at(frame, ip)?;
        let (mut at, mut next) = (layout.payload, layout.protocol);
        let mut ah_place = None;
        if let Some(ah) = &sa.ah {
            let place = AhPlace::find(frame, at..layout.end, next, ah, layout.version)?;
            (at, next) = (place.header.end, place.next_header);
            ah_place = Some(place);
        }
        let mut udp = None;
        if sa.has_udp() {
            expect(next, PROTOCOL_UDP, "UDP")?;
            let header = frame
                .get(at..at + UDP_HEADER)
                .filter(|_| at + UDP_HEADER <= layout.end)
                .ok_or(PlaceError::Short(layout.end - at, "UDP"))?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            if length != layout.end - at {
                return Err(PlaceError::UdpLength(length, layout.end - at));
            }
            udp = Some(at..at + UDP_HEADER);
            at += UDP_HEADER;
            next = PROTOCOL_ESP;
        }
        let mut range = None;
        if let Some(esp) = &sa.esp {
            expect(next, PROTOCOL_ESP, "ESP")?;
            let len = layout.end - at;
            if len < 8 + esp.iv_len() + 2 + esp.icv_len() {
                return Err(PlaceError::Short(len, "ESP"));
            }
            range = Some(at..layout.end);
            at += 8;
        }
        Ok(Self {
            ah: ah_place,
            udp,
            esp: range,
            body: at..layout.end,
            layout,
        })
    }
}

impl AhPlace {
    fn find(
        frame: &[u8],
        range: Range<usize>,
        protocol: u8,
        ah: &Ah,
        version: u8,
    ) -> Result<Self, PlaceError> {
        expect(protocol, PROTOCOL_AH, "AH")?;
        let algorithm = ah.authentication.algorithm;
        let len = ah_len(algorithm, version);
        if range.len() < len {
            return Err(PlaceError::Short(range.len(), "AH"));
        }
        let said = (usize::from(frame[range.start + 1]) + 2) * 4;
        if said != len {
            return Err(PlaceError::AhLength(said, len));
        }
        let icv = range.start + 12;
        Ok(Self {
            header: range.start..range.start + len,
            icv: icv..icv + algorithm.iv_len() + algorithm.icv_len(),
            next_header: frame[range.start],
        })
    }
}

fn expect(protocol: u8, wanted: u8, name: &'static str) -> Result<(), PlaceError> {
    if protocol == wanted {
        Ok(())
    } else {
        Err(PlaceError::Protocol(protocol, name))
    }
}
