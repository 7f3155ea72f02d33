//! The entry points that NDIS calls (MiniportXxx), thin: each turns its raw parameters into the
//! types of `ndis` and calls safe code. All trust in NDIS is argued here.

use alloc::boxed::Box;
use core::ptr::NonNull;

use ndis::{FrameQueue, MiniportHandle, OidRequest, Passive, SendChain, at_dispatch};
use ndis_sys::{
    BOOLEAN, NDIS_DEFAULT_PORT_NUMBER, NDIS_HALT_ACTION, NDIS_HANDLE,
    NDIS_MINIPORT_INIT_PARAMETERS, NDIS_MINIPORT_PAUSE_PARAMETERS,
    NDIS_MINIPORT_RESTART_PARAMETERS, NDIS_OID_REQUEST, NDIS_PORT_NUMBER, NDIS_SHUTDOWN_ACTION,
    NDIS_STATUS, NDIS_STATUS_FAILURE, NDIS_STATUS_INVALID_DATA, NDIS_STATUS_SUCCESS,
    NDIS_TEST_RETURN_AT_DISPATCH_LEVEL, NDIS_TEST_SEND_AT_DISPATCH_LEVEL, NET_BUFFER_LIST,
    NET_DEVICE_PNP_EVENT, NdisDevicePnPEventSurpriseRemoved, NdisShutdownBugCheck, PVOID, ULONG,
};

use crate::{
    adapter::{Adapter, halt, init, pause, reset, restart},
    direct_oid, oid, receive, send,
};

/// The adapter behind MiniportAdapterContext.
///
/// # Safety
/// `context` is the parameter of a MiniportXxx call: NDIS passes what MiniportInitializeEx set, and
/// calls nothing for the adapter after MiniportHaltEx has begun. The reference is used during that
/// call only.
unsafe fn adapter<'a>(context: NDIS_HANDLE) -> &'a Adapter {
    // SAFETY: by the caller's promise.
    unsafe { &*context.cast::<Adapter>() }
}

/// MiniportInitializeEx.
pub unsafe extern "efiapi" fn initialize(
    handle: NDIS_HANDLE,
    _driver_context: NDIS_HANDLE,
    parameters: *mut NDIS_MINIPORT_INIT_PARAMETERS,
) -> NDIS_STATUS {
    // SAFETY: called at PASSIVE_LEVEL, with the adapter's handle and valid parameters; the handle is
    // not used after a failure or after MiniportHaltEx.
    let (at, handle, parameters) = unsafe {
        (
            Passive::assume(),
            MiniportHandle::from_raw(handle),
            parameters.as_ref(),
        )
    };
    let Some(parameters) = parameters else {
        return NDIS_STATUS_FAILURE;
    };
    match init::initialize(handle, parameters, at) {
        Ok(()) => NDIS_STATUS_SUCCESS,
        Err(status) => status,
    }
}

/// MiniportHaltEx. Why it halts makes no difference: all of it is memory.
pub unsafe extern "efiapi" fn halt(context: NDIS_HANDLE, _action: NDIS_HALT_ACTION) {
    // SAFETY: a MiniportXxx call at PASSIVE_LEVEL, and the last one.
    let (at, shared) = unsafe { (Passive::assume(), adapter(context)) };
    halt::leave(shared, at);
    // SAFETY: the adapter that MiniportInitializeEx leaked from its box, taken back once; the other adapters
    // and its work item have let go of it, and its DPCs, which dropping it retires, find nothing to do.
    let adapter = unsafe { Box::from_raw(context.cast::<Adapter>()) };
    halt::halt(adapter);
}

/// MiniportPause.
pub unsafe extern "efiapi" fn pause(
    context: NDIS_HANDLE,
    _parameters: *mut NDIS_MINIPORT_PAUSE_PARAMETERS,
) -> NDIS_STATUS {
    // SAFETY: a MiniportXxx call at PASSIVE_LEVEL.
    let (at, adapter) = unsafe { (Passive::assume(), adapter(context)) };
    pause::pause(adapter, at)
}

/// MiniportRestart.
pub unsafe extern "efiapi" fn restart(
    context: NDIS_HANDLE,
    _parameters: *mut NDIS_MINIPORT_RESTART_PARAMETERS,
) -> NDIS_STATUS {
    // SAFETY: a MiniportXxx call at PASSIVE_LEVEL.
    let (at, adapter) = unsafe { (Passive::assume(), adapter(context)) };
    restart::restart(adapter, at)
}

/// MiniportOidRequest. NDIS serializes them.
pub unsafe extern "efiapi" fn oid_request(
    context: NDIS_HANDLE,
    request: *mut NDIS_OID_REQUEST,
) -> NDIS_STATUS {
    let Some(request) = NonNull::new(request) else {
        return NDIS_STATUS_INVALID_DATA;
    };
    // SAFETY: a MiniportXxx call at PASSIVE_LEVEL, with a request to answer.
    let (at, adapter, request) = unsafe {
        (
            Passive::assume(),
            adapter(context),
            OidRequest::from_raw(request),
        )
    };
    oid::handle(adapter, request, at).status()
}

