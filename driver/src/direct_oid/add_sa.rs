//! ADD_SA and ADD_SA_EX: from the buffer to the engine's parameters.

use ipsec::{
    AddError, Direction, Endpoints, Operation, SaHandle, SaParams, SecurityAssociation,
    UdpEncapsulation, UdpEncapsulations,
};
use ndis::{Answered, Dispatch, OidRequest, read_prefix};
use ndis_sys::*;

use super::{
    algorithm::{algorithm, authentication, encryption},
    list::{Elements, next_element},
    operation,
};
use crate::{
    adapter::{Adapter, state::Reason},
    ethernet::Family,
    offload::report::udp_esp_bit,
    simd::with_simd,
};

/// What ADD_SA and ADD_SA_EX have in common, with the keys within the buffer.
struct AddSa {
    header: NDIS_OBJECT_HEADER,
    least_size: usize,
    num_ext_hdrs: u32,
    flags: u32,
    endpoints: IPSEC_OFFLOAD_V2_ENDPOINTS,
    udp_esp_encapsulation: u32,
    sec_assoc: [IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION; 2],
    key_offset: usize,
    /// Keys do not lie within the structure.
    least_key_offset: usize,
    key_length: usize,
}

/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA: succeeds if any SA of the list was offloaded; an SA that was
/// not gets a null handle. A list that is wrong as a list offloads nothing.
pub fn add_list(adapter: &Adapter, mut request: OidRequest<'_>, at: Dispatch<'_>) -> Answered {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1;
    const ALIGN: usize = align_of::<IPSEC_OFFLOAD_V2_ADD_SA>();
    const HANDLE: usize = core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, OffloadHandle);

    if adapter.state.is(Reason::Resetting) {
        return request.refuse(NDIS_STATUS_NOT_ACCEPTED);
    }
    let length = request.input().len();
    if let Some(needed) = missing(request.input(), SIZE, parse_add_sa) {
        return request.too_short(needed);
    }
    if Elements::new(request.input(), SIZE, ALIGN).any(|offset| offset.is_none()) {
        return request.refuse(NDIS_STATUS_INVALID_PARAMETER);
    }
    let (mut added, mut failure) = (false, NDIS_STATUS_INVALID_PARAMETER);
    let mut first_failure = true;
    let result = with_simd(adapter.features, at, |simd| {
        let mut next = Some(0);
        // The walk of above again, now with the handles written on the way.
        let mut left = length.checked_div(SIZE).unwrap_or(0).saturating_add(1);
        while let Some(offset) = next {
            let status = add_one(
                adapter,
                request.input_mut(),
                offset,
                HANDLE,
                simd,
                parse_add_sa,
            );
            match status {
                Ok(()) => added = true,
                Err(status) if core::mem::take(&mut first_failure) => failure = status,
                Err(_) => {}
            }
            left = left.saturating_sub(1);
            next = if left == 0 {
                None
            } else {
                next_element(request.input(), offset, SIZE, ALIGN)
            };
        }
    });
    if result.is_err() {
        return request.refuse(NDIS_STATUS_RESOURCES);
    }
    if added {
        request.accept(length)
    } else {
        request.refuse(failure)
    }
}

/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: one SA.
pub fn add_extended(adapter: &Adapter, mut request: OidRequest<'_>, at: Dispatch<'_>) -> Answered {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1;
    const HANDLE: usize = core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, OffloadHandle);

    if adapter.state.is(Reason::Resetting) {
        return request.refuse(NDIS_STATUS_NOT_ACCEPTED);
    }
    let length = request.input().len();
    if let Some(needed) = missing(request.input(), SIZE, parse_add_sa_ex) {
        return request.too_short(needed);
    }
    let result = with_simd(adapter.features, at, |simd| {
        add_one(
            adapter,
            request.input_mut(),
            0,
            HANDLE,
            simd,
            parse_add_sa_ex,
        )
    });
    match result {
        Ok(Ok(())) => request.accept(length),
        Ok(Err(status)) => request.refuse(status),
        Err(ndis::SaveFailed) => request.refuse(NDIS_STATUS_RESOURCES),
    }
}

