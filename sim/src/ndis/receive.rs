//! The receive path: NdisMIndicateReceiveNetBufferLists and
//! MiniportReturnNetBufferLists.

use std::{
    cell::RefCell,
    ptr,
    sync::{Arc, atomic::Ordering},
};

use ndis_sys::{
    MDL, NDIS_HANDLE, NDIS_PACKET_TYPE_ALL_MULTICAST, NDIS_PACKET_TYPE_BROADCAST,
    NDIS_PACKET_TYPE_DIRECTED, NDIS_PACKET_TYPE_MULTICAST, NDIS_PACKET_TYPE_PROMISCUOUS,
    NDIS_RECEIVE_FLAGS_DISPATCH_LEVEL, NDIS_RECEIVE_FLAGS_RESOURCES,
    NDIS_RETURN_FLAGS_DISPATCH_LEVEL, NET_BUFFER_LIST, ULONG,
};

use super::{
    adapter::{AdapterBlock, AdapterState},
    driver::handler,
    ipsec_offload_v2, ipsec_words,
    nbl::{self, Snapshot, chain, net_buffers},
    nbl_pool::{Holder, NblRecord},
    received::{Frame, Indicated, Inner, ReceivedNbl},
    rules,
    send::check_dispatch_flag,
    state::{Owner, State, here},
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

pub(super) fn exports() -> Vec<Export> {
    vec![
        Export::new(
            NDIS,
            "NdisMIndicateReceiveNetBufferLists",
            indicate as *const (),
            5,
        )
        .at_most(Irql::DISPATCH)
        .irql_rule(rules::IRQL_SEND_RECEIVE),
    ]
}

/// Indicated lists of which a report shows the history.
const REPORTED: usize = 4;

thread_local! {
    /// Lists that were dropped while this processor is inside an indication:
    /// they go back together when the protocols have returned.
    static BATCH: RefCell<Option<Batch>> = const { RefCell::new(None) };
}

struct Batch {
    adapter: u64,
    lists: Vec<Arc<NblRecord>>,
}

/// Returns lists to the miniport, as one chain in this order.
pub(super) fn give_back(adapter: &Arc<AdapterBlock>, lists: Vec<Arc<NblRecord>>) {
    let Some(machine) = adapter.machine.upgrade() else {
        return;
    };
    if processor::try_current().is_some_and(|c| c.is_on(&machine)) {
        let rest = BATCH.with_borrow_mut(|batch| match batch {
            Some(batch) if batch.adapter == adapter.handle => {
                batch.lists.extend(lists);
                None
            }
            _ => Some(lists),
        });
        if let Some(lists) = rest {
            call_return(adapter, lists);
        }
        return;
    }
    let adapter = Arc::clone(adapter);
    // A stopped machine takes nothing back.
    let _ = machine.run(None, Irql::DISPATCH, move || call_return(&adapter, lists));
}

/// Calls MiniportReturnNetBufferLists.
fn call_return(adapter: &Arc<AdapterBlock>, lists: Vec<Arc<NblRecord>>) {
    let mut first: *mut NET_BUFFER_LIST = ptr::null_mut();
    for record in lists.iter().rev() {
        take_back(
            processor::current().machine().ndis(),
            record,
            Holder::Indicated,
        );
        // SAFETY: the list is NDIS's to chain.
        unsafe {
            if ipsec_offload_v2::is_offered(adapter) {
                ipsec_words::spoil(record.nbl);
            }
            (*record.nbl).Next = first;
        }
        first = record.nbl;
    }
    if first.is_null() {
        return;
    }
    let count = lists.len();
    for record in &lists {
        if !record.pass(Holder::Indicated, Holder::Driver) {
            violation_about(
                rules::RECEIVE_OWNERSHIP,
                format!("{:p} is returned twice", record.nbl),
                &[(Kind::NetBufferList, record.nbl as u64)],
            );
        }
    }
    if let Some(machine) = adapter.machine.upgrade() {
        for record in &lists {
            let id = record.nbl as u64;
            machine.note(
                Kind::NetBufferList,
                id,
                "given to MiniportReturnNetBufferLists",
                0,
            );
        }
    }
    drop(lists);
    // The driver may complete a pause from within: what it gets back counts as returned.
    adapter.receives.fetch_sub(count, Ordering::AcqRel);
    let flags = if processor::current().irql() == Irql::DISPATCH {
        NDIS_RETURN_FLAGS_DISPATCH_LEVEL
    } else {
        0
    };
    let f = handler!(adapter.driver, ReturnNetBufferListsHandler);
    // SAFETY: the driver's MiniportReturnNetBufferLists, with its arguments.
    unsafe {
        gate::call(
            "MiniportReturnNetBufferLists",
            f,
            &[adapter.context(), first as u64, u64::from(flags)],
        );
    }
}

type Mdls = super::state::Table<super::memory::Mdl>;

/// Checks that the miniport did not touch the list while it was not its own.
fn take_back(state: &State, record: &NblRecord, holder: Holder) {
    let Some(before) = record.snapshot.lock().take() else {
        return;
    };
    // SAFETY: the record keeps the list; it is walked as it was when it was
    // indicated if nobody touched it, and by its own links if somebody did.
    let now = unsafe { Snapshot::of(record.nbl, before.data.is_some()) };
    if before != now {
        let what = if before.shape == now.shape {
            "data"
        } else {
            "structure"
        };
        violation_about(
            rules::RECEIVE_OWNERSHIP,
            format!(
                "the {what} of {:p} changed while it was {holder:?}",
                record.nbl
            ),
            &[(Kind::NetBufferList, record.nbl as u64)],
        );
    }
    mark_mdls(&state.mdls, record, false);
}

fn mark_mdls(mdls: &Mdls, record: &NblRecord, on: bool) {
    // SAFETY: well formed, see the callers.
    unsafe {
        for nb in net_buffers(record.nbl) {
            for mdl in nbl::mdls((*nb).MdlChain) {
                mark(mdls, mdl, on);
            }
        }
    }
}

fn mark(mdls: &Mdls, mdl: *mut MDL, on: bool) {
    if let Some(mdl) = mdls.get(mdl as u64) {
        mdl.use_in_indication(on);
    }
}

extern "efiapi" fn indicate(
    handle: NDIS_HANDLE,
    first: *mut NET_BUFFER_LIST,
    port: u32,
    count: ULONG,
    flags: ULONG,
) {
    check_dispatch_flag(
        flags,
        NDIS_RECEIVE_FLAGS_DISPATCH_LEVEL,
        "NdisMIndicateReceiveNetBufferLists",
    );
    here(|machine, state| {
        let adapter = state.adapter(handle as u64);
        let allowed = [
            AdapterState::Running,
            AdapterState::Restarting,
            AdapterState::Pausing,
        ];
        if !allowed.contains(&adapter.state()) {
            violation(
                rules::INDICATE_RECEIVE,
                format!("a receive indication in the {} state", adapter.state()),
            );
        }
        if port != 0 {
            violation(
                rules::INDICATE_RECEIVE,
                format!("port {port} was not allocated"),
            );
        }
        // SAFETY: the miniport's chain; each member is looked up before use.
        let lists = unsafe { chain(first) };
        if lists.is_empty() || lists.len() != count as usize {
            let named = lists.iter().take(REPORTED);
            let named: Vec<_> = named.map(|l| (Kind::NetBufferList, *l as u64)).collect();
            violation_about(
                rules::INDICATE_RECEIVE,
                format!(
                    "NumberOfNetBufferLists is {count}, the chain has {}",
                    lists.len()
                ),
                &named,
            );
        }
        adapter.indications.fetch_add(1, Ordering::AcqRel);
        let loan = flags & NDIS_RECEIVE_FLAGS_RESOURCES != 0;
        let holder = if loan {
            Holder::Loaned
        } else {
            Holder::Indicated
        };
        let records: Vec<Arc<NblRecord>> = lists
            .iter()
            .map(|nbl| accept(machine, state, &adapter, *nbl, holder))
            .collect();
        adapter.receives.fetch_add(records.len(), Ordering::AcqRel);
        let outer = BATCH.replace((!loan).then(|| Batch {
            adapter: adapter.handle,
            lists: Vec::new(),
        }));
        let received = records
            .iter()
            .map(|record| {
                if loan {
                    // SAFETY: accepted as well formed.
                    let frame = unsafe { Frame::copy(record.nbl) };
                    (destination(record), Inner::Copied(Box::new(frame)))
                } else {
                    let (adapter, record) = (Arc::clone(&adapter), Arc::clone(record));
                    let to = destination(&record);
                    (to, Inner::Live(Arc::new(Indicated { adapter, record })))
                }
            })
            .collect();
        deliver(&adapter, received, flags);
        if loan {
            for record in &records {
                let id = record.nbl as u64;
                machine.note(
                    Kind::NetBufferList,
                    id,
                    "the driver's again: the indication returns",
                    0,
                );
                take_back(state, record, holder);
                record.pass(Holder::Loaned, Holder::Driver);
            }
            adapter.receives.fetch_sub(records.len(), Ordering::AcqRel);
        }
        drop(records);
        let batch = BATCH.replace(outer);
        if let Some(Batch { lists, .. }) = batch.filter(|b| !b.lists.is_empty()) {
            call_return(&adapter, lists);
        }
        adapter.indications.fetch_sub(1, Ordering::AcqRel);
    });
}

/// Checks a list and takes it over from the miniport.
fn accept(
    machine: &Machine,
    state: &State,
    adapter: &AdapterBlock,
    nbl: *mut NET_BUFFER_LIST,
    holder: Holder,
) -> Arc<NblRecord> {
    let object = [(Kind::NetBufferList, nbl as u64)];
    let Some(record) = state.nbls.get(nbl as u64) else {
        let why = if super::send::is_send(machine, nbl) {
            "is a send request"
        } else {
            "is not allocated from a pool (any more)"
        };
        violation_about(rules::INDICATE_RECEIVE, format!("{nbl:p} {why}"), &object);
    };
    let of_driver = match record.owner() {
        Owner::Adapter(handle) => handle == adapter.handle,
        Owner::Driver(handle) => handle == adapter.driver.handle,
    };
    if !of_driver {
        violation_about(
            rules::INDICATE_RECEIVE,
            format!("{nbl:p} is of a pool of another adapter"),
            &object,
        );
    }
    if !record.pass(Holder::Driver, holder) {
        violation_about(
            rules::RECEIVE_OWNERSHIP,
            format!("{nbl:p} is indicated again before it was returned"),
            &object,
        );
    }
    let how = match holder {
        Holder::Loaned => "indicated with NDIS_RECEIVE_FLAGS_RESOURCES, adapter",
        _ => "indicated, adapter",
    };
    machine.note(Kind::NetBufferList, nbl as u64, how, adapter.handle);
    record.adapter.store(adapter.handle, Ordering::Release);
    let refuse = |text: String| -> ! {
        violation_about(rules::INDICATE_RECEIVE, format!("{nbl:p}: {text}"), &object)
    };
    // SAFETY: the list is of a pool; its NET_BUFFERs are checked one by one.
    unsafe {
        if (*nbl).SourceHandle as u64 != adapter.handle {
            refuse(format!(
                "SourceHandle is {:p}, not the adapter's handle",
                (*nbl).SourceHandle
            ));
        }
        let count = net_buffers(nbl).count();
        if count != 1 {
            refuse(format!("an Ethernet frame is one NET_BUFFER, not {count}"));
        }
        for nb in net_buffers(nbl) {
            if let Some(fault) = nbl::fault(nb) {
                violation_about(rules::NET_BUFFER_LIST, format!("{nbl:p}: {fault}"), &object);
            }
            // The Ethernet header, and a VLAN tag that was left in.
            let (len, max) = ((*nb).DataLength, adapter.mtu() + 14 + 4);
            if !(14..=max).contains(&len) {
                refuse(format!(
                    "a frame of {len} bytes; this adapter's have 14 to {max}"
                ));
            }
        }
        if ipsec_offload_v2::is_offered(adapter)
            && let Some((rule, text)) = ipsec_words::fault(adapter, nbl)
        {
            violation_about(rule, format!("{nbl:p}: {text}"), &object);
        }
        *record.snapshot.lock() = Some(Snapshot::of(nbl, state.watches_data()));
    }
    mark_mdls(&state.mdls, &record, true);
    record
}

/// The destination address.
fn destination(record: &NblRecord) -> [u8; 6] {
    // SAFETY: accepted as well formed, with at least 14 bytes.
    unsafe {
        net_buffers(record.nbl)
            .next()
            .and_then(|nb| nbl::head(nb))
            .unwrap_or_default()
    }
}

/// Passes received lists to the protocols whose packet filter takes them.
fn deliver(adapter: &Arc<AdapterBlock>, received: Vec<([u8; 6], Inner)>, flags: ULONG) {
    let opens = adapter.opens.read().clone();
    let mac = adapter.mac();
    for open in &opens {
        let filter = open.filter.lock().clone();
        let wanted: Vec<ReceivedNbl> = received
            .iter()
            .filter(|(to, _)| takes(filter.packet, &filter.multicast, mac, *to))
            .map(|(_, inner)| {
                ReceivedNbl(match inner {
                    Inner::Copied(frame) => Inner::Copied(frame.clone()),
                    Inner::Live(live) => Inner::Live(Arc::clone(live)),
                })
            })
            .collect();
        if let Some(machine) = adapter.machine.upgrade() {
            for nbl in wanted.iter().filter_map(ReceivedNbl::address) {
                machine.note(Kind::NetBufferList, nbl, "received by binding", open.handle);
            }
        }
        if !wanted.is_empty() {
            open.protocol.receive(wanted, flags);
        }
    }
}

/// Whether a packet filter takes a frame to that address.
fn takes(filter: u32, multicast: &[[u8; 6]], mac: [u8; 6], to: [u8; 6]) -> bool {
    if filter & NDIS_PACKET_TYPE_PROMISCUOUS != 0 {
        return true;
    }
    if to == [0xFF; 6] {
        return filter & NDIS_PACKET_TYPE_BROADCAST != 0;
    }
    if to[0] & 1 != 0 {
        return filter & NDIS_PACKET_TYPE_ALL_MULTICAST != 0
            || (filter & NDIS_PACKET_TYPE_MULTICAST != 0 && multicast.contains(&to));
    }
    filter & NDIS_PACKET_TYPE_DIRECTED != 0 && to == mac
}

/// Lists that the adapter has indicated and not got back, for their histories.
pub(super) fn objects(machine: &Machine, adapter: &AdapterBlock) -> Vec<Object> {
    let mut all = machine.ndis().nbls.all();
    all.retain(|r| {
        r.holder() != Holder::Driver && r.adapter.load(Ordering::Acquire) == adapter.handle
    });
    let lists = all.iter().take(REPORTED);
    lists.map(|r| (Kind::NetBufferList, r.nbl as u64)).collect()
}
