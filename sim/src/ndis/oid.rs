//! OID requests as a protocol makes them.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    Error, oid_answers,
    oid_block::{OidBlock, Path},
    oid_path,
    protocol::Open,
};
use crate::{
    Irql,
    guarded::{Fence, GuardedBuf},
    machine::Machine,
    processor,
    sync::{self, Signal},
};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OidKind {
    /// NdisRequestQueryInformation
    Query,
    /// NdisRequestQueryStatistics
    QueryStatistics,
    /// NdisRequestSetInformation
    Set,
    /// NdisRequestMethod
    Method,
}

impl OidKind {
    pub(super) fn raw(self) -> i32 {
        match self {
            Self::Query => ndis_sys::NdisRequestQueryInformation,
            Self::QueryStatistics => ndis_sys::NdisRequestQueryStatistics,
            Self::Set => ndis_sys::NdisRequestSetInformation,
            Self::Method => ndis_sys::NdisRequestMethod,
        }
    }
}

type Fill = Box<dyn FnOnce(*mut u8, &mut [u8]) + Send>;

enum Contents {
    Bytes(Vec<u8>),
    /// Filled when its final address is known, for structures that point into
    /// themselves.
    Filled(usize, Fill),
    Null,
}

/// An OID request. Its buffer lies in memory of its own, fenced at the byte.
pub struct OidRequest {
    pub(super) kind: OidKind,
    pub(super) oid: u32,
    contents: Contents,
    pub(super) declared: Option<u32>,
    align: usize,
    pub(super) output: u32,
    pub(super) port: u32,
    /// What the binding asked for, when NDIS has merged it with others'.
    pub(super) requested: Option<Vec<u8>>,
}

impl fmt::Debug for OidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of OID {:#010x}", self.kind, self.oid)
    }
}

impl OidRequest {
    fn with(kind: OidKind, oid: u32, contents: Contents) -> Self {
        Self {
            kind,
            oid,
            contents,
            declared: None,
            align: 8,
            output: 0,
            port: 0,
            requested: None,
        }
    }

    /// A query with a buffer of `len` bytes.
    #[must_use]
    pub fn query(oid: u32, len: usize) -> Self {
        Self::with(OidKind::Query, oid, Contents::Bytes(vec![0xA5; len]))
    }

    /// A statistics query, as WMI makes it.
    #[must_use]
    pub fn query_statistics(oid: u32, len: usize) -> Self {
        Self::with(
            OidKind::QueryStatistics,
            oid,
            Contents::Bytes(vec![0xA5; len]),
        )
    }

    /// A set request.
    #[must_use]
    pub fn set(oid: u32, data: impl Into<Vec<u8>>) -> Self {
        Self::with(OidKind::Set, oid, Contents::Bytes(data.into()))
    }

    /// A set request whose buffer is filled when its address is known: `fill`
    /// gets the address that the miniport will see, and the zeroed bytes there.
    #[must_use]
    pub fn set_with(
        oid: u32,
        len: usize,
        fill: impl FnOnce(*mut u8, &mut [u8]) + Send + 'static,
    ) -> Self {
        Self::with(OidKind::Set, oid, Contents::Filled(len, Box::new(fill)))
    }

    /// A method request with room for `output` bytes.
    #[must_use]
    pub fn method(oid: u32, input: impl Into<Vec<u8>>, output: usize) -> Self {
        let mut bytes = input.into();
        let input_len = bytes.len();
        bytes.resize(input_len.max(output), 0xA5);
        let mut request = Self::with(OidKind::Method, oid, Contents::Bytes(bytes));
        request.declared = Some(u32::try_from(input_len).unwrap_or(u32::MAX));
        request.output = u32::try_from(output).unwrap_or(u32::MAX);
        request
    }

    /// Tells the miniport another InformationBufferLength than the buffer has.
    /// More than the buffer has is a lie that NDIS would not tell: a miniport
    /// that then reads so far faults.
    #[must_use]
    pub fn declared_length(mut self, bytes: u32) -> Self {
        self.declared = Some(bytes);
        self
    }

