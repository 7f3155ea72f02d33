//! Large send offload ("Offload the segmentation of large TCP packets"): a TCP packet that the
//! miniport has to cut, with and without an SA, and what has to come out of it.
//!
//! ```text
//!  down     Ethernet | IP | [AH] | [UDP] | [ESP, IV room] | TCP | payload ............... | [padding to discard]
//!  wire     Ethernet | IP | ... | ESP, IV | TCP | MSS bytes | trailer | ICV     for each segment
//! ```
//!
//! "When a protocol driver transmits a packet that requests both LSO and IPsecOV2, it will not frame
//! the ESP trailer": each segment gets its own. What each must be is made here by cutting first and
//! protecting every segment as a packet of its own.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ndis_sim::ndis::{SendNb, SendNbl};
use ndis_sys::{
    IPsecOffloadV2HeaderNetBufferListInfo, IPsecOffloadV2NetBufferListInfo,
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V1 as V1,
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V2 as V2, TcpLargeSendNetBufferListInfo, Zero,
};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    checksum::{UpperLayer, pseudo_header_sum},
    offload::{self, Handle},
    outbound::{Outgoing, Sender},
    packet::{Layout, PROTOCOL_TCP, ipv4_checksum, set_ip_length},
    sas::{Sa, text},
};

/// FIN and PSH: only the last segment has them.
const LAST: u8 = 0x01 | 0x08;
/// CWR: only the first segment has it.
const FIRST: u8 = 0x80;

/// Versions of large send offload: in `sas.json` the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "u8")]
pub enum LsoVersion {
    /// IPv4 only; the length of the large packet is in its IP header.
    V1,
    /// IPv4 and IPv6; the length in the IP header is zero.
    #[default]
    V2,
}

impl<'de> Deserialize<'de> for LsoVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match text::number::<D, u8, 1, 2>(deserializer)? {
            1 => Ok(Self::V1),
            _ => Ok(Self::V2),
        }
    }
}

impl From<LsoVersion> for u8 {
    fn from(version: LsoVersion) -> Self {
        match version {
            LsoVersion::V1 => 1,
            LsoVersion::V2 => 2,
        }
    }
}

/// A large TCP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargePacket {
    /// From the Ethernet header to the end of the TCP options. Lengths and checksums do not matter.
    pub head: Vec<u8>,
    /// The TCP payload.
    pub payload: Vec<u8>,
    /// The most bytes of payload in a segment.
    pub mss: usize,
    /// Which version to ask for.
    pub version: LsoVersion,
    /// Bytes behind the payload that are to be discarded (`PadLength`); only with an SA.
    pub discard: u8,
}

/// A large packet on its way down.
#[derive(Clone, Debug)]
pub struct OutgoingLarge {
    /// What goes down.
    pub frame: Vec<u8>,
    /// What has to be on the wire: for each segment what [`Sender::prepare`] makes of it.
    pub segments: Vec<Outgoing>,
    /// Bytes up to the TCP payload.
    head_len: usize,
    mss: usize,
    version: LsoVersion,
    discard: u8,
    ip_version: u8,
    tcp_at: usize,
}

impl LargePacket {
    /// Cuts the packet as a transport without offload would.
    ///
    /// # Errors
    ///
    /// When the head is no TCP packet.
    pub fn segments(&self) -> Result<Vec<Vec<u8>>> {
        ensure!(self.mss > 0, "an MSS of zero");
        let (_, tcp) = self.tcp()?;
        let count = self.payload.len().div_ceil(self.mss).max(1);
        let mut segments = Vec::new();
        for index in 0..count {
            let start = index * self.mss;
            let end = self.payload.len().min(start + self.mss);
            let mut frame = self.head.clone();
            let sequence = read_u32(&frame, tcp.at + 4).wrapping_add(start as u32);
            frame[tcp.at + 4..tcp.at + 8].copy_from_slice(&sequence.to_be_bytes());
            if index > 0 {
                frame[tcp.at + 13] &= !FIRST;
            }
            if index + 1 < count {
                frame[tcp.at + 13] &= !LAST;
            }
            frame.extend_from_slice(&self.payload[start..end]);
            let whole = frame.len();
            let version = frame[14] >> 4;
            if version == 4 {
                // "Use IP identification values in the range from 0x0000 to 0x7FFF".
                let identification = u16::from_be_bytes([frame[18], frame[19]]);
                let identification = identification.wrapping_add(index as u16) & 0x7FFF;
                frame[18..20].copy_from_slice(&identification.to_be_bytes());
            }
            set_ip_length(&mut frame, version, 14, whole)?;
            let layout = Layout::of(&frame)?;
            tcp.fill(&mut frame, &layout);
            segments.push(frame);
        }
        Ok(segments)
    }

