//! Halt, pause, restart, reset and notices of the loopback driver.

use std::sync::atomic::Ordering::SeqCst;

use ndis_sim::{Irql, ndis::header, processor};
use ndis_sys::*;

use super::{
    driver::{At, Loop, Misdeed, look},
    handlers::zeroed,
    initialize::{configure, offload, offload_ipv6_checksum, registration, set},
    plan,
};
use crate::ndis;

pub unsafe extern "efiapi" fn tick(_: PVOID, context: PVOID, _: PVOID, _: PVOID) {
    Loop::of(context).ticks.fetch_add(1, SeqCst);
}

pub unsafe extern "efiapi" fn work(context: PVOID, _: NDIS_HANDLE) {
    Loop::of(context).queued.store(false, SeqCst);
}

pub unsafe extern "efiapi" fn halt(context: NDIS_HANDLE, _: NDIS_HALT_ACTION) {
    let adapter = Loop::of(context);
    let keep = |misdeed| adapter.does(misdeed);
    adapter.deed(At::Halt, 0);
    if keep(Misdeed::IndicatePaused) {
        let up = ndis!(NdisAllocateNetBufferAndNetBufferList(
            adapter.pool,
            0,
            0,
            adapter.mdl,
            0,
            60
        )) as *mut NET_BUFFER_LIST;
        // SAFETY: the driver's own list.
        unsafe { (*up).SourceHandle = adapter.handle() };
        ndis!(NdisMIndicateReceiveNetBufferLists(
            adapter.handle,
            up,
            0,
            1,
            0
        ));
    }
    if keep(Misdeed::LinkLostInHalt) {
        tell_link(adapter.handle, MediaConnectStateDisconnected);
    }
    if keep(Misdeed::FreeSetTimer) {
        ndis!(NdisSetTimerObject(
            adapter.timer,
            -10_000_000_000i64,
            0,
            context
        ));
    }
    if !keep(Misdeed::LeakTimer) {
        ndis!(NdisFreeTimerObject(adapter.timer));
    }
    // The one that MiniportRestart queued must have run.
    while adapter.queued.load(SeqCst) {
        ndis!(NdisMSleep(100));
    }
    if !keep(Misdeed::LeakWorkItem) {
        ndis!(NdisFreeIoWorkItem(adapter.work_item));
    }
    if !keep(Misdeed::LeakMdl) {
        ndis!(NdisFreeMdl(adapter.mdl));
    }
    if keep(Misdeed::FreeMdlTwice) {
        ndis!(NdisFreeMdl(adapter.mdl));
    }
    if !keep(Misdeed::LeakMemory) {
        ndis!(NdisFreeMemory(adapter.memory, 4096, 0));
    }
    if !keep(Misdeed::LeakPool) {
        ndis!(NdisFreeNetBufferListPool(adapter.pool));
    }
}

/// MiniportSetOptions: a driver with MiniportAddDevice, and nothing else of its kind.
pub unsafe extern "efiapi" fn set_options(driver: NDIS_HANDLE, _: NDIS_HANDLE) -> NDIS_STATUS {
    let head = header::PNP_CHARACTERISTICS.header(plan().version);
    // The header, and MiniportAddDeviceHandler as the first of four handlers.
    let mut pnp = [0, add_device as *const () as u64, 0, 0, 0, 0];
    // SAFETY: the header is of four bytes, at the beginning.
    unsafe { (&raw mut pnp).cast::<NDIS_OBJECT_HEADER>().write(head) };
    ndis!(NdisSetOptionalHandlers(driver, &raw const pnp)) as NDIS_STATUS
}

extern "efiapi" fn add_device(handle: u64, _: NDIS_HANDLE) -> NDIS_STATUS {
    if plan().does(Misdeed::StatusUnstarted) {
        indicate_link(handle);
    } else {
        ndis!(NdisMGetDeviceProperty(handle, 0, 0, 0, 0, 0));
    }
    NDIS_STATUS_SUCCESS
}

pub extern "efiapi" fn indicate_link(handle: u64) {
    status(handle, handle, NDIS_STATUS_MEDIA_SPECIFIC_INDICATION, &[]);
}

/// Indicates NDIS_STATUS_LINK_STATE.
pub fn tell_link(handle: u64, connect: NDIS_MEDIA_CONNECT_STATE) {
    let mut link: NDIS_LINK_STATE = zeroed();
    link.Header = header::LINK_STATE.header(plan().version);
    link.MediaConnectState = connect;
    // SAFETY: plain data.
    let bytes =
        unsafe { std::slice::from_raw_parts((&raw const link).cast::<u8>(), size_of_val(&link)) };
    status(handle, handle, NDIS_STATUS_LINK_STATE, bytes);
}

