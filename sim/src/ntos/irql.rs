//! Raising and lowering the IRQL.

use crate::{
    exports::{Export, NTOSKRNL},
    irql::Irql,
    processor,
    report::{rules, violation},
};

/// Callbacks whose flags say whether they are called at DISPATCH_LEVEL.
pub(crate) const FLAGGED: [&str; 2] =
    ["MiniportSendNetBufferLists", "MiniportReturnNetBufferLists"];

unsafe extern "efiapi" fn ke_get_current_irql() -> u8 {
    let cpu = processor::current();
    let callback = cpu.thread().callback();
    if FLAGGED.contains(&callback) {
        violation(
            rules::FLAGS_IRQL,
            format!("KeGetCurrentIrql in {callback}, whose flags tell"),
        );
    }
    cpu.irql().0
}

/// Raises the IRQL of the current processor, as KeRaiseIrql does, and returns
/// the former one.
pub(crate) fn raise(level: Irql) -> Irql {
    let cpu = processor::current();
    let before = cpu.irql();
    if level < before {
        violation(
            rules::IRQL_RAISE,
            format!("{} to {level} at {before}", cpu.what()),
        );
    }
    cpu.set_irql(level);
    before
}

/// Lowers the IRQL of the current processor, as KeLowerIrql does.
pub(crate) fn lower(level: Irql) {
    let cpu = processor::current();
    let before = cpu.irql();
    if level > before {
        violation(
            rules::IRQL_RAISE,
            format!("{} to {level} at {before}", cpu.what()),
        );
    }
    if level < Irql::DISPATCH
        && let Some(lock) = cpu.thread().locks.borrow().last().copied()
    {
        let address = lock.address;
        violation(
            rules::SPIN_LOCK_HELD,
            format!("IRQL lowered to {level} with spin lock 0x{address:x} held"),
        );
    }
    cpu.set_irql(level);
}

unsafe extern "efiapi" fn kf_raise_irql(level: u8) -> u8 {
    raise(Irql(level)).0
}

unsafe extern "efiapi" fn ke_raise_irql_to_dpc_level() -> u8 {
    raise(Irql::DISPATCH).0
}

unsafe extern "efiapi" fn ke_lower_irql(level: u8) {
    lower(Irql(level));
}

pub(super) fn exports() -> Vec<Export> {
    let e = |name, f, arity| Export::new(NTOSKRNL, name, f, arity);
    vec![
        e("KeGetCurrentIrql", ke_get_current_irql as *const (), 0),
        e("KfRaiseIrql", kf_raise_irql as *const (), 1),
        e(
            "KeRaiseIrqlToDpcLevel",
            ke_raise_irql_to_dpc_level as *const (),
            0,
        )
        .at_most(Irql::DISPATCH),
        e("KeLowerIrql", ke_lower_irql as *const (), 1),
    ]
}
