//! An OID request in flight: its structure, its buffer and how far it is.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
};

use ndis_sys::{
    NDIS_HANDLE, NDIS_OID_REQUEST, NDIS_STATUS, NDIS_STATUS_BUFFER_TOO_SHORT, NDIS_STATUS_SUCCESS,
    NdisDeviceStateD0, OID_PNP_SET_POWER, PVOID,
};
use parking_lot::Mutex;

use super::{
    adapter::AdapterBlock,
    header,
    ipsec_offload_v2::Before,
    oid::{Mailbox, OidKind, OidRequest, OidResult},
    protocol::OpenBlock,
    rules,
};
use crate::{fence::Content, guarded::GuardedBuf, history::Kind, machine::Machine};

/// Which path a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Regular,
    Direct,
}

pub(super) const QUEUED: u8 = 0;
/// The miniport's handler runs.
pub(super) const CALLED: u8 = 1;
/// The handler returned NDIS_STATUS_PENDING.
pub(super) const PENDING: u8 = 2;
/// The miniport completed it although the handler has not returned yet.
pub(super) const COMPLETED_EARLY: u8 = 3;
pub(super) const DONE: u8 = 4;

/// A request in flight.
pub(super) struct OidBlock {
    pub(super) kind: OidKind,
    pub(super) oid: u32,
    pub(super) path: Path,
    /// What was so when the miniport got it.
    pub(super) before: OnceLock<Before>,
    /// The adapter was removed by then.
    pub(super) removed: AtomicBool,
    /// How often the miniport had indicated its offload configuration by then.
    pub(super) indications: AtomicUsize,
    pub(super) structure: GuardedBuf,
    pub(super) buffer: Option<GuardedBuf>,
    pub(super) stage: AtomicU8,
    pub(super) early: Mutex<Option<NDIS_STATUS>>,
    pub(super) cancelled: AtomicBool,
    pub(super) mailbox: Mailbox,
    pub(super) open: Option<Arc<OpenBlock>>,
    /// What the binding asked for, when NDIS has merged it with others'.
    pub(super) requested: Option<Vec<u8>>,
}

impl OidBlock {
    /// OID_PNP_SET_POWER to a low-power state.
    pub(super) fn is_to_sleep(&self) -> bool {
        let state = self.buffer.as_ref().map(GuardedBuf::to_vec);
        self.oid == OID_PNP_SET_POWER
            && state.is_some_and(|bytes| bytes != NdisDeviceStateD0.to_le_bytes())
    }
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
        mut buffer: Option<GuardedBuf>,
        path: Path,
        adapter: &AdapterBlock,
        open: Option<Arc<OpenBlock>>,
        machine: &Arc<Machine>,
    ) -> Self {
        let size = size_of::<NDIS_OID_REQUEST>();
        let mut structure = GuardedBuf::with(Arc::clone(machine), size, 16, machine.next_fence());
        let object = Some((Kind::OidRequest, structure.as_ptr() as u64));
        let content = |what| Content {
            what,
            object,
            outside: rules::BUFFER_OVERRUN,
        };
        structure.describe(content("NDIS_OID_REQUEST"));
        if let Some(buffer) = &mut buffer {
            buffer.describe(content("InformationBuffer"));
        }
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
            before: OnceLock::new(),
            removed: AtomicBool::new(false),
            indications: AtomicUsize::new(0),
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

    pub(super) fn address(&self) -> u64 {
        self.structure.as_ptr() as u64
    }

    pub(super) fn request(&self) -> NDIS_OID_REQUEST {
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
