//! A large packet becomes frames of the wire: cut, sealed if it has an SA, tagged, padded.

use core::num::NonZeroU32;

use ipsec::{LargeFraming, LargeSegments, SendRequest};
use ndis::SendNbl;
use ndis_sys::{
    NDIS_STATUS, NDIS_STATUS_FAILURE, NDIS_STATUS_INVALID_LENGTH, NDIS_STATUS_RESOURCES,
};
use task_offload::{LargeSend, LargeSendError, LargeSendRequest, Segment};

use super::compose::{Sealer, behind_tag, complete, gather_status, ip_version};
use crate::{ethernet, offload};

/// What is asked for with a large packet.
pub struct Asked<'a> {
    /// How it is to be cut.
    pub cut: &'a LargeSendRequest,
    /// The SA to seal the segments with.
    pub ipsec: Option<&'a SendRequest>,
    /// The 802.1Q tag to insert.
    pub tag: Option<u16>,
    /// The most bytes that a frame may have, without the tag.
    pub most: usize,
    /// Bytes of payload that bursts before this one have sent.
    pub sent: usize,
}

/// A large packet in the course of being cut.
pub struct Large {
    cut: LargeSend,
    /// Of an SA, with where the IP header is in the frame.
    sealed: Option<(LargeSegments, usize)>,
    tag: Option<u16>,
}

impl Large {
    /// Looks at a large packet, of whose frame of `len` bytes `head` is the beginning. If it has an SA,
    /// the sequence numbers of its segments are taken.
    pub fn plan(
        head: &[u8],
        len: usize,
        asked: &Asked<'_>,
        current: offload::Current,
        sealer: &mut Sealer<'_, '_>,
    ) -> Result<Self, NDIS_STATUS> {
        let (family, at) = ethernet::ip(head).ok_or(NDIS_STATUS_FAILURE)?;
        if asked.cut.ip_version != ip_version(family) {
            return Err(NDIS_STATUS_FAILURE);
        }
        let ipsec = asked.ipsec.filter(|_| current.sends(family));
        let framing = match ipsec {
            None => None,
            Some(request) => Some(framing(head, at, request, asked.cut, sealer)?),
        };
        let request = LargeSendRequest {
            discard: framing.as_ref().map_or(0, LargeFraming::discard),
            enveloped: framing.is_some(),
            ..*asked.cut
        };
        let cut = LargeSend::new(head, at, len, &request).map_err(|error| match error {
            LargeSendError::TooLarge => NDIS_STATUS_INVALID_LENGTH,
            _ => NDIS_STATUS_FAILURE,
        })?;
        let longest = cut.payload_len().min(asked.cut.mss);
        let tail = framing.as_ref().map_or(0, |framing| framing.tail(longest));
        if cut.longest_frame().saturating_add(tail) > asked.most {
            return Err(NDIS_STATUS_INVALID_LENGTH);
        }
        let mut large = Self {
            cut,
            sealed: None,
            tag: asked.tag,
        };
        if let (Some(framing), Sealer::Ready(burst)) = (framing, sealer) {
            // Looked at anew in each burst, the packet gets the same numbers: the segments that are
            // left go on with theirs.
            let count = u32::try_from(large.cut.segments()).ok();
            let count = count.and_then(NonZeroU32::new).ok_or(NDIS_STATUS_FAILURE)?;
            let done = large
                .done(asked)
                .try_into()
                .map_err(|_| NDIS_STATUS_FAILURE)?;
            let segments = burst.reserve(framing, count, done);
            large.sealed = Some((segments.map_err(|_| NDIS_STATUS_FAILURE)?, at));
        }
        Ok(large)
    }

    /// How many segments bursts before this one have sent.
    pub fn done(&self, asked: &Asked<'_>) -> usize {
        asked.sent.checked_div(asked.cut.mss).unwrap_or(0)
    }

    /// How it is cut.
    pub const fn cut(&self) -> &LargeSend {
        &self.cut
    }

    /// The bytes of a segment's frame, without tag and padding.
    pub fn frame_len(&self, segment: &Segment) -> usize {
        self.cut
            .head_len()
            .saturating_add(segment.payload.len())
            .saturating_add(self.tail(segment))
    }

    fn tail(&self, segment: &Segment) -> usize {
        let payload = segment.payload.len();
        self.sealed
            .as_ref()
            .map_or(0, |(segments, _)| segments.framing().tail(payload))
    }

    /// Makes the wire's frame of the next segment: the head and what the list has next, with the
    /// segment's headers and, with an SA, its trailer, sealed. Returns its length.
    pub fn compose(
        &mut self,
        buffer: &mut [u8],
        nbl: &mut SendNbl,
        head: &[u8],
        segment: &Segment,
        sealer: &mut Sealer<'_, '_>,
    ) -> Result<usize, NDIS_STATUS> {
        let room = behind_tag(buffer, self.tag)?;
        let length = self.frame_len(segment);
        let frame = room.get_mut(..length).ok_or(NDIS_STATUS_INVALID_LENGTH)?;
        let (front, rest) = frame
            .split_at_mut_checked(head.len())
            .ok_or(NDIS_STATUS_FAILURE)?;
        front.copy_from_slice(head);
        let payload = rest.get_mut(..segment.payload.len());
        nbl.read(payload.ok_or(NDIS_STATUS_FAILURE)?)
            .map_err(gather_status)?;
        self.cut
            .finish(segment, frame, self.tail(segment))
            .map_err(|_| NDIS_STATUS_FAILURE)?;
        if let Some((segments, at)) = &mut self.sealed {
            let packet = frame.get_mut(*at..).ok_or(NDIS_STATUS_FAILURE)?;
            match sealer {
                Sealer::Ready(burst) => burst
                    .seal_segment(segments, segment.payload.len(), packet)
                    .map_err(|_| NDIS_STATUS_FAILURE)?,
                Sealer::NotWanted | Sealer::Unavailable => return Err(NDIS_STATUS_FAILURE),
            }
        }
        complete(buffer, length, self.tag)
    }
}

/// How the packet, whose IP header is at `at`, is framed for its SA.
fn framing(
    head: &[u8],
    at: usize,
    request: &SendRequest,
    cut: &LargeSendRequest,
    sealer: &mut Sealer<'_, '_>,
) -> Result<LargeFraming, NDIS_STATUS> {
    let packet = head.get(at..).ok_or(NDIS_STATUS_FAILURE)?;
    let tcp_offset = cut.tcp_header_offset.checked_sub(at);
    let tcp_offset = tcp_offset.ok_or(NDIS_STATUS_FAILURE)?;
    match sealer {
        // No SA is looked at then, so that none was named.
        Sealer::NotWanted => Err(NDIS_STATUS_FAILURE),
        Sealer::Unavailable => Err(NDIS_STATUS_RESOURCES),
        Sealer::Ready(burst) => burst
            .large(request, packet, tcp_offset)
            .map_err(|_| NDIS_STATUS_FAILURE),
    }
}