/// How long a buffer would have to be when it is too short for its first SA or that one's keys.
/// None when it is not, and when no buffer could be: that is not a matter of length.
fn missing(
    buffer: &[u8],
    size: usize,
    parse: impl FnOnce(&[u8]) -> Option<AddSa>,
) -> Option<usize> {
    let needed = match parse(buffer) {
        Some(add) => add.key_offset.checked_add(add.key_length)?,
        None => size,
    };
    (needed > buffer.len() && u32::try_from(needed).is_ok()).then_some(needed)
}

/// Offloads the SA at `offset` and writes its handle, null if it was not.
fn add_one(
    adapter: &Adapter,
    buffer: &mut [u8],
    offset: usize,
    handle_offset: usize,
    simd: &ipsec::Simd,
    parse: impl FnOnce(&[u8]) -> Option<AddSa>,
) -> Result<(), NDIS_STATUS> {
    let added = buffer
        .get(offset..)
        .ok_or(NDIS_STATUS_INVALID_PARAMETER)
        .and_then(|element| {
            let add = parse(element).ok_or(NDIS_STATUS_INVALID_PARAMETER)?;
            offload(adapter, element, &add, simd)
        });
    let handle = added.map_or(0, SaHandle::to_raw);
    if let Some(place) = buffer
        .get_mut(offset.saturating_add(handle_offset)..)
        .and_then(|rest| rest.first_chunk_mut::<8>())
    {
        *place = handle.to_ne_bytes();
    }
    added.map(|_| ())
}

/// `element` begins with the structure and reaches to the end of the buffer.
fn parse_add_sa(element: &[u8]) -> Option<AddSa> {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1;
    let sa = read_prefix::<IPSEC_OFFLOAD_V2_ADD_SA>(element, SIZE)?;
    Some(AddSa {
        header: sa.Header,
        least_size: SIZE,
        num_ext_hdrs: sa.NumExtHdrs,
        flags: sa.Flags,
        endpoints: sa.Endpoints,
        udp_esp_encapsulation: sa.UdpEspEncapsulation,
        sec_assoc: sa.SecAssoc,
        key_offset: core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, KeyData),
        least_key_offset: core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, KeyData),
        key_length: sa.KeyLength as usize,
    })
}

/// As [`parse_add_sa`]; the keys are `KeyOffset` bytes from the start of the structure.
fn parse_add_sa_ex(element: &[u8]) -> Option<AddSa> {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1;
    let sa = read_prefix::<IPSEC_OFFLOAD_V2_ADD_SA_EX>(element, SIZE)?;
    Some(AddSa {
        header: sa.Header,
        least_size: SIZE,
        num_ext_hdrs: sa.NumExtHdrs,
        flags: sa.Flags,
        endpoints: sa.Endpoints,
        udp_esp_encapsulation: sa.UdpEspEncapsulation,
        sec_assoc: sa.SecAssoc,
        key_offset: sa.KeyOffset as usize,
        least_key_offset: SIZE,
        key_length: sa.KeyLength as usize,
    })
}

