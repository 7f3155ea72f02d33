//! NDIS spin locks and events. The headers make macros of them over the kernel's; drivers that are
//! built with BINARY_COMPATIBLE import the functions.

use std::sync::atomic::AtomicUsize;

use crate::{
    exports::{Export, NDIS},
    irql::Irql,
    ntos::{dispatcher, irql, spin_lock},
};

use super::{rules, state::required};

/// NDIS_SPIN_LOCK.
#[repr(C)]
struct SpinLock {
    lock: AtomicUsize,
    /// OldIrql
    irql: u8,
}

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f| Export::new(NDIS, name, f, 1).irql_rule(rules::IRQL_SYNCHRONIZATION);
    let low = |name, f| any(name, f).at_most(Irql::DISPATCH);
    let dispatch = |name, f| any(name, f).exactly(Irql::DISPATCH);
    vec![
        any("NdisAllocateSpinLock", allocate as *const ()),
        any("NdisFreeSpinLock", free as *const ()),
        low("NdisAcquireSpinLock", acquire as *const ()),
        dispatch("NdisReleaseSpinLock", release as *const ()),
        dispatch("NdisDprAcquireSpinLock", dpr_acquire as *const ()),
        dispatch("NdisDprReleaseSpinLock", dpr_release as *const ()),
        any("NdisInitializeEvent", initialize_event as *const ()),
        low("NdisSetEvent", set_event as *const ()),
        low("NdisResetEvent", reset_event as *const ()),
        Export::new(NDIS, "NdisWaitEvent", wait_event as *const (), 2)
            .exactly(Irql::PASSIVE)
            .irql_rule(rules::IRQL_SYNCHRONIZATION),
    ]
}

unsafe extern "efiapi" fn allocate(lock: *mut SpinLock) {
    required(lock, "SpinLock");
    // SAFETY: the driver's NDIS_SPIN_LOCK.
    unsafe { spin_lock::initialize(&raw const (*lock).lock) };
}

unsafe extern "efiapi" fn free(lock: *mut SpinLock) {
    required(lock, "SpinLock");
}

unsafe extern "efiapi" fn acquire(lock: *mut SpinLock) {
    required(lock, "SpinLock");
    let before = irql::raise(Irql::DISPATCH);
    // SAFETY: the driver's NDIS_SPIN_LOCK; the owner of the lock writes the level.
    unsafe {
        spin_lock::acquire(&raw const (*lock).lock, "NdisReleaseSpinLock");
        (*lock).irql = before.0;
    }
}

unsafe extern "efiapi" fn release(lock: *mut SpinLock) {
    required(lock, "SpinLock");
    // SAFETY: as in `acquire`.
    unsafe {
        let before = (*lock).irql;
        spin_lock::release(&raw const (*lock).lock);
        irql::lower(Irql(before));
    }
}

unsafe extern "efiapi" fn dpr_acquire(lock: *mut SpinLock) {
    required(lock, "SpinLock");
    // SAFETY: as in `acquire`.
    unsafe {
        spin_lock::acquire(&raw const (*lock).lock, "NdisDprReleaseSpinLock");
        (*lock).irql = Irql::DISPATCH.0;
    }
}

unsafe extern "efiapi" fn dpr_release(lock: *mut SpinLock) {
    required(lock, "SpinLock");
    // SAFETY: as in `acquire`.
    unsafe { spin_lock::release(&raw const (*lock).lock) };
}

/// NDIS_EVENT is a KEVENT: a notification event.
unsafe extern "efiapi" fn initialize_event(event: *mut ndis_sys::KEVENT) {
    required(event, "Event");
    // SAFETY: the driver's NDIS_EVENT.
    unsafe { dispatcher::initialize_notification(event) };
}

unsafe extern "efiapi" fn set_event(event: *mut ndis_sys::KEVENT) {
    required(event, "Event");
    dispatcher::change(event, 1);
}

unsafe extern "efiapi" fn reset_event(event: *mut ndis_sys::KEVENT) {
    required(event, "Event");
    dispatcher::change(event, 0);
}

/// "If the value is 0, the caller waits indefinitely."
unsafe extern "efiapi" fn wait_event(event: *mut ndis_sys::KEVENT, milliseconds: u32) -> u8 {
    required(event, "Event");
    let timeout = -i64::from(milliseconds) * 10_000;
    let timeout = (milliseconds != 0).then_some(timeout);
    // SAFETY: the driver's NDIS_EVENT.
    u8::from(unsafe { dispatcher::wait_for(event, timeout) })
}