    /// Puts the buffer of a request that was made of bytes `by` bytes (fewer than 8) behind an address that is
    /// aligned to 8. The result's buffer has some bytes more, which the miniport is not told of.
    #[must_use]
    pub fn misaligned(mut self, by: usize) -> Self {
        if let Contents::Bytes(bytes) = &mut self.contents {
            let len = bytes.len();
            self.declared = self.declared.or(u32::try_from(len).ok());
            // The end is at an inaccessible page.
            bytes.resize((len + by).next_multiple_of(8) - by % 8, 0xA5);
            self.align = 1;
        }
        self
    }

    /// Passes no buffer: InformationBuffer is NULL.
    #[must_use]
    pub fn null_buffer(mut self) -> Self {
        self.contents = Contents::Null;
        self.declared = self.declared.or(Some(0));
        self
    }

    /// Addresses a port other than the default one.
    #[must_use]
    pub fn port(mut self, port: u32) -> Self {
        self.port = port;
        self
    }

    /// The bytes of a request that was made of bytes.
    pub(super) fn bytes_mut(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.contents {
            Contents::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Puts merged bytes in place of the binding's own.
    pub(super) fn replace(&mut self, merged: Vec<u8>) {
        if let Some(bytes) = self.bytes_mut() {
            let own = std::mem::replace(bytes, merged);
            self.requested = Some(own);
        }
    }

    pub(super) fn buffer(&mut self, machine: &Arc<Machine>) -> Option<GuardedBuf> {
        // 8-byte alignment, as pool memory has at least, unless the request says otherwise; one end is
        // fenced as closely as that allows, and the rest by guard bytes. At its start a page is aligned.
        let align = self.align;
        let fence = match align {
            1 => Fence::End,
            _ => machine.next_fence(),
        };
        let new = |len| GuardedBuf::with(Arc::clone(machine), len, align, fence);
        match std::mem::replace(&mut self.contents, Contents::Null) {
            Contents::Null => None,
            Contents::Bytes(bytes) => {
                let buffer = new(bytes.len());
                buffer.write(0, &bytes);
                Some(buffer)
            }
            Contents::Filled(len, fill) => {
                let buffer = new(len);
                // SAFETY: nobody else has the buffer yet.
                let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.as_ptr(), len) };
                fill(buffer.as_ptr(), bytes);
                Some(buffer)
            }
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidResult {
    /// Its status.
    pub status: i32,
    /// BytesWritten of a query or method.
    pub bytes_written: u32,
    /// BytesRead of a set or method.
    pub bytes_read: u32,
    /// BytesNeeded
    pub bytes_needed: u32,
    /// The whole buffer, as the miniport left it.
    pub buffer: Vec<u8>,
    /// Where the buffer was: to make sense of pointers in it.
    pub address: u64,
}

impl OidResult {
    /// Whether the status is a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status >= 0
    }

    /// The bytes that a query wrote.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.buffer[..self.buffer.len().min(self.bytes_written as usize)]
    }

    /// A little-endian 32-bit answer.
    #[must_use]
    pub fn u32(&self) -> Option<u32> {
        Some(u32::from_le_bytes(self.data().get(..4)?.try_into().ok()?))
    }

    /// A little-endian 64-bit answer.
    #[must_use]
    pub fn u64(&self) -> Option<u64> {
        Some(u64::from_le_bytes(self.data().get(..8)?.try_into().ok()?))
    }
}

/// Where a request's result arrives.
#[derive(Default)]
pub(super) struct Mailbox {
    result: Mutex<Option<OidResult>>,
    arrived: Signal,
}

impl Mailbox {
    pub(super) fn post(&self, result: OidResult) {
        *self.result.lock() = Some(result);
        self.arrived.notify_all();
    }
}

/// A request that was made and may not be complete.
pub struct PendingOid {
    open: Open,
    block: Arc<OidBlock>,
}

impl fmt::Debug for PendingOid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingOid({})", self.block)
    }
}

