//! MiniportDirectOidRequest: the SAs. Direct OIDs are not serialized with anything, arrive at
//! IRQL <= DISPATCH_LEVEL, and are answered at DISPATCH_LEVEL before the handler returns. The engine
//! takes them on any number of processors at once.
//!
//! The buffers are not to be trusted: every offset and length is checked against the information
//! buffer, with no arithmetic that can wrap, and structures are copied out before they are looked at.

use ipsec::{
    AddError, Algorithm, AuthenticationAlgorithm, Direction, EncryptionAlgorithm, Endpoints,
    Operation, SaHandle, SaParams, SecurityAssociation, UdpEncapsulation,
};
use ndis::{Answered, Dispatch, OidRequest, Verb, Version, read, read_prefix};
use ndis_sys::*;

use crate::{
    adapter::{Adapter, state::Reason},
    simd::with_simd,
};

/// Answers a request.
pub fn handle(adapter: &Adapter, request: OidRequest<'_>, at: Dispatch<'_>) -> Answered {
    if adapter.state.is(Reason::Removed) || adapter.state.is(Reason::Resetting) {
        return request.refuse(NDIS_STATUS_NOT_ACCEPTED);
    }
    if request.verb() != Verb::Set {
        // None of them can be queried. DELETE_SA must not end with NOT_SUPPORTED (see `delete`).
        let status = match request.oid() {
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA => NDIS_STATUS_NOT_ACCEPTED,
            _ => NDIS_STATUS_NOT_SUPPORTED,
        };
        return request.refuse(status);
    }
    // From NDIS 6.30 on ADD_SA_EX takes the place of ADD_SA.
    let extended = adapter.version >= Version::V6_30;
    match request.oid() {
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA if !extended => add_list(adapter, request, at),
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX if extended => add_extended(adapter, request, at),
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA => delete(adapter, request),
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA => update(adapter, request),
        _ => request.refuse(NDIS_STATUS_NOT_SUPPORTED),
    }
}

/// Where in the information buffer the list element at `next` lies; None when it does not lie there
/// wholly, aligned as the structure is.
///
/// The pages of ADD_SA and DELETE_SA are silent on where the elements of a list live. NDIS promises
/// InformationBufferLength bytes and no more, so nothing outside of them is touched.
fn element(buffer: &[u8], next: usize, size: usize, align: usize) -> Option<usize> {
    let offset = next.checked_sub(buffer.as_ptr().addr())?;
    let end = offset.checked_add(size)?;
    (end <= buffer.len() && next.is_multiple_of(align)).then_some(offset)
}

/// The offsets of the elements of a list, the first at offset 0, `next` within each at offset 8. A
/// walk is bounded by the number of elements that the buffer has room for, so that a circle ends.
/// Ends with None in place of an element that is not in the buffer.
struct Elements<'a> {
    buffer: &'a [u8],
    size: usize,
    align: usize,
    next: Option<usize>,
    left: usize,
}

impl<'a> Elements<'a> {
    fn new(buffer: &'a [u8], size: usize, align: usize) -> Self {
        let left = buffer
            .len()
            .checked_div(size)
            .unwrap_or(0)
            .saturating_add(1);
        Self {
            buffer,
            size,
            align,
            next: Some(buffer.as_ptr().addr()),
            left,
        }
    }
}

impl Iterator for Elements<'_> {
    type Item = Option<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        /// Header, then Next: in both list structures.
        const NEXT: usize = core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Next);
        const { assert!(NEXT == core::mem::offset_of!(IPSEC_OFFLOAD_V2_DELETE_SA, Next)) }

        let address = self.next.take()?;
        let Some(left) = self.left.checked_sub(1) else {
            return Some(None);
        };
        self.left = left;
        let offset = element(self.buffer, address, self.size, self.align);
        if let Some(offset) = offset {
            let at = offset.saturating_add(NEXT);
            let next = self.buffer.get(at..).and_then(read::<usize>).unwrap_or(0);
            self.next = (next != 0).then_some(next);
        }
        Some(offset)
    }
}

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
fn add_list(adapter: &Adapter, mut request: OidRequest<'_>, at: Dispatch<'_>) -> Answered {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1;
    const ALIGN: usize = align_of::<IPSEC_OFFLOAD_V2_ADD_SA>();
    const HANDLE: usize = core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, OffloadHandle);

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

/// The element after that at `offset`.
fn next_element(buffer: &[u8], offset: usize, size: usize, align: usize) -> Option<usize> {
    let at = offset.saturating_add(core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Next));
    let next = buffer.get(at..).and_then(read::<usize>)?;
    if next == 0 {
        None
    } else {
        element(buffer, next, size, align)
    }
}

