//! SAs with keys for a row: as the driver takes them, as framing and as the oracle need them.

use std::net::IpAddr;

use anyhow::Result;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use tcpip::{
    algorithm::Authentication,
    sas::{Ah, AuthenticationKey, Direction, EncryptionKey, Esp, Mode, Sa, Spi},
};

use super::{
    framing::{self, Framed, Kind, Packet},
    oracle,
    row::{EspSuite, Family, Portion, Row},
};

/// Ports of RFC 3948.
const NAT_T: [u8; 4] = [0x11, 0x94, 0x11, 0x94];

/// The protocol of plain packets: for experiments (RFC 3692), so that nobody looks into them.
const PROTOCOL: u8 = 253;

/// A generator for one purpose of one row, from one of its packets on.
pub fn generator(seed: u64, row: usize, purpose: u8, first: usize) -> ChaCha20Rng {
    let mut key = [0; 32];
    let numbers = [seed, row as u64, first as u64, purpose.into()];
    for (part, number) in key.chunks_exact_mut(8).zip(numbers) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha20Rng::from_seed(key)
}

/// Some bytes.
pub fn bytes(rng: &mut ChaCha20Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// The SAs of a row.
pub struct Keyed {
    /// One for each portion.
    pub sas: Vec<Sa>,
    /// One for each ESP and AH header, from the inside.
    pub headers: Vec<framing::Header>,
    /// The same.
    pub oracle: Vec<oracle::Header>,
    /// The first sequence number of each.
    pub first: Vec<u64>,
    /// Whether it has 64 bits.
    pub extended: Vec<bool>,
    /// What the sender's IV must be: the sequence number, or its own choice.
    pub iv_is_sequence: Vec<bool>,
    /// Whether the body of each is unreadable.
    pub encrypted: Vec<bool>,
    /// The portion of each.
    pub portion: Vec<usize>,
}

impl Keyed {
    /// Makes keys for a row, of which `packets` packets are wanted: halfway, extended sequence
    /// numbers carry into the high half.
    ///
    /// # Errors
    /// When JSON cannot hold them.
    pub fn new(row: &Row, packets: usize, rng: &mut ChaCha20Rng) -> Result<Self> {
        let mut keyed = Self {
            sas: Vec::new(),
            headers: Vec::new(),
            oracle: Vec::new(),
            first: Vec::new(),
            extended: Vec::new(),
            iv_is_sequence: Vec::new(),
            encrypted: Vec::new(),
            portion: Vec::new(),
        };
        for (index, portion) in row.portions.iter().enumerate() {
            keyed.add(row, index, portion, packets, rng)?;
        }
        Ok(keyed)
    }

    fn add(
        &mut self,
        row: &Row,
        index: usize,
        portion: &Portion,
        packets: usize,
        rng: &mut ChaCha20Rng,
    ) -> Result<()> {
        let on_wire = portion.tunnel.unwrap_or(row.family);
        let (source, destination) = addresses(on_wire, portion.tunnel.is_some());
        let mut sa = Sa {
            name: format!("portion {index}"),
            direction: Direction::Both,
            mode: if portion.tunnel.is_some() {
                Mode::Tunnel
            } else {
                Mode::Transport
            },
            source: Some(source),
            destination: Some(destination),
            ip_version: None,
            esp: None,
            ah: None,
            udp_esp: portion.udp_esp,
            udp_ports: None,
            selector: None,
            tunnel: None,
            pair: None,
        };
        let mut tunnel = portion.tunnel.map(|family| (family, outer(family, rng)));
        if let Some(suite) = portion.protection.esp {
            let esp = esp(suite, portion.esn.esp, packets, rng);
            self.push(
                index,
                esp.esn,
                sequence(esp.sequence_high, esp.sequence),
                framing::Header {
                    kind: Kind::Esp {
                        alignment: suite.encryption.alignment(),
                    },
                    spi: esp.spi.0,
                    iv_len: suite.iv_len(),
                    icv_len: suite.icv_len(),
                    tunnel: tunnel.take(),
                    udp: portion.has_udp().then_some(NAT_T),
                },
                serde_json::to_value(&esp)?,
            );
            self.iv_is_sequence.push(suite.iv_is_sequence());
            self.encrypted.push(suite.encryption.key_len() > 0);
            sa.esp = Some(esp);
        }
        if let Some(algorithm) = portion.protection.ah {
            let ah = ah(algorithm, portion.esn.ah, packets, rng);
            self.push(
                index,
                ah.esn,
                sequence(ah.sequence_high, ah.sequence),
                framing::Header {
                    kind: Kind::Ah,
                    spi: ah.spi.0,
                    iv_len: algorithm.iv_len(),
                    icv_len: algorithm.icv_len(),
                    tunnel: tunnel.take(),
                    udp: None,
                },
                serde_json::to_value(&ah)?,
            );
            self.iv_is_sequence.push(algorithm.is_gmac());
            self.encrypted.push(false);
            sa.ah = Some(ah);
        }
        self.sas.push(sa);
        Ok(())
    }

    fn push(
        &mut self,
        portion: usize,
        extended: bool,
        first: u64,
        header: framing::Header,
        parameters: serde_json::Value,
    ) {
        self.oracle.push(oracle::Header {
            protocol: match header.kind {
                Kind::Esp { .. } => "esp",
                Kind::Ah => "ah",
            },
            parameters,
            tunnel: header.tunnel.as_ref().map(|(_, header)| {
                let mut header = header.clone();
                // Of a whole packet, which it is for a parser.
                if header.len() == 20 {
                    header[3] = 20;
                }
                hex::encode(header)
            }),
            udp: header.udp.map(|ports| {
                let [a, b, c, d] = ports;
                hex::encode([a, b, c, d, 0, 8, 0, 0])
            }),
        });
        self.headers.push(header);
        self.first.push(first);
        self.extended.push(extended);
        self.portion.push(portion);
    }

    /// The sequence numbers of packet `number`.
    pub fn sequences(&self, number: usize) -> Vec<u64> {
        let each = self.first.iter().zip(&self.extended);
        each.map(|(first, extended)| {
            let next = first + number as u64;
            assert!(*extended || next <= u64::from(u32::MAX));
            next
        })
        .collect()
    }

    /// Frames a packet: as it is after each header.
    pub fn frame(&self, plain: &Packet, sequences: &[u64]) -> Vec<Framed> {
        let mut framed = Framed::plain(plain.clone());
        let each = self.headers.iter().zip(sequences);
        each.map(|(header, sequence)| {
            framed = framed.clone().with(header, *sequence as u32);
            framed.clone()
        })
        .collect()
    }

    /// The length on the wire of a packet with so much payload; the same as that of its frame.
    pub fn length(&self, family: Family, payload: usize) -> usize {
        let (mut header, mut payload) = (family.header_len(), payload);
        for one in &self.headers {
            if let Some((_, outer)) = &one.tunnel {
                (header, payload) = (outer.len(), header + payload);
            }
            let fixed = one.iv_len + one.icv_len;
            payload = match one.kind {
                Kind::Esp { alignment } => {
                    let udp = if one.udp.is_some() { 8 } else { 0 };
                    udp + 8 + fixed + (payload + 2).next_multiple_of(alignment)
                }
                Kind::Ah => {
                    payload + (12 + fixed).next_multiple_of(if header == 20 { 4 } else { 8 })
                }
            };
        }
        header + payload
    }

    /// The most payload with which a packet has at most `length` bytes on the wire.
    pub fn most_payload(&self, family: Family, length: usize) -> usize {
        (0..length)
            .rev()
            .skip(self.length(family, 0).saturating_sub(64))
            .find(|&payload| self.length(family, payload) <= length)
            .unwrap_or(0)
    }
}

fn sequence(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// SPI, high half and low half of the first sequence number. Far from where the driver asks for
/// new SAs: the last sixteenth.
fn start(esn: bool, packets: usize, rng: &mut ChaCha20Rng) -> (Spi, u32, u32) {
    let spi = Spi(rng.next_u32() | 0x100);
    if esn {
        let low = u32::MAX - (packets / 2) as u32;
        (spi, rng.next_u32() >> 2, low)
    } else {
        (spi, 0, (rng.next_u32() >> 1) + 1)
    }
}

fn esp(suite: EspSuite, esn: bool, packets: usize, rng: &mut ChaCha20Rng) -> Esp {
    let (spi, sequence_high, sequence) = start(esn, packets, rng);
    let algorithm = suite.encryption;
    Esp {
        spi,
        encryption: EncryptionKey {
            algorithm,
            key: bytes(rng, algorithm.key_len()),
            salt: bytes(rng, algorithm.salt_len()),
            icv_length: algorithm.is_gcm().then_some(suite.gcm_icv_len),
        },
        authentication: suite.authentication.map(|one| authentication(one, rng)),
        esn,
        sequence,
        sequence_high,
    }
}

fn ah(algorithm: Authentication, esn: bool, packets: usize, rng: &mut ChaCha20Rng) -> Ah {
    let (spi, sequence_high, sequence) = start(esn, packets, rng);
    Ah {
        spi,
        authentication: authentication(algorithm, rng),
        esn,
        sequence,
        sequence_high,
    }
}

fn authentication(algorithm: Authentication, rng: &mut ChaCha20Rng) -> AuthenticationKey {
    AuthenticationKey {
        algorithm,
        key: bytes(rng, algorithm.key_len()),
        salt: bytes(rng, algorithm.salt_len()),
    }
}

/// Of hosts, or of the gateways of tunnels.
fn addresses(family: Family, gateway: bool) -> (IpAddr, IpAddr) {
    let [source, destination] = match (family, gateway) {
        (Family::V4, false) => ["192.0.2.1", "192.0.2.2"],
        (Family::V4, true) => ["203.0.113.1", "203.0.113.2"],
        (Family::V6, false) => ["2001:db8::1", "2001:db8::2"],
        (Family::V6, true) => ["2001:db8:ffff::1", "2001:db8:ffff::2"],
    };
    (
        source.parse().expect("an address"),
        destination.parse().expect("an address"),
    )
}

/// An IP header with a value in every field that is free.
fn header(family: Family, gateway: bool, protocol: u8, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let (source, destination) = addresses(family, gateway);
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let random = bytes(rng, 4);
    let start = match family {
        // DSCP, identification, "don't fragment", TTL.
        Family::V4 => {
            let (id, ttl) = (&random[..2], random[2] | 1);
            [
                &[0x45, random[3], 0, 0],
                id,
                &[0x40, 0, ttl, protocol, 0, 0],
            ]
            .concat()
        }
        // Traffic class, flow label, hop limit.
        Family::V6 => {
            let label = &random[1..3];
            let first = [0x60 | random[0] >> 4, random[0]];
            [&first, label, &[0, 0, protocol, random[3] | 1]].concat()
        }
    };
    [start, octets(source), octets(destination)].concat()
}

/// The outer header of a tunnel.
fn outer(family: Family, rng: &mut ChaCha20Rng) -> Vec<u8> {
    header(family, true, 0, rng)
}

/// A plain packet of the hosts; every fourth of the shorter ones, if there may be, with IPv4
/// options or an IPv6 extension header. Of these some change on the way and some do not, which
/// AH has to know.
pub fn plain(family: Family, payload: usize, options: bool, rng: &mut ChaCha20Rng) -> Packet {
    /// Longer packets test the edges of the MTU, and these count only fixed headers.
    const LONGEST_WITH_OPTIONS: usize = 1200;
    let mut header = header(family, false, PROTOCOL, rng);
    let options = options && payload <= LONGEST_WITH_OPTIONS && rng.next_u32().is_multiple_of(4);
    let field = match (family, options) {
        (Family::V4, false) => 9,
        (Family::V4, true) => {
            // Router alert (RFC 2113), a record of the route (RFC 791), the end of the list.
            header.extend([0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0]);
            header[0] = 0x45 + 3;
            9
        }
        (Family::V6, false) => 6,
        (Family::V6, true) => {
            // Hop-by-hop: router alert (RFC 2711), and one for experiments that may change.
            header.extend([PROTOCOL, 1, 5, 2, 0, 0, 0x3E, 8]);
            header.extend(bytes(rng, 8));
            header[6] = 0;
            40
        }
    };
    let payload = bytes(rng, payload);
    Packet::new(family, &header, field, &payload)
}
