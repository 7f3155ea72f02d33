//! The send path: MiniportSendNetBufferLists, MiniportCancelSend and
//! NdisMSendNetBufferListsComplete.

use std::{
    collections::BTreeMap,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ndis_sys::{
    NDIS_HANDLE, NDIS_SEND_COMPLETE_FLAGS_DISPATCH_LEVEL, NDIS_SEND_FLAGS_DISPATCH_LEVEL,
    NDIS_STATUS_FAILURE, NDIS_STATUS_INVALID_LENGTH, NDIS_STATUS_LOW_POWER_STATE,
    NDIS_STATUS_MEDIA_DISCONNECTED, NDIS_STATUS_NOT_ACCEPTED, NDIS_STATUS_PAUSED,
    NDIS_STATUS_RESET_IN_PROGRESS, NDIS_STATUS_RESOURCES, NDIS_STATUS_SEND_ABORTED,
    NDIS_STATUS_SUCCESS, NET_BUFFER_LIST, ULONG,
};
use parking_lot::Mutex;

use super::{
    adapter::{AdapterBlock, AdapterState},
    calls::Call,
    driver::handler,
    ipsec_words::unknown_handle,
    link::Moment,
    prepared::{PreparedNbl, SentNbl},
    protocol::OpenBlock,
    rules,
    state::{here, required},
};
use crate::{
    exports::{Export, NDIS},
    gate,
    history::{Kind, Object},
    irql::Irql,
    machine::Machine,
    processor,
    report::{violation, violation_about},
};

/// A send request that the miniport has.
pub(super) struct SendRecord {
    nbl: Mutex<Option<PreparedNbl>>,
    adapter: u64,
    open: Arc<OpenBlock>,
    since: Duration,
    /// MiniportSendNetBufferLists has returned, and the request was not complete by then.
    held: Arc<AtomicBool>,
    /// An IPsec offload handle of which there was no SA.
    unknown: Option<usize>,
    /// When it was sent, for the link.
    link: Moment,
}

/// Send requests of which a report shows the history.
const REPORTED: usize = 4;

/// The statuses that the page of NdisMSendNetBufferListsComplete lists.
const STATUSES: [(i32, &str); 7] = [
    (NDIS_STATUS_SUCCESS, "NDIS_STATUS_SUCCESS"),
    (NDIS_STATUS_INVALID_LENGTH, "NDIS_STATUS_INVALID_LENGTH"),
    (NDIS_STATUS_RESOURCES, "NDIS_STATUS_RESOURCES"),
    (NDIS_STATUS_PAUSED, "NDIS_STATUS_PAUSED"),
    (NDIS_STATUS_SEND_ABORTED, "NDIS_STATUS_SEND_ABORTED"),
    (
        NDIS_STATUS_RESET_IN_PROGRESS,
        "NDIS_STATUS_RESET_IN_PROGRESS",
    ),
    (NDIS_STATUS_FAILURE, "NDIS_STATUS_FAILURE"),
];

pub(super) fn exports() -> Vec<Export> {
    vec![
        Export::new(
            NDIS,
            "NdisMSendNetBufferListsComplete",
            complete as *const (),
            3,
        )
        .at_most(Irql::DISPATCH)
        .irql_rule(rules::IRQL_SEND_RECEIVE),
    ]
}

/// Gives a chain to the miniport, on this processor at its current IRQL.
/// `through` passes it on although the adapter does not run: a send that raced
/// with a pause.
pub(super) fn send(
    machine: &Machine,
    adapter: &Arc<AdapterBlock>,
    open: &Arc<OpenBlock>,
    mut nbls: Vec<PreparedNbl>,
    flags: ULONG,
    through: bool,
) {
    if nbls.is_empty() {
        return;
    }
    // Begun before the state is looked at: a pause waits for it.
    let call = Call::begin(adapter);
    let passes = through || adapter.state() == AdapterState::Running;
    if call.is_none() || adapter.halted.load(Ordering::Acquire) || !passes {
        let sent = nbls
            .into_iter()
            .map(|nbl| SentNbl {
                status: NDIS_STATUS_PAUSED,
                cookie: nbl.cookie,
                nbl,
            })
            .collect();
        open.protocol.send_complete(sent, 0);
        return;
    }
    let mut next: *mut NET_BUFFER_LIST = ptr::null_mut();
    for nbl in nbls.iter_mut().rev() {
        nbl.arm(open.handle);
        // SAFETY: the list belongs to the request, which nobody else has.
        unsafe { (*nbl.nbl).Next = next };
        next = nbl.nbl;
    }
    let since = machine.clock().now();
    let link = adapter.link.moment();
    let held = Arc::new(AtomicBool::new(false));
    adapter.sends.fetch_add(nbls.len(), Ordering::AcqRel);
    for nbl in nbls {
        let key = nbl.nbl as u64;
        let what = "given to MiniportSendNetBufferLists by binding";
        machine.note(Kind::NetBufferList, key, what, open.handle);
        let unknown = unknown_handle(adapter, nbl.info());
        let record = SendRecord {
            unknown,
            link,
            nbl: Mutex::new(Some(nbl)),
            adapter: adapter.handle,
            open: Arc::clone(open),
            since,
            held: Arc::clone(&held),
        };
        machine.ndis().sends.insert(key, record.into());
    }
    super::watch::arm(machine, adapter);
    let flags = if processor::current().irql() == Irql::DISPATCH {
        flags | NDIS_SEND_FLAGS_DISPATCH_LEVEL
    } else {
        flags & !NDIS_SEND_FLAGS_DISPATCH_LEVEL
    };
    let f = handler!(adapter.driver, SendNetBufferListsHandler);
    // SAFETY: the driver's MiniportSendNetBufferLists, with its arguments.
    unsafe {
        gate::call(
            "MiniportSendNetBufferLists",
            f,
            &[adapter.context(), next as u64, 0, u64::from(flags)],
        );
    }
    held.store(true, Ordering::Release);
}

/// Asks the miniport to complete queued sends of that id.
pub(super) fn cancel(adapter: &Arc<AdapterBlock>, id: usize) {
    let call = Call::begin(adapter);
    if call.is_none() || adapter.halted.load(Ordering::Acquire) {
        return;
    }
    let f = handler!(adapter.driver, CancelSendHandler);
    // SAFETY: the driver's MiniportCancelSend, with its arguments.
    unsafe { gate::call("MiniportCancelSend", f, &[adapter.context(), id as u64]) };
}

/// The dispatch-level flag must tell the truth, where it is set.
pub(super) fn check_dispatch_flag(flags: ULONG, bit: ULONG, export: &str) {
    let irql = processor::current().irql();
    if flags & bit != 0 && irql != Irql::DISPATCH {
        violation(
            rules::FLAGS_IRQL,
            format!("{export} says DISPATCH_LEVEL in its flags, at {irql}"),
        );
    }
}

extern "efiapi" fn complete(handle: NDIS_HANDLE, first: *mut NET_BUFFER_LIST, flags: ULONG) {
    check_dispatch_flag(
        flags,
        NDIS_SEND_COMPLETE_FLAGS_DISPATCH_LEVEL,
        "NdisMSendNetBufferListsComplete",
    );
    required(first, "NetBufferList");
    here(|machine, state| {
        let adapter = state.adapter(handle as u64);
        *adapter.last_completion.lock() = machine.clock().now();
        let watched = state.watches_data();
        // One protocol after the other, each with its own in the order of the chain.
        let mut by_open: BTreeMap<u64, (Arc<OpenBlock>, Vec<SentNbl>)> = BTreeMap::new();
        let mut next = first;
        while !next.is_null() {
            let nbl = next;
            let object = [(Kind::NetBufferList, nbl as u64)];
            let violation = |rule, text: String| -> ! { violation_about(rule, text, &object) };
            let Some(record) = state.sends.remove(nbl as u64) else {
                violation(
                    rules::SEND_COMPLETE,
                    format!("{nbl:p} is no send request that the miniport has (any more)"),
                );
            };
            let Some(request) = record.nbl.lock().take() else {
                violation(
                    rules::SEND_COMPLETE,
                    format!("{nbl:p} is completed twice at once"),
                );
            };
            if record.adapter != adapter.handle {
                violation(
                    rules::SEND_COMPLETE,
                    format!("{nbl:p} was sent on another adapter than {adapter}"),
                );
            }
            // SAFETY: the request's own list, which the miniport has just given back.
            let status = unsafe {
                next = (*nbl).Next;
                (*nbl).Status
            };
            machine.note(
                Kind::NetBufferList,
                nbl as u64,
                "completed with status",
                status as u32 as u64,
            );
            // MiniportDevicePnPEventNotify has sends refused with the one after a surprise removal,
            // OID_PNP_SET_POWER with the other in a low-power state. For sends without a link no page names one;
            // this is the only one that says so (ndis.h), and what drivers use.
            let refused = match status {
                NDIS_STATUS_NOT_ACCEPTED => adapter.removed.load(Ordering::Acquire),
                NDIS_STATUS_LOW_POWER_STATE => adapter.low_power.load(Ordering::Acquire),
                NDIS_STATUS_MEDIA_DISCONNECTED => adapter.link.was_down_since(record.link),
                _ => false,
            };
            if !refused && !STATUSES.iter().any(|(allowed, _)| *allowed == status) {
                violation(
                    rules::SEND_COMPLETE,
                    format!(
                        "{nbl:p} is completed with {status:#010x}, which the page does not list"
                    ),
                );
            }
            let unknown = record
                .unknown
                .filter(|h| adapter.associations.is_unknown(*h));
            // What is refused before the handle is looked at has another status; a length that is right is
            // no such reason.
            let odd = status == NDIS_STATUS_SUCCESS
                || (status == NDIS_STATUS_INVALID_LENGTH
                    && request.is_of_usual_length(adapter.mtu()));
            if let Some(handle) = unknown.filter(|_| odd) {
                violation(
                    rules::IPSEC_UNKNOWN_HANDLE,
                    format!(
                        "{nbl:p} is completed with {status:#010x}; it names {handle:#x}, of which there is no SA"
                    ),
                );
            }
            if let Some(damage) = request.damage(watched) {
                violation(rules::SEND_GEOMETRY, format!("{nbl:p}: {damage}"));
            }
            if let Some(wrong) = request.large_send_damage() {
                violation(
                    rules::SEND_COMPLETE,
                    format!("{nbl:p} is completed with {wrong}"),
                );
            }
            if watched && let Some(overrun) = request.overrun() {
                violation(rules::BUFFER_OVERRUN, format!("{nbl:p}: {overrun}"));
            }
            adapter.sends.fetch_sub(1, Ordering::AcqRel);
            let sent = SentNbl {
                status,
                cookie: request.cookie,
                nbl: request,
            };
            by_open
                .entry(record.open.handle)
                .or_insert_with(|| (Arc::clone(&record.open), Vec::new()))
                .1
                .push(sent);
        }
        drop(adapter);
        for (open, sent) in by_open.into_values() {
            open.protocol.send_complete(sent, flags);
        }
    });
}

/// When the oldest outstanding send of the adapter was made.
pub(super) fn oldest(machine: &Machine, adapter: &AdapterBlock) -> Option<Duration> {
    let all = machine.ndis().sends.all();
    all.iter()
        .filter(|r| r.adapter == adapter.handle)
        .map(|r| r.since)
        .min()
}

/// The send requests that the adapter still has, the oldest first, for their histories.
pub(super) fn objects(machine: &Machine, adapter: &AdapterBlock) -> Vec<Object> {
    let mut all = machine.ndis().sends.all();
    all.retain(|r| r.adapter == adapter.handle);
    all.sort_by_key(|r| r.since);
    let lists = all
        .iter()
        .filter_map(|r| r.nbl.lock().as_ref().map(|n| n.nbl as u64));
    lists
        .take(REPORTED)
        .map(|id| (Kind::NetBufferList, id))
        .collect()
}

/// Every send request that the adapter still has, for reports.
pub(super) fn outstanding(machine: &Machine, adapter: &AdapterBlock) -> Vec<String> {
    list(machine, adapter, |_| true)
}

/// The send requests that the miniport holds: those whose handler is still being called on
/// another processor are not (yet) among them.
pub(super) fn held(machine: &Machine, adapter: &AdapterBlock) -> Vec<String> {
    list(machine, adapter, |r| r.held.load(Ordering::Acquire))
}

fn list(
    machine: &Machine,
    adapter: &AdapterBlock,
    wanted: impl Fn(&SendRecord) -> bool,
) -> Vec<String> {
    let all = machine.ndis().sends.all();
    all.iter()
        .filter(|r| r.adapter == adapter.handle && wanted(r))
        .filter_map(|r| r.nbl.lock().as_ref().map(|n| format!("{n:?}")))
        .collect()
}

/// Whether a chain of NET_BUFFER_LISTs contains a send request: those may not
/// be indicated.
pub(super) fn is_send(machine: &Machine, nbl: *mut NET_BUFFER_LIST) -> bool {
    machine.ndis().sends.get(nbl as u64).is_some()
}
