//! OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA.

use ipsec::SaHandle;
use ndis_sys::{
    IPSEC_OFFLOAD_V2_DELETE_SA, NDIS_SIZEOF_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1, NDIS_STATUS,
    NDIS_STATUS_REQUEST_ABORTED, read,
};

use crate::list::List;

/// Hands every handle of the list to `each`, and returns the bytes read.
///
/// # Errors
/// NDIS_STATUS_REQUEST_ABORTED where the list cannot be walked to its end; the handles before that were
/// handed over. The request may end with SUCCESS, NOT_ACCEPTED or REQUEST_ABORTED only (Driver Verifier,
/// NdisOidComplete).
pub fn delete_sa(buffer: &[u8], mut each: impl FnMut(SaHandle)) -> Result<usize, NDIS_STATUS> {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1;
    const { assert!(SIZE == size_of::<IPSEC_OFFLOAD_V2_DELETE_SA>()) }

    for offset in List::of::<IPSEC_OFFLOAD_V2_DELETE_SA>(SIZE, buffer).elements(buffer) {
        let sa = offset
            .and_then(|offset| buffer.get(offset..))
            .and_then(read::<IPSEC_OFFLOAD_V2_DELETE_SA>)
            .ok_or(NDIS_STATUS_REQUEST_ABORTED)?;
        if let Some(handle) = SaHandle::from_raw(sa.OffloadHandle.addr() as u64) {
            each(handle);
        }
    }
    Ok(buffer.len())
}