/// Indicates a status.
pub fn status(handle: u64, source: u64, code: NDIS_STATUS, buffer: &[u8]) {
    let mut s: NDIS_STATUS_INDICATION = zeroed();
    s.Header = header::STATUS_INDICATION.header((6, 1));
    if plan().does(Misdeed::OldStatus) {
        s.Header.Size = 64;
    }
    s.SourceHandle = source as NDIS_HANDLE;
    s.StatusCode = code;
    if !buffer.is_empty() {
        s.StatusBuffer = buffer.as_ptr() as PVOID;
        s.StatusBufferSize = buffer.len() as u32;
    }
    ndis!(NdisMIndicateStatusEx(handle, &raw const s));
}

/// What may go wrong with an NDIS_SPIN_LOCK.
fn locks(misdeed: Misdeed) {
    let lock = Box::leak(Box::new([0u64; 2])).as_ptr();
    ndis!(NdisAllocateSpinLock(lock));
    ndis!(NdisAcquireSpinLock(lock));
    ndis!(NdisReleaseSpinLock(lock));
    match misdeed {
        Misdeed::LockTwice => {
            ndis!(NdisAcquireSpinLock(lock));
            ndis!(NdisAcquireSpinLock(lock));
        }
        Misdeed::LockUnowned => {
            let _raised = processor::current().raise(Irql::DISPATCH);
            ndis!(NdisReleaseSpinLock(lock));
        }
        Misdeed::LockKept => {
            ndis!(NdisAcquireSpinLock(lock));
            processor::current().set_irql(Irql::PASSIVE);
        }
        Misdeed::DprLockKept => {
            let raised = processor::current().raise(Irql::DISPATCH);
            ndis!(NdisDprAcquireSpinLock(lock));
            ndis!(NdisDprReleaseSpinLock(lock));
            ndis!(NdisDprAcquireSpinLock(lock));
            drop(raised);
        }
        _ => {
            ndis!(NdisDprAcquireSpinLock(lock));
        }
    }
    ndis!(NdisFreeSpinLock(lock));
}

/// Indicates the offload configuration.
pub fn indicate_offload(adapter: &Loop) {
    let mut offload = offload(adapter.plan.version);
    if adapter.does(Misdeed::ExcessConfiguration) {
        offload.IPsecV2.AuthenticationAlgorithms |= IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1;
    }
    if adapter.does(Misdeed::ExcessChecksum) {
        offload.Checksum.IPv6Receive = offload_ipv6_checksum();
    }
    if adapter.checksum_off.load(SeqCst) && !adapter.does(Misdeed::LeaveOn) {
        offload.Checksum.IPv4Transmit = zeroed();
    }
    // SAFETY: plain data.
    let bytes = unsafe {
        std::slice::from_raw_parts((&raw const offload).cast::<u8>(), size_of::<NDIS_OFFLOAD>())
    };
    status(
        adapter.handle,
        adapter.handle,
        NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG,
        bytes,
    );
}

pub unsafe extern "efiapi" fn pause(
    context: NDIS_HANDLE,
    parameters: *mut NDIS_MINIPORT_PAUSE_PARAMETERS,
) -> NDIS_STATUS {
    let adapter = Loop::of(context);
    // SAFETY: NDIS's structure.
    let kind = unsafe { (*parameters).Header }.Type;
    assert_eq!(kind, NDIS_OBJECT_TYPE_DEFAULT);
    adapter.running.store(false, SeqCst);
    if let Some(status) = adapter.deed(At::Pause, parameters as u64) {
        return status;
    }
    if adapter.does(Misdeed::ReadBehindParameters) {
        look(
            parameters as u64
                + size_of::<NDIS_MINIPORT_PAUSE_PARAMETERS>().next_multiple_of(8) as u64,
        );
    }
    if adapter.does(Misdeed::PauseFails) {
        return NDIS_STATUS_FAILURE;
    }
    adapter.pausing.store(true, SeqCst);
    if adapter.out() == 0 || adapter.does(Misdeed::PauseEarly) {
        adapter.pausing.store(false, SeqCst);
        return NDIS_STATUS_SUCCESS;
    }
    NDIS_STATUS_PENDING
}

