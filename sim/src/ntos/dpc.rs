//! Deferred procedure calls and processor numbers.

use std::{
    ffi::c_void,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ndis_sys::{KDPC, PROCESSOR_NUMBER, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};

use crate::{
    exports::{Export, NTOSKRNL},
    gate,
    irql::Irql,
    machine::Machine,
    processor,
    report::{rules, violation},
    sync::Event,
};

/// Type of a KDPC (DpcObject).
const DPC_OBJECT: u8 = 19;
/// Processors in a group.
const GROUP: u32 = 64;
const ALL_GROUPS: u16 = 0xFFFF;

/// Non-zero while the DPC is queued: processor number + 1. The same member
/// that Windows uses.
fn queued(dpc: *mut KDPC) -> &'static AtomicUsize {
    // SAFETY: an aligned word of the driver's KDPC, which lives in non-paged
    // memory for as long as it may be queued; shared access is atomic.
    unsafe { AtomicUsize::from_ptr((&raw mut (*dpc).DpcData).cast()) }
}

fn check(dpc: *mut KDPC) {
    // SAFETY: the driver's KDPC.
    if unsafe { (*dpc).Type } != DPC_OBJECT {
        let what = processor::current().what();
        violation(
            rules::OBJECT_STATE,
            format!("{what}: {dpc:p} is not an initialized KDPC"),
        );
    }
}

unsafe extern "efiapi" fn ke_initialize_dpc(
    dpc: *mut KDPC,
    routine: *const c_void,
    context: *mut c_void,
) {
    // SAFETY: memory that the driver gives for a KDPC: plain words.
    unsafe {
        ptr::write_bytes(dpc, 0, 1);
        (*dpc).Type = DPC_OBJECT;
        (*dpc).Importance = 1;
        (&raw mut (*dpc).DeferredRoutine)
            .cast::<*const c_void>()
            .write(routine);
        (*dpc).DeferredContext = context;
    }
}

unsafe extern "efiapi" fn ke_insert_queue_dpc(
    dpc: *mut KDPC,
    arg1: *mut c_void,
    arg2: *mut c_void,
) -> u8 {
    check(dpc);
    let cpu = processor::current();
    // SAFETY: the driver's KDPC.
    let target = match unsafe { (*dpc).Number } {
        0 => cpu.number() as usize,
        n => usize::from(n) - 1,
    };
    let state = queued(dpc);
    if state
        .compare_exchange(0, target + 1, Ordering::AcqRel, Ordering::Acquire)
        .is_err()
    {
        return 0;
    }
    // SAFETY: not queued, so the arguments are ours to set.
    unsafe { ((*dpc).SystemArgument1, (*dpc).SystemArgument2) = (arg1, arg2) };
    let key = dpc as usize;
    cpu.machine().processors()[target].queue_dpc(key, move || {
        let dpc = key as *mut KDPC;
        // SAFETY: a queued KDPC stays valid until its routine runs.
        let (routine, args) = unsafe {
            let d = &*dpc;
            let routine = (&raw const d.DeferredRoutine).cast::<*const ()>().read();
            let words = [d.DeferredContext, d.SystemArgument1, d.SystemArgument2];
            (
                routine,
                [
                    key as u64,
                    words[0] as u64,
                    words[1] as u64,
                    words[2] as u64,
                ],
            )
        };
        // From here on it can be queued again, and its memory may be reused.
        queued(dpc).store(0, Ordering::Release);
        // SAFETY: DeferredRoutine's convention and arguments.
        unsafe { gate::call("CustomDpc", routine, &args) };
    });
    1
}

unsafe extern "efiapi" fn ke_remove_queue_dpc(dpc: *mut KDPC) -> u8 {
    check(dpc);
    let state = queued(dpc);
    let cpu = processor::current();
    let target = state.load(Ordering::Acquire).checked_sub(1);
    let removed = target
        .and_then(|n| cpu.machine().processors().get(n))
        .is_some_and(|p| p.remove_dpc(dpc as usize));
    if removed {
        state.store(0, Ordering::Release);
    }
    u8::from(removed)
}

/// Waits until every DPC that is queued now, on any processor, has run.
pub(crate) fn flush(machine: &Machine) {
    let cpu = processor::current();
    for processor in machine.processors() {
        if processor.number() == cpu.number() {
            cpu.deliver_dpcs();
            continue;
        }
        let done = Arc::new(Event::notification());
        let set = Arc::clone(&done);
        processor.queue_dpc(0, move || {
            set.set();
        });
        // An error cannot come back to a processor thread.
        let _ = done.wait(machine, "KeFlushQueuedDpcs", None);
    }
}

