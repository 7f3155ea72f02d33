//! MiniportDirectOidRequest: the SAs. Direct OIDs are not serialized with anything, arrive at
//! IRQL <= DISPATCH_LEVEL, and are answered at DISPATCH_LEVEL before the handler returns. The engine
//! takes them on any number of processors at once.
//!
//! Buffers are read by `oid_buffers`; here is what the requests do.

mod add_sa;

use ndis::{Answered, Dispatch, OidRequest, Verb, Version};
use ndis_sys::*;
use oid_buffers::{Refusal, UpdateSa, delete_sa};

use crate::adapter::{Adapter, state::Reason};

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

/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA. A handle that is unknown is passed over, for the request may
/// not fail because of it.
fn delete(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let deleted = delete_sa(request.input(), |handle| {
        adapter.engine.delete_sa(handle);
    });
    match deleted {
        Ok(read) => request.accept(read),
        Err(status) => request.refuse(status),
    }
}

/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA: "the miniport driver can fail this request if the SA is
/// not found or the ESN is not supported. In this case, the returned status should be
/// NDIS_STATUS_INVALID_PARAMETER".
fn update(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let update = match UpdateSa::parse(request.input()) {
        Ok(update) => update,
        Err(refusal) => return refuse(request, refusal),
    };
    let updated = adapter.engine.update_sa(
        update.handle,
        update.operation,
        update.spi,
        update.sequence_number_high,
    );
    match updated {
        Ok(()) => request.accept(UpdateSa::SIZE),
        Err(_) => request.refuse(NDIS_STATUS_INVALID_PARAMETER),
    }
}

/// Answers a request whose buffer is wrong.
fn refuse(request: OidRequest<'_>, refusal: Refusal) -> Answered {
    match refusal {
        Refusal::TooShort(needed) => request.too_short(needed),
        Refusal::Status(status) => request.refuse(status),
    }
}
