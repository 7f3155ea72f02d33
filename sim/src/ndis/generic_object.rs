//! Generic objects: handles for components that have no other.

use ndis_sys::{PVOID, ULONG};

use super::{
    rules,
    state::{Owner, here, what},
};
use crate::{
    exports::{Export, NDIS},
    history::Kind,
    irql::Irql,
    ntos::pool::free_or_stop,
    report::violation_about,
};

/// Bytes of an NDIS_GENERIC_OBJECT (x64): header, caller, call site, driver object.
const SIZE: usize = 32;

/// A generic object, by its address.
pub(super) struct GenericObject {
    pub(super) owner: Owner,
    pub(super) address: u64,
    tag: u32,
}

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_MISCELLANEOUS)
    };
    vec![
        any("NdisAllocateGenericObject", allocate as *const (), 3),
        any("NdisFreeGenericObject", free as *const (), 1),
    ]
}

extern "efiapi" fn allocate(driver_object: PVOID, tag: ULONG, size: u16) -> PVOID {
    here(|machine, state| {
        if machine.faults().hit("NdisAllocateGenericObject") {
            return std::ptr::null_mut();
        }
        let owner = state.caller(machine, driver_object as u64);
        let len = SIZE + usize::from(size);
        let address = machine.kernel().pool.allocate(len, tag, true) as u64;
        if address != 0 {
            machine.note(Kind::GenericObject, address, "allocated", 0);
            let object = GenericObject {
                owner,
                address,
                tag,
            };
            state.generic_objects.insert(address, object.into());
        }
        address as PVOID
    })
}

extern "efiapi" fn free(object: PVOID) {
    here(|machine, state| {
        let Some(known) = state.generic_objects.remove(object as u64) else {
            violation_about(
                rules::ALLOCATE_GENERIC_OBJECT,
                format!(
                    "{} got {object:p}, which is no generic object (any more)",
                    what()
                ),
                &[(Kind::GenericObject, object as u64)],
            );
        };
        machine.note(Kind::GenericObject, known.address, "freed", 0);
        free_or_stop(&machine.kernel().pool, object.cast(), Some(known.tag));
    });
}