unsafe extern "efiapi" fn ke_flush_queued_dpcs() {
    flush(processor::current().machine());
}

unsafe extern "efiapi" fn ke_set_importance_dpc(dpc: *mut KDPC, importance: u32) {
    check(dpc);
    // SAFETY: the driver's KDPC.
    unsafe { (*dpc).Importance = importance as u8 };
}

fn count() -> u32 {
    processor::current().machine().processors().len() as u32
}

unsafe extern "efiapi" fn ke_set_target_processor_dpc_ex(
    dpc: *mut KDPC,
    number: *const PROCESSOR_NUMBER,
) -> i32 {
    check(dpc);
    // SAFETY: the driver's PROCESSOR_NUMBER.
    let (group, n, reserved) = unsafe { ((*number).Group, (*number).Number, (*number).Reserved) };
    let index = u32::from(group) * GROUP + u32::from(n);
    if u32::from(n) >= GROUP || reserved != 0 || index >= count() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the driver's KDPC.
    unsafe { (*dpc).Number = index as u16 + 1 };
    STATUS_SUCCESS
}

unsafe extern "efiapi" fn ke_set_target_processor_dpc(dpc: *mut KDPC, number: i8) {
    check(dpc);
    let in_range = u32::try_from(number).is_ok_and(|n| n < count());
    if !in_range {
        violation(
            rules::INVALID_ARGUMENT,
            format!("KeSetTargetProcessorDpc for processor {number}"),
        );
    }
    // SAFETY: the driver's KDPC.
    unsafe { (*dpc).Number = number as u16 + 1 };
}

fn write_number(to: *mut PROCESSOR_NUMBER, index: u32) {
    if !to.is_null() {
        let number = PROCESSOR_NUMBER {
            Group: (index / GROUP) as u16,
            Number: (index % GROUP) as u8,
            Reserved: 0,
        };
        // SAFETY: the driver's optional PROCESSOR_NUMBER.
        unsafe { to.write_unaligned(number) };
    }
}

unsafe extern "efiapi" fn ke_get_current_processor_number_ex(number: *mut PROCESSOR_NUMBER) -> u32 {
    let index = processor::current().number();
    write_number(number, index);
    index
}

unsafe extern "efiapi" fn ke_get_processor_number_from_index(
    index: u32,
    number: *mut PROCESSOR_NUMBER,
) -> i32 {
    if index >= count() {
        return STATUS_INVALID_PARAMETER;
    }
    write_number(number, index);
    STATUS_SUCCESS
}

unsafe extern "efiapi" fn ke_query_processor_count_ex(group: u16) -> u32 {
    let all = count();
    match group {
        ALL_GROUPS => all,
        group => all.saturating_sub(u32::from(group) * GROUP).min(GROUP),
    }
}

unsafe extern "efiapi" fn ke_query_active_processor_count(active: *mut u64) -> u32 {
    let n = count().min(GROUP);
    if !active.is_null() {
        // SAFETY: the driver's optional KAFFINITY.
        unsafe { active.write_unaligned(u64::MAX >> (GROUP - n)) };
    }
    n
}

pub(super) fn exports() -> Vec<Export> {
    let e = |name, f, arity| Export::new(NTOSKRNL, name, f, arity);
    vec![
        e("KeInitializeDpc", ke_initialize_dpc as *const (), 3),
        e("KeInsertQueueDpc", ke_insert_queue_dpc as *const (), 3),
        e("KeRemoveQueueDpc", ke_remove_queue_dpc as *const (), 1),
        e("KeFlushQueuedDpcs", ke_flush_queued_dpcs as *const (), 0).exactly(Irql::PASSIVE),
        e("KeSetImportanceDpc", ke_set_importance_dpc as *const (), 2),
        e(
            "KeSetTargetProcessorDpcEx",
            ke_set_target_processor_dpc_ex as *const (),
            2,
        ),
        e(
            "KeSetTargetProcessorDpc",
            ke_set_target_processor_dpc as *const (),
            2,
        ),
        e(
            "KeGetCurrentProcessorNumberEx",
            ke_get_current_processor_number_ex as *const (),
            1,
        ),
        e(
            "KeGetProcessorNumberFromIndex",
            ke_get_processor_number_from_index as *const (),
            2,
        ),
        e(
            "KeQueryActiveProcessorCountEx",
            ke_query_processor_count_ex as *const (),
            1,
        ),
        e(
            "KeQueryMaximumProcessorCountEx",
            ke_query_processor_count_ex as *const (),
            1,
        ),
        e(
            "KeQueryActiveProcessorCount",
            ke_query_active_processor_count as *const (),
            1,
        ),
    ]
}
