//! Plain packets, and how TCP/IP frames them for a row's SAs: IPsec headers, padding and
//! trailers, with room for what needs a key.

use std::ops::Range;

use super::row::Family;
use tcpip::packet::set_ip_length;

/// What the rooms for IV and ICV are filled with, to be noticed where a driver leaves it.
pub(super) const ROOM: u8 = 0xA5;

const UDP: u8 = 17;
const ESP: u8 = 50;
const AH: u8 = 51;

/// An IP packet, and where IPsec headers of transport mode go in it.
#[derive(Clone, Debug)]
pub struct Packet {
    /// From the IP header on.
    pub bytes: Vec<u8>,
    /// Its version.
    pub family: Family,
    /// Where IPsec headers go.
    pub point: usize,
    /// The byte that names what is there.
    pub field: usize,
}

impl Packet {
    /// A packet whose header is `header` (lengths and checksum are not looked at), with this
    /// payload. `point` and `field` as in [`Packet`].
    pub fn new(family: Family, header: &[u8], field: usize, payload: &[u8]) -> Self {
        let mut packet = Self {
            bytes: [header, payload].concat(),
            family,
            point: header.len(),
            field,
        };
        packet.set_length();
        packet
    }

    fn set_length(&mut self) {
        let version = match self.family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        let end = self.bytes.len();
        set_ip_length(&mut self.bytes, version, 0, end).expect("packets here are short");
    }

    /// What the IPsec headers go in front of.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.point..]
    }
}

/// What framing must know of one IPsec header.
#[derive(Clone, Debug)]
pub struct Header {
    /// ESP or AH, with what differs.
    pub kind: Kind,
    /// SPI.
    pub spi: u32,
    /// Bytes of IV.
    pub iv_len: usize,
    /// Bytes of ICV.
    pub icv_len: usize,
    /// The outer header in tunnel mode.
    pub tunnel: Option<(Family, Vec<u8>)>,
    /// The ports of UDP encapsulation.
    pub udp: Option<[u8; 4]>,
}

/// ESP or AH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ESP.
    Esp {
        /// What payload, padding and trailer are a multiple of.
        alignment: usize,
    },
    /// AH.
    Ah,
}

/// Where a header is, from the start of the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether it is ESP.
    pub is_esp: bool,
    /// Its first byte.
    pub start: usize,
    /// IV.
    pub iv: Range<usize>,
    /// ESP: payload, padding and trailer. AH: all behind it.
    pub body: Range<usize>,
    /// ICV, without AH's IV and padding.
    pub icv: Range<usize>,
    /// Padding of ESP.
    pub pad_len: u8,
    /// What it carries.
    pub next_header: u8,
    /// The start of the packet inside, of tunnel mode.
    pub inner: Option<usize>,
}

impl Place {
    fn shift(&mut self, by: usize) {
        self.start += by;
        for range in [&mut self.iv, &mut self.body, &mut self.icv] {
            *range = range.start + by..range.end + by;
        }
        self.inner = self.inner.map(|inner| inner + by);
    }
}

/// A framed packet.
#[derive(Clone, Debug)]
pub struct Framed {
    /// The packet, with rooms.
    pub packet: Packet,
    /// Its IPsec headers, from the inside.
    pub places: Vec<Place>,
}

impl Framed {
    /// A packet without IPsec.
    pub fn plain(packet: Packet) -> Self {
        Self {
            packet,
            places: Vec::new(),
        }
    }

    /// Puts another header over it.
    #[must_use]
    pub fn with(mut self, header: &Header, low: u32) -> Self {
        if let Some((family, outer)) = &header.tunnel {
            let next_header = match self.packet.family {
                Family::V4 => 4,
                Family::V6 => 41,
            };
            let field = match family {
                Family::V4 => 9,
                Family::V6 => 6,
            };
            self.packet = Packet::new(*family, outer, field, &self.packet.bytes);
            self.packet.bytes[field] = next_header;
            for place in &mut self.places {
                place.shift(outer.len());
            }
        }
        let Packet { point, field, .. } = self.packet;
        let next_header = self.packet.bytes[field];
        let payload = self.packet.bytes.split_off(point);
        let bytes = &mut self.packet.bytes;
        if let Some(ports) = header.udp {
            bytes.extend_from_slice(&ports);
            bytes.extend_from_slice(&[0; 4]);
        }
        let start = bytes.len();
        let place = match header.kind {
            Kind::Esp { alignment } => esp(bytes, header, low, &payload, alignment, next_header),
            Kind::Ah => ah(
                bytes,
                header,
                low,
                &payload,
                next_header,
                self.packet.family,
            ),
        };
        let payload_at = if place.is_esp {
            place.body.start
        } else {
            bytes.len() - payload.len()
        };
        for other in &mut self.places {
            other.shift(payload_at - point);
        }
        let inner = header.tunnel.is_some().then_some(payload_at);
        self.places.push(Place { inner, ..place });
        bytes[field] = match (header.kind, header.udp) {
            (Kind::Ah, _) => AH,
            (Kind::Esp { .. }, None) => ESP,
            (Kind::Esp { .. }, Some(_)) => UDP,
        };
        if header.udp.is_some() {
            let length = (bytes.len() - start + 8) as u16;
            bytes[start - 4..start - 2].copy_from_slice(&length.to_be_bytes());
        }
        self.packet.set_length();
        self
    }
}

fn room(bytes: &mut Vec<u8>, len: usize) -> Range<usize> {
    let start = bytes.len();
    bytes.resize(start + len, ROOM);
    start..bytes.len()
}

/// RFC 4303 section 2.
fn esp(
    bytes: &mut Vec<u8>,
    header: &Header,
    low: u32,
    payload: &[u8],
    alignment: usize,
    next_header: u8,
) -> Place {
    let start = bytes.len();
    bytes.extend_from_slice(&header.spi.to_be_bytes());
    bytes.extend_from_slice(&low.to_be_bytes());
    let iv = room(bytes, header.iv_len);
    bytes.extend_from_slice(payload);
    let pad_len = (payload.len() + 2).next_multiple_of(alignment) - payload.len() - 2;
    bytes.extend(1..=pad_len as u8);
    bytes.extend_from_slice(&[pad_len as u8, next_header]);
    let body = iv.end..bytes.len();
    Place {
        is_esp: true,
        start,
        iv,
        body,
        icv: room(bytes, header.icv_len),
        pad_len: pad_len as u8,
        next_header,
        inner: None,
    }
}

/// RFC 4302 section 2; RFC 4543 section 4 for the IV within the ICV.
fn ah(
    bytes: &mut Vec<u8>,
    header: &Header,
    low: u32,
    payload: &[u8],
    next_header: u8,
    family: Family,
) -> Place {
    let unpadded = 12 + header.iv_len + header.icv_len;
    let length = unpadded.next_multiple_of(match family {
        Family::V4 => 4,
        Family::V6 => 8,
    });
    let start = bytes.len();
    bytes.extend_from_slice(&[next_header, (length / 4 - 2) as u8, 0, 0]);
    bytes.extend_from_slice(&header.spi.to_be_bytes());
    bytes.extend_from_slice(&low.to_be_bytes());
    let iv = room(bytes, header.iv_len);
    let icv = room(bytes, header.icv_len);
    bytes.resize(start + length, 0);
    bytes.extend_from_slice(payload);
    Place {
        is_esp: false,
        start,
        iv,
        body: start + length..bytes.len(),
        icv,
        pad_len: 0,
        next_header,
        inner: None,
    }
}
