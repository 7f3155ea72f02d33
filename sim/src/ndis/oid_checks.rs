//! What must hold of an OID request when the miniport gets it, and when it has completed it.

use std::sync::{Arc, atomic::Ordering};

use ndis_sys::{
    NDIS_STATUS, NDIS_STATUS_BUFFER_TOO_SHORT, NDIS_STATUS_NOT_ACCEPTED, NDIS_STATUS_PENDING,
    NDIS_STATUS_REQUEST_ABORTED, NDIS_STATUS_SUCCESS, OID_802_3_DELETE_MULTICAST_ADDRESS,
    OID_OFFLOAD_ENCAPSULATION, OID_PNP_SET_POWER, OID_TCP_OFFLOAD_PARAMETERS,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
};

use super::{
    adapter::AdapterBlock,
    ipsec_offload_v2,
    offload::Offload,
    offload_config::left_on,
    oid::{OidKind, OidResult},
    oid_block::{OidBlock, Path},
    rules,
    state::here,
};
use crate::{
    history::{Kind, Object},
    report::violation_about,
};

/// OIDs that NdisOidComplete lets fail only because the adapter is going or
/// resetting, of those that ndis-sys names, and the others by number.
const CANNOT_FAIL: [u32; 9] = [
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_802_3_DELETE_MULTICAST_ADDRESS,
    // OID_RECEIVE_FILTER_CLEAR_FILTER, OID_RECEIVE_FILTER_FREE_QUEUE
    0x0001_0228,
    0x0001_0224,
    // OID_NIC_SWITCH_FREE_VF, OID_NIC_SWITCH_DELETE_SWITCH
    0x0001_0246,
    0x0001_0239,
    // OID_TUNNEL_INTERFACE_RELEASE_OID
    0x0F01_0107,
    // OID_PM_REMOVE_WOL_PATTERN, OID_PM_REMOVE_PROTOCOL_OFFLOAD
    0xFD01_010B,
    0xFD01_010F,
];

/// Whether NdisOidComplete allows the status for the OID.
fn allowed(oid: u32, status: NDIS_STATUS) -> bool {
    match oid {
        OID_PNP_SET_POWER => [NDIS_STATUS_SUCCESS, NDIS_STATUS_NOT_ACCEPTED].contains(&status),
        oid if CANNOT_FAIL.contains(&oid) => [
            NDIS_STATUS_SUCCESS,
            NDIS_STATUS_NOT_ACCEPTED,
            NDIS_STATUS_REQUEST_ABORTED,
        ]
        .contains(&status),
        _ => true,
    }
}

/// The request, for its history.
pub(super) fn object(block: &OidBlock) -> [Object; 1] {
    [(Kind::OidRequest, block.address())]
}

/// Notes an event in its life.
pub(super) fn note(block: &OidBlock, what: &'static str, value: u64) {
    here(|machine, _| machine.note(Kind::OidRequest, block.address(), what, value));
}

/// Notes what is so before the miniport gets a request.
pub(super) fn prepare(adapter: &AdapterBlock, block: &OidBlock) {
    if reconfigures(block) {
        adapter.reconfigurations.fetch_add(1, Ordering::AcqRel);
    }
    let _ = block.before.set(ipsec_offload_v2::before(adapter, block));
    let removed = adapter.told_of_removal.load(Ordering::Acquire);
    block.removed.store(removed, Ordering::Release);
    let indications = adapter.offloads.lock().indications();
    block.indications.store(indications, Ordering::Release);
    if block.kind == OidKind::Set && block.oid == OID_OFFLOAD_ENCAPSULATION {
        adapter.encapsulating.store(true, Ordering::Release);
    }
    // One more request, and the last change of offloads is still not reported.
    if block.path == Path::Regular {
        check_reported(adapter);
    }
}

/// Whether it sets what may change offloads.
fn reconfigures(block: &OidBlock) -> bool {
    block.kind == OidKind::Set
        && [OID_OFFLOAD_ENCAPSULATION, OID_TCP_OFFLOAD_PARAMETERS].contains(&block.oid)
}

/// The last change of the offloads must have been reported by now.
pub(super) fn check_reported(adapter: &AdapterBlock) {
    let unreported = adapter.unreported.lock().take();
    if let Some(changed) = unreported {
        violation_about(
            rules::OFFLOAD_INDICATION,
            format!("{changed} was not followed by NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG"),
            &[adapter.object()],
        );
    }
}

