//! Large packets framed for IPsec, as a transport hands them down.

use ndis_sim::ndis::{SendNb, SendNbl};
use ndis_sys::*;
use tcpip::{
    offload::{self, Handle},
    outbound::{Outgoing, Sender, expected_on_wire},
    protection::Protection,
    sas::Sa,
};

use crate::packets::Packet;

const LARGE_SEND: usize = TcpLargeSendNetBufferListInfo as usize;
const IPSEC: usize = IPsecOffloadV2NetBufferListInfo as usize;
const HEADER: usize = IPsecOffloadV2HeaderNetBufferListInfo as usize;
/// NDIS_TCP_LARGE_SEND_OFFLOAD_V2_TYPE in its bit.
const V2: usize = 1 << 30;
const IPV6: usize = 1 << 31;
/// Padding that the transport leaves at the end, to be thrown away.
pub const DISCARDED: usize = 5;

/// A large packet framed for IPsec.
pub struct Large {
    /// The frame.
    pub bytes: Vec<u8>,
    /// Of each segment: what the transport would have framed without large send offload.
    pub segments: Vec<Outgoing>,
    /// Where its headers are.
    pub protection: Protection,
    /// NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO.
    pub word: usize,
}

impl Large {
    /// Frames a packet whose segments have at most `mss` bytes, for large send offload version 1 or 2.
    ///
    /// # Panics
    /// If the sender has no SA for it.
    pub fn new(sender: &mut Sender<'_>, packet: &Packet, mss: usize, version: u32) -> Self {
        let prepare = |(index, frame): (usize, Vec<u8>)| {
            let segment = sender.prepare(index, &frame);
            segment.expect("it is framed")
        };
        let segments = packet.segments(mss).into_iter().enumerate();
        let segments: Vec<_> = segments.map(prepare).collect();
        let mut protection = segments[0].protection.expect("it has an SA");
        // Everything up to where the headers of IPsec end, and what they were put in front of: with
        // IPv6 that may be destination options.
        let header_len = protection.header_len();
        let mut bytes = segments[0].frame[..header_len].to_vec();
        let before = header_len + protection.trailer_len() + segments[0].plain.len();
        let inserted = before - segments[0].frame.len();
        let tcp_offset = header_len + packet.transport_offset() - inserted;
        bytes.extend(&packet.large(version)[inserted..]);
        let ip = packet.ip_offset();
        let protocol = match packet.is_v4() {
            true => bytes[ip + 9],
            false if bytes[ip + 6] == 0 => bytes[ip + 40],
            false => bytes[ip + 6],
        };
        if protocol == 17 {
            // The UDP length is of no segment.
            bytes[inserted + 4..][..2].fill(0xEE);
        }
        if let Some(esp) = &mut protection.outer.esp {
            bytes.extend([0xDD; DISCARDED]);
            esp.pad_len = DISCARDED as u8;
        }
        let (length, field) = match (version, packet.is_v4()) {
            (1, _) => (bytes.len() - ip, ip + 2),
            (_, true) => (0, ip + 2),
            (_, false) => (0, ip + 4),
        };
        bytes[field..][..2].copy_from_slice(&(length as u16).to_be_bytes());
        let kind = match (version, packet.is_v4()) {
            (1, _) => 0,
            (_, true) => V2,
            (_, false) => V2 | IPV6,
        };
        Self {
            bytes,
            segments,
            protection,
            word: mss | tcp_offset << 20 | kind,
        }
    }

    /// The list of it, in whatever MDLs.
    ///
    /// # Panics
    /// If its headers are where out-of-band data cannot name them.
    #[must_use]
    pub fn list(&self, nb: SendNb, handles: &[Handle]) -> SendNbl {
        let header = offload::transmit_header(&self.protection).expect("an offset");
        SendNbl::with_net_buffers(vec![nb])
            .info(IPSEC, handles[self.protection.sa()])
            .info(HEADER, header)
            .info(LARGE_SEND, self.word)
    }

    /// What must be on the wire, where the IVs of AES-CBC are.
    ///
    /// # Panics
    /// If not every segment is there.
    #[must_use]
    pub fn expected(&self, sas: &[Sa], wire: &[Vec<u8>]) -> Vec<Vec<u8>> {
        assert_eq!(wire.len(), self.segments.len());
        let frames = self.segments.iter().zip(wire).map(|(segment, wire)| {
            let mut sealed = expected_on_wire(segment, sas, wire).expect("it is sealed");
            sealed.resize(sealed.len().max(60), 0);
            sealed
        });
        frames.collect()
    }
}
