//! ADD_SA and ADD_SA_EX: from one structure to the engine's parameters.

use ipsec::{
    Direction, Endpoints, SaParams, SecurityAssociation, UdpEncapsulation, UdpEncapsulations,
};
use ndis_sys::*;

use crate::algorithm::{algorithm, authentication, encryption};
use crate::{INVALID, is_structure, operation};

/// An SA to be offloaded, its keys still in the buffer.
#[derive(Clone, Debug)]
pub struct AddSa<'b> {
    direction: Direction,
    endpoints: Endpoints,
    udp_encapsulation: UdpEncapsulations,
    first: SecurityAssociation<'b>,
    second: Option<SecurityAssociation<'b>>,
}

impl AddSa<'_> {
    /// Lends the parameters for the engine.
    pub fn with_params<R>(&self, work: impl FnOnce(&SaParams<'_>) -> R) -> R {
        let params = |associations: &[SecurityAssociation<'_>]| {
            work(&SaParams {
                direction: self.direction,
                endpoints: self.endpoints,
                udp_encapsulation: self.udp_encapsulation,
                associations,
            })
        };
        match self.second {
            None => params(&[self.first]),
            Some(second) => params(&[self.first, second]),
        }
    }
}

/// What ADD_SA and ADD_SA_EX have in common.
pub(crate) struct Structure {
    header: NDIS_OBJECT_HEADER,
    size: usize,
    associations: u32,
    flags: u32,
    /// The union's bytes: its addresses are the first thing in either member.
    endpoints: [u8; 32],
    udp_encapsulation: u32,
    sec_assoc: [IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION; 2],
    key_offset: usize,
    /// Keys do not lie within the structure.
    least_key_offset: usize,
    key_length: usize,
}

/// One of the two structures.
pub(crate) trait Layout {
    /// Its bytes, without the keys.
    const SIZE: usize;
    /// Where the handle is written to.
    const HANDLE: usize;

    /// Copies it out of the front of `element`. None when that is too short.
    fn read(element: &[u8]) -> Option<Structure>;
}

const _: () = {
    assert!(size_of::<IPSEC_OFFLOAD_V2_ENDPOINTS>() == 32);
    assert!(core::mem::offset_of!(IPSEC_OFFLOAD_V2_IPV4_ENDPOINTS, DestAddr) == 4);
    assert!(core::mem::offset_of!(IPSEC_OFFLOAD_V2_IPV6_ENDPOINTS, DestAddr) == 16);
};

impl Layout for IPSEC_OFFLOAD_V2_ADD_SA {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1;
    const HANDLE: usize = core::mem::offset_of!(Self, OffloadHandle);

    fn read(element: &[u8]) -> Option<Structure> {
        const KEYS: usize = core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, KeyData);
        let sa = read_prefix::<Self>(element, Self::SIZE)?;
        Some(Structure {
            header: sa.Header,
            size: Self::SIZE,
            associations: sa.NumExtHdrs,
            flags: sa.Flags,
            endpoints: *element
                .get(core::mem::offset_of!(Self, Endpoints)..)?
                .first_chunk()?,
            udp_encapsulation: sa.UdpEspEncapsulation,
            sec_assoc: sa.SecAssoc,
            key_offset: KEYS,
            least_key_offset: KEYS,
            key_length: sa.KeyLength as usize,
        })
    }
}

impl Layout for IPSEC_OFFLOAD_V2_ADD_SA_EX {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1;
    const HANDLE: usize = core::mem::offset_of!(Self, OffloadHandle);

    /// The keys are `KeyOffset` bytes from the start of the structure.
    fn read(element: &[u8]) -> Option<Structure> {
        let sa = read_prefix::<Self>(element, Self::SIZE)?;
        Some(Structure {
            header: sa.Header,
            size: Self::SIZE,
            associations: sa.NumExtHdrs,
            flags: sa.Flags,
            endpoints: *element
                .get(core::mem::offset_of!(Self, Endpoints)..)?
                .first_chunk()?,
            udp_encapsulation: sa.UdpEspEncapsulation,
            sec_assoc: sa.SecAssoc,
            key_offset: sa.KeyOffset as usize,
            least_key_offset: Self::SIZE,
            key_length: sa.KeyLength as usize,
        })
    }
}