impl PendingOid {
    /// The result, if the request is complete.
    #[must_use]
    pub fn result(&self) -> Option<OidResult> {
        self.block.mailbox.result.lock().clone()
    }

    /// Waits for the result; `None` when the time is over.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<OidResult>, Error> {
        let Mailbox { result, arrived } = &self.block.mailbox;
        let what = self.block.to_string();
        Ok(sync::wait(
            self.open.machine(),
            &what,
            result,
            arrived,
            timeout,
            |r| r.clone(),
        )?)
    }

    /// Asks the miniport to cancel it: MiniportCancelOidRequest or
    /// MiniportCancelDirectOidRequest. A request that it does not have yet is
    /// taken back by NDIS.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn cancel(&self) -> Result<(), Error> {
        let block = Arc::clone(&self.block);
        Ok(self
            .open
            .adapter()
            .run(None, Irql::PASSIVE, move |_, adapter| {
                oid_path::cancel(adapter, &block);
            })?)
    }
}

impl Open {
    /// Makes a regular request and waits for its result. NDIS answers many
    /// queries itself, and gives the miniport one request at a time.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn oid(&self, request: OidRequest) -> Result<OidResult, Error> {
        let pending = self.submit_oid(request)?;
        Ok(pending.wait(None)?.unwrap_or_default())
    }

    /// Makes a direct request at the given IRQL and waits for its result.
    /// Direct requests are not serialized.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn direct_oid(&self, request: OidRequest, irql: Irql) -> Result<OidResult, Error> {
        let pending = self.submit_direct_oid(request, irql)?;
        Ok(pending.wait(None)?.unwrap_or_default())
    }

    /// Makes a regular request.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn submit_oid(&self, request: OidRequest) -> Result<PendingOid, Error> {
        self.submit(request, Path::Regular, Irql::PASSIVE, None)
    }

    /// Makes a direct request at the given IRQL.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn submit_direct_oid(&self, request: OidRequest, irql: Irql) -> Result<PendingOid, Error> {
        self.submit(request, Path::Direct, irql, None)
    }

    /// Makes a direct request on a processor of choice.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn submit_direct_oid_on(
        &self,
        cpu: usize,
        request: OidRequest,
        irql: Irql,
    ) -> Result<PendingOid, Error> {
        self.submit(request, Path::Direct, irql, Some(cpu))
    }

    fn submit(
        &self,
        mut request: OidRequest,
        path: Path,
        irql: Irql,
        cpu: Option<usize>,
    ) -> Result<PendingOid, Error> {
        let adapter = self.adapter();
        let ended = oid_answers::merge(&adapter.block, self.block(), &mut request);
        let block = Arc::new(OidBlock::new(
            request,
            path,
            &adapter.block,
            self.block(),
            &adapter.machine,
        ));
        let pending = PendingOid {
            open: self.clone(),
            block: Arc::clone(&block),
        };
        if let Some(status) = ended {
            block.answer(status, &[]);
            return Ok(pending);
        }
        if path == Path::Regular && processor::try_current().is_some_and(|c| c.irql() > irql) {
            // NdisOidRequest may be called at DISPATCH_LEVEL; the miniport is
            // called at PASSIVE_LEVEL later.
            let target = Arc::clone(&adapter.block);
            adapter
                .machine
                .spawn(cpu, irql, move || oid_path::submit(&target, block));
            return Ok(pending);
        }
        adapter.run(cpu, irql, move |_, adapter| {
            oid_path::submit(adapter, block)
        })?;
        Ok(pending)
    }
}

/// Waits for a request of NDIS's own, on a processor below DISPATCH_LEVEL.
pub(super) fn wait(machine: &Machine, block: &OidBlock) -> OidResult {
    let Mailbox { result, arrived } = &block.mailbox;
    let what = block.to_string();
    sync::wait(machine, &what, result, arrived, None, |r| r.clone())
        .ok()
        .flatten()
        .unwrap_or_default()
}
