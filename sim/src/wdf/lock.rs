//! WDFSPINLOCK and WDFWAITLOCK. Pages: WdfSpinLockAcquire, WdfWaitLockAcquire.

use std::{
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
    time::Duration,
};

use ndis_sys::{STATUS_SUCCESS, STATUS_TIMEOUT};

use super::{
    KMDF,
    attributes::{Parent, RawAttributes, attributes},
    loader::check_globals,
    object,
    object::{Body, create, finish},
};
use crate::{
    exports::Export,
    irql::Irql,
    ntos::spin_lock,
    processor,
    report::{rules, violation},
    sync::Event,
};

/// A spin lock with the IRQL that its owner came from.
#[derive(Default)]
pub(super) struct Spin {
    lock: AtomicUsize,
    irql: AtomicU8,
}

/// A lock that a thread waits for.
pub(super) struct Wait {
    free: Event,
}

unsafe extern "efiapi" fn wdf_spin_lock_create(
    globals: u64,
    raw: *const RawAttributes,
    out: *mut u64,
) -> i32 {
    check_globals(globals);
    // SAFETY: the driver's attributes.
    let made = unsafe { attributes(raw, Parent::Optional) };
    let made =
        made.and_then(|a| create(globals, "WDFSPINLOCK", &a, Body::SpinLock(Spin::default())));
    // SAFETY: the driver's variable for the handle.
    finish(made, |h| unsafe { out.write(h) })
}

unsafe extern "efiapi" fn wdf_spin_lock_acquire(globals: u64, handle: u64) {
    check_globals(globals);
    let object = object(handle, "WDFSPINLOCK");
    let Body::SpinLock(spin) = &object.body else {
        return;
    };
    let cpu = processor::current();
    let before = cpu.irql();
    cpu.set_irql(Irql::DISPATCH);
    // SAFETY: the object's own lock.
    unsafe { spin_lock::acquire(&raw const spin.lock, "WdfSpinLockRelease") };
    spin.irql.store(before.0, Ordering::Relaxed);
}

unsafe extern "efiapi" fn wdf_spin_lock_release(globals: u64, handle: u64) {
    check_globals(globals);
    let object = object(handle, "WDFSPINLOCK");
    let Body::SpinLock(spin) = &object.body else {
        return;
    };
    let before = Irql(spin.irql.load(Ordering::Relaxed));
    // SAFETY: the object's own lock.
    unsafe { spin_lock::release(&raw const spin.lock) };
    processor::current().set_irql(before);
}

unsafe extern "efiapi" fn wdf_wait_lock_create(
    globals: u64,
    raw: *const RawAttributes,
    out: *mut u64,
) -> i32 {
    check_globals(globals);
    let free = Event::synchronization();
    free.set();
    // SAFETY: the driver's attributes.
    let made = unsafe { attributes(raw, Parent::Optional) };
    let made = made.and_then(|a| create(globals, "WDFWAITLOCK", &a, Body::WaitLock(Wait { free })));
    // SAFETY: the driver's variable for the handle.
    finish(made, |h| unsafe { out.write(h) })
}

/// "If Timeout is NULL or not zero, at IRQL = PASSIVE_LEVEL; if it is zero, at
/// IRQL < DISPATCH_LEVEL."
unsafe extern "efiapi" fn wdf_wait_lock_acquire(
    globals: u64,
    handle: u64,
    timeout: *const i64,
) -> i32 {
    check_globals(globals);
    let object = object(handle, "WDFWAITLOCK");
    let Body::WaitLock(lock) = &object.body else {
        return STATUS_TIMEOUT;
    };
    let cpu = processor::current();
    // SAFETY: the driver's optional time-out.
    let timeout = (!timeout.is_null()).then(|| unsafe { timeout.read_unaligned() });
    let highest = if timeout == Some(0) {
        Irql::APC
    } else {
        Irql::PASSIVE
    };
    if cpu.irql() > highest {
        let irql = cpu.irql();
        violation(rules::WAIT_IRQL, format!("WdfWaitLockAcquire at {irql}"));
    }
    let limit = timeout.map(|t| Duration::from_nanos(t.unsigned_abs().saturating_mul(100)));
    // An error cannot come back to a processor thread.
    let got = lock
        .free
        .wait(cpu.machine(), "WdfWaitLockAcquire", limit)
        .unwrap_or(false);
    if got { STATUS_SUCCESS } else { STATUS_TIMEOUT }
}

unsafe extern "efiapi" fn wdf_wait_lock_release(globals: u64, handle: u64) {
    check_globals(globals);
    let object = object(handle, "WDFWAITLOCK");
    if let Body::WaitLock(lock) = &object.body
        && lock.free.set()
    {
        violation(
            rules::WDF_VIOLATION,
            format!("WdfWaitLockRelease of 0x{handle:x}, which is not held"),
        );
    }
}

pub(super) fn functions() -> Vec<Export> {
    let e = |name, f, arity| Export::new(KMDF, name, f, arity).at_most(Irql::DISPATCH);
    vec![
        e("WdfSpinLockCreate", wdf_spin_lock_create as *const (), 3),
        e("WdfSpinLockAcquire", wdf_spin_lock_acquire as *const (), 2),
        e("WdfSpinLockRelease", wdf_spin_lock_release as *const (), 2).exactly(Irql::DISPATCH),
        e("WdfWaitLockCreate", wdf_wait_lock_create as *const (), 3),
        e("WdfWaitLockAcquire", wdf_wait_lock_acquire as *const (), 3),
        e("WdfWaitLockRelease", wdf_wait_lock_release as *const (), 2),
    ]
}