/// Translates and asks the engine.
fn offload(
    adapter: &Adapter,
    element: &[u8],
    add: &AddSa,
    simd: &ipsec::Simd,
) -> Result<SaHandle, NDIS_STATUS> {
    const FLAGS: u32 = IPSEC_OFFLOAD_V2_INBOUND | IPSEC_OFFLOAD_V2_IPv6;
    if add.header.Type != NDIS_OBJECT_TYPE_DEFAULT
        || add.header.Revision < NDIS_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1
        || usize::from(add.header.Size) < add.least_size
        || add.flags & !FLAGS != 0
        || add.key_offset < add.least_key_offset
    {
        return Err(NDIS_STATUS_INVALID_PARAMETER);
    }
    let keys_end = add
        .key_offset
        .checked_add(add.key_length)
        .ok_or(NDIS_STATUS_INVALID_PARAMETER)?;
    let keys = element
        .get(add.key_offset..keys_end)
        .ok_or(NDIS_STATUS_INVALID_PARAMETER)?;
    let [first, second] = &add.sec_assoc;
    let one;
    let two;
    let associations: &[SecurityAssociation<'_>] = match add.num_ext_hdrs {
        1 => {
            one = [association(first, keys)?];
            &one
        }
        2 => {
            two = [association(first, keys)?, association(second, keys)?];
            &two
        }
        _ => return Err(NDIS_STATUS_INVALID_PARAMETER),
    };
    // What was switched off is not offloaded: "the NIC configuration changes and excludes a
    // particular algorithm".
    let current = adapter.offload.current();
    let family = if add.flags & IPSEC_OFFLOAD_V2_IPv6 != 0 {
        Family::V6
    } else {
        Family::V4
    };
    if !current.sends(family) {
        return Err(NDIS_STATUS_NOT_SUPPORTED);
    }
    let setting = current.settings.ipsec;
    for association in associations {
        let enabled = match association.operation {
            Operation::Ah => setting.ah,
            Operation::Esp => setting.esp,
        };
        if !enabled {
            return Err(NDIS_STATUS_NOT_SUPPORTED);
        }
    }
    let params = SaParams {
        direction: if add.flags & IPSEC_OFFLOAD_V2_INBOUND != 0 {
            Direction::Inbound
        } else {
            Direction::Outbound
        },
        endpoints: endpoints(add.flags, &add.endpoints),
        udp_encapsulation: udp_encapsulations(add.udp_esp_encapsulation)?,
        associations,
    };
    adapter
        .engine
        .add_sa(simd, &params)
        .map_err(|error| match error {
            AddError::InvalidParameter => NDIS_STATUS_INVALID_PARAMETER,
            AddError::NotSupported => NDIS_STATUS_NOT_SUPPORTED,
            AddError::Resources => NDIS_STATUS_RESOURCES,
        })
}

fn endpoints(flags: u32, endpoints: &IPSEC_OFFLOAD_V2_ENDPOINTS) -> Endpoints {
    if flags & IPSEC_OFFLOAD_V2_IPv6 != 0 {
        // SAFETY: both members of the union are plain bytes, wholly initialised.
        let v6 = unsafe { endpoints.IPv6Endpoints };
        Endpoints::V6 {
            source: v6.SrcAddr,
            destination: v6.DestAddr,
        }
    } else {
        // SAFETY: as above.
        let v4 = unsafe { endpoints.IPv4Endpoints };
        // IPAddr is in network byte order: its bytes in memory are the header's.
        Endpoints::V4 {
            source: v4.SrcAddr.to_ne_bytes(),
            destination: v4.DestAddr.to_ne_bytes(),
        }
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
        return Err(NDIS_STATUS_INVALID_PARAMETER);
    }
    Ok(types)
}

fn association<'k>(
    of: &IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION,
    keys: &'k [u8],
) -> Result<SecurityAssociation<'k>, NDIS_STATUS> {
    if of.Flags & !IPSEC_OFFLOAD_V2_ESN_SA != 0 {
        return Err(NDIS_STATUS_INVALID_PARAMETER);
    }
    Ok(SecurityAssociation {
        operation: operation(of.Operation)?,
        spi: of.Spi,
        extended_sequence_numbers: of.Flags & IPSEC_OFFLOAD_V2_ESN_SA != 0,
        sequence_number_high: of.SequenceNumberHighOrder,
        encryption: algorithm(&of.EncryptionAlgorithm, keys, encryption)?,
        authentication: algorithm(&of.AuthenticationAlgorithm, keys, authentication)?,
    })
}