impl Structure {
    /// Where its keys end. None where no buffer could have them.
    pub(crate) fn end(&self) -> Option<usize> {
        self.key_offset.checked_add(self.key_length)
    }

    /// `element` begins with the structure and reaches to the end of the buffer.
    pub(crate) fn parse<'b>(&self, element: &'b [u8]) -> Result<AddSa<'b>, NDIS_STATUS> {
        const FLAGS: u32 = IPSEC_OFFLOAD_V2_INBOUND | IPSEC_OFFLOAD_V2_IPv6;
        const {
            assert!(
                NDIS_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1
                    == NDIS_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1
            )
        }

        let revision = NDIS_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1;
        if !is_structure(&self.header, revision, self.size)
            || self.flags & !FLAGS != 0
            || self.key_offset < self.least_key_offset
        {
            return Err(INVALID);
        }
        let keys = self
            .end()
            .and_then(|end| element.get(self.key_offset..end))
            .ok_or(INVALID)?;
        let [first, second] = &self.sec_assoc;
        let (first, second) = match self.associations {
            1 => (association(first, keys)?, None),
            2 => (association(first, keys)?, Some(association(second, keys)?)),
            _ => return Err(INVALID),
        };
        Ok(AddSa {
            direction: if self.flags & IPSEC_OFFLOAD_V2_INBOUND != 0 {
                Direction::Inbound
            } else {
                Direction::Outbound
            },
            endpoints: endpoints(self.flags, &self.endpoints),
            udp_encapsulation: udp_encapsulations(self.udp_encapsulation)?,
            first,
            second,
        })
    }
}

/// `IPAddr` is in network byte order: its bytes in memory are the header's.
fn endpoints(flags: u32, bytes: &[u8; 32]) -> Endpoints {
    let [
        s @ ..,
        d0,
        d1,
        d2,
        d3,
        d4,
        d5,
        d6,
        d7,
        d8,
        d9,
        d10,
        d11,
        d12,
        d13,
        d14,
        d15,
    ] = *bytes;
    if flags & IPSEC_OFFLOAD_V2_IPv6 != 0 {
        return Endpoints::V6 {
            source: s,
            destination: [
                d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, d13, d14, d15,
            ],
        };
    }
    let [s0, s1, s2, s3, d0, d1, d2, d3, ..] = *bytes;
    Endpoints::V4 {
        source: [s0, s1, s2, s3],
        destination: [d0, d1, d2, d3],
    }
}

/// "One or more of the following flags" (page of IPSEC_OFFLOAD_V2_ADD_SA).
fn udp_encapsulations(value: u32) -> Result<UdpEncapsulations, NDIS_STATUS> {
    let mut types = UdpEncapsulations::NONE;
    let mut known = IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE;
    for subtype in UdpEncapsulation::ALL {
        let bit = udp_esp_bit(subtype);
        known |= bit;
        if value & bit != 0 {
            types = types.with(subtype);
        }
    }
    if value & !known != 0 {
        return Err(INVALID);
    }
    Ok(types)
}

/// IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_*.
#[must_use]
pub const fn udp_esp_bit(subtype: UdpEncapsulation) -> u32 {
    match subtype {
        UdpEncapsulation::Transport => IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
        UdpEncapsulation::Tunnel => IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL,
        UdpEncapsulation::TransportOverUdpTunnel => {
            IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL
        }
        UdpEncapsulation::UdpTransportOverTunnel => {
            IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL
        }
    }
}

fn association<'k>(
    of: &IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION,
    keys: &'k [u8],
) -> Result<SecurityAssociation<'k>, NDIS_STATUS> {
    if of.Flags & !IPSEC_OFFLOAD_V2_ESN_SA != 0 {
        return Err(INVALID);
    }
    let encryption = algorithm(&of.EncryptionAlgorithm, keys, encryption)?;
    // AES-GCM has no other authentication: what is beside it is not looked at.
    let authentication = if encryption.is_some_and(|named| named.identifier.is_combined()) {
        None
    } else {
        algorithm(&of.AuthenticationAlgorithm, keys, authentication)?
    };
    Ok(SecurityAssociation {
        operation: operation(of.Operation)?,
        spi: of.Spi,
        extended_sequence_numbers: of.Flags & IPSEC_OFFLOAD_V2_ESN_SA != 0,
        sequence_number_high: of.SequenceNumberHighOrder,
        encryption,
        authentication,
    })
}
