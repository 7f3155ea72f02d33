//! MiniportDirectOidRequest: the SAs. Direct OIDs are not serialized with anything, arrive at
//! IRQL <= DISPATCH_LEVEL, and are answered at DISPATCH_LEVEL before the handler returns. The engine
//! takes them on any number of processors at once.
//!
//! The buffers are not to be trusted: every offset and length is checked against the information
//! buffer, with no arithmetic that can wrap, and structures are copied out before they are looked at.

mod add_sa;
mod algorithm;
mod list;

use ipsec::{Operation, SaHandle};
use ndis::{Answered, Dispatch, OidRequest, Verb, Version, read, read_prefix};
use ndis_sys::*;

use crate::adapter::{Adapter, state::Reason};
use list::Elements;

/// Answers a request.
pub fn handle(adapter: &Adapter, request: OidRequest<'_>, at: Dispatch<'_>) -> Answered {
    if adapter.state.is(Reason::Removed) {
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
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA if !extended => add_sa::add_list(adapter, request, at),
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX if extended => {
            add_sa::add_extended(adapter, request, at)
        }
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA => delete(adapter, request),
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA => update(adapter, request),
        _ => request.refuse(NDIS_STATUS_NOT_SUPPORTED),
    }
}

/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA: may end with SUCCESS, NOT_ACCEPTED or REQUEST_ABORTED
/// only (Driver Verifier, NdisOidComplete). So a handle that is unknown is passed over, and a list
/// that cannot be walked to its end is aborted there: the SAs before that are deleted.
fn delete(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1;
    const ALIGN: usize = align_of::<IPSEC_OFFLOAD_V2_DELETE_SA>();

    let input = request.input();
    for offset in Elements::new(input, SIZE, ALIGN) {
        let sa = offset
            .and_then(|offset| input.get(offset..))
            .and_then(read::<IPSEC_OFFLOAD_V2_DELETE_SA>);
        let Some(sa) = sa else {
            return request.refuse(NDIS_STATUS_REQUEST_ABORTED);
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

/// IPSEC_OFFLOAD_V2_OPERATION.
fn operation(value: IPSEC_OFFLOAD_V2_OPERATION) -> Result<Operation, NDIS_STATUS> {
    if value == IPsecOffloadV2Ah {
        Ok(Operation::Ah)
    } else if value == IPsecOffloadV2Esp {
        Ok(Operation::Esp)
    } else {
        Err(NDIS_STATUS_INVALID_PARAMETER)
    }
}