    /// The head as a packet of its own, and its TCP header.
    fn tcp(&self) -> Result<(Layout, UpperLayer)> {
        let mut head = self.head.clone();
        let version = head.get(14).context("no IP header")? >> 4;
        let end = head.len();
        set_ip_length(&mut head, version, 14, end)?;
        let layout = Layout::of(&head)?;
        let tcp = UpperLayer::find(&head, &layout)
            .filter(|upper| upper.protocol == PROTOCOL_TCP)
            .context("no TCP header")?;
        Ok((layout, tcp))
    }
}

impl OutgoingLarge {
    /// Where the TCP header is in the frame.
    pub fn tcp_at(&self) -> usize {
        self.tcp_at
    }
}

impl Sender<'_> {
    /// Prepares a large packet: its segments take the sequence numbers of the SA in a row.
    ///
    /// # Errors
    ///
    /// As [`Sender::prepare`], and for packets that are to go through a tunnel: those are not
    /// offloaded.
    pub fn prepare_large(&mut self, number: usize, large: &LargePacket) -> Result<OutgoingLarge> {
        let (layout, tcp) = large.tcp()?;
        ensure!(
            !self.is_tunnelled(&large.segments()?[0]),
            "a packet for a tunnel is not offloaded"
        );
        let mut segments = Vec::new();
        for segment in large.segments()? {
            segments.push(self.prepare(number, &segment)?);
        }
        let first = segments.first().context("no segment")?;
        let mut frame;
        let mut tcp_at = tcp.at;
        match &first.protection {
            Err(_) => {
                ensure!(large.discard == 0, "padding is for packets with an SA");
                frame = large.head.clone();
            }
            Ok(protection) => {
                ensure!(
                    large.discard == 0 || protection.esp().is_some(),
                    "padding is a part of ESP"
                );
                // The headers of the first segment, then the TCP header as it was.
                frame = first.frame[..protection.header_len()].to_vec();
                tcp_at = tcp.at - layout.payload + frame.len();
                frame.extend_from_slice(&large.head[layout.payload..]);
            }
        }
        let sum = pseudo_header_sum(layout.source, tcp.destination, PROTOCOL_TCP, 0);
        frame[tcp_at + 16..tcp_at + 18].copy_from_slice(&sum.to_be_bytes());
        let head_len = frame.len();
        frame.extend_from_slice(&large.payload);
        frame.resize(frame.len() + usize::from(large.discard), 0xDD);
        write_length(&mut frame, large.version, layout.version)?;
        Ok(OutgoingLarge {
            frame,
            segments,
            head_len,
            mss: large.mss,
            version: large.version,
            discard: large.discard,
            ip_version: layout.version,
            tcp_at,
        })
    }
}