/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: one SA.
fn add_extended(adapter: &Adapter, mut request: OidRequest<'_>, at: Dispatch<'_>) -> Answered {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1;
    const HANDLE: usize = core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, OffloadHandle);

    let length = request.input().len();
    if length < SIZE {
        return request.too_short(SIZE);
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
    let setting = adapter.offload.current().ipsec;
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
        udp_encapsulation: udp_encapsulation(add.udp_esp_encapsulation)?,
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

fn udp_encapsulation(value: u32) -> Result<UdpEncapsulation, NDIS_STATUS> {
    Ok(match value {
        IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE => UdpEncapsulation::None,
        IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT => UdpEncapsulation::Transport,
        IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL => UdpEncapsulation::Tunnel,
        IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL => {
            UdpEncapsulation::TransportOverUdpTunnel
        }
        IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL => {
            UdpEncapsulation::UdpTransportOverTunnel
        }
        _ => return Err(NDIS_STATUS_INVALID_PARAMETER),
    })
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

fn operation(value: IPSEC_OFFLOAD_V2_OPERATION) -> Result<Operation, NDIS_STATUS> {
    if value == IPsecOffloadV2Ah {
        Ok(Operation::Ah)
    } else if value == IPsecOffloadV2Esp {
        Ok(Operation::Esp)
    } else {
        Err(NDIS_STATUS_INVALID_PARAMETER)
    }
}

/// None when the identifier is zero. Its key lies within the keys of the SA.
fn algorithm<'k, I>(
    of: &IPSEC_OFFLOAD_V2_ALGORITHM_INFO,
    keys: &'k [u8],
    identify: impl FnOnce(u32) -> Option<I>,
) -> Result<Option<Algorithm<'k, I>>, NDIS_STATUS> {
    if of.Identifier == 0 {
        return Ok(None);
    }
    let identifier = identify(of.Identifier).ok_or(NDIS_STATUS_NOT_SUPPORTED)?;
    let start = of.KeyOffsetBytes as usize;
    let end = start
        .checked_add(of.KeyLength as usize)
        .ok_or(NDIS_STATUS_INVALID_PARAMETER)?;
    let key = keys.get(start..end).ok_or(NDIS_STATUS_INVALID_PARAMETER)?;
    Ok(Some(Algorithm {
        identifier,
        key,
        additional_info: of.AdditionalInfo,
    }))
}

const fn encryption(identifier: u32) -> Option<EncryptionAlgorithm> {
    Some(match identifier {
        IPSEC_OFFLOAD_V2_ENCRYPTION_NONE => EncryptionAlgorithm::Null,
        IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC => EncryptionAlgorithm::DesCbc,
        IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC => EncryptionAlgorithm::TripleDesCbc,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128 => EncryptionAlgorithm::AesGcm128,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192 => EncryptionAlgorithm::AesGcm192,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256 => EncryptionAlgorithm::AesGcm256,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128 => EncryptionAlgorithm::AesCbc128,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192 => EncryptionAlgorithm::AesCbc192,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256 => EncryptionAlgorithm::AesCbc256,
        _ => return None,
    })
}

const fn authentication(identifier: u32) -> Option<AuthenticationAlgorithm> {
    Some(match identifier {
        IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5 => AuthenticationAlgorithm::Md5,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1 => AuthenticationAlgorithm::Sha1,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256 => AuthenticationAlgorithm::Sha256,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128 => AuthenticationAlgorithm::AesGmac128,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_192 => AuthenticationAlgorithm::AesGmac192,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_256 => AuthenticationAlgorithm::AesGmac256,
        _ => return None,
    })
}

/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA: may end with SUCCESS, NOT_ACCEPTED or REQUEST_ABORTED
/// only (Driver Verifier, NdisOidComplete). So a handle that is unknown is passed over, and a list
/// that leaves the buffer ends there.
fn delete(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1;
    const ALIGN: usize = align_of::<IPSEC_OFFLOAD_V2_DELETE_SA>();

    let input = request.input();
    for offset in Elements::new(input, SIZE, ALIGN).map_while(|offset| offset) {
        let Some(sa) = input
            .get(offset..)
            .and_then(read::<IPSEC_OFFLOAD_V2_DELETE_SA>)
        else {
            break;
        };
        if let Some(handle) = SaHandle::from_raw(sa.OffloadHandle.addr() as u64) {
            adapter.engine.delete_sa(handle);
        }
    }
    let length = input.len();
    request.accept(length)
}

/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA: "the miniport driver can fail this request if the SA is
/// not found or the ESN is not supported. In this case, the returned status should be
/// NDIS_STATUS_INVALID_PARAMETER". The page speaks of a list, but the structure has no Next.
fn update(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1;

    let Some(sa) = read_prefix::<IPSEC_OFFLOAD_V2_UPDATE_SA>(request.input(), SIZE) else {
        return request.too_short(SIZE);
    };
    let done = || {
        if sa.Header.Type != NDIS_OBJECT_TYPE_DEFAULT
            || sa.Header.Revision < NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1
            || usize::from(sa.Header.Size) < SIZE
        {
            return None;
        }
        let handle = SaHandle::from_raw(sa.OffloadHandle.addr() as u64)?;
        let operation = operation(sa.Operation).ok()?;
        adapter
            .engine
            .update_sa(handle, operation, sa.Spi, sa.SequenceNumberHighOrder)
            .ok()
    };
    match done() {
        Some(()) => request.accept(SIZE),
        None => request.refuse(NDIS_STATUS_INVALID_PARAMETER),
    }
}
