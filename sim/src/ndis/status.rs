//! Status indications: NdisMIndicateStatusEx.

use std::sync::atomic::Ordering;

use ndis_sys::{
    NDIS_HANDLE, NDIS_LINK_STATE, NDIS_OBJECT_HEADER, NDIS_STATUS_INDICATION,
    NDIS_STATUS_LINK_STATE, NDIS_STATUS_OPER_STATUS, NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG,
};

use super::{
    adapter::{AdapterBlock, AdapterState},
    header,
    offload::Offload,
    offload_config::excess,
    rules,
    state::{here, required},
};
use crate::{
    exports::{Export, NDIS},
    irql::Irql,
    report::violation,
};

/// A status that a miniport indicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusIndication {
    /// StatusCode
    pub code: i32,
    /// The status buffer.
    pub buffer: Vec<u8>,
    /// PortNumber
    pub port: u32,
    /// RequestId
    pub request_id: u64,
    /// DestinationHandle
    pub destination: u64,
}

pub(super) fn exports() -> Vec<Export> {
    vec![
        Export::new(NDIS, "NdisMIndicateStatusEx", indicate as *const (), 2)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_STATUS),
    ]
}

extern "efiapi" fn indicate(handle: NDIS_HANDLE, indication: *const NDIS_STATUS_INDICATION) {
    required(indication, "StatusIndication");
    here(|_, state| {
        let Some(adapter) = state.adapters.get(handle as u64) else {
            violation(
                rules::INDICATE_STATUS,
                format!("{handle:p} is no adapter's handle (any more)"),
            );
        };
        if adapter.state() == AdapterState::Halted {
            violation(
                rules::INDICATE_STATUS,
                "a status indication before MiniportInitializeEx or after MiniportHaltEx",
            );
        }
        if adapter.attributes.lock().registration.is_none() {
            violation(
                rules::ATTRIBUTES,
                "a status indication before the registration attributes are set",
            );
        }
        let version = adapter.driver.version;
        // SAFETY: checked for NULL; the header is checked before the rest is read.
        let indication = unsafe {
            header::STATUS_INDICATION.check(indication, version);
            indication.read_unaligned()
        };
        if indication.SourceHandle != handle {
            violation(
                rules::STATUS_INDICATION,
                format!(
                    "SourceHandle is {:p}, not the adapter's handle",
                    indication.SourceHandle
                ),
            );
        }
        let size = indication.StatusBufferSize as usize;
        if indication.StatusBuffer.is_null() && size != 0 {
            violation(
                rules::STATUS_INDICATION,
                "StatusBufferSize without a StatusBuffer",
            );
        }
        let buffer = if size == 0 {
            Vec::new()
        } else {
            // SAFETY: the miniport says that its buffer has that many bytes.
            unsafe { std::slice::from_raw_parts(indication.StatusBuffer.cast::<u8>(), size) }
                .to_vec()
        };
        let status = StatusIndication {
            code: indication.StatusCode,
            buffer,
            port: indication.PortNumber,
            request_id: indication.RequestId as u64,
            destination: indication.DestinationHandle as u64,
        };
        take_note(&adapter, &status);
        adapter.statuses.lock().push(status.clone());
        // During MiniportInitializeEx there is nobody to tell.
        if adapter.state() == AdapterState::Initializing || adapter.halted.load(Ordering::Acquire) {
            return;
        }
        let opens = adapter.opens.read().clone();
        for open in opens {
            if status.destination == 0 || status.destination == open.handle {
                open.protocol.status(&status);
            }
        }
    });
}

/// A configuration is part of what the hardware can do.
pub(super) fn check_excess(hardware: &Offload, config: &Offload) {
    if let Some(member) = excess(&hardware.get(), &config.get()) {
        violation(
            rules::OFFLOAD_INDICATION,
            format!("{member} of NDIS_OFFLOAD is more than the hardware capabilities have"),
        );
    }
}

/// Keeps what NDIS itself keeps of an indication.
fn take_note(adapter: &AdapterBlock, status: &StatusIndication) {
    let version = adapter.driver.version;
    let check = |rule: &header::Rule| {
        let (_, size) = rule.for_version(version);
        if status.buffer.len() < usize::from(size) {
            violation(
                rules::STATUS_INDICATION,
                format!(
                    "status {:#010x}: {} bytes for {} of {size}",
                    status.code,
                    status.buffer.len(),
                    rule.name
                ),
            );
        }
        // SAFETY: the buffer has at least the structure's size.
        unsafe { rule.check(status.buffer.as_ptr().cast::<NDIS_OBJECT_HEADER>(), version) };
    };
    match status.code {
        NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG => {
            check(&header::OFFLOAD);
            // SAFETY: checked just now.
            let offload = unsafe { super::offload::read(status.buffer.as_ptr().cast(), version) };
            let hardware = adapter.offloads.lock().hardware().cloned();
            if let Some(hardware) = hardware {
                check_excess(&hardware, &offload);
            }
            *adapter.unreported.lock() = None;
            adapter.offloads.lock().set_current(offload);
        }
        NDIS_STATUS_LINK_STATE => {
            check(&header::LINK_STATE);
            // SAFETY: checked just now; the buffer is the structure's size at least.
            let link = unsafe {
                status
                    .buffer
                    .as_ptr()
                    .cast::<NDIS_LINK_STATE>()
                    .read_unaligned()
            };
            if !adapter.link.tell(link) {
                violation(
                    rules::CONNECTION_STATUS,
                    format!(
                        "MediaConnectState {} is indicated while the adapter sleeps or halts",
                        link.MediaConnectState
                    ),
                );
            }
        }
        NDIS_STATUS_OPER_STATUS => {
            violation(
                rules::STATUS_INDICATION,
                "NDIS_STATUS_OPER_STATUS is NDIS's to indicate",
            );
        }
        _ => {}
    }
}
