//! One packet becomes a frame of the wire.

use ipsec::{OutboundBurst, Payloads, SendRequest};
use ndis::{GatherError, NetBuffer};
use ndis_sys::{
    NDIS_STATUS, NDIS_STATUS_FAILURE, NDIS_STATUS_INVALID_LENGTH, NDIS_STATUS_RESOURCES,
};
use task_offload::{
    IpVersion,
    checksum::{self, Tasks, Transport},
};

use super::request::{ChecksumRequest, Request, Stateless};
use crate::{
    ethernet::{self, Family, MIN_FRAME, TAG},
    offload,
};

/// How packets with an SA are sealed in a burst.
pub enum Sealer<'b, 'e> {
    /// No packet of the burst has one, or IPsec offload is off and they go out as they are.
    NotWanted,
    /// The extended state could not be saved.
    Unavailable,
    /// In the bracket.
    Ready(&'b mut OutboundBurst<'e>),
}

/// Makes the wire's frame in `buffer`: gathered, checksums filled in, sealed, tagged, padded. Returns
/// its length.
pub fn compose(
    buffer: &mut [u8],
    packet: NetBuffer<'_>,
    request: &Request,
    current: offload::Current,
    sealer: &mut Sealer<'_, '_>,
) -> Result<usize, NDIS_STATUS> {
    let room = behind_tag(buffer, request.tag)?;
    let gathered = packet.gather(room).map_err(gather_status)?;
    let frame = room.get_mut(..gathered).ok_or(NDIS_STATUS_FAILURE)?;
    let checksum = match &request.stateless {
        Stateless::Checksum(checksum) => Some(checksum),
        Stateless::None | Stateless::LargeSend(_) => None,
    };
    if request.ipsec.is_some() || checksum.is_some() {
        // An SA or a checksum of what is no IP packet.
        let (family, at) = ethernet::ip(frame).ok_or(NDIS_STATUS_FAILURE)?;
        let packet = frame.get_mut(at..).ok_or(NDIS_STATUS_FAILURE)?;
        let ipsec = request.ipsec.as_ref().filter(|_| current.sends(family));
        if let Some(checksum) = checksum {
            // Before encryption: the transport's header is within.
            let payloads = payloads(packet, ipsec, sealer)?;
            fill_in_checksums(packet, (family, at), payloads, checksum)?;
        }
        if let Some(ipsec) = ipsec {
            match sealer {
                Sealer::NotWanted => {}
                Sealer::Unavailable => return Err(NDIS_STATUS_RESOURCES),
                // An unknown handle, or a packet that does not agree with its out-of-band data:
                // NDIS_STATUS_FAILURE ("Sending Network Data with IPsec Offload Version 2").
                Sealer::Ready(burst) => {
                    burst.seal(ipsec, packet).map_err(|_| NDIS_STATUS_FAILURE)?;
                }
            }
        }
    }
    complete(buffer, gathered, request.tag)
}

/// Where the payloads of a packet to be sealed are.
fn payloads(
    packet: &[u8],
    ipsec: Option<&SendRequest>,
    sealer: &mut Sealer<'_, '_>,
) -> Result<Payloads, NDIS_STATUS> {
    match (ipsec, sealer) {
        (None, _) | (Some(_), Sealer::NotWanted) => Ok(Payloads::default()),
        (Some(_), Sealer::Unavailable) => Err(NDIS_STATUS_RESOURCES),
        (Some(request), Sealer::Ready(burst)) => burst
            .payloads(request, packet)
            .map_err(|_| NDIS_STATUS_FAILURE),
    }
}

/// `packet` is of this IP version and begins so many bytes behind the start of the frame.
fn fill_in_checksums(
    packet: &mut [u8],
    (family, at): (Family, usize),
    payloads: Payloads,
    request: &ChecksumRequest,
) -> Result<(), NDIS_STATUS> {
    if request.version != ip_version(family) {
        return Err(NDIS_STATUS_FAILURE);
    }
    let transport = match request.transport {
        Some(Transport::Tcp { header_offset }) => Some(Transport::Tcp {
            header_offset: header_offset.checked_sub(at).ok_or(NDIS_STATUS_FAILURE)?,
        }),
        other => other,
    };
    let tasks = Tasks {
        ip_header: request.ip_header,
        transport,
    };
    checksum::compute(packet, offload::carried(payloads), tasks).map_err(|_| NDIS_STATUS_FAILURE)
}

/// The same in the words of the other crate.
pub const fn ip_version(family: Family) -> IpVersion {
    match family {
        Family::V4 => IpVersion::V4,
        Family::V6 => IpVersion::V6,
    }
}

/// Where a frame is made: a tag to be inserted gets its room in front.
pub fn behind_tag(buffer: &mut [u8], tag: Option<u16>) -> Result<&mut [u8], NDIS_STATUS> {
    let front = if tag.is_some() { TAG } else { 0 };
    buffer.get_mut(front..).ok_or(NDIS_STATUS_INVALID_LENGTH)
}

/// Tags and pads the frame that was made [`behind_tag`].
pub fn complete(buffer: &mut [u8], length: usize, tag: Option<u16>) -> Result<usize, NDIS_STATUS> {
    let mut length = length;
    if let Some(tci) = tag {
        ethernet::insert_tag(buffer, tci);
        length = length.saturating_add(TAG);
    }
    if length < MIN_FRAME {
        // The medium's minimum; the buffer may hold an older frame's bytes.
        buffer
            .get_mut(length..MIN_FRAME)
            .ok_or(NDIS_STATUS_FAILURE)?
            .fill(0);
        length = MIN_FRAME;
    }
    Ok(length)
}

/// NdisMSendNetBufferListsComplete names RESOURCES and INVALID_LENGTH (too large); all else is
/// FAILURE.
pub const fn gather_status(error: GatherError) -> NDIS_STATUS {
    match error {
        GatherError::NotMapped => NDIS_STATUS_RESOURCES,
        GatherError::NoRoom => NDIS_STATUS_INVALID_LENGTH,
        GatherError::ChainTooShort => NDIS_STATUS_FAILURE,
    }
}
