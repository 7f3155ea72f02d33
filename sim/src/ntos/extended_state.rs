//! KeSaveExtendedProcessorState and its kin.
//!
//! What is saved is the canaries, whose values are known, so nothing has to be
//! stored: the calls keep the bracket, which suspends the canary check for the
//! components that it covers.

use ndis_sys::{STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};

use crate::{
    exports::{Export, NTOSKRNL},
    irql::Irql,
    processor,
    report::{rules, violation},
};

/// First word of an XSTATE_SAVE that is in use.
const MARK: u64 = u64::from_le_bytes(*b"XSTATESV");

unsafe extern "efiapi" fn ke_save_extended_processor_state(mask: u64, save: *mut u64) -> i32 {
    let cpu = processor::current();
    let machine = cpu.machine();
    let enabled = machine.enabled_features();
    if mask & !enabled != 0 {
        violation(
            rules::EXTENDED_STATE_MASK,
            format!("mask 0x{mask:x} has features that are not enabled (0x{enabled:x} are)"),
        );
    }
    if machine.faults().hit("KeSaveExtendedProcessorState") {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let thread = cpu.thread();
    if let Some(outer) = thread
        .surrounding_bracket()
        .filter(|outer| outer.irql > cpu.irql())
    {
        let (is, was) = (cpu.irql(), outer.irql);
        violation(
            rules::EXTENDED_STATE_BALANCE,
            format!("nested save at {is} within one at {was}"),
        );
    }
    // SAFETY: the driver's XSTATE_SAVE.
    unsafe {
        save.write_unaligned(MARK);
        save.add(1).write_unaligned(mask);
    }
    thread.push_bracket(save as usize, mask);
    STATUS_SUCCESS
}

unsafe extern "efiapi" fn ke_restore_extended_processor_state(save: *mut u64) {
    let cpu = processor::current();
    let thread = cpu.thread();
    let Some(bracket) = thread.bracket() else {
        violation(
            rules::EXTENDED_STATE_BALANCE,
            "restore without a save by the same callback on this thread",
        );
    };
    // SAFETY: the driver's XSTATE_SAVE.
    let mark = unsafe { save.read_unaligned() };
    if bracket.save != save as usize || mark != MARK {
        violation(
            rules::EXTENDED_STATE_BALANCE,
            format!(
                "restore of {save:p}, but the innermost save is 0x{:x}",
                bracket.save
            ),
        );
    }
    if bracket.irql != cpu.irql() {
        let (is, was) = (cpu.irql(), bracket.irql);
        violation(
            rules::EXTENDED_STATE_BALANCE,
            format!("restore at {is} of a save at {was}"),
        );
    }
    // SAFETY: as above.
    unsafe { save.write_unaligned(0) };
    thread.pop_bracket();
}

unsafe extern "efiapi" fn rtl_get_enabled_extended_features(mask: u64) -> u64 {
    processor::current().machine().enabled_features() & mask
}

pub(super) fn exports() -> Vec<Export> {
    let e = |name, f, arity| Export::new(NTOSKRNL, name, f, arity);
    vec![
        e(
            "KeSaveExtendedProcessorState",
            ke_save_extended_processor_state as *const (),
            2,
        )
        .at_most(Irql::DISPATCH),
        e(
            "KeRestoreExtendedProcessorState",
            ke_restore_extended_processor_state as *const (),
            1,
        )
        .at_most(Irql::DISPATCH),
        e(
            "RtlGetEnabledExtendedFeatures",
            rtl_get_enabled_extended_features as *const (),
            1,
        )
        .exactly(Irql::PASSIVE),
    ]
}
