//! Packets of every protocol and mode as the transport hands them down: headers, numbers,
//! padding and trailer in place, and room for what the driver writes.
//!
//! Nothing here knows a cipher: what the driver makes of a packet is taken from the wire.

use std::net::IpAddr;

use ndis_sim::ndis::SendNbl;
use ndis_sys::{
    IPsecOffloadV2HeaderNetBufferListInfo, IPsecOffloadV2NetBufferListInfo,
    IPsecOffloadV2TunnelNetBufferListInfo,
    NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_TRANSMIT as TransmitHeader, Zero,
};
use tcpip::{
    offload::Handle,
    packet::{PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_UDP, set_ip_length},
    sas::{Ah, Esp, Mode, Sa, UdpEsp},
};

/// Filler of the rooms, so that one that is left as it was is noticed.
pub const ROOM: u8 = 0xA5;
/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;

/// A packet for the driver.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The whole frame.
    pub frame: Vec<u8>,
    /// Where AH is in the frame.
    pub ah: Option<usize>,
    /// Where ESP is in the frame; of two the inner one.
    pub esp: Option<usize>,
    /// What is protected, in the clear: where it is in the frame and how long it is.
    pub payload: std::ops::Range<usize>,
    /// Next header of the ESP trailer.
    pub next_header: u8,
    /// Padding before the ESP trailer.
    pub pad_length: u8,
}

/// The sequence numbers of a packet's headers.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// Of ESP.
    pub esp: u32,
    /// Of AH.
    pub ah: u32,
}

impl From<u32> for Numbers {
    fn from(both: u32) -> Self {
        Self {
            esp: both,
            ah: both,
        }
    }
}

/// A packet of `sa` with `payload` bytes of UDP or, in tunnel mode, with a UDP packet in it.
pub fn packet(sa: &Sa, payload: usize, numbers: impl Into<Numbers>) -> Packet {
    let udp = udp(payload);
    match sa.mode {
        Mode::Transport => around(sa, &udp, PROTOCOL_UDP, numbers.into()),
        Mode::Tunnel => {
            let six = sa.is_ipv6().expect("an SA with addresses");
            let inner = in_ip(six, inner_addresses(six), PROTOCOL_UDP, &udp);
            around(sa, &inner, if six { 41 } else { 4 }, numbers.into())
        }
    }
}

/// A packet of the transport-mode SA `inner` in the tunnel `outer`.
pub fn tunnelled(outer: &Sa, inner: &Sa, payload: usize, numbers: impl Into<Numbers>) -> Packet {
    let numbers = numbers.into();
    let within = packet(inner, payload, numbers);
    let six = inner.is_ipv6().expect("an SA with addresses");
    let mut whole = around(
        outer,
        &within.frame[ETHERNET..],
        if six { 41 } else { 4 },
        numbers,
    );
    let start = whole.payload.start - ETHERNET;
    whole.payload = within.payload.start + start..within.payload.end + start;
    whole
}

/// The addresses of a packet inside a tunnel.
fn inner_addresses(six: bool) -> (IpAddr, IpAddr) {
    let pair = if six {
        ("2001:db8:a::1", "2001:db8:b::2")
    } else {
        ("10.0.0.1", "10.0.1.2")
    };
    let parse = |text: &str| text.parse().expect("an address");
    (parse(pair.0), parse(pair.1))
}