pub unsafe extern "efiapi" fn restart(
    context: NDIS_HANDLE,
    parameters: *mut NDIS_MINIPORT_RESTART_PARAMETERS,
) -> NDIS_STATUS {
    let adapter = Loop::of(context);
    let version = adapter.plan.version;
    // SAFETY: NDIS's structures.
    unsafe {
        let list = (*parameters).RestartAttributes;
        let oid = std::mem::offset_of!(NDIS_RESTART_ATTRIBUTES, Oid);
        assert_eq!(
            list.byte_add(oid).cast::<u32>().read(),
            OID_GEN_MINIPORT_RESTART_ATTRIBUTES
        );
        let data = list.byte_add(std::mem::offset_of!(NDIS_RESTART_ATTRIBUTES, Data));
        let general = data.cast::<NDIS_RESTART_GENERAL_ATTRIBUTES>();
        assert_eq!((*general).MtuSize, adapter.largest - 14);
    }
    if let Some(status) = adapter.deed(At::Restart, 0) {
        return status;
    }
    match adapter.plan.misdeed {
        Misdeed::AttributesLate => {
            let again = registration(version, adapter);
            set(adapter.handle, &raw const again);
        }
        Misdeed::PauseUnasked => {
            ndis!(NdisMPauseComplete(adapter.handle));
        }
        Misdeed::ResetUnasked => {
            ndis!(NdisMResetComplete(adapter.handle, 0, 0));
        }
        Misdeed::RestartUnasked => {
            ndis!(NdisMRestartComplete(adapter.handle, 0));
        }
        Misdeed::RestartOdd => return NDIS_STATUS_INVALID_DATA,
        Misdeed::StatusOtherSource => {
            status(
                adapter.handle,
                0x77,
                NDIS_STATUS_MEDIA_SPECIFIC_INDICATION,
                &[],
            );
        }
        Misdeed::ShortOffload => {
            status(
                adapter.handle,
                adapter.handle,
                NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG,
                &[0; 8],
            );
        }
        Misdeed::StatusAtDirql => {
            let _raised = processor::current().raise(Irql::DIRQL);
            indicate_link(adapter.handle);
        }
        _ => {}
    }
    indicate_offload(adapter);
    // A timer and a work item, for good measure.
    let period = i32::from(adapter.does(Misdeed::PeriodicAtDispatch)) * 1000;
    let context = &raw const *adapter;
    ndis!(NdisSetTimerObject(
        adapter.timer,
        -10_000_000i64,
        period,
        context
    ));
    if adapter.does(Misdeed::PeriodicAtDispatch) {
        let _raised = processor::current().raise(Irql::DISPATCH);
        ndis!(NdisCancelTimerObject(adapter.timer));
    }
    ndis!(NdisCancelTimerObject(adapter.timer));
    if !adapter.queued.swap(true, SeqCst) {
        ndis!(NdisQueueIoWorkItem(
            adapter.work_item,
            work as *const (),
            context
        ));
    }
    adapter.running.store(true, SeqCst);
    // Completed late: the driver says so before it returns.
    ndis!(NdisMRestartComplete(adapter.handle, NDIS_STATUS_SUCCESS));
    NDIS_STATUS_PENDING
}

pub unsafe extern "efiapi" fn reset(context: NDIS_HANDLE, addressing: *mut BOOLEAN) -> NDIS_STATUS {
    let adapter = Loop::of(context);
    if adapter.does(Misdeed::ResetOdd) {
        return NDIS_STATUS_INVALID_DATA;
    }
    // SAFETY: NDIS's variable.
    unsafe { addressing.write(1) };
    NDIS_STATUS_SUCCESS
}

pub unsafe extern "efiapi" fn pnp(context: NDIS_HANDLE, event: *mut NET_DEVICE_PNP_EVENT) {
    let adapter = Loop::of(context);
    // SAFETY: NDIS's structure.
    let event = unsafe { (*event).DevicePnPEvent };
    adapter.plan.note(format!("pnp {event}"));
    if event == NdisDevicePnPEventSurpriseRemoved {
        adapter.removed.store(true, SeqCst);
    }
    match adapter.plan.misdeed {
        Misdeed::SleepAtDispatch => {
            let _raised = processor::current().raise(Irql::DISPATCH);
            ndis!(NdisMSleep(10));
        }
        Misdeed::LockTwice | Misdeed::LockUnowned | Misdeed::LockKept => {
            locks(adapter.plan.misdeed)
        }
        Misdeed::DprLockKept | Misdeed::DprLockLow => locks(adapter.plan.misdeed),
        Misdeed::EventWaitHigh => {
            let event = Box::leak(Box::new([0u64; 4])).as_ptr();
            ndis!(NdisInitializeEvent(event));
            ndis!(NdisSetEvent(event));
            assert_eq!(ndis!(NdisWaitEvent(event, 10)) & 0xFF, 1);
            ndis!(NdisResetEvent(event));
            assert_eq!(ndis!(NdisWaitEvent(event, 1)) & 0xFF, 0);
            let _raised = processor::current().raise(Irql::DISPATCH);
            ndis!(NdisWaitEvent(event, 10));
        }
        Misdeed::StallLong => {
            ndis!(NdisStallExecution(50));
            ndis!(NdisStallExecution(51));
        }
        Misdeed::ConfigurationAtDispatch => {
            let _raised = processor::current().raise(Irql::DISPATCH);
            configure(adapter.handle);
        }
        _ => {
            ndis!(NdisMSleep(10));
        }
    }
}

pub unsafe extern "efiapi" fn shutdown(context: NDIS_HANDLE, action: NDIS_SHUTDOWN_ACTION) {
    let irql = processor::current().irql();
    Loop::of(context)
        .plan
        .note(format!("shutdown {action} at {irql}"));
}

pub unsafe extern "efiapi" fn check_for_hang(context: NDIS_HANDLE) -> BOOLEAN {
    BOOLEAN::from(Loop::of(context).plan.hangs.swap(false, SeqCst))
}
