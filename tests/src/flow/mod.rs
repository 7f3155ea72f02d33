//! Flows of packets that can be judged each on its own: whatever comes up, in whatever order and whatever
//! was lost, its bytes tell which packet of which flow it is, and so what it must look like.
//!
//! Packets are numbered in the order of their sequence numbers. Those of a flow of large packets are sent
//! [`SEGMENTS`] at a time: one list, which is cut.

mod judge;

pub use judge::Came;

use anyhow::{Context, Result};
use ndis_sim::ndis::SendNbl;
use ndis_sys::*;
use tcpip::{
    algorithm::Suite,
    lab::net_buffer_list_of,
    offload::Handle,
    outbound::{Outgoing, Sender},
    packet::{Layout, PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_UDP},
    plan::{Plan, Shape},
    policy::{Keys, Offers},
    recorder::Indicated,
    sas::Sa,
    split::{self, Split},
};

use crate::{
    large::Large,
    mostly_compact,
    packets::{Net, Packet, Transport, nets, tcp, udp},
};

/// Segments of each large packet.
pub const SEGMENTS: u64 = 8;
/// The most bytes of a segment.
const MSS: usize = 700;
/// Sequence numbers of TCP between one packet and the next; more than a large one has bytes.
const STEP: u32 = 1 << 14;
const PORT: u16 = 7000;
/// Number and flow at the front of a UDP payload.
const MARK: usize = 12;
const FIRST_SPI: u32 = 0x2000_0000;
/// SPIs of a flow.
const SPIS: u32 = 4;
const UDP_ESP: u16 = 4500;

/// What the packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    /// UDP, complete.
    Udp,
    /// TCP whose checksums are the adapter's to fill in.
    Checksums,
    /// Large TCP packets, to be cut.
    Large,
}

/// Packets from one station to another, protected by one SA, by two (transport over tunnel), or by none.
#[derive(Clone, Debug)]
pub struct Flow {
    id: u32,
    stations: [[u8; 6]; 2],
    ipv6: bool,
    longest: usize,
    contents: Contents,
    sas: Vec<Sa>,
    first: u64,
    extended: bool,
}

impl Flow {
    /// Packets that no SA protects, with up to `longest` bytes of UDP payload.
    #[must_use]
    pub fn clear(id: u32, from: [u8; 6], to: [u8; 6], ipv6: bool, longest: usize) -> Self {
        Self {
            id,
            stations: [from, to],
            ipv6,
            longest,
            contents: Contents::Udp,
            sas: Vec::new(),
            first: 1,
            extended: false,
        }
    }

    /// TCP instead, with checksums for the adapter to fill in. Without an SA.
    #[must_use]
    pub fn with_checksums(mut self) -> Self {
        self.contents = Contents::Checksums;
        self
    }

    /// Large TCP packets instead, for the adapter to cut. SAs are of transport mode then.
    #[must_use]
    pub fn large(mut self) -> Self {
        self.contents = Contents::Large;
        self
    }

    /// The same under an ESP SA of this suite. Keys come from the number of the flow.
    ///
    /// # Panics
    /// If no such SA can be made.
    #[must_use]
    pub fn protected(self, suite: impl Into<Suite>, icv_length: usize) -> Self {
        self.shaped(Shape::default(), suite, icv_length)
    }

    /// The same under SAs of this shape.
    ///
    /// # Panics
    /// If no such SAs can be made.
    #[must_use]
    pub fn shaped(mut self, shape: Shape, suite: impl Into<Suite>, icv_length: usize) -> Self {
        let plan = Plan {
            shape,
            suite: suite.into(),
            icv_length,
            esn: false,
            keys: Keys::Seed(self.id.into()),
        };
        let plain = self.plain(0);
        let file = plan.make([plain.as_slice()].into_iter(), &Offers::EVERYTHING);
        self.sas = file.expect("SAs").sas;
        for (sa, first) in self.sas.iter_mut().zip((0..SPIS).step_by(2)) {
            let first = FIRST_SPI + self.id * SPIS + first;
            sa.esp.iter_mut().for_each(|esp| esp.spi.0 = first);
            sa.ah.iter_mut().for_each(|ah| ah.spi.0 = first + 1);
        }
        self
    }

    /// With extended sequence numbers that start with `first`.
    #[must_use]
    pub fn extended(mut self, first: u64) -> Self {
        (self.extended, self.first) = (true, first);
        self.sas = self.sas_at(0);
        self
    }

