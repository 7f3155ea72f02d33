//! The two paths that OID requests take to a miniport: the regular one, on
//! which NDIS serializes, and the direct one, on which it does not.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use ndis_sys::{
    NDIS_HANDLE, NDIS_OID_REQUEST, NDIS_STATUS, NDIS_STATUS_CLOSING, NDIS_STATUS_NOT_SUPPORTED,
    NDIS_STATUS_PENDING, NDIS_STATUS_REQUEST_ABORTED, OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, PVOID,
};
use parking_lot::Mutex;

use super::{
    adapter::AdapterBlock,
    calls::Call,
    driver::handler,
    link::Sleep,
    oid_block::{CALLED, COMPLETED_EARLY, DONE, OidBlock, PENDING, Path},
    oid_checks::{check_adapter, check_result, note, object, prepare},
    rules,
    state::{here, required, what},
};
use crate::{
    exports::{Export, NDIS},
    gate,
    history::Kind,
    irql::Irql,
    machine::Machine,
    processor,
    report::violation_about,
};

/// Requests that a miniport has or will get.
#[derive(Default)]
pub(super) struct OidQueue(Mutex<Requests>);

#[derive(Default)]
struct Requests {
    current: Option<Arc<OidBlock>>,
    waiting: VecDeque<Arc<OidBlock>>,
    direct: Vec<Arc<OidBlock>>,
}

impl OidQueue {
    /// The requests that the miniport holds: its handler has returned NDIS_STATUS_PENDING.
    pub(super) fn pending(&self) -> Vec<Arc<OidBlock>> {
        let mut requests = self.at_miniport();
        requests.retain(|block| block.stage.load(Ordering::Acquire) == PENDING);
        requests
    }

    /// The requests that the miniport has.
    pub(super) fn at_miniport(&self) -> Vec<Arc<OidBlock>> {
        let requests = self.0.lock();
        requests
            .current
            .iter()
            .chain(&requests.direct)
            .cloned()
            .collect()
    }
}

/// OIDs that NDIS routes directly ("OID Request Interfaces", NdisDirectOidRequest).
const DIRECT: [u32; 4] = [
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
];

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f| {
        Export::new(NDIS, name, f, 3)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_OID)
    };
    vec![
        any("NdisMOidRequestComplete", complete as *const ()),
        any(
            "NdisMDirectOidRequestComplete",
            complete_direct as *const (),
        ),
    ]
}

/// Takes a request to NDIS, on this processor.
pub(super) fn submit(adapter: &Arc<AdapterBlock>, block: Arc<OidBlock>) {
    let call = Call::begin(adapter);
    if call.is_none() || adapter.halted.load(Ordering::Acquire) {
        block.answer(NDIS_STATUS_CLOSING, &[]);
        return;
    }
    match block.path {
        Path::Direct => submit_direct(adapter, &block),
        Path::Regular => {
            if !super::oid_answers::answer(adapter, &block) {
                enqueue(adapter, block);
            }
        }
    }
}

fn submit_direct(adapter: &Arc<AdapterBlock>, block: &Arc<OidBlock>) {
    let f = handler!(adapter.driver, DirectOidRequestHandler);
    if f.is_null() || !DIRECT.contains(&block.oid) {
        block.answer(NDIS_STATUS_NOT_SUPPORTED, &[]);
        return;
    }
    adapter.oids.0.lock().direct.push(Arc::clone(block));
    hand_over(adapter, block, "MiniportDirectOidRequest", f);
}

/// Queues a regular request, and gives it to the miniport if that has none.
fn enqueue(adapter: &Arc<AdapterBlock>, block: Arc<OidBlock>) {
    adapter.oids.0.lock().waiting.push_back(block);
    pump(adapter);
}

/// Gives the miniport the next regular request. PASSIVE_LEVEL.
fn pump(adapter: &Arc<AdapterBlock>) {
    while let Some(_call) = Call::begin(adapter) {
        let mut requests = adapter.oids.0.lock();
        if requests.current.is_some() {
            return;
        }
        let Some(block) = requests.waiting.pop_front() else {
            return;
        };
        requests.current = Some(Arc::clone(&block));
        drop(requests);
        let f = handler!(adapter.driver, OidRequestHandler);
        if !hand_over(adapter, &block, "MiniportOidRequest", f) {
            return;
        }
    }
}

/// Calls the miniport's handler. True when the request is complete.
fn hand_over(
    adapter: &Arc<AdapterBlock>,
    block: &Arc<OidBlock>,
    name: &'static str,
    f: *const (),
) -> bool {
    block.stage.store(CALLED, Ordering::Release);
    note(block, name, 0);
    prepare(adapter, block);
    let guard = super::watch::OidGuard::enter(block);
    if block.is_to_sleep() {
        adapter.link.set_sleep(Sleep::entering());
    }
    // SAFETY: the driver's handler, with its arguments.
    let status =
        unsafe { gate::call(name, f, &[adapter.context(), block.address()]) } as NDIS_STATUS;
    drop(guard);
    if status == NDIS_STATUS_PENDING {
        if block
            .stage
            .compare_exchange(CALLED, PENDING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            note(block, "left pending by the handler", 0);
            super::watch::oid(adapter, block);
            return false;
        }
        // Completed before the handler returned, which is allowed.
        let Some(early) = block.early.lock().take() else {
            return true;
        };
        finish(adapter, block, early);
        return true;
    }
    if block.stage.load(Ordering::Acquire) == COMPLETED_EARLY {
        violation_about(
            rules::OID_DOUBLE_COMPLETE,
            format!(
                "{name} returned {status:#010x} for {block}, which the miniport has completed as well"
            ),
            &object(block),
        );
    }
    finish(adapter, block, status);
    true
}