/// A UDP header without checksum, and `payload` bytes.
fn udp(payload: usize) -> Vec<u8> {
    let mut udp = vec![0x12, 0x34, 0x56, 0x78];
    udp.extend((8 + payload as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend((0..payload).map(|i| (i * 31 + 7) as u8));
    udp
}

/// An IP packet.
pub fn in_ip(six: bool, addresses: (IpAddr, IpAddr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = if six {
        vec![0x60, 0, 0, 0, 0, 0, protocol, 64]
    } else {
        vec![0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]
    };
    for address in [addresses.0, addresses.1] {
        match address {
            IpAddr::V4(address) => packet.extend(address.octets()),
            IpAddr::V6(address) => packet.extend(address.octets()),
        }
    }
    packet.extend(payload);
    let length = packet.len();
    set_ip_length(&mut packet, if six { 6 } else { 4 }, 0, length).expect("not too long");
    packet
}

/// A packet of `sa` around any payload.
///
/// # Panics
///
/// If the SA has no addresses.
pub fn around(sa: &Sa, payload: &[u8], next_header: u8, numbers: Numbers) -> Packet {
    let six = sa.is_ipv6().expect("an SA with addresses");
    let mut protocol = next_header;
    let mut body = payload.to_vec();
    let mut payload_at = 0;
    let (mut esp_at, mut ah_at, mut pad_length) = (None, None, 0);
    if let Some(esp) = &sa.esp {
        let headers;
        (body, headers, pad_length) = in_esp(esp, &body, protocol, numbers.esp);
        payload_at += headers;
        esp_at = Some(0);
        protocol = PROTOCOL_ESP;
    }
    if let Some(ah) = &sa.ah {
        let header = ah_header(ah, six, protocol, numbers.ah);
        payload_at += header.len();
        esp_at = esp_at.map(|at| at + header.len());
        ah_at = Some(0);
        body.splice(0..0, header);
        protocol = PROTOCOL_AH;
    }
    if sa.udp_esp != UdpEsp::None {
        let length = (8 + body.len()) as u16;
        let header = [[0x11, 0x94], [0x11, 0x94], length.to_be_bytes(), [0, 0]].concat();
        payload_at += header.len();
        esp_at = esp_at.map(|at| at + header.len());
        body.splice(0..0, header);
        protocol = PROTOCOL_UDP;
    }
    let addresses = (
        sa.source.expect("a source"),
        sa.destination.expect("a destination"),
    );
    let ip = in_ip(six, addresses, protocol, &body);
    let start = ETHERNET + ip.len() - body.len();
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(if six { [0x86, 0xDD] } else { [0x08, 0x00] });
    frame.extend(ip);
    Packet {
        frame,
        ah: ah_at.map(|at: usize| at + start),
        esp: esp_at.map(|at| at + start),
        payload: start + payload_at..start + payload_at + payload.len(),
        next_header,
        pad_length,
    }
}

/// ESP around a payload: its bytes, how many of them are in front of the payload, and the padding.
fn in_esp(esp: &Esp, payload: &[u8], next_header: u8, sequence: u32) -> (Vec<u8>, usize, u8) {
    let alignment = esp.encryption.algorithm.alignment();
    let pad_length = (payload.len() + 2).next_multiple_of(alignment) - payload.len() - 2;
    let mut bytes = esp.spi.0.to_be_bytes().to_vec();
    bytes.extend(sequence.to_be_bytes());
    bytes.resize(bytes.len() + esp.iv_len(), ROOM);
    let front = bytes.len();
    bytes.extend(payload);
    bytes.extend((1..).take(pad_length));
    bytes.extend([pad_length as u8, next_header]);
    bytes.resize(bytes.len() + esp.icv_len(), ROOM);
    (bytes, front, pad_length as u8)
}

/// The part of a packet's frame that the driver encrypts: with its trailer if there is ESP.
pub fn sealed_payload(sa: &Sa, packet: &Packet) -> std::ops::Range<usize> {
    let trailer = match sa.esp {
        Some(_) => usize::from(packet.pad_length) + 2,
        None => 0,
    };
    packet.payload.start..packet.payload.end + trailer
}

/// Bytes of an AH's ICV, the IV in it included, without padding (RFC 4543 section 4).
pub fn ah_icv(ah: &Ah) -> usize {
    let algorithm = ah.authentication.algorithm;
    algorithm.iv_len() + algorithm.icv_len()
}

fn ah_header(ah: &Ah, six: bool, next_header: u8, sequence: u32) -> Vec<u8> {
    let length = (12 + ah_icv(ah)).next_multiple_of(if six { 8 } else { 4 });
    let mut header = vec![next_header, (length / 4 - 2) as u8, 0, 0];
    header.extend(ah.spi.0.to_be_bytes());
    header.extend(sequence.to_be_bytes());
    header.resize(12 + ah_icv(ah), ROOM);
    header.resize(length, 0);
    header
}

impl Packet {
    /// The packet with IPv4 options, or with an IPv6 extension header of this type, in front of
    /// its IPsec headers. An extension header's first byte is the next header: it is filled in.
    ///
    /// # Panics
    ///
    /// If it does not fit an IP header.
    #[must_use]
    pub fn behind(mut self, kind: u8, front: &[u8]) -> Self {
        let six = self.frame[ETHERNET] >> 4 == 6;
        let at = ETHERNET + if six { 40 } else { 20 };
        self.frame.splice(at..at, front.iter().copied());
        if six {
            self.frame[at] = std::mem::replace(&mut self.frame[ETHERNET + 6], kind);
        } else {
            self.frame[ETHERNET] += (front.len() / 4) as u8;
        }
        let end = self.frame.len();
        set_ip_length(&mut self.frame, if six { 6 } else { 4 }, ETHERNET, end).expect("it fits");
        let moved = |at: usize| at + front.len();
        self.ah = self.ah.map(moved);
        self.esp = self.esp.map(moved);
        self.payload = moved(self.payload.start)..moved(self.payload.end);
        self
    }

    /// The list that carries it, with the handles of the SAs.
    pub fn list(&self, transport: Handle, tunnel: Handle) -> SendNbl {
        let units = |at: Option<usize>| at.map_or(0, |at| (at - ETHERNET) as u32 / 4);
        let word = TransmitHeader::ZERO
            .with(TransmitHeader::NextHeader, self.next_header.into())
            .with(TransmitHeader::PadLength, self.pad_length.into())
            .with(TransmitHeader::AhHeaderOffset, units(self.ah))
            .with(TransmitHeader::EspHeaderOffset, units(self.esp));
        SendNbl::new(self.frame.clone())
            .info(IPsecOffloadV2NetBufferListInfo as usize, transport)
            .info(IPsecOffloadV2TunnelNetBufferListInfo as usize, tunnel)
            .info(
                IPsecOffloadV2HeaderNetBufferListInfo as usize,
                word.Bits as usize,
            )
    }
}
