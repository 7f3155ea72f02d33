//! The buffers of the direct OID requests of IPsec Task Offload Version 2, as the transport laid them
//! out and the miniport left them.

use ndis_sys::{
    IPSEC_OFFLOAD_V2_ESN_SA, IPSEC_OFFLOAD_V2_IPv6, IPsecOffloadV2Ah, IPsecOffloadV2Esp,
    NDIS_IPSEC_OFFLOAD_V2,
};

use super::oid_block::OidBlock;

/// Bytes of a request's buffer.
pub(super) struct Bytes {
    base: u64,
    bytes: Vec<u8>,
}

impl Bytes {
    pub(super) fn of(block: &OidBlock) -> Option<Self> {
        let buffer = block.buffer.as_ref()?;
        Some(Self {
            base: buffer.as_ptr() as u64,
            bytes: buffer.to_vec(),
        })
    }

    pub(super) fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    pub(super) fn u64(&self, at: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Offsets of the members of a list whose `Next` is at 8; `None` when it leads out of the buffer
    /// or in a circle: such a request has no meaning to check.
    pub(super) fn list(&self) -> Option<Vec<usize>> {
        let mut members = Vec::new();
        let mut at = 0;
        loop {
            members.push(at);
            let next = self.u64(at + 8)?;
            if next == 0 {
                return Some(members);
            }
            at = usize::try_from(next.checked_sub(self.base)?).ok()?;
            if at >= self.bytes.len() || members.contains(&at) {
                return None;
            }
        }
    }
}

/// Where the members of an element of ADD_SA or ADD_SA_EX are.
pub(super) struct Layout {
    headers: usize,
    flags: usize,
    handle: usize,
    udp_esp: usize,
    associations: usize,
}

pub(super) const ADD_SA: Layout = Layout {
    headers: 16,
    flags: 20,
    handle: 56,
    udp_esp: 64,
    associations: 68,
};
pub(super) const ADD_SA_EX: Layout = Layout {
    headers: 4,
    flags: 8,
    handle: 48,
    udp_esp: 56,
    associations: 60,
};
const ASSOCIATION: usize = 48;
const MOST_ASSOCIATIONS: usize = 2;

/// One SA as the transport asked for it, and the handle that it got.
pub(super) struct Asked {
    pub(super) handle: u64,
    ipv6: bool,
    udp_esp: u32,
    pub(super) extended_sequence_numbers: bool,
    /// Operation, authentication and encryption algorithm of each association.
    associations: Vec<(i32, u32, u32)>,
}

/// The element at an offset; `None` when the buffer ends before it does.
pub(super) fn asked(bytes: &Bytes, at: usize, layout: &Layout) -> Option<Asked> {
    let count = bytes.u32(at + layout.headers)? as usize;
    let mut asked = Asked {
        handle: bytes.u64(at + layout.handle)?,
        ipv6: bytes.u32(at + layout.flags)? & IPSEC_OFFLOAD_V2_IPv6 != 0,
        udp_esp: bytes.u32(at + layout.udp_esp)?,
        extended_sequence_numbers: false,
        associations: Vec::new(),
    };
    for index in 0..count.min(MOST_ASSOCIATIONS) {
        let at = at + layout.associations + index * ASSOCIATION;
        asked.extended_sequence_numbers |= bytes.u32(at)? & IPSEC_OFFLOAD_V2_ESN_SA != 0;
        let word = |offset| bytes.u32(at + offset);
        asked
            .associations
            .push((word(4)? as i32, word(12)?, word(28)?));
    }
    Some(asked)
}

/// What an SA needs and these capabilities do not have, if there is something.
pub(super) fn lacking(of: &NDIS_IPSEC_OFFLOAD_V2, sa: &Asked) -> Option<&'static str> {
    if sa.ipv6 && of.IPv6Supported == 0 {
        return Some("IPv6Supported");
    }
    if sa.extended_sequence_numbers && of.ExtendedSequenceNumbers == 0 {
        return Some("ExtendedSequenceNumbers");
    }
    if sa.udp_esp & !of.UdpEsp != 0 {
        return Some("UdpEsp");
    }
    if sa.associations.len() == MOST_ASSOCIATIONS && of.AhEspCombined == 0 {
        return Some("AhEspCombined");
    }
    sa.associations
        .iter()
        .find_map(|(operation, authentication, encryption)| {
            if authentication & !of.AuthenticationAlgorithms != 0 {
                return Some("AuthenticationAlgorithms");
            }
            let (ah, esp) = (
                *operation == IPsecOffloadV2Ah,
                *operation == IPsecOffloadV2Esp,
            );
            if ah && of.Ah == 0 {
                return Some("Ah");
            }
            if esp && of.Esp == 0 {
                return Some("Esp");
            }
            (esp && encryption & !of.EncryptionAlgorithms != 0).then_some("EncryptionAlgorithms")
        })
}
