//! OID requests of the loopback driver.

use std::{ptr::null_mut, sync::atomic::Ordering::SeqCst};

use ndis_sim::{Irql, ndis::header, processor};
use ndis_sys::*;

use super::{
    driver::{At, Loop, Misdeed, look},
    initialize::SA_CAPACITY,
    life::{indicate_offload, tell_link},
    plan,
};
use crate::ndis;

pub unsafe extern "efiapi" fn oid(
    context: NDIS_HANDLE,
    request: *mut NDIS_OID_REQUEST,
) -> NDIS_STATUS {
    let adapter = Loop::of(context);
    if let Some(status) = adapter.deed(At::Oid, request as u64) {
        return status;
    }
    // SAFETY: NDIS's request; the member is there for every type.
    let code = unsafe { (*request).DATA.Oid };
    match code {
        OID_GEN_CURRENT_PACKET_FILTER | OID_GEN_CURRENT_LOOKAHEAD => {
            if adapter.plan.checks_hang {
                adapter.plan.note("filter");
            }
            // SAFETY: a set request of this OID.
            unsafe { (*request).DATA.SET_INFORMATION.BytesRead = 4 };
            NDIS_STATUS_SUCCESS
        }
        _ if adapter.removed.load(SeqCst) && !adapter.does(Misdeed::AnswerRemoved) => {
            NDIS_STATUS_NOT_ACCEPTED
        }
        OID_OFFLOAD_ENCAPSULATION | OID_TCP_OFFLOAD_PARAMETERS => {
            if code == OID_TCP_OFFLOAD_PARAMETERS {
                let at = std::mem::offset_of!(NDIS_OFFLOAD_PARAMETERS, IPv4Checksum);
                // SAFETY: a set request of this OID, with a buffer that has the member.
                let wanted = unsafe {
                    let buffer = (*request).DATA.SET_INFORMATION.InformationBuffer;
                    buffer.cast::<u8>().add(at).read()
                };
                let off = wanted == NDIS_OFFLOAD_PARAMETERS_TX_RX_DISABLED;
                adapter.checksum_off.store(off, SeqCst);
                if adapter.plan.slow_change {
                    adapter.plan.note("change");
                    while adapter.sas.lock().unwrap().is_empty() {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                }
            }
            if !adapter.does(Misdeed::KeepConfiguration) {
                indicate_offload(adapter);
            }
            NDIS_STATUS_SUCCESS
        }
        OID_PNP_SET_POWER => {
            if adapter.does(Misdeed::LinkLostAsleep) {
                tell_link(adapter.handle, MediaConnectStateDisconnected);
            }
            NDIS_STATUS_SUCCESS
        }
        OID_802_3_MULTICAST_LIST => {
            // SAFETY: a set request of this OID.
            unsafe {
                let set = &raw mut (*request).DATA.SET_INFORMATION;
                (*set).BytesRead = (*set).InformationBufferLength;
            }
            NDIS_STATUS_SUCCESS
        }
        OID_PM_PARAMETERS => {
            adapter.plan.note("power parameters");
            NDIS_STATUS_SUCCESS
        }
        // SAFETY: NDIS's request, a query.
        OID_GEN_MAXIMUM_TOTAL_SIZE => unsafe {
            answer(adapter, request, &adapter.largest.to_le_bytes())
        },
        OID_GEN_XMIT_OK => {
            if adapter.does(Misdeed::PnpInOid) {
                let mut event = [0u64; 21];
                let header = header::PNP_EVENT_NOTIFICATION.header(adapter.plan.version);
                // SAFETY: the array has room for the header.
                unsafe {
                    event
                        .as_mut_ptr()
                        .cast::<NDIS_OBJECT_HEADER>()
                        .write(header)
                };
                ndis!(NdisMNetPnPEvent(adapter.handle, event.as_ptr()));
            }
            // SAFETY: as above.
            let status =
                unsafe { answer(adapter, request, &adapter.sent.load(SeqCst).to_le_bytes()) };
            if !adapter.plan.pend_oids {
                return status;
            }
            if adapter.does(Misdeed::KeepOid) {
                adapter.kept.lock().unwrap().push_back(request as u64);
                return NDIS_STATUS_PENDING;
            }
            pend(adapter, request, status)
        }
        _ => NDIS_STATUS_NOT_SUPPORTED,
    }
}

/// Completes a request from elsewhere, before or after the handler returns.
fn pend(adapter: &Loop, request: *mut NDIS_OID_REQUEST, status: NDIS_STATUS) -> NDIS_STATUS {
    let handle = adapter.handle;
    let status = match adapter.plan.misdeed {
        Misdeed::ReturnOddPending => NDIS_STATUS_PENDING,
        _ => status,
    };
    match adapter.plan.misdeed {
        Misdeed::CompleteOidTwice => {
            ndis!(NdisMOidRequestComplete(handle, request, status));
            ndis!(NdisMOidRequestComplete(handle, request, status));
        }
        Misdeed::CompleteReturned => {
            ndis!(NdisMOidRequestComplete(handle, request, status));
            return NDIS_STATUS_SUCCESS;
        }
        Misdeed::CompleteOidAtDirql => {
            let _raised = processor::current().raise(Irql::DIRQL);
            ndis!(NdisMOidRequestComplete(handle, request, status));
        }
        Misdeed::DirectOnRegular => {
            ndis!(NdisMDirectOidRequestComplete(handle, request, status));
        }
        _ => {
            let request = request as u64;
            let machine = processor::current().machine().arc();
            machine.spawn(None, Irql::DISPATCH, move || {
                let f = complete_oid as *const ();
                // SAFETY: the function below, with its arguments.
                unsafe { ndis_sim::gate::call("a DPC", f, &[handle, request, status as u64]) };
            });
        }
    }
    NDIS_STATUS_PENDING
}

extern "efiapi" fn complete_oid(handle: u64, request: u64, status: u64) {
    // Looked up before: the test may be over once the request is complete.
    let looks = plan().does(Misdeed::ReadCompletedOid);
    ndis!(NdisMOidRequestComplete(handle, request, status));
    if looks {
        // The protocol frees its request some time after it has got it back.
        for _ in 0..5000 {
            look(request);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// Answers a query.
///
/// # Safety
/// `request` is a query.
unsafe fn answer(adapter: &Loop, request: *mut NDIS_OID_REQUEST, data: &[u8]) -> NDIS_STATUS {
    // SAFETY: as the caller says; the buffer has the length that it says.
    unsafe {
        let query = &raw mut (*request).DATA.QUERY_INFORMATION;
        if ((*query).InformationBufferLength as usize) < data.len() {
            if !adapter.does(Misdeed::NeededTooSmall) {
                (*query).BytesNeeded = data.len() as u32;
            }
            return NDIS_STATUS_BUFFER_TOO_SHORT;
        }
        std::ptr::copy_nonoverlapping(data.as_ptr(), (*query).InformationBuffer.cast(), data.len());
        (*query).BytesWritten = data.len() as u32;
        let buffer = (*query).InformationBuffer as u64;
        match adapter.plan.misdeed {
            Misdeed::WriteBeforeBuffer => (*query).InformationBuffer.cast::<u8>().sub(1).write(0),
            Misdeed::ReadBehindBuffer => {
                look(buffer + u64::from((*query).InformationBufferLength).next_multiple_of(8));
            }
            Misdeed::ReadBeforeBuffer => look(buffer - 1),
            Misdeed::ReadBehindRequest => look(request as u64 + size_of_val(&*request) as u64),
            _ => {}
        }
        if adapter.does(Misdeed::TooManyBytes) {
            (*query).BytesWritten = (*query).InformationBufferLength + 1;
        }
    }
    NDIS_STATUS_SUCCESS
}

pub unsafe extern "efiapi" fn direct_oid(
    context: NDIS_HANDLE,
    request: *mut NDIS_OID_REQUEST,
) -> NDIS_STATUS {
    let adapter = Loop::of(context);
    if let Some(status) = adapter.deed(At::DirectOid, request as u64) {
        return status;
    }
    if adapter.does(Misdeed::DeleteFails) {
        return NDIS_STATUS_INVALID_PARAMETER;
    }
    if adapter.removed.load(SeqCst) && !adapter.does(Misdeed::AnswerRemoved) {
        return NDIS_STATUS_NOT_ACCEPTED;
    }
    // SAFETY: a set request, whose buffer is as the tests lay it out.
    unsafe {
        let buffer = (*request).DATA.SET_INFORMATION.InformationBuffer;
        match (*request).DATA.Oid {
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA => add_sas(adapter, buffer.cast()),
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA => {
                let handle = buffer.cast::<u64>().add(1).read();
                let known = || adapter.sas.lock().unwrap().contains(&(handle, true));
                let esn = known();
                if esn && adapter.plan.slow_update {
                    adapter.plan.note("update");
                    while known() {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                }
                let taken = esn && !adapter.does(Misdeed::UpdateForgets);
                if taken || adapter.does(Misdeed::UpdateUnknown) {
                    NDIS_STATUS_SUCCESS
                } else if adapter.does(Misdeed::UpdateUnknownOdd) {
                    NDIS_STATUS_FAILURE
                } else {
                    NDIS_STATUS_INVALID_PARAMETER
                }
            }
            _ => {
                let mut next = buffer.cast::<IPSEC_OFFLOAD_V2_DELETE_SA>();
                while !next.is_null()
                    && (*request).DATA.SET_INFORMATION.InformationBufferLength >= 24
                {
                    let handle = (*next).OffloadHandle as u64;
                    adapter.sas.lock().unwrap().retain(|(sa, _)| *sa != handle);
                    next = (*next).Next;
                }
                NDIS_STATUS_SUCCESS
            }
        }
    }
}

/// Adds the SAs of a list, as many as there is room for.
///
/// # Safety
/// `first` is such a list.
unsafe fn add_sas(adapter: &Loop, first: *mut IPSEC_OFFLOAD_V2_ADD_SA) -> NDIS_STATUS {
    let mut next = first;
    let mut status = NDIS_STATUS_RESOURCES;
    while !next.is_null() {
        let mut sas = adapter.sas.lock().unwrap();
        // SAFETY: a member of the list.
        unsafe {
            let association = (*next).SecAssoc[0];
            let esn = association.Flags & IPSEC_OFFLOAD_V2_ESN_SA != 0;
            let offered = association.EncryptionAlgorithm.Identifier
                == IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128;
            let room = sas.len() < SA_CAPACITY as usize || adapter.does(Misdeed::OverCapacity);
            if !adapter.does(Misdeed::AddUnwritten) {
                (*next).OffloadHandle = null_mut();
            }
            if room && (offered || adapter.does(Misdeed::AddBeyondCapability)) {
                let handle = match adapter.does(Misdeed::ReuseHandle) {
                    true => 0x77,
                    false => adapter.next_sa.fetch_add(0x10, SeqCst),
                };
                sas.push((handle, esn));
                status = NDIS_STATUS_SUCCESS;
                if !adapter.does(Misdeed::AddNoHandle) {
                    (*next).OffloadHandle = handle as NDIS_HANDLE;
                }
            }
            next = (*next).Next;
        }
    }
    if status != NDIS_STATUS_SUCCESS && adapter.does(Misdeed::AddFailedHandle) {
        // SAFETY: the list has a first member.
        unsafe { (*first).OffloadHandle = 0x78 as NDIS_HANDLE };
    }
    status
}

pub unsafe extern "efiapi" fn cancel_oid(context: NDIS_HANDLE, id: PVOID) {
    let adapter = Loop::of(context);
    adapter.plan.note("cancel oid");
    let Some(request) = adapter.kept.lock().unwrap().pop_front() else {
        return;
    };
    // SAFETY: the request is pending.
    let pending = unsafe { (*(request as *const NDIS_OID_REQUEST)).RequestId };
    assert_eq!(pending, id);
    ndis!(NdisMOidRequestComplete(
        adapter.handle,
        request,
        NDIS_STATUS_REQUEST_ABORTED
    ));
}
