//! Conduct with IPsec Task Offload Version 2, as far as it shows from outside: handles, capacity,
//! capabilities, the out-of-band words. Nothing here knows keys or looks into packets.

use std::{
    collections::HashMap,
    mem::offset_of,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ndis_sys::{
    IPSEC_OFFLOAD_V2_UPDATE_SA, NDIS_IPSEC_OFFLOAD_V2,
    NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1, NDIS_STATUS, NDIS_STATUS_INVALID_PARAMETER,
    NDIS_STATUS_NOT_ACCEPTED, NDIS_STATUS_REQUEST_ABORTED, NDIS_STATUS_RESOURCES,
    NDIS_STATUS_SUCCESS, OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
};
use parking_lot::{Mutex, RwLock};

use super::{
    adapter::AdapterBlock,
    ipsec_request::{ADD_SA, ADD_SA_EX, Asked, Bytes, asked, lacking},
    oid::OidKind,
    oid_block::OidBlock,
    rules,
};
use crate::{
    history::{Kind, Object},
    machine::Machine,
    report::{Rule, violation_about},
};

/// The SAs of an adapter, as the transport knows them.
#[derive(Default)]
pub(super) struct Associations {
    live: RwLock<HashMap<u64, Association>>,
    serial: AtomicU64,
}

#[derive(Clone, Copy)]
struct Association {
    serial: u64,
    extended_sequence_numbers: bool,
    /// A DELETE_SA is under way: the handle may go at any moment, or may have gone.
    leaving: bool,
}

/// Where IPSEC_OFFLOAD_V2_UPDATE_SA has its handle, and its size.
const UPDATE_HANDLE: usize = offset_of!(IPSEC_OFFLOAD_V2_UPDATE_SA, OffloadHandle);
const UPDATE_LEN: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1;
/// How an UPDATE_SA may end that names no SA with extended sequence numbers: as its page says, or as any
/// request may end that is not looked into.
const UPDATE_REFUSALS: [NDIS_STATUS; 4] = [
    NDIS_STATUS_INVALID_PARAMETER,
    NDIS_STATUS_NOT_ACCEPTED,
    NDIS_STATUS_REQUEST_ABORTED,
    NDIS_STATUS_RESOURCES,
];

/// What was so when a request was given to the miniport.
#[derive(Default)]
pub(super) struct Before {
    capabilities: Option<NDIS_IPSEC_OFFLOAD_V2>,
    /// The SAs that a DELETE_SA names.
    leaving: Mutex<Vec<(u64, u64)>>,
    /// The SA that an UPDATE_SA names.
    known: Option<Association>,
}

/// What the miniport says that it does now; `None` while it offers nothing of IPsec.
fn capabilities(adapter: &AdapterBlock) -> Option<NDIS_IPSEC_OFFLOAD_V2> {
    let offloads = adapter.offloads.lock();
    let current = offloads.current()?.ipsec_v2();
    (current.Encapsulation != 0).then_some(current)
}

/// Whether the hardware has IPsec offload at all.
pub(super) fn is_offered(adapter: &AdapterBlock) -> bool {
    let offloads = adapter.offloads.lock();
    offloads
        .hardware()
        .is_some_and(|h| h.ipsec_v2().Encapsulation != 0)
}

fn handle_of(handle: u64) -> Object {
    (Kind::SecurityAssociation, handle)
}

fn is_set(block: &OidBlock) -> bool {
    block.kind == OidKind::Set
}

/// Notes what is so when a request is given to the miniport.
pub(super) fn before(adapter: &AdapterBlock, block: &OidBlock) -> Before {
    let mut before = Before {
        capabilities: capabilities(adapter),
        ..Before::default()
    };
    if is_set(block)
        && block.oid == OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA
        && let Some(handle) = Bytes::of(block).and_then(|bytes| bytes.u64(UPDATE_HANDLE))
    {
        before.known = adapter.associations.get(handle);
    }
    if is_set(block)
        && block.oid == OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA
        && let Some(bytes) = Bytes::of(block)
    {
        let mut live = adapter.associations.live.write();
        let handles = bytes.list().unwrap_or_default();
        for handle in handles.into_iter().filter_map(|at| bytes.u64(at + 16)) {
            if let Some(association) = live.get_mut(&handle) {
                association.leaving = true;
                before.leaving.lock().push((handle, association.serial));
            }
        }
    }
    before
}

/// Checks a request that the miniport has completed.
pub(super) fn after(
    machine: &Machine,
    adapter: &Arc<AdapterBlock>,
    block: &OidBlock,
    status: NDIS_STATUS,
) {
    if !is_set(block) {
        return;
    }
    let Some(bytes) = Bytes::of(block) else {
        return;
    };
    let success = status == NDIS_STATUS_SUCCESS;
    match block.oid {
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA | OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX
            if success =>
        {
            let ex = block.oid == OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX;
            let (layout, members) = if ex {
                (ADD_SA_EX, Some(vec![0]))
            } else {
                (ADD_SA, bytes.list())
            };
            let all: Option<Vec<Asked>> = members
                .into_iter()
                .flatten()
                .map(|at| asked(&bytes, at, &layout))
                .collect();
            let added: Vec<Asked> = all
                .into_iter()
                .flatten()
                .filter(|sa| sa.handle != 0)
                .collect();
            if added.is_empty() {
                let text = "it succeeded, and no OffloadHandle of it is other than NULL";
                broken(block, rules::IPSEC_ADD_HANDLES, text, None);
            }
            for sa in &added {
                add(machine, adapter, block, sa);
            }
        }
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA => updated(adapter, block, &bytes, status),
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA => {
            let mut live = adapter.associations.live.write();
            for (handle, serial) in block
                .before
                .get()
                .into_iter()
                .flat_map(|b| b.leaving.lock().clone())
            {
                let same = live.get(&handle).is_some_and(|a| a.serial == serial);
                if same && success {
                    live.remove(&handle);
                    machine.note(Kind::SecurityAssociation, handle, "deleted", 0);
                } else if same && let Some(association) = live.get_mut(&handle) {
                    association.leaving = false;
                }
            }
        }
        _ => {}
    }
}

/// Checks an UPDATE_SA. What was so before or after will do: the SA may come or go meanwhile.
fn updated(adapter: &AdapterBlock, block: &OidBlock, bytes: &Bytes, status: NDIS_STATUS) {
    let whole = block.buffer.as_ref().is_some_and(|b| b.len() >= UPDATE_LEN);
    let Some(handle) = bytes.u64(UPDATE_HANDLE).filter(|_| is_offered(adapter)) else {
        return;
    };
    let then = block.before.get().and_then(|b| b.known);
    let now = adapter.associations.get(handle);
    let meant: Vec<Association> = [then, now].into_iter().flatten().collect();
    let why = if meant.is_empty() {
        "there is no SA of that handle"
    } else if !meant.iter().any(|sa| sa.extended_sequence_numbers) {
        "the SA has no extended sequence numbers"
    } else {
        return;
    };
    // A buffer that is too short has a status of its own.
    if status == NDIS_STATUS_SUCCESS || (whole && !UPDATE_REFUSALS.contains(&status)) {
        let text = format!("it ended with {status:#010x} for 0x{handle:x}; {why}");
        let object = Some(handle_of(handle));
        broken(block, rules::IPSEC_UPDATE_UNKNOWN, &text, object);
    }
}

/// Stops the machine for what a request came to.
fn broken(block: &OidBlock, rule: Rule, text: &str, object: Option<Object>) -> ! {
    let request = Some((Kind::OidRequest, block.address()));
    let objects: Vec<Object> = [request, object].into_iter().flatten().collect();
    violation_about(rule, format!("{block}: {text}"), &objects)
}

/// Takes note of an SA that was added.
fn add(machine: &Machine, adapter: &AdapterBlock, block: &OidBlock, sa: &Asked) {
    let handle = sa.handle;
    // The configuration may have changed while the request was under way: either will do.
    let then = block.before.get().and_then(|b| b.capabilities);
    let now = capabilities(adapter);
    let possible = [then, now].into_iter().flatten();
    let missing: Vec<_> = possible.map(|of| lacking(&of, sa)).collect();
    if !missing.iter().any(Option::is_none) {
        let what = missing
            .first()
            .copied()
            .flatten()
            .unwrap_or("IPsec offload");
        let text = format!("an SA was added that needs {what}, which is not in the configuration");
        broken(block, rules::IPSEC_CAPABILITY, &text, None);
    }
    let mut live = adapter.associations.live.write();
    if live.get(&handle).is_some_and(|a| !a.leaving) {
        drop(live);
        let text = format!("it got the handle 0x{handle:x} of an SA that was not deleted");
        broken(
            block,
            rules::IPSEC_HANDLE_REUSED,
            &text,
            Some(handle_of(handle)),
        );
    }
    let association = Association {
        serial: adapter.associations.serial.fetch_add(1, Ordering::Relaxed),
        extended_sequence_numbers: sa.extended_sequence_numbers,
        leaving: false,
    };
    live.insert(handle, association);
    let count = live.values().filter(|a| !a.leaving).count();
    drop(live);
    machine.note(Kind::SecurityAssociation, handle, "added", 0);
    let hardware = adapter
        .offloads
        .lock()
        .hardware()
        .map(|h| h.ipsec_v2().SaOffloadCapacity);
    if let Some(capacity) = hardware.filter(|c| count > *c as usize) {
        let text = format!("there are {count} SAs now; SaOffloadCapacity is {capacity}");
        broken(block, rules::IPSEC_CAPACITY, &text, Some(handle_of(handle)));
    }
}

impl Associations {
    fn get(&self, handle: u64) -> Option<Association> {
        self.live.read().get(&handle).copied()
    }

    /// Whether there is no SA of that handle, nor may have been a moment ago.
    pub(super) fn is_unknown(&self, handle: usize) -> bool {
        handle != 0 && !self.live.read().contains_key(&(handle as u64))
    }

    /// The adapter is initialized anew.
    pub(super) fn clear(&self) {
        self.live.write().clear();
    }
}

/// Whether sends are to be protected: IPsec offload is configured and activated.
pub(super) fn is_active(adapter: &AdapterBlock) -> bool {
    adapter.filter.lock().encapsulation.is_some() && capabilities(adapter).is_some()
}

/// What is indicated as the current configuration must be part of what the hardware can do.
pub(super) fn excess(
    hardware: &NDIS_IPSEC_OFFLOAD_V2,
    current: &NDIS_IPSEC_OFFLOAD_V2,
) -> Option<&'static str> {
    let masks = [
        (
            "Encapsulation",
            current.Encapsulation,
            hardware.Encapsulation,
        ),
        ("UdpEsp", current.UdpEsp, hardware.UdpEsp),
        (
            "AuthenticationAlgorithms",
            current.AuthenticationAlgorithms,
            hardware.AuthenticationAlgorithms,
        ),
        (
            "EncryptionAlgorithms",
            current.EncryptionAlgorithms,
            hardware.EncryptionAlgorithms,
        ),
    ];
    let flags = [
        (
            "IPv6Supported",
            current.IPv6Supported,
            hardware.IPv6Supported,
        ),
        ("Ah", current.Ah, hardware.Ah),
        ("Esp", current.Esp, hardware.Esp),
        (
            "AhEspCombined",
            current.AhEspCombined,
            hardware.AhEspCombined,
        ),
        ("Transport", current.Transport, hardware.Transport),
        ("Tunnel", current.Tunnel, hardware.Tunnel),
        ("LsoSupported", current.LsoSupported, hardware.LsoSupported),
        (
            "ExtendedSequenceNumbers",
            current.ExtendedSequenceNumbers,
            hardware.ExtendedSequenceNumbers,
        ),
    ];
    let mask = masks.into_iter().find(|(_, now, can)| now & !can != 0);
    let flag = flags
        .into_iter()
        .find(|(_, now, can)| *now != 0 && *can == 0);
    mask.map(|(name, ..)| name)
        .or(flag.map(|(name, ..)| name))
        .or((current.SaOffloadCapacity > hardware.SaOffloadCapacity).then_some("SaOffloadCapacity"))
}
