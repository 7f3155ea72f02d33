//! What is left: versions, sleeping, the event log, notices to NDIS.

use std::{sync::atomic::Ordering, time::Duration};

use ndis_sys::{NDIS_HANDLE, NDIS_OBJECT_HEADER, NDIS_STATUS, NDIS_STATUS_SUCCESS, ULONG};

use super::{
    header, lifecycle, rules,
    state::{here, required},
    watch::OidGuard,
};
use crate::{
    exports::{Export, NDIS},
    irql::Irql,
    processor,
    report::violation_about,
    sync::Event,
};

/// An entry of the system event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorLogEntry {
    /// NDIS_ERROR_CODE_...
    pub code: u32,
    /// The values that follow it.
    pub values: Vec<u32>,
}

/// Most values of an error log entry that are looked at.
const MAX_VALUES: usize = 17;

pub(super) fn exports() -> Vec<Export> {
    let misc = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_MISCELLANEOUS)
    };
    let miniport = |name, f, arity| misc(name, f, arity).irql_rule(rules::IRQL_MINIPORT);
    vec![
        misc("NdisGetVersion", version as *const (), 0),
        misc(
            "NdisWriteErrorLogEntry",
            write_error_log_entry as *const (),
            3 + MAX_VALUES as u8,
        ),
        miniport("NdisMSleep", sleep as *const (), 1).at_most(Irql::APC),
        misc("NdisMNetPnPEvent", net_pnp_event as *const (), 2)
            .exactly(Irql::PASSIVE)
            .irql_rule(rules::IRQL_PROTOCOL),
        miniport("NdisMRemoveMiniport", remove_miniport as *const (), 1),
    ]
}

extern "efiapi" fn version() -> u32 {
    header::RUNTIME
}

extern "efiapi" fn sleep(microseconds: ULONG) {
    here(|machine, _| {
        let event = std::sync::Arc::new(Event::notification());
        let due = std::sync::Arc::clone(&event);
        machine
            .clock()
            .after(Duration::from_micros(u64::from(microseconds)), move |_| {
                due.set();
            });
        // On a processor a stopped machine does not let it return.
        let _ = event.wait(machine, "NdisMSleep", None);
    });
}

/// NdisWriteErrorLogEntry is variadic: the values are the arguments after the
/// third, 32 bits each in a slot of 64.
#[allow(
    clippy::too_many_arguments,
    reason = "the exported function is variadic"
)]
extern "efiapi" fn write_error_log_entry(
    handle: NDIS_HANDLE,
    code: ULONG,
    count: ULONG,
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
    v4: u64,
    v5: u64,
    v6: u64,
    v7: u64,
    v8: u64,
    v9: u64,
    v10: u64,
    v11: u64,
    v12: u64,
    v13: u64,
    v14: u64,
    v15: u64,
    v16: u64,
) {
    let all: [u64; MAX_VALUES] = [
        v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15, v16,
    ];
    here(|_, state| {
        let adapter = state.adapter(handle as u64);
        let values = all.iter().take(count as usize).map(|v| *v as u32).collect();
        adapter
            .error_log
            .lock()
            .push(ErrorLogEntry { code, values });
    });
}

extern "efiapi" fn net_pnp_event(
    handle: NDIS_HANDLE,
    event: *const NDIS_OBJECT_HEADER,
) -> NDIS_STATUS {
    required(event, "NetPnPEvent");
    if let Some(request) = OidGuard::active() {
        violation_about(
            rules::PNP_EVENT_IN_OID,
            "NdisMNetPnPEvent in the context of an OID request",
            &[request],
        );
    }
    here(|_, state| {
        let adapter = state.adapter(handle as u64);
        // SAFETY: checked for NULL.
        unsafe { header::PNP_EVENT_NOTIFICATION.check(event, adapter.driver.version) };
        NDIS_STATUS_SUCCESS
    })
}

/// The miniport asks for its adapter to be taken away, as if it was pulled out.
extern "efiapi" fn remove_miniport(handle: NDIS_HANDLE) -> NDIS_STATUS {
    here(|machine, state| {
        let adapter = state.adapter(handle as u64);
        if !adapter.removed.swap(true, Ordering::AcqRel) {
            machine.spawn(None, Irql::PASSIVE, move || {
                let current = processor::current();
                let machine = current.machine();
                lifecycle::halt(machine, &adapter, ndis_sys::NdisHaltDeviceFailed);
                lifecycle::remove_device(machine, &adapter);
            });
        }
        NDIS_STATUS_SUCCESS
    })
}
