//! The two paths that OID requests take to a miniport: the regular one, on
//! which NDIS serializes, and the direct one, on which it does not.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use ndis_sys::{
    NDIS_HANDLE, NDIS_OID_REQUEST, NDIS_STATUS, NDIS_STATUS_BUFFER_TOO_SHORT, NDIS_STATUS_CLOSING,
    NDIS_STATUS_NOT_ACCEPTED, NDIS_STATUS_NOT_SUPPORTED, NDIS_STATUS_PENDING,
    NDIS_STATUS_REQUEST_ABORTED, NDIS_STATUS_SUCCESS, OID_802_3_DELETE_MULTICAST_ADDRESS,
    OID_PNP_SET_POWER, OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, PVOID,
};
use parking_lot::Mutex;

use super::{
    adapter::AdapterBlock,
    driver::handler,
    header,
    oid::{Mailbox, OidKind, OidRequest, OidResult},
    protocol::OpenBlock,
    rules,
    state::{here, required, what},
};
use crate::{
    exports::{Export, NDIS},
    gate,
    guarded::{Fence, GuardedBuf},
    irql::Irql,
    machine::Machine,
    processor,
    report::violation,
};

/// Which path a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Regular,
    Direct,
}

const QUEUED: u8 = 0;
/// The miniport's handler runs.
const CALLED: u8 = 1;
/// The handler returned NDIS_STATUS_PENDING.
const PENDING: u8 = 2;
/// The miniport completed it although the handler has not returned yet.
const COMPLETED_EARLY: u8 = 3;
const DONE: u8 = 4;

/// A request in flight.
pub(super) struct OidBlock {
    pub(super) kind: OidKind,
    pub(super) oid: u32,
    path: Path,
    structure: GuardedBuf,
    buffer: Option<GuardedBuf>,
    stage: AtomicU8,
    early: Mutex<Option<NDIS_STATUS>>,
    cancelled: AtomicBool,
    pub(super) mailbox: Mailbox,
    pub(super) open: Option<Arc<OpenBlock>>,
    /// What the binding asked for, when NDIS has merged it with others'.
    pub(super) requested: Option<Vec<u8>>,
}

impl fmt::Display for OidBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direct = if self.path == Path::Direct {
            "direct "
        } else {
            ""
        };
        write!(
            f,
            "the {direct}{:?} request of OID {:#010x}",
            self.kind, self.oid
        )
    }
}

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

impl OidBlock {
    pub(super) fn new(
        mut request: OidRequest,
        path: Path,
        adapter: &AdapterBlock,
        open: &Arc<OpenBlock>,
        machine: &Arc<Machine>,
    ) -> Self {
        let buffer = request.buffer(machine);
        Self::build(
            &request,
            buffer,
            path,
            adapter,
            Some(Arc::clone(open)),
            machine,
        )
    }

    /// A set request of NDIS's own.
    pub(super) fn internal(
        oid: u32,
        data: &[u8],
        adapter: &AdapterBlock,
        machine: &Arc<Machine>,
    ) -> Self {
        let mut request = OidRequest::set(oid, data);
        let buffer = request.buffer(machine);
        Self::build(&request, buffer, Path::Regular, adapter, None, machine)
    }

    fn build(
        request: &OidRequest,
        buffer: Option<GuardedBuf>,
        path: Path,
        adapter: &AdapterBlock,
        open: Option<Arc<OpenBlock>>,
        machine: &Arc<Machine>,
    ) -> Self {
        let size = size_of::<NDIS_OID_REQUEST>();
        let structure = GuardedBuf::with(Arc::clone(machine), size, 16, Fence::End);
        let len = request.declared.unwrap_or_else(|| {
            buffer
                .as_ref()
                .map_or(0, |b| u32::try_from(b.len()).unwrap_or(u32::MAX))
        });
        let address = buffer
            .as_ref()
            .map_or(std::ptr::null_mut(), GuardedBuf::as_ptr) as PVOID;
        // SAFETY: the buffer has the structure's size and alignment, and is zeroed.
        unsafe {
            let r = structure.as_ptr().cast::<NDIS_OID_REQUEST>();
            (*r).Header = header::OID_REQUEST.header(adapter.driver.version.min((6, 40)));
            (*r).RequestType = request.kind.raw();
            (*r).PortNumber = request.port;
            (*r).RequestId = machine.ndis().serial() as PVOID;
            (*r).RequestHandle = open.as_ref().map_or(0, |o| o.handle) as NDIS_HANDLE;
            if request.kind == OidKind::Method {
                let m = &raw mut (*r).DATA.METHOD_INFORMATION;
                (*m).Oid = request.oid;
                (*m).InformationBuffer = address;
                (*m).InputBufferLength = len;
                (*m).OutputBufferLength = request.output;
            } else {
                // The members of queries and sets lie at the same offsets.
                let q = &raw mut (*r).DATA.QUERY_INFORMATION;
                (*q).Oid = request.oid;
                (*q).InformationBuffer = address;
                (*q).InformationBufferLength = len;
            }
        }
        Self {
            kind: request.kind,
            oid: request.oid,
            path,
            structure,
            buffer,
            stage: AtomicU8::new(QUEUED),
            early: Mutex::new(None),
            cancelled: AtomicBool::new(false),
            mailbox: Mailbox::default(),
            open,
            requested: request.requested.clone(),
        }
    }

