//! ADD_SA and ADD_SA_EX: what is done with an SA that the buffer describes.

use ipsec::{AddError, Endpoints, Operation, SaHandle, Simd};
use ndis::{Answered, Dispatch, OidRequest, SaveFailed};
use ndis_sys::*;
use oid_buffers::{AddSa, AddSaEx, AddSaList, Refusal};

use super::refuse;
use crate::{
    adapter::{Adapter, state::Reason},
    ethernet::Family,
    simd::with_simd,
    stack,
};

/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA: succeeds if any SA of the list was offloaded; an SA that was
/// not gets a null handle. A list that is wrong as a list offloads nothing.
pub fn add_list(adapter: &Adapter, mut request: OidRequest<'_>, at: Dispatch<'_>) -> Answered {
    if let Some(status) = refusal(adapter) {
        return request.refuse(status);
    }
    let result = AddSaList::new(request.input_mut()).map(|list| {
        with_simd(adapter.features, at, |simd| {
            list.offload(|add| offload(adapter, add, simd))
        })
    });
    answer(request, result)
}

/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: one SA.
pub fn add_extended(adapter: &Adapter, mut request: OidRequest<'_>, at: Dispatch<'_>) -> Answered {
    if let Some(status) = refusal(adapter) {
        return request.refuse(status);
    }
    let result = AddSaEx::new(request.input_mut()).map(|one| {
        with_simd(adapter.features, at, |simd| {
            one.offload(|add| offload(adapter, add, simd))
        })
    });
    answer(request, result)
}

/// Why no SA is added now.
fn refusal(adapter: &Adapter) -> Option<NDIS_STATUS> {
    if adapter.state.is(Reason::Resetting) {
        Some(NDIS_STATUS_NOT_ACCEPTED)
    } else if !stack::has_room() {
        // The request is answered before it returns, so nobody else could do it; the transport does
        // IPsec itself.
        Some(NDIS_STATUS_RESOURCES)
    } else {
        None
    }
}

/// From the outside in: the buffer, the extended state, the SAs.
fn answer(
    request: OidRequest<'_>,
    result: Result<Result<Result<usize, NDIS_STATUS>, SaveFailed>, Refusal>,
) -> Answered {
    match result {
        Ok(Ok(Ok(read))) => request.accept(read),
        Ok(Ok(Err(status))) => request.refuse(status),
        Ok(Err(SaveFailed)) => request.refuse(NDIS_STATUS_RESOURCES),
        Err(refusal) => refuse(request, refusal),
    }
}

/// Asks the engine.
fn offload(adapter: &Adapter, add: &AddSa<'_>, simd: &Simd) -> Result<SaHandle, NDIS_STATUS> {
    // What was switched off is not offloaded: "the NIC configuration changes and excludes a
    // particular algorithm".
    let current = adapter.offload.current();
    let setting = current.settings.ipsec;
    add.with_params(|params| {
        let family = match params.endpoints {
            Endpoints::V4 { .. } => Family::V4,
            Endpoints::V6 { .. } => Family::V6,
        };
        if !current.sends(family) {
            return Err(NDIS_STATUS_NOT_SUPPORTED);
        }
        for association in params.associations {
            let enabled = match association.operation {
                Operation::Ah => setting.ah,
                Operation::Esp => setting.esp,
            };
            if !enabled {
                return Err(NDIS_STATUS_NOT_SUPPORTED);
            }
        }
        adapter
            .engine
            .add_sa(simd, params)
            .map_err(|error| match error {
                AddError::InvalidParameter => NDIS_STATUS_INVALID_PARAMETER,
                AddError::NotSupported => NDIS_STATUS_NOT_SUPPORTED,
                AddError::Resources => NDIS_STATUS_RESOURCES,
            })
    })
}
