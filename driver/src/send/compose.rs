//! One packet becomes a frame of the wire.

use ipsec::{OutboundBurst, SaHandle, SendRequest};
use ndis::{GatherError, InfoSlot, NetBuffer, SendNbl};
use ndis_sys::{
    NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_TRANSMIT as HeaderInfo, NDIS_STATUS,
    NDIS_STATUS_FAILURE, NDIS_STATUS_INVALID_LENGTH, NDIS_STATUS_RESOURCES,
};

use crate::{
    ethernet::{self, MIN_FRAME, TAG},
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

/// Makes the wire's frame in `buffer`: gathered, sealed, tagged, padded. Returns its length.
pub fn compose(
    buffer: &mut [u8],
    packet: NetBuffer<'_>,
    tag: Option<u16>,
    request: Option<&SendRequest>,
    current: offload::Current,
    sealer: &mut Sealer<'_, '_>,
) -> Result<usize, NDIS_STATUS> {
    let front = if tag.is_some() { TAG } else { 0 };
    let room = buffer.get_mut(front..).ok_or(NDIS_STATUS_INVALID_LENGTH)?;
    let gathered = packet.gather(room).map_err(gather_status)?;
    if let Some(request) = request {
        let frame = room.get_mut(..gathered).ok_or(NDIS_STATUS_FAILURE)?;
        // An SA on what is no IP packet.
        let (family, at) = ethernet::ip(frame).ok_or(NDIS_STATUS_FAILURE)?;
        if current.sends(family) {
            let packet = frame.get_mut(at..).ok_or(NDIS_STATUS_FAILURE)?;
            match sealer {
                Sealer::NotWanted => {}
                Sealer::Unavailable => return Err(NDIS_STATUS_RESOURCES),
                // An unknown handle, or a packet that does not agree with its out-of-band data:
                // NDIS_STATUS_FAILURE ("Sending Network Data with IPsec Offload Version 2").
                Sealer::Ready(burst) => {
                    burst
                        .seal(request, packet)
                        .map_err(|_| NDIS_STATUS_FAILURE)?;
                }
            }
        }
    }
    let mut length = gathered.saturating_add(front);
    if let Some(tci) = tag {
        ethernet::insert_tag(buffer, tci);
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

/// The SA that the list names, with the place of its headers; None without one.
pub fn send_request(nbl: &SendNbl) -> Option<SendRequest> {
    let handle = |slot| SaHandle::from_raw(nbl.info(slot).addr() as u64);
    let (transport, tunnel) = (handle(InfoSlot::IpsecV2), handle(InfoSlot::IpsecV2Tunnel));
    if nbl.info(InfoSlot::IpsecV2).is_null() && nbl.info(InfoSlot::IpsecV2Tunnel).is_null() {
        return None;
    }
    let header = HeaderInfo {
        Bits: nbl.info(InfoSlot::IpsecV2Header).addr() as u32,
    };
    Some(SendRequest {
        transport,
        tunnel,
        next_header: header.get(HeaderInfo::NextHeader) as u8,
        pad_length: header.get(HeaderInfo::PadLength) as u8,
        ah_header_offset: header.get(HeaderInfo::AhHeaderOffset) as u8,
        esp_header_offset: header.get(HeaderInfo::EspHeaderOffset) as u8,
    })
}