    fn address(&self) -> u64 {
        self.structure.as_ptr() as u64
    }

    fn request(&self) -> NDIS_OID_REQUEST {
        // SAFETY: the structure was laid out in `build`.
        unsafe { self.structure.as_ptr().cast::<NDIS_OID_REQUEST>().read() }
    }

    /// The bytes of the buffer that a set request carries.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let bytes = self
            .buffer
            .as_ref()
            .map(GuardedBuf::to_vec)
            .unwrap_or_default();
        let request = self.request();
        // SAFETY: the member is an integer for every kind of request.
        let len = unsafe { request.DATA.SET_INFORMATION.InformationBufferLength } as usize;
        bytes[..bytes.len().min(len)].to_vec()
    }

    /// Length of the buffer, as the miniport is told.
    pub(super) fn len(&self) -> u32 {
        // SAFETY: as in `bytes`.
        unsafe {
            self.request()
                .DATA
                .QUERY_INFORMATION
                .InformationBufferLength
        }
    }

    /// Answers in the miniport's stead.
    pub(super) fn answer(&self, status: NDIS_STATUS, data: &[u8]) {
        let needed = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let mut result = OidResult {
            status,
            ..OidResult::default()
        };
        if let Some(buffer) = &self.buffer {
            if status == NDIS_STATUS_SUCCESS && self.kind != OidKind::Set {
                if buffer.len() < data.len() || self.len() < needed {
                    result.status = NDIS_STATUS_BUFFER_TOO_SHORT;
                    result.bytes_needed = needed;
                } else {
                    buffer.write(0, data);
                    result.bytes_written = needed;
                }
            } else if status == NDIS_STATUS_SUCCESS {
                result.bytes_read = self.len();
            }
            result.buffer = buffer.to_vec();
            result.address = buffer.as_ptr() as u64;
        } else if status == NDIS_STATUS_SUCCESS && needed != 0 {
            result.status = NDIS_STATUS_BUFFER_TOO_SHORT;
            result.bytes_needed = needed;
        }
        self.stage.store(DONE, Ordering::Release);
        self.mailbox.post(result);
    }
}

/// OIDs that NDIS routes directly ("OID Request Interfaces", NdisDirectOidRequest).
const DIRECT: [u32; 4] = [
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
];

/// OIDs that NdisOidComplete lets fail only because the adapter is going or
/// resetting, of those that ndis-sys names, and the others by number.
const CANNOT_FAIL: [u32; 8] = [
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_802_3_DELETE_MULTICAST_ADDRESS,
    // OID_RECEIVE_FILTER_CLEAR_FILTER, OID_RECEIVE_FILTER_FREE_QUEUE
    0x0001_0228,
    0x0001_0224,
    // OID_NIC_SWITCH_FREE_VF, OID_NIC_SWITCH_DELETE_SWITCH
    0x0001_0246,
    0x0001_0239,
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
    if adapter.halted.load(Ordering::Acquire) {
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
    loop {
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
    let guard = super::watch::OidGuard::enter();
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
        violation(
            rules::OID_DOUBLE_COMPLETE,
            format!(
                "{name} returned {status:#010x} for {block}, which the miniport has completed as well"
            ),
        );
    }
    finish(adapter, block, status);
    true
}

/// Ends a request: checks what the miniport did and posts the result.
fn finish(adapter: &Arc<AdapterBlock>, block: &Arc<OidBlock>, status: NDIS_STATUS) {
    if status == NDIS_STATUS_PENDING || !allowed(block.oid, status) {
        violation(
            rules::OID_COMPLETE,
            format!("{block} is completed with {status:#010x}"),
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
    let wrong = |text: String| -> ! { violation(rules::OID_RESULT, format!("{block}: {text}")) };
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
            violation(rules::BUFFER_OVERRUN, format!("{block}: {damage}"));
        }
        result.buffer = buffer.to_vec();
        result.address = buffer.as_ptr() as u64;
    }
    if let Some(damage) = block.structure.damage() {
        violation(
            rules::BUFFER_OVERRUN,
            format!("the structure of {block}: {damage}"),
        );
    }
    let mut requests = adapter.oids.0.lock();
    match block.path {
        Path::Regular => requests.current = None,
        Path::Direct => requests.direct.retain(|b| !Arc::ptr_eq(b, block)),
    }
    drop(requests);
    block.stage.store(DONE, Ordering::Release);
    if status >= 0 {
        super::oid_answers::take_note(adapter, block);
    }
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
            violation(
                rules::OID_DOUBLE_COMPLETE,
                format!(
                    "{} got {request:p}, which is no request that the miniport has (any more)",
                    what()
                ),
            );
        };
        if block.path != path {
            violation(rules::OID_DOUBLE_REQUEST, format!("{} for {block}", what()));
        }
        if status == NDIS_STATUS_PENDING {
            violation(
                rules::OID_COMPLETE,
                format!("{block} is completed with NDIS_STATUS_PENDING"),
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
            violation(
                rules::OID_DOUBLE_COMPLETE,
                format!("{block} is completed twice"),
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
    // SAFETY: the structure was laid out in `build`; the driver's handler, with its arguments.
    unsafe {
        let id = (*block.structure.as_ptr().cast::<NDIS_OID_REQUEST>()).RequestId;
        gate::call(name, f, &[adapter.context(), id as u64]);
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