/// Ends a request: checks what the miniport did and posts the result.
fn finish(adapter: &Arc<AdapterBlock>, block: &Arc<OidBlock>, status: NDIS_STATUS) {
    let result = check_result(block, status);
    if status >= 0 {
        super::oid_answers::take_note(adapter, block);
    }
    check_adapter(adapter, block, status);
    let mut requests = adapter.oids.0.lock();
    match block.path {
        Path::Regular => requests.current = None,
        Path::Direct => requests.direct.retain(|b| !Arc::ptr_eq(b, block)),
    }
    drop(requests);
    note(block, "complete, status", status as u32 as u64);
    block.stage.store(DONE, Ordering::Release);
    block.mailbox.post(result);
}

extern "efiapi" fn complete(handle: NDIS_HANDLE, request: PVOID, status: NDIS_STATUS) {
    complete_on(Path::Regular, handle, request, status);
}

extern "efiapi" fn complete_direct(handle: NDIS_HANDLE, request: PVOID, status: NDIS_STATUS) {
    complete_on(Path::Direct, handle, request, status);
}

fn complete_on(path: Path, handle: NDIS_HANDLE, request: PVOID, status: NDIS_STATUS) {
    required(request, "OidRequest");
    here(|machine, state| {
        let adapter = state.adapter(handle as u64);
        let at_miniport = adapter.oids.at_miniport();
        let Some(block) = at_miniport
            .into_iter()
            .find(|b| b.address() == request as u64)
        else {
            violation_about(
                rules::OID_DOUBLE_COMPLETE,
                format!(
                    "{} got {request:p}, which is no request that the miniport has (any more)",
                    what()
                ),
                &[(Kind::OidRequest, request as u64)],
            );
        };
        if block.path != path {
            violation_about(
                rules::OID_DOUBLE_REQUEST,
                format!("{} for {block}", what()),
                &object(&block),
            );
        }
        note(&block, what(), status as u32 as u64);
        if status == NDIS_STATUS_PENDING {
            violation_about(
                rules::OID_COMPLETE,
                format!("{block} is completed with NDIS_STATUS_PENDING"),
                &object(&block),
            );
        }
        // The handler may still run: then it finishes the request on its way out.
        *block.early.lock() = Some(status);
        if block
            .stage
            .compare_exchange(CALLED, COMPLETED_EARLY, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            return;
        }
        if block
            .stage
            .compare_exchange(PENDING, DONE, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            violation_about(
                rules::OID_DOUBLE_COMPLETE,
                format!("{block} is completed twice"),
                &object(&block),
            );
        }
        finish(&adapter, &block, status);
        if path == Path::Regular {
            // The next request is due at PASSIVE_LEVEL.
            let next = Arc::clone(&adapter);
            machine.spawn(None, Irql::PASSIVE, move || pump(&next));
        }
    });
}

/// Cancels a request. PASSIVE_LEVEL.
pub(super) fn cancel(adapter: &Arc<AdapterBlock>, block: &Arc<OidBlock>) {
    let mut requests = adapter.oids.0.lock();
    let queued = requests.waiting.iter().position(|b| Arc::ptr_eq(b, block));
    if let Some(index) = queued {
        requests.waiting.remove(index);
        drop(requests);
        block.answer(NDIS_STATUS_REQUEST_ABORTED, &[]);
        return;
    }
    drop(requests);
    if block.stage.load(Ordering::Acquire) != PENDING
        || block.cancelled.swap(true, Ordering::AcqRel)
    {
        return;
    }
    let (name, f) = match block.path {
        Path::Regular => (
            "MiniportCancelOidRequest",
            handler!(adapter.driver, CancelOidRequestHandler),
        ),
        Path::Direct => (
            "MiniportCancelDirectOidRequest",
            handler!(adapter.driver, CancelDirectOidRequestHandler),
        ),
    };
    if f.is_null() {
        return;
    }
    note(block, name, 0);
    let _call = Call::begin_last(adapter);
    // SAFETY: the structure was laid out in `build`; the driver's handler, with its arguments.
    unsafe {
        let id = (*block.structure.as_ptr().cast::<NDIS_OID_REQUEST>()).RequestId;
        gate::call(name, f, &[adapter.context(), id as u64]);
    }
}

/// Answers the requests that the miniport has not got: the adapter is halted.
pub(super) fn close(adapter: &AdapterBlock) {
    let waiting = std::mem::take(&mut adapter.oids.0.lock().waiting);
    for block in waiting {
        block.answer(NDIS_STATUS_CLOSING, &[]);
    }
}

/// Makes a set request of NDIS's own and waits for it. PASSIVE_LEVEL.
pub(super) fn set(
    machine: &Machine,
    adapter: &Arc<AdapterBlock>,
    oid: u32,
    data: &[u8],
) -> NDIS_STATUS {
    debug_assert!(processor::current().irql() == Irql::PASSIVE);
    let block = Arc::new(OidBlock::internal(oid, data, adapter, &machine.arc()));
    enqueue(adapter, Arc::clone(&block));
    super::oid::wait(machine, &block).status
}