/// MiniportCancelOidRequest: every request is answered before MiniportOidRequest returns, so none
/// is left that could be cancelled.
pub unsafe extern "efiapi" fn cancel_oid_request(_context: NDIS_HANDLE, _request_id: PVOID) {}

/// MiniportDirectOidRequest: on any number of processors at once, at IRQL <= DISPATCH_LEVEL.
pub unsafe extern "efiapi" fn direct_oid_request(
    context: NDIS_HANDLE,
    request: *mut NDIS_OID_REQUEST,
) -> NDIS_STATUS {
    let Some(request) = NonNull::new(request) else {
        return NDIS_STATUS_INVALID_DATA;
    };
    // SAFETY: a MiniportXxx call, with a request to answer.
    let (adapter, request) = unsafe { (adapter(context), OidRequest::from_raw(request)) };
    at_dispatch(false, |at| direct_oid::handle(adapter, request, at)).status()
}

/// MiniportCancelDirectOidRequest: as [`cancel_oid_request`].
pub unsafe extern "efiapi" fn cancel_direct_oid_request(_context: NDIS_HANDLE, _request_id: PVOID) {
}

/// MiniportSendNetBufferLists.
pub unsafe extern "efiapi" fn send_net_buffer_lists(
    context: NDIS_HANDLE,
    lists: *mut NET_BUFFER_LIST,
    port: NDIS_PORT_NUMBER,
    flags: ULONG,
) {
    // SAFETY: a MiniportXxx call; NDIS hands the lists over.
    let (adapter, chain) = unsafe {
        let adapter = adapter(context);
        (adapter, SendChain::from_raw(adapter.handle, lists))
    };
    at_dispatch(NDIS_TEST_SEND_AT_DISPATCH_LEVEL(flags), |at| {
        if port == NDIS_DEFAULT_PORT_NUMBER {
            send::send(adapter, chain, at);
        } else {
            // No other port was ever allocated.
            chain.complete(NDIS_STATUS_FAILURE, at);
        }
    });
}

/// MiniportReturnNetBufferLists.
pub unsafe extern "efiapi" fn return_net_buffer_lists(
    context: NDIS_HANDLE,
    lists: *mut NET_BUFFER_LIST,
    flags: ULONG,
) {
    // SAFETY: a MiniportXxx call; NDIS gives lists back that this adapter indicated.
    let (adapter, frames) = unsafe { (adapter(context), FrameQueue::from_returned(lists)) };
    at_dispatch(NDIS_TEST_RETURN_AT_DISPATCH_LEVEL(flags), |at| {
        receive::returned(adapter, frames, at);
    });
}

/// MiniportCancelSend.
pub unsafe extern "efiapi" fn cancel_send(context: NDIS_HANDLE, cancel_id: PVOID) {
    // SAFETY: a MiniportXxx call.
    let adapter = unsafe { adapter(context) };
    at_dispatch(false, |at| send::cancel(adapter, cancel_id, at));
}

/// MiniportResetEx.
pub unsafe extern "efiapi" fn reset(
    context: NDIS_HANDLE,
    addressing_reset: *mut BOOLEAN,
) -> NDIS_STATUS {
    // SAFETY: a MiniportXxx call; the result's place is NDIS'.
    let adapter = unsafe {
        if let Some(addressing_reset) = addressing_reset.as_mut() {
            *addressing_reset = 0;
        }
        adapter(context)
    };
    at_dispatch(false, |at| reset::reset(adapter, at))
}

/// MiniportDevicePnPEventNotify. The power profile makes no difference to an adapter without
/// hardware; the other events announce a pause and a halt.
pub unsafe extern "efiapi" fn device_pnp_event_notify(
    context: NDIS_HANDLE,
    event: *mut NET_DEVICE_PNP_EVENT,
) {
    // SAFETY: a MiniportXxx call at PASSIVE_LEVEL, with a valid event.
    let (at, adapter, event) = unsafe { (Passive::assume(), adapter(context), event.as_ref()) };
    if event.is_some_and(|event| event.DevicePnPEvent == NdisDevicePnPEventSurpriseRemoved) {
        halt::surprise_removed(adapter, at);
    }
}

/// MiniportShutdownEx. After a bug check it runs at a high IRQL and must touch nothing.
pub unsafe extern "efiapi" fn shutdown(context: NDIS_HANDLE, action: NDIS_SHUTDOWN_ACTION) {
    if action == NdisShutdownBugCheck {
        return;
    }
    // SAFETY: a MiniportXxx call at PASSIVE_LEVEL.
    let (at, adapter) = unsafe { (Passive::assume(), adapter(context)) };
    halt::shut_down(adapter, at);
}