    /// Its SAs: none, one, or one in the other.
    #[must_use]
    pub fn sas(&self) -> &[Sa] {
        &self.sas
    }

    /// Whether its sequence numbers are extended.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.extended
    }

    /// Packets for each list that is sent.
    #[must_use]
    pub fn per_list(&self) -> u64 {
        if self.contents == Contents::Large {
            SEGMENTS
        } else {
            1
        }
    }

    /// The SAs with the sequence numbers of packet `number`.
    fn sas_at(&self, number: u64) -> Vec<Sa> {
        let sequence = self.first + number;
        let mut sas = self.sas.clone();
        for sa in &mut sas {
            let (high, low) = ((sequence >> 32) as u32, sequence as u32);
            if let Some(esp) = &mut sa.esp {
                (esp.esn, esp.sequence_high, esp.sequence) = (self.extended, high, low);
            }
            if let Some(ah) = &mut sa.ah {
                (ah.esn, ah.sequence_high, ah.sequence) = (self.extended, high, low);
            }
        }
        sas
    }

    /// The whole packet that `number` is, or is the first segment of.
    fn whole(&self, number: u64) -> Packet {
        let mut random = fastrand::Rng::with_seed(number << 20 ^ u64::from(self.id));
        let [from, to] = self.stations;
        let (name, mut net) = nets().swap_remove(if self.ipv6 { 4 } else { 0 });
        let [_, a, b, c] = self.id.to_be_bytes();
        match &mut net {
            Net::V4(header, end) => {
                (header.source, header.destination) = ([10, b, c, 1], [10, b, c, 2]);
                *end = header.destination;
            }
            Net::V6(fixed, _, source, end) => {
                let address = |last| [0x20, 1, 0xd, 0xb8, a, b, c, 0, 0, 0, 0, 0, 0, 0, 0, last];
                (*source, *end) = (address(1), address(2));
                fixed[8..24].copy_from_slice(source);
                fixed[24..40].copy_from_slice(end);
            }
        }
        let mut transport = match self.contents {
            Contents::Udp => udp(),
            Contents::Checksums | Contents::Large => tcp(0),
        };
        let len = match &mut transport {
            Transport::Udp(header) => {
                (header.source_port, header.destination_port) = (PORT, PORT);
                MARK + random.usize(..=self.longest.saturating_sub(MARK))
            }
            Transport::Tcp(header) => {
                (header.source_port, header.destination_port) = (PORT, self.id as u16);
                header.sequence_number = (number / self.per_list()) as u32 * STEP;
                let all = self.per_list() as usize * MSS;
                random.usize(all - MSS + 1..=all)
            }
        };
        let mut packet = Packet::new((name, net), transport, len, to, from);
        random.fill(&mut packet.payload);
        if self.contents == Contents::Udp {
            packet.payload[..8].copy_from_slice(&number.to_be_bytes());
            packet.payload[8..MARK].copy_from_slice(&self.id.to_be_bytes());
        }
        packet
    }

    /// Packet `number` as an Ethernet frame, complete. Contents and length depend on flow and number only.
    ///
    /// # Panics
    /// If it does not fit into an IP packet.
    #[must_use]
    pub fn plain(&self, number: u64) -> Vec<u8> {
        if self.contents != Contents::Large {
            return self.whole(number).frame();
        }
        let within = number % SEGMENTS;
        let mut segments = self.whole(number - within).segments(MSS);
        segments.swap_remove(within as usize)
    }

    /// Packet `number` as TCP/IP would hand it down that does everything but IPsec itself.
    ///
    /// # Panics
    /// If the sequence numbers of the SA are used up.
    #[must_use]
    pub fn outgoing(&self, number: u64) -> Outgoing {
        Sender::new(&self.sas_at(number), Offers::EVERYTHING)
            .prepare(number as usize, &self.plain(number))
            .expect("a packet that can be framed")
    }

    /// The NET_BUFFER_LIST of packet `number`, or of the large packet that begins with it, with `cookie`
    /// as the sender's own number. Locked pages that are not `mapped` are the driver's to map.
    ///
    /// # Panics
    /// As [`Flow::outgoing`].
    #[must_use]
    pub fn nbl(
        &self,
        number: u64,
        handles: &[Handle],
        split: Split,
        mapped: bool,
        cookie: u64,
    ) -> SendNbl {
        let list = match self.contents {
            Contents::Udp => {
                let list = net_buffer_list_of(&self.outgoing(number), handles, split, mapped);
                list.expect("out-of-band data")
            }
            Contents::Checksums => {
                let packet = self.whole(number);
                let nb = split::net_buffer(
                    split,
                    packet.unfinished(),
                    packet.transport_offset(),
                    0,
                    number,
                );
                SendNbl::with_net_buffers(vec![if mapped { nb } else { nb.unmapped() }]).info(
                    TcpIpChecksumNetBufferListInfo as usize,
                    checksum_word(&packet),
                )
            }
            Contents::Large => {
                let packet = self.whole(number);
                let large = self.large_at(number, &packet);
                let (bytes, head) = match &large {
                    Some(large) => (large.bytes.clone(), large.protection.header_len()),
                    None => (packet.large(2), packet.transport_offset()),
                };
                let nb = split::net_buffer(split, bytes, head + 20, 0, number);
                let nb = if mapped { nb } else { nb.unmapped() };
                match large {
                    Some(large) => large.list(nb, handles),
                    None => SendNbl::with_net_buffers(vec![nb])
                        .info(TcpLargeSendNetBufferListInfo as usize, large_word(&packet)),
                }
            }
        };
        let list = list.cookie(cookie);
        match self.contents {
            Contents::Large => mostly_compact(list, number / SEGMENTS),
            _ => mostly_compact(list, number),
        }
    }

    fn large_at(&self, number: u64, packet: &Packet) -> Option<Large> {
        let sas = self.sas_at(number);
        let mut sender = Sender::new(&sas, Offers::EVERYTHING);
        (!sas.is_empty()).then(|| Large::new(&mut sender, packet, MSS, 2))
    }
}

/// NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO.Transmit that asks for all checksums.
fn checksum_word(packet: &Packet) -> usize {
    let ip = if packet.is_v4() { 1 | 1 << 4 } else { 1 << 1 };
    ip | 1 << 2 | packet.transport_offset() << 16
}

/// NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO.LsoV2Transmit.
fn large_word(packet: &Packet) -> usize {
    let ipv6 = if packet.is_v4() { 0 } else { 1 << 31 };
    MSS | packet.transport_offset() << 20 | 1 << 30 | ipv6
}

/// Flows with different numbers.
#[derive(Clone, Debug, Default)]
pub struct Flows(pub Vec<Flow>);

impl Flows {
    /// Which packet of which flow (its index) a frame is, and how it came up.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn judge(&self, seen: &Indicated) -> Result<(usize, u64, Came)> {
        let (index, number) = self.identify(&seen.frame)?;
        let came = self.0[index]
            .judge(number, seen)
            .with_context(|| format!("packet {number} of flow {}", self.0[index].id))?;
        Ok((index, number, came))
    }

    /// Which packet of which flow (its index) a frame says that it is.
    ///
    /// # Errors
    /// When it is of none.
    pub fn identify(&self, frame: &[u8]) -> Result<(usize, u64)> {
        let layout = Layout::of(frame)?;
        let payload = &frame[layout.payload..layout.end];
        let word = |at: usize| -> Result<u32> {
            let bytes = payload.get(at..at + 4).context("a short packet")?;
            Ok(u32::from_be_bytes(bytes.try_into()?))
        };
        let port = word(0)? as u16;
        let spi_at = match layout.protocol {
            PROTOCOL_ESP => Some(0),
            PROTOCOL_AH => Some(4),
            PROTOCOL_UDP if port == UDP_ESP => Some(8),
            _ => None,
        };
        if let Some(at) = spi_at {
            let (spi, sequence) = (word(at)?, word(at + 4)?);
            let index = self.index(spi.wrapping_sub(FIRST_SPI) / SPIS)?;
            let first = self.0[index].first as u32;
            return Ok((index, u64::from(sequence.wrapping_sub(first))));
        }
        if layout.protocol == PROTOCOL_UDP {
            let mark = payload.get(8..8 + MARK).context("a short packet")?;
            let (number, id) = mark.split_at(8);
            let id = u32::from_be_bytes(id.try_into()?);
            return Ok((self.index(id)?, u64::from_be_bytes(number.try_into()?)));
        }
        let index = self.index(port.into())?;
        let sequence = word(4)?;
        let (packet, within) = (sequence / STEP, (sequence % STEP) as usize / MSS);
        Ok((
            index,
            u64::from(packet) * self.0[index].per_list() + within as u64,
        ))
    }

    fn index(&self, id: u32) -> Result<usize> {
        let index = self.0.iter().position(|flow| flow.id == id);
        index.with_context(|| format!("no flow has the number {id:#x}"))
    }
}
