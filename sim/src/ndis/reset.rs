//! Resets: MiniportResetEx, and what NDIS restores afterwards.

use std::sync::Arc;

use ndis_sys::{
    NDIS_HANDLE, NDIS_STATUS, NDIS_STATUS_HARD_ERRORS, NDIS_STATUS_RESET_END,
    NDIS_STATUS_RESET_IN_PROGRESS, NDIS_STATUS_RESET_START, NDIS_STATUS_SOFT_ERRORS,
    NDIS_STATUS_SUCCESS, OID_802_3_MULTICAST_LIST, OID_GEN_CURRENT_LOOKAHEAD,
    OID_GEN_CURRENT_PACKET_FILTER, OID_OFFLOAD_ENCAPSULATION,
};

use super::{
    adapter::AdapterBlock, driver::handler, lifecycle::parameters, oid_checks::object, oid_path,
    rules, send, state::here, status::StatusIndication,
};
use crate::{
    exports::{Export, NDIS},
    gate,
    irql::Irql,
    machine::Machine,
    processor,
    report::{violation, violation_about},
};

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_MINIPORT)
    };
    vec![
        any("NdisMResetComplete", reset_complete as *const (), 3),
        any("NdisMResetMiniport", reset_miniport as *const (), 1),
    ]
}

/// MiniportResetEx, and what NDIS restores afterwards.
pub(super) fn reset(machine: &Machine, adapter: &Arc<AdapterBlock>) -> NDIS_STATUS {
    let f = handler!(adapter.driver, ResetHandlerEx);
    if f.is_null() || adapter.reset.is_pending() {
        return NDIS_STATUS_RESET_IN_PROGRESS;
    }
    tell(adapter, NDIS_STATUS_RESET_START);
    adapter.note("MiniportResetEx", 0);
    let flag = parameters(machine, adapter, 0u64);
    let (status, addressing) = adapter
        .reset
        .perform(machine, adapter, "MiniportResetEx", || {
            // SAFETY: the driver's MiniportResetEx, with its arguments.
            let status = unsafe {
                gate::call(
                    "MiniportResetEx",
                    f,
                    &[adapter.context(), flag.as_ptr() as u64],
                )
            };
            let addressing = flag.read(0, 1)[0] != 0;
            let status = status as NDIS_STATUS;
            if status == NDIS_STATUS_SUCCESS {
                check_reset(machine, adapter);
            }
            (status, addressing)
        });
    let statuses = [
        NDIS_STATUS_SUCCESS,
        NDIS_STATUS_RESET_IN_PROGRESS,
        NDIS_STATUS_SOFT_ERRORS,
        NDIS_STATUS_HARD_ERRORS,
    ];
    if !statuses.contains(&status) {
        violation_about(
            rules::HANDLER_STATUS,
            format!("MiniportResetEx ended with {status:#010x}"),
            &[adapter.object()],
        );
    }
    adapter.note("the reset is complete, with status", status as u32 as u64);
    if addressing && status == NDIS_STATUS_SUCCESS {
        restore(machine, adapter);
    }
    tell(adapter, NDIS_STATUS_RESET_END);
    status
}

/// From NDIS 6.30 on a miniport completes its requests before the reset. One that a handler is just answering
/// on another processor is not held.
fn check_reset(machine: &Machine, adapter: &AdapterBlock) {
    if adapter.driver.version < (6, 30) {
        return;
    }
    let sends = send::held(machine, adapter);
    let requests = adapter.oids.pending();
    if !sends.is_empty() || !requests.is_empty() {
        let mut objects = send::objects(machine, adapter);
        objects.extend(requests.iter().flat_map(|block| object(block)));
        objects.push(adapter.object());
        violation_about(
            rules::RESET_COMPLETE,
            format!(
                "the reset is complete with {} sends and {} OID requests pending",
                sends.len(),
                requests.len()
            ),
            &objects,
        );
    }
}

extern "efiapi" fn reset_complete(handle: NDIS_HANDLE, status: NDIS_STATUS, addressing: u8) {
    here(|machine, state| {
        let adapter = state.adapter(handle as u64);
        check_reset(machine, &adapter);
        if !adapter.reset.complete(status, addressing != 0) {
            violation(
                rules::RESET_COMPLETE,
                "NdisMResetComplete with no reset pending",
            );
        }
    });
}

extern "efiapi" fn reset_miniport(handle: NDIS_HANDLE) {
    here(|machine, state| {
        let adapter = state.adapter(handle as u64);
        machine.spawn(None, Irql::PASSIVE, move || {
            reset(processor::current().machine(), &adapter);
        });
    });
}

/// Sets again what a reset has lost.
fn restore(machine: &Machine, adapter: &Arc<AdapterBlock>) {
    let filter = adapter.filter.lock().clone();
    if filter.packet != 0 {
        oid_path::set(
            machine,
            adapter,
            OID_GEN_CURRENT_PACKET_FILTER,
            &filter.packet.to_le_bytes(),
        );
    }
    if !filter.multicast.is_empty() {
        oid_path::set(
            machine,
            adapter,
            OID_802_3_MULTICAST_LIST,
            &filter.multicast.concat(),
        );
    }
    if filter.lookahead != 0 {
        oid_path::set(
            machine,
            adapter,
            OID_GEN_CURRENT_LOOKAHEAD,
            &filter.lookahead.to_le_bytes(),
        );
    }
    if let Some(encapsulation) = filter.encapsulation {
        oid_path::set(machine, adapter, OID_OFFLOAD_ENCAPSULATION, &encapsulation);
    }
}

/// A status of NDIS's own to every protocol.
fn tell(adapter: &AdapterBlock, code: NDIS_STATUS) {
    let indication = StatusIndication {
        code,
        buffer: Vec::new(),
        port: 0,
        request_id: 0,
        destination: 0,
    };
    let opens = adapter.opens.read().clone();
    for open in opens {
        open.protocol.status(&indication);
    }
}