/// What OID_TCP_OFFLOAD_PARAMETERS switched off is not in the configuration that was indicated for it.
fn check_switched_off(adapter: &AdapterBlock, block: &OidBlock) {
    let current = adapter.offloads.lock().current().map(Offload::get);
    let Some((current, parameters)) = current.zip(block.buffer.as_ref()) else {
        return;
    };
    if let Some(member) = left_on(&parameters.to_vec(), &current) {
        violation_about(
            rules::OFFLOAD_INDICATION,
            format!("{block}: {member} is switched off, and indicated as on"),
            &object(block),
        );
    }
}

/// What must hold of the adapter when the miniport has completed a request.
pub(super) fn check_adapter(
    adapter: &Arc<AdapterBlock>,
    block: &Arc<OidBlock>,
    status: NDIS_STATUS,
) {
    if block.removed.load(Ordering::Acquire) && status != NDIS_STATUS_NOT_ACCEPTED {
        violation_about(
            rules::OID_AFTER_REMOVAL,
            format!("{block} is completed with {status:#010x} after the surprise removal"),
            &object(block),
        );
    }
    here(|machine, _| ipsec_offload_v2::after(machine, adapter, block, status));
    if reconfigures(block) {
        adapter.reconfigurations.fetch_add(1, Ordering::AcqRel);
    }
    if block.kind != OidKind::Set {
        return;
    }
    if block.oid == OID_OFFLOAD_ENCAPSULATION {
        adapter.encapsulating.store(false, Ordering::Release);
    }
    let changes = reconfigures(block);
    let indications = adapter.offloads.lock().indications();
    if !changes || status != NDIS_STATUS_SUCCESS || !adapter.attributes.lock().offload {
        return;
    }
    if indications == block.indications.load(Ordering::Acquire) {
        adapter.note(
            "not indicated: the change of offloads by OID",
            block.oid.into(),
        );
        *adapter.unreported.lock() = Some(block.to_string());
    } else if block.oid == OID_TCP_OFFLOAD_PARAMETERS {
        check_switched_off(adapter, block);
    }
}

/// Checks the status, the lengths and the guard bytes of a request that is complete.
pub(super) fn check_result(block: &OidBlock, status: NDIS_STATUS) -> OidResult {
    if status == NDIS_STATUS_PENDING || !allowed(block.oid, status) {
        violation_about(
            rules::OID_COMPLETE,
            format!("{block} is completed with {status:#010x}"),
            &object(block),
        );
    }
    let request = block.request();
    let mut result = OidResult {
        status,
        ..OidResult::default()
    };
    // SAFETY: the members are integers for every kind of request.
    let (in_len, out_len) = unsafe {
        match block.kind {
            OidKind::Method => {
                let m = request.DATA.METHOD_INFORMATION;
                result.bytes_written = m.BytesWritten;
                result.bytes_read = m.BytesRead;
                result.bytes_needed = m.BytesNeeded;
                (m.InputBufferLength, m.OutputBufferLength)
            }
            OidKind::Set => {
                let s = request.DATA.SET_INFORMATION;
                result.bytes_read = s.BytesRead;
                result.bytes_needed = s.BytesNeeded;
                (s.InformationBufferLength, s.InformationBufferLength)
            }
            OidKind::Query | OidKind::QueryStatistics => {
                let q = request.DATA.QUERY_INFORMATION;
                result.bytes_written = q.BytesWritten;
                result.bytes_needed = q.BytesNeeded;
                (q.InformationBufferLength, q.InformationBufferLength)
            }
        }
    };
    let wrong = |text: String| -> ! {
        violation_about(
            rules::OID_RESULT,
            format!("{block}: {text}"),
            &object(block),
        )
    };
    if result.bytes_written > out_len {
        wrong(format!(
            "BytesWritten is {} of {out_len}",
            result.bytes_written
        ));
    }
    if result.bytes_read > in_len {
        wrong(format!("BytesRead is {} of {in_len}", result.bytes_read));
    }
    if status == NDIS_STATUS_BUFFER_TOO_SHORT && result.bytes_needed <= out_len {
        wrong(format!(
            "BytesNeeded is {}, the buffer has {out_len}",
            result.bytes_needed
        ));
    }
    if let Some(buffer) = &block.buffer {
        if let Some(damage) = buffer.damage() {
            violation_about(
                rules::BUFFER_OVERRUN,
                format!("{block}: {damage}"),
                &object(block),
            );
        }
        result.buffer = buffer.to_vec();
        result.address = buffer.as_ptr() as u64;
    }
    if let Some(damage) = block.structure.damage() {
        violation_about(
            rules::BUFFER_OVERRUN,
            format!("the structure of {block}: {damage}"),
            &object(block),
        );
    }
    result
}