/// The length and the checksum in the IP header as the version has them.
fn write_length(frame: &mut [u8], version: LsoVersion, ip_version: u8) -> Result<()> {
    let total = match version {
        LsoVersion::V1 => u16::try_from(frame.len() - 14).context("too long for version 1")?,
        LsoVersion::V2 => 0,
    };
    if ip_version == 4 {
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        let header_len = usize::from(frame[14] & 0x0F) * 4;
        let checksum = ipv4_checksum(&frame[14..14 + header_len]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    } else {
        ensure!(version == LsoVersion::V2, "version 1 is for IPv4");
        frame[18..20].copy_from_slice(&total.to_be_bytes());
    }
    Ok(())
}

/// The NET_BUFFER_LIST of a large packet, with its out-of-band words. The headers are in one MDL, as
/// the page promises; the payload is in MDLs of at most `mdl` bytes.
pub fn net_buffer_list(large: &OutgoingLarge, handles: &[Handle], mdl: usize) -> Result<SendNbl> {
    let (mss, at) = (large.mss as u32, large.tcp_at as u32);
    ensure!(at < 1024, "TcpHeaderOffset has 10 bits");
    let word = match large.version {
        LsoVersion::V1 => {
            let word = V1::ZERO.with(V1::MSS, mss).with(V1::TcpHeaderOffset, at);
            word.Bits
        }
        LsoVersion::V2 => {
            let word = V2::ZERO.with(V2::MSS, mss).with(V2::TcpHeaderOffset, at);
            let six = u32::from(large.ip_version == 6);
            word.with(V2::Type, 1).with(V2::IPVersion, six).Bits
        }
    };
    let mut lengths = vec![large.head_len];
    let mut left = large.frame.len() - large.head_len;
    while left > mdl.max(1) {
        lengths.push(mdl.max(1));
        left -= mdl.max(1);
    }
    let nb = SendNb::new(large.frame.clone()).split(&lengths);
    let first = &large.segments[0];
    let mut nbl = SendNbl::with_net_buffers(vec![nb])
        .cookie(first.number as u64)
        .info(TcpLargeSendNetBufferListInfo as usize, word as usize);
    if let Ok(protection) = &first.protection {
        nbl = nbl
            .info(
                IPsecOffloadV2NetBufferListInfo as usize,
                handles[protection.sa()],
            )
            .info(
                IPsecOffloadV2HeaderNetBufferListInfo as usize,
                offload::large_send_header(protection, large.discard)?,
            );
    }
    Ok(nbl)
}

/// What the driver writes into the word on completion: the payload that was sent (version 1), or
/// nothing but the type (version 2).
pub fn completed_word(large: &LargePacket) -> usize {
    match large.version {
        LsoVersion::V1 => large.payload.len(),
        LsoVersion::V2 => V2::ZERO.with(V2::Type, 1).Bits as usize,
    }
}

/// A TCP head between two addresses, with these TCP options, for made-up packets.
pub fn tcp_head(source: IpAddr, destination: IpAddr, options: &[u8], flags: u8) -> Vec<u8> {
    let mut head = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            head.extend_from_slice(&[8, 0, 0x45, 0, 0, 0, 0x7F, 0xFE, 0x40, 0, 64, 6, 0, 0]);
            head.extend_from_slice(&source.octets());
            head.extend_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            head.extend_from_slice(&[0x86, 0xDD, 0x60, 0, 0, 0, 0, 0, 6, 64]);
            head.extend_from_slice(&source.octets());
            head.extend_from_slice(&destination.octets());
        }
        _ => unreachable!("addresses of one family"),
    }
    let words = 5 + options.len() / 4;
    head.extend_from_slice(&[0x04, 0xD2, 0, 80, 0xFF, 0xFF, 0xF0, 0, 0, 0, 0, 9]);
    head.extend_from_slice(&[(words << 4) as u8, flags, 0x20, 0, 0, 0, 0, 0]);
    head.extend_from_slice(options);
    head
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The frames on the wire must be the segments, each as software makes it.
pub fn check_wire(
    large: &OutgoingLarge,
    wire: &[crate::recorder::Indicated],
    sas: &[Sa],
) -> Result<()> {
    ensure!(
        wire.len() == large.segments.len(),
        "{} frames on the wire instead of {} segments",
        wire.len(),
        large.segments.len()
    );
    for (index, (segment, seen)) in large.segments.iter().zip(wire).enumerate() {
        crate::verify::check_wire(segment, seen, sas)
            .with_context(|| format!("segment {}", index + 1))?;
    }
    Ok(())
}
