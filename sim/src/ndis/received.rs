//! Received NET_BUFFER_LISTs, as protocols see them.

use std::{fmt, ptr, sync::Arc};

use ndis_sys::NET_BUFFER_LIST;

use super::{
    adapter::AdapterBlock,
    nbl::{self, INFO_SLOTS, net_buffers},
    nbl_pool::NblRecord,
    receive::give_back,
};
use crate::history::Kind;

/// What one NET_BUFFER_LIST said, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes of each NET_BUFFER.
    pub data: Vec<Vec<u8>>,
    /// NetBufferListInfo.
    pub info: [usize; INFO_SLOTS],
    /// Status
    pub status: i32,
    /// NblFlags
    pub nbl_flags: u32,
    /// Lengths of the MDLs of each NET_BUFFER.
    pub mdl_lengths: Vec<Vec<usize>>,
    /// DataOffset of each NET_BUFFER.
    pub data_offsets: Vec<usize>,
}

impl Frame {
    /// # Safety
    /// `nbl` is well formed and nobody writes its data meanwhile.
    pub(super) unsafe fn copy(nbl: *const NET_BUFFER_LIST) -> Self {
        let mut frame = Self {
            data: Vec::new(),
            info: [0; INFO_SLOTS],
            status: 0,
            nbl_flags: 0,
            mdl_lengths: Vec::new(),
            data_offsets: Vec::new(),
        };
        // SAFETY: as the caller says.
        unsafe {
            frame.status = (*nbl).Status;
            frame.nbl_flags = (*nbl).NblFlags;
            let info = (&raw const (*nbl).NetBufferListInfo).cast::<usize>();
            for (slot, word) in frame.info.iter_mut().enumerate() {
                *word = info.add(slot).read();
            }
            for nb in net_buffers(nbl) {
                let mut bytes = Vec::new();
                nbl::gather(nb, &mut bytes);
                frame.data.push(bytes);
                let lengths = nbl::mdls((*nb).MdlChain)
                    .map(|m| (*m).ByteCount as usize)
                    .collect();
                frame.mdl_lengths.push(lengths);
                frame.data_offsets.push((*nb).DataOffset as usize);
            }
        }
        frame
    }
}

/// A NET_BUFFER_LIST that was indicated; the last one who has it returns it to
/// the miniport by dropping it.
pub(super) struct Indicated {
    pub(super) adapter: Arc<AdapterBlock>,
    pub(super) record: Arc<NblRecord>,
}

impl Drop for Indicated {
    fn drop(&mut self) {
        if let Some(machine) = self.adapter.machine.upgrade() {
            let id = self.record.nbl as u64;
            machine.note(Kind::NetBufferList, id, "given back by the last binding", 0);
        }
        give_back(&self.adapter, vec![Arc::clone(&self.record)]);
    }
}

/// A received NET_BUFFER_LIST, as a protocol sees it. Dropping it returns it to
/// the miniport: from a receive callback when the callback ends, else at once,
/// on the caller's processor or on one of the machine's.
pub struct ReceivedNbl(pub(super) Inner);

pub(super) enum Inner {
    /// NDIS_RECEIVE_FLAGS_RESOURCES, or detached: a copy.
    Copied(Box<Frame>),
    Live(Arc<Indicated>),
}

impl fmt::Debug for ReceivedNbl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceivedNbl({:?})", self.frame())
    }
}

impl ReceivedNbl {
    fn nbl(&self) -> Option<*const NET_BUFFER_LIST> {
        match &self.0 {
            Inner::Copied(_) => None,
            Inner::Live(live) => Some(live.record.nbl),
        }
    }

    /// Address of the list, while it is not a copy.
    pub(super) fn address(&self) -> Option<u64> {
        self.nbl().map(|nbl| nbl as u64)
    }

    /// A copy of everything.
    #[must_use]
    pub fn frame(&self) -> Frame {
        match &self.0 {
            Inner::Copied(frame) => (**frame).clone(),
            // SAFETY: found well formed when it was indicated, and not returned.
            Inner::Live(live) => unsafe { Frame::copy(live.record.nbl) },
        }
    }

    /// Number of NET_BUFFERs.
    #[must_use]
    pub fn net_buffer_count(&self) -> usize {
        match (&self.0, self.nbl()) {
            (Inner::Copied(frame), _) => frame.data.len(),
            // SAFETY: as in `frame`.
            (_, Some(nbl)) => unsafe { net_buffers(nbl).count() },
            _ => 0,
        }
    }

    /// The bytes of a NET_BUFFER, gathered from its MDLs; empty when there is
    /// none of that index.
    #[must_use]
    pub fn data(&self, index: usize) -> Vec<u8> {
        let mut out = Vec::new();
        self.copy_data(index, &mut out);
        out
    }

    /// Appends the bytes of a NET_BUFFER.
    pub fn copy_data(&self, index: usize, out: &mut Vec<u8>) {
        match (&self.0, self.nbl()) {
            (Inner::Copied(frame), _) => {
                out.extend_from_slice(frame.data.get(index).map_or(&[], Vec::as_slice));
            }
            (_, Some(nbl)) => {
                // SAFETY: as in `frame`.
                unsafe {
                    if let Some(nb) = net_buffers(nbl).nth(index) {
                        nbl::gather(nb, out);
                    }
                }
            }
            _ => {}
        }
    }

    /// A word of NetBufferListInfo.
    ///
    /// # Panics
    /// When an NDIS 6.30 driver has no such slot.
    #[must_use]
    pub fn info(&self, index: usize) -> usize {
        assert!(index < INFO_SLOTS, "no NetBufferListInfo[{index}]");
        match (&self.0, self.nbl()) {
            // SAFETY: the list has these slots; as in `frame`.
            (_, Some(nbl)) => unsafe {
                (&raw const (*nbl).NetBufferListInfo)
                    .cast::<usize>()
                    .add(index)
                    .read()
            },
            (Inner::Copied(frame), None) => frame.info[index],
            (Inner::Live(_), None) => 0,
        }
    }

    /// Status
    #[must_use]
    pub fn status(&self) -> i32 {
        match (&self.0, self.nbl()) {
            // SAFETY: as in `frame`.
            (_, Some(nbl)) => unsafe { (*nbl).Status },
            (Inner::Copied(frame), None) => frame.status,
            (Inner::Live(_), None) => 0,
        }
    }

    /// Returns the list to the miniport and keeps a copy.
    #[must_use]
    pub fn detach(self) -> Self {
        match self.0 {
            Inner::Copied(_) => self,
            Inner::Live(_) => Self(Inner::Copied(Box::new(self.frame()))),
        }
    }

    /// Whether the list still belongs to the protocol (not a copy).
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.0, Inner::Live(_))
    }
}

/// Returns a batch of lists as one chain, in order. Lists that are copies, or
/// that another protocol still has, are left out.
pub(super) fn return_all(adapter: &Arc<AdapterBlock>, lists: Vec<ReceivedNbl>) {
    let mut chained = Vec::new();
    for list in lists {
        if let Inner::Live(live) = list.0
            && let Some(live) = Arc::into_inner(live)
        {
            chained.push(Arc::clone(&live.record));
            // Returned with the chain, not on its own.
            let live = std::mem::ManuallyDrop::new(live);
            // SAFETY: the fields are dropped once, here; `live` is not used again.
            unsafe {
                drop(ptr::read(&raw const live.adapter));
                drop(ptr::read(&raw const live.record));
            }
        }
    }
    if !chained.is_empty() {
        give_back(adapter, chained);
    }
}
