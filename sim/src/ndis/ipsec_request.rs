//! The buffers of the direct OID requests of IPsec Task Offload Version 2, as the transport laid them
//! out and the miniport left them.

use std::mem::offset_of;

use ndis_sys::{
    IPSEC_OFFLOAD_V2_ESN_SA, IPSEC_OFFLOAD_V2_IPv6, IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION,
    IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL,
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL,
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL, IPSEC_OFFLOAD_V2_UPDATE_SA, IPsecOffloadV2Ah,
    IPsecOffloadV2Esp, NDIS_ENCAPSULATION_IEEE_802_3, NDIS_IPSEC_OFFLOAD_V2,
    NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1, NDIS_OBJECT_TYPE_DEFAULT,
    NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1,
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
        let (members, ends) = self.walk();
        ends.then_some(members)
    }

    /// The members of such a list up to where it ends or leads nowhere, and whether it ends.
    pub(super) fn walk(&self) -> (Vec<usize>, bool) {
        let mut members = vec![0];
        loop {
            let at = members.last().copied().unwrap_or_default();
            let Some(next) = self.u64(at + 8) else {
                return (members, false);
            };
            if next == 0 {
                return (members, true);
            }
            let next = next.checked_sub(self.base).map(|at| at as usize);
            match next.filter(|at| *at < self.bytes.len() && !members.contains(at)) {
                Some(at) => members.push(at),
                None => return (members, false),
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
pub(super) const MOST_ASSOCIATIONS: usize = 2;
const SEQUENCE_HIGH: usize = offset_of!(
    IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION,
    SequenceNumberHighOrder
);

/// An UPDATE_SA.
pub(super) struct Update {
    pub(super) handle: u64,
    pub(super) operation: i32,
    pub(super) spi: u32,
    pub(super) high: u32,
    /// The buffer has the whole structure.
    pub(super) whole: bool,
    /// And its header is right.
    pub(super) is_well_formed: bool,
}

impl Update {
    /// None when the buffer ends before the handle does.
    pub(super) fn read(bytes: &Bytes) -> Option<Self> {
        const LEN: u16 = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1 as u16;
        let word = |at| bytes.u32(at).unwrap_or_default();
        let header = word(0);
        let (kind, revision, size) = (header as u8, (header >> 8) as u8, (header >> 16) as u16);
        let whole = bytes.bytes.len() >= usize::from(LEN);
        Some(Self {
            handle: bytes.u64(offset_of!(IPSEC_OFFLOAD_V2_UPDATE_SA, OffloadHandle))?,
            operation: word(offset_of!(IPSEC_OFFLOAD_V2_UPDATE_SA, Operation)) as i32,
            spi: word(offset_of!(IPSEC_OFFLOAD_V2_UPDATE_SA, Spi)),
            high: word(offset_of!(
                IPSEC_OFFLOAD_V2_UPDATE_SA,
                SequenceNumberHighOrder
            )),
            whole,
            is_well_formed: whole
                && kind == NDIS_OBJECT_TYPE_DEFAULT
                && revision == NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1
                && size >= LEN,
        })
    }
}

/// One SA as the transport asked for it, and the handle that it got.
pub(super) struct Asked {
    pub(super) handle: u64,
    ipv6: bool,
    udp_esp: u32,
    pub(super) extended_sequence_numbers: bool,
    /// The high-order half of the sequence number that it starts with.
    pub(super) high: u32,
    associations: Vec<AskedAssociation>,
}

#[derive(Clone, Copy)]
struct AskedAssociation {
    operation: i32,
    spi: u32,
    authentication: u32,
    encryption: u32,
}

impl Asked {
    /// Operation and SPI of each association.
    pub(super) fn headers(&self) -> [Option<(i32, u32)>; MOST_ASSOCIATIONS] {
        let of = |index| self.associations.get(index).copied();
        [of(0), of(1)].map(|of| of.map(|a: AskedAssociation| (a.operation, a.spi)))
    }
}

/// The element at an offset; `None` when the buffer ends before it does.
pub(super) fn asked(bytes: &Bytes, at: usize, layout: &Layout) -> Option<Asked> {
    let count = bytes.u32(at + layout.headers)? as usize;
    let mut asked = Asked {
        handle: bytes.u64(at + layout.handle)?,
        ipv6: bytes.u32(at + layout.flags)? & IPSEC_OFFLOAD_V2_IPv6 != 0,
        udp_esp: bytes.u32(at + layout.udp_esp)?,
        extended_sequence_numbers: false,
        high: 0,
        associations: Vec::new(),
    };
    for index in 0..count.min(MOST_ASSOCIATIONS) {
        let at = at + layout.associations + index * ASSOCIATION;
        asked.extended_sequence_numbers |= bytes.u32(at)? & IPSEC_OFFLOAD_V2_ESN_SA != 0;
        let word = |offset| bytes.u32(at + offset);
        asked.high = asked.high.max(word(SEQUENCE_HIGH)?);
        asked.associations.push(AskedAssociation {
            operation: word(4)? as i32,
            spi: word(8)?,
            authentication: word(12)?,
            encryption: word(28)?,
        });
    }
    Some(asked)
}

/// What an SA needs and these capabilities do not have, if there is something.
pub(super) fn lacking(of: &NDIS_IPSEC_OFFLOAD_V2, sa: &Asked) -> Option<&'static str> {
    if of.Encapsulation & NDIS_ENCAPSULATION_IEEE_802_3 == 0 {
        return Some("Encapsulation");
    }
    if sa.ipv6 && of.IPv6Supported == 0 {
        return Some("IPv6Supported");
    }
    if sa.extended_sequence_numbers && of.ExtendedSequenceNumbers == 0 {
        return Some("ExtendedSequenceNumbers");
    }
    if sa.udp_esp & !of.UdpEsp != 0 {
        return Some("UdpEsp");
    }
    // Nothing else of an SA says which mode it is of.
    let modes = match sa.udp_esp {
        IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT => (true, false),
        IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL => (false, true),
        IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL
        | IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL => (true, true),
        _ => (false, false),
    };
    for (mode, (needed, there)) in [
        ("Transport", (modes.0, of.Transport)),
        ("Tunnel", (modes.1, of.Tunnel)),
        (
            "TransportTunnelCombined",
            (modes == (true, true), of.TransportTunnelCombined),
        ),
    ] {
        if needed && there == 0 {
            return Some(mode);
        }
    }
    if sa.associations.len() == MOST_ASSOCIATIONS && of.AhEspCombined == 0 {
        return Some("AhEspCombined");
    }
    sa.associations.iter().find_map(|association| {
        if association.authentication & !of.AuthenticationAlgorithms != 0 {
            return Some("AuthenticationAlgorithms");
        }
        let (ah, esp) = (
            association.operation == IPsecOffloadV2Ah,
            association.operation == IPsecOffloadV2Esp,
        );
        if ah && of.Ah == 0 {
            return Some("Ah");
        }
        if esp && of.Esp == 0 {
            return Some("Esp");
        }
        let encryption = association.encryption & !of.EncryptionAlgorithms;
        (esp && encryption != 0).then_some("EncryptionAlgorithms")
    })
}
