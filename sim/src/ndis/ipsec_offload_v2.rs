//! Conduct with IPsec Task Offload Version 2, as far as it shows from outside: handles, capacity,
//! capabilities, the out-of-band words. Nothing here knows keys or looks into packets.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ndis_sys::{
    NDIS_IPSEC_OFFLOAD_V2, NDIS_STATUS, NDIS_STATUS_INVALID_PARAMETER, NDIS_STATUS_NOT_ACCEPTED,
    NDIS_STATUS_REQUEST_ABORTED, NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
};
use parking_lot::{Mutex, RwLock};

use super::{
    adapter::AdapterBlock,
    ipsec_request::{ADD_SA, ADD_SA_EX, Asked, Bytes, MOST_ASSOCIATIONS, Update, asked, lacking},
    offload::Offload,
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
    /// Operation and SPI of what it consists of.
    headers: [Option<(i32, u32)>; MOST_ASSOCIATIONS],
    /// The highest high-order half of a sequence number that the transport has told.
    high: u32,
    /// A DELETE_SA is under way: the handle may go at any moment, or may have gone.
    leaving: bool,
}

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
    /// `AdapterBlock::reconfigurations`
    reconfigurations: u64,
    /// The SAs that a DELETE_SA names.
    leaving: Mutex<Vec<(u64, u64)>>,
    /// The SA that an UPDATE_SA names.
    known: Option<Association>,
    /// What the transport put into the OffloadHandle of each SA that it asks to add.
    handles: Vec<u64>,
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
        reconfigurations: adapter.reconfigurations.load(Ordering::Acquire),
        ..Before::default()
    };
    let Some(bytes) = Bytes::of(block).filter(|_| is_set(block)) else {
        return before;
    };
    match block.oid {
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA | OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX => {
            before.handles = wanted(block, &bytes).iter().map(|sa| sa.handle).collect();
        }
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA => {
            if let Some(update) = Update::read(&bytes) {
                before.known = adapter.associations.get(update.handle);
                adapter.associations.raise(&update);
            }
        }
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA => {
            let mut live = adapter.associations.live.write();
            let (members, _) = bytes.walk();
            for handle in members.into_iter().filter_map(|at| bytes.u64(at + 16)) {
                if let Some(association) = live.get_mut(&handle) {
                    association.leaving = true;
                    before.leaving.lock().push((handle, association.serial));
                }
            }
        }
        _ => {}
    }
    before
}

/// The SAs of an ADD_SA or ADD_SA_EX; none when the buffer has no meaning.
fn wanted(block: &OidBlock, bytes: &Bytes) -> Vec<Asked> {
    let ex = block.oid == OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX;
    let (layout, members) = if ex {
        (ADD_SA_EX, Some(vec![0]))
    } else {
        (ADD_SA, bytes.list())
    };
    let all: Option<Vec<Asked>> = members
        .into_iter()
        .flatten()
        .map(|at| asked(bytes, at, &layout))
        .collect();
    all.unwrap_or_default()
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
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA | OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX => {
            let all = wanted(block, &bytes);
            check_handles(block, &all, success);
            for sa in all.iter().filter(|sa| success && sa.handle != 0) {
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
                } else if same
                    && status != NDIS_STATUS_REQUEST_ABORTED
                    && let Some(association) = live.get_mut(&handle)
                {
                    // One that was aborted may have got that far.
                    association.leaving = false;
                }
            }
        }
        _ => {}
    }
}

/// Checks the handles that an ADD_SA leaves.
fn check_handles(block: &OidBlock, all: &[Asked], success: bool) {
    let wrong = |text: &str| broken(block, rules::IPSEC_ADD_HANDLES, text, None);
    let put = block.before.get().map_or(&[][..], |b| &b.handles);
    let left = |sa: &Asked, put: u64| sa.handle != 0 && sa.handle == put;
    let mut pairs = all.iter().zip(put);
    if success && pairs.clone().any(|(sa, put)| left(sa, *put)) {
        wrong("it succeeded, and there is an OffloadHandle that was not written");
    }
    if success && !all.iter().any(|sa| sa.handle != 0) {
        wrong("it succeeded, and no OffloadHandle of it is other than NULL");
    }
    if !success && pairs.any(|(sa, put)| sa.handle != 0 && !left(sa, *put)) {
        wrong("it failed, and there is an OffloadHandle other than NULL");
    }
}

/// Checks an UPDATE_SA. What was so before or after will do: the SA may come or go meanwhile.
fn updated(adapter: &AdapterBlock, block: &OidBlock, bytes: &Bytes, status: NDIS_STATUS) {
    let Some(update) = Update::read(bytes).filter(|_| is_offered(adapter)) else {
        return;
    };
    let then = block.before.get().and_then(|b| b.known);
    let now = adapter.associations.get(update.handle);
    let object = Some(handle_of(update.handle));
    if let (Some(then), Some(now)) = (then, now)
        && status == NDIS_STATUS_INVALID_PARAMETER
        && update.is_due(&then, &now)
    {
        let text = "it is refused; the SA is there, it has extended sequence numbers, and nobody deletes it";
        broken(block, rules::IPSEC_HANDLE_REUSED, text, object);
    }
    let meant: Vec<Association> = [then, now].into_iter().flatten().collect();
    let why = if meant.is_empty() {
        "there is no SA of that handle"
    } else if !meant.iter().any(|sa| sa.extended_sequence_numbers) {
        "the SA has no extended sequence numbers"
    } else {
        return;
    };
    // A buffer that is too short has a status of its own.
    let handle = update.handle;
    if status == NDIS_STATUS_SUCCESS || (update.whole && !UPDATE_REFUSALS.contains(&status)) {
        let text = format!("it ended with {status:#010x} for 0x{handle:x}; {why}");
        broken(block, rules::IPSEC_UPDATE_UNKNOWN, &text, object);
    }
}

impl Update {
    /// Whether a miniport that has the SA takes this: the request is well formed and about that very SA,
    /// and what it tells is new.
    fn is_due(&self, then: &Association, now: &Association) -> bool {
        let same = then.serial == now.serial && !then.leaving && !now.leaving;
        let header = Some((self.operation, self.spi));
        let own = now.headers.contains(&header) && now.extended_sequence_numbers;
        same && own && self.is_well_formed && self.high > then.high && self.high >= now.high
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
    // The configuration may have changed while the request was under way: either will do. When it was being
    // changed, the miniport knows of it before it indicates it, and it may have been a third one for a while.
    let before = block.before.get();
    let then = before.and_then(|b| b.capabilities);
    let now = capabilities(adapter);
    let changes = adapter.reconfigurations.load(Ordering::Acquire);
    let settled = changes.is_multiple_of(2)
        && before.is_some_and(|before| before.reconfigurations == changes);
    let hardware = adapter.offloads.lock().hardware().map(Offload::ipsec_v2);
    let between = hardware.filter(|_| !settled);
    let possible = [then, now, between].into_iter().flatten();
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
        headers: sa.headers(),
        high: sa.high,
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
    /// Keeps in mind what the transport tells with an UPDATE_SA, before the miniport knows it.
    fn raise(&self, update: &Update) {
        if let Some(sa) = self.live.write().get_mut(&update.handle) {
            sa.high = sa.high.max(update.high);
        }
    }

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
