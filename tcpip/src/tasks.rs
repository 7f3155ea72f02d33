//! What a sender leaves to the adapter beside IPsec: checksums, and cutting large TCP packets.
//!
//! A capture from a host with segmentation offload has TCP packets longer than the MTU. They go down
//! as they are where TCP/IP would do that, and are cut here where it would not: into a tunnel, with
//! fewer segments than `MinSegmentCount`, and with more than `MaxOffLoadSize`.

use anyhow::Result;
use ndis_sim::ndis::SendNbl;
use ndis_sys::{NDIS_OFFLOAD, TcpIpChecksumNetBufferListInfo};
use serde::{Deserialize, Serialize};

use crate::{
    checksum::{UpperLayer, leave_to_the_miniport},
    lab::net_buffer_list,
    large_send::{self, LargePacket, LsoVersion},
    offload::Handle,
    outbound::{Outgoing, Sender},
    packet::{Layout, PROTOCOL_TCP},
    sas::text,
    split::Split,
};

/// Member `tasks` of `sas.json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with checksums and large_send"
)]
pub struct Tasks {
    /// The checksums of IPv4, TCP and UDP.
    #[serde(default)]
    pub checksums: bool,
    /// Cutting TCP packets with more payload than a segment may have; absent: packets go down as
    /// long as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large_send: Option<LargeSend>,
}

/// How large TCP packets are to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with mss and version")]
pub struct LargeSend {
    /// Version of large send offload, 1 or 2. Version 1 is for IPv4: IPv6 packets use version 2.
    #[serde(default)]
    pub version: LsoVersion,
    /// The most bytes of payload in a segment. The out-of-band word has 20 bits for it.
    #[serde(deserialize_with = "text::number::<_, _, 1, 0xF_FFFF>")]
    pub mss: usize,
}

impl Tasks {
    /// Whether nothing is left to the adapter.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Bytes of the longest frame that comes out of this one, without what SAs add.
    pub fn longest(&self, frame: &[u8]) -> usize {
        self.cut(frame)
            .map_or(frame.len(), |large| large.head.len() + large.mss)
    }

    /// The packet as one to be cut; None if it needs no cutting.
    fn cut(&self, frame: &[u8]) -> Option<LargePacket> {
        let LargeSend { version, mss } = self.large_send?;
        let layout = Layout::of(frame).ok()?;
        let tcp = UpperLayer::find(frame, &layout)?;
        let data_offset = usize::from(frame.get(tcp.at + 12)? >> 4) * 4;
        let (head, payload) = frame
            .get(..layout.end)?
            .split_at_checked(tcp.at + data_offset)?;
        let is_large = tcp.protocol == PROTOCOL_TCP && payload.len() > mss;
        (is_large && data_offset >= 20).then(|| LargePacket {
            head: head.to_vec(),
            payload: payload.to_vec(),
            mss,
            version: if layout.version == 4 {
                version
            } else {
                LsoVersion::V2
            },
            discard: 0,
        })
    }
}

/// A packet of a capture on its way down.
pub struct Descent {
    /// What goes down.
    pub lists: Vec<SendNbl>,
    /// What must come out, in order: one packet, or the segments of a large one.
    pub packets: Vec<Outgoing>,
}

/// Makes the lists of packets, for one sender and one adapter.
pub struct Descender<'a> {
    /// Assigns SAs and sequence numbers.
    pub sender: Sender<'a>,
    /// The SAs of the adapter.
    pub handles: &'a [Handle],
    /// What is left to the adapter.
    pub tasks: Tasks,
    /// What the adapter reports.
    pub offload: NDIS_OFFLOAD,
    /// How frames lie in memory.
    pub split: Split,
}

impl Descender<'_> {
    /// Prepares packet `number` of a capture.
    ///
    /// # Errors
    ///
    /// As [`Sender::prepare`].
    pub fn descend(&mut self, number: usize, frame: &[u8]) -> Result<Descent> {
        let Some(large) = self.tasks.cut(frame) else {
            let packet = self.sender.prepare(number, frame)?;
            return Ok(Descent {
                lists: vec![self.list(&packet)?],
                packets: vec![packet],
            });
        };
        if self.is_taken(&large, frame) {
            let outgoing = self.sender.prepare_large(number, &large)?;
            let mdl = large.mss;
            return Ok(Descent {
                lists: vec![large_send::net_buffer_list(&outgoing, self.handles, mdl)?],
                packets: outgoing.segments,
            });
        }
        let mut descent = Descent {
            lists: Vec::new(),
            packets: Vec::new(),
        };
        for segment in large.segments()? {
            let packet = self.sender.prepare(number, &segment)?;
            descent.lists.push(self.list(&packet)?);
            descent.packets.push(packet);
        }
        Ok(descent)
    }

    /// Whether a large packet may go down whole. To an adapter that reports no large sends it does: a
    /// refusal then is the driver's to make.
    fn is_taken(&self, large: &LargePacket, frame: &[u8]) -> bool {
        let (v1, v2) = (&self.offload.LsoV1.IPv4, &self.offload.LsoV2);
        let (encapsulation, most, least) = match (large.version, large.head[14] >> 4) {
            (LsoVersion::V1, _) => (v1.Encapsulation, v1.MaxOffLoadSize, v1.MinSegmentCount),
            (_, 4) => (
                v2.IPv4.Encapsulation,
                v2.IPv4.MaxOffLoadSize,
                v2.IPv4.MinSegmentCount,
            ),
            _ => (
                v2.IPv6.Encapsulation,
                v2.IPv6.MaxOffLoadSize,
                v2.IPv6.MinSegmentCount,
            ),
        };
        let segments = large.payload.len().div_ceil(large.mss);
        let fits = encapsulation == 0
            || large.payload.len() <= most as usize && segments >= least as usize;
        fits && !self.sender.is_tunnelled(frame)
    }

    fn list(&self, packet: &Outgoing) -> Result<SendNbl> {
        if self.tasks.checksums && Layout::of(&packet.plain).is_ok() {
            let mut down = packet.clone();
            let protection = packet.protection.as_ref().ok();
            let word = leave_to_the_miniport(&mut down.frame, &packet.plain, protection)?;
            let list = net_buffer_list(&down, self.handles, self.split)?;
            return Ok(list.info(TcpIpChecksumNetBufferListInfo as usize, word));
        }
        net_buffer_list(packet, self.handles, self.split)
    }
}
