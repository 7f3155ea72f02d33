//! Receive frames: a buffer, the MDL over it, and the NET_BUFFER_LIST that takes it up, all
//! allocated when the adapter initializes. A frame is a value that is owned by one holder:
//!
//! ```text
//!  FramePool --take--> FrameQueue --pop--> Frame (filled by a sender)
//!      ^                   ^                 |
//!      |                   +----push_back----+
//!      |               FrameQueue --indicate--> NDIS --(MiniportReturnNetBufferLists)
//!      +------------------- give ---------------- FrameQueue::from_returned
//! ```
//!
//! A frame that is dropped goes home to its pool. MiniportReserved[0] of the list points to the
//! frame.

use alloc::{boxed::Box, vec::Vec};
use core::{
    ptr::{NonNull, null_mut},
    sync::atomic::{AtomicUsize, Ordering},
};

use ndis_sys::{
    MDL, NDIS_DEFAULT_PORT_NUMBER, NDIS_RECEIVE_FLAGS_DISPATCH_LEVEL, NDIS_STATUS_SUCCESS,
    NET_BUFFER_LIST, NET_BUFFER_LIST_INFO, NdisAllocateMdl, NdisAllocateNetBufferAndNetBufferList,
    NdisFreeMdl, NdisFreeNetBufferList, NdisMIndicateReceiveNetBufferLists, PVOID,
};

use crate::{
    Version,
    irql::{Dispatch, Passive, RaisedIrql},
    lock::SpinLock,
    memory::{OutOfMemory, try_box, try_with_capacity, try_zeroed},
    miniport::MiniportHandle,
    net_buffer_list::List as NblList,
    oob::{self, InfoSlot},
    pool::NblPool,
};

struct Cell {
    /// The next in the queue or free list that this frame is in.
    next: *mut Self,
    nbl: *mut NET_BUFFER_LIST,
    mdl: *mut MDL,
    buffer: Box<[u8]>,
    /// Where the frame begins in the buffer.
    offset: usize,
    /// Its bytes.
    len: usize,
    home: NonNull<Inner>,
}

/// An intrusive FIFO of cells. Owns nothing.
struct Fifo {
    head: *mut Cell,
    tail: *mut Cell,
    len: usize,
}

// SAFETY: the cells that it names are owned by whoever owns the Fifo, and bound to no processor.
unsafe impl Send for Fifo {}

impl Fifo {
    const EMPTY: Self = Self {
        head: null_mut(),
        tail: null_mut(),
        len: 0,
    };

    /// # Safety
    /// `cell` is valid and in no queue; so are those that are in this one.
    unsafe fn push_back(&mut self, cell: NonNull<Cell>) {
        let cell = cell.as_ptr();
        // SAFETY: valid by the caller's promise.
        unsafe {
            (*cell).next = null_mut();
            if self.tail.is_null() {
                self.head = cell;
            } else {
                (*self.tail).next = cell;
            }
        }
        self.tail = cell;
        self.len = self.len.saturating_add(1);
    }

    /// # Safety
    /// Those that are in this queue are valid.
    unsafe fn pop_front(&mut self) -> Option<NonNull<Cell>> {
        let cell = NonNull::new(self.head)?;
        // SAFETY: valid by the caller's promise.
        unsafe {
            self.head = (*cell.as_ptr()).next;
            (*cell.as_ptr()).next = null_mut();
        }
        if self.head.is_null() {
            self.tail = null_mut();
        }
        self.len = self.len.saturating_sub(1);
        Some(cell)
    }

    /// # Safety
    /// Those that are in either queue are valid.
    unsafe fn append(&mut self, other: Self) {
        if other.head.is_null() {
            return;
        }
        if self.tail.is_null() {
            *self = other;
            return;
        }
        // SAFETY: valid by the caller's promise.
        unsafe { (*self.tail).next = other.head };
        self.tail = other.tail;
        self.len = self.len.saturating_add(other.len);
    }
}

struct Inner {
    free: SpinLock<Fifo>,
    /// In the order of dropping: the lists of the cells come from the pool below.
    cells: Vec<Cell>,
    /// Frames that are not in `free`.
    away: AtomicUsize,
    capacity: usize,
    /// Slots of out-of-band information that the registered version has.
    slots: usize,
    nbls: NblPool,
}

/// The receive frames of an adapter. Freed when dropped, at PASSIVE_LEVEL.
pub struct FramePool(NonNull<Inner>);

// SAFETY: the cells are reached through owned frames alone; the rest is synchronised.
unsafe impl Send for FramePool {}
// SAFETY: as above.
unsafe impl Sync for FramePool {}

impl FramePool {
    /// Allocates `count` frames of `capacity` bytes each, with lists from `nbls`.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing stays allocated.
    pub fn new(
        adapter: MiniportHandle,
        version: Version,
        nbls: NblPool,
        count: usize,
        capacity: usize,
        _at: Passive<'_>,
    ) -> Result<Self, OutOfMemory> {
        let bytes = u32::try_from(capacity).map_err(|_| OutOfMemory)?;
        let inner = NonNull::from(Box::leak(try_box(Inner {
            free: SpinLock::new(Fifo::EMPTY),
            cells: try_with_capacity(count)?,
            away: AtomicUsize::new(0),
            capacity,
            slots: version.max_net_buffer_list_info(),
            nbls,
        })?));
        // From here on its Drop cleans up.
        let pool = Self(inner);
        // SAFETY: leaked above, and nobody else knows it yet.
        let Inner {
            cells, free, nbls, ..
        } = unsafe { &mut *inner.as_ptr() };
        for _ in 0..count {
            let mut cell = Cell {
                next: null_mut(),
                nbl: null_mut(),
                mdl: null_mut(),
                buffer: try_zeroed(capacity)?,
                offset: 0,
                len: 0,
                home: inner,
            };
            let base = cell.buffer.as_mut_ptr().cast();
            // SAFETY: the buffer is non-paged, `bytes` long, and outlives the MDL (`Cell::drop`).
            cell.mdl = unsafe { NdisAllocateMdl(adapter.raw(), base, bytes) };
            if cell.mdl.is_null() {
                return Err(OutOfMemory);
            }
            // SAFETY: the pool was made with fAllocateNetBuffer set and no data, as this call asks
            // for; the MDL describes `capacity` bytes.
            cell.nbl =
                unsafe { NdisAllocateNetBufferAndNetBufferList(nbls.raw(), 0, 0, cell.mdl, 0, 0) };
            if cell.nbl.is_null() {
                return Err(OutOfMemory);
            }
            // Room for all was reserved above, so the cells do not move.
            cells.push(cell);
        }
        let free = free.get_mut();
        for cell in cells {
            // SAFETY: the cell stays where it is for as long as the pool lives, and the list is
            // the driver's while it is not indicated.
            unsafe {
                (*cell.nbl).MiniportReserved[0] = (&raw mut *cell).cast();
                (*cell.nbl).SourceHandle = adapter.raw();
                free.push_back(NonNull::from(cell));
            }
        }
        Ok(pool)
    }

    const fn inner(&self) -> &Inner {
        // SAFETY: made by `new`, freed by Drop.
        unsafe { self.0.as_ref() }
    }

    /// Bytes that a frame can hold.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.inner().capacity
    }

    /// How many frames the pool has in all.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.inner().cells.len()
    }

    /// How many frames are not at home.
    #[must_use]
    pub fn away(&self) -> usize {
        self.inner().away.load(Ordering::Acquire)
    }

    /// Takes up to `count` free frames.
    pub fn take(&self, count: usize, at: Dispatch<'_>) -> FrameQueue {
        let mut taken = FrameQueue::new();
        let mut free = self.inner().free.lock(at);
        while taken.len() < count {
            // SAFETY: the pool's cells are valid.
            let Some(cell) = (unsafe { free.pop_front() }) else {
                break;
            };
            taken.push_back(Frame(cell));
        }
        drop(free);
        self.inner().away.fetch_add(taken.len(), Ordering::AcqRel);
        taken
    }

    /// Takes frames home. All of them should be this pool's; a stray one goes to its own home.
    pub fn give(&self, mut frames: FrameQueue, at: Dispatch<'_>) {
        let mut home = Fifo::EMPTY;
        while let Some(frame) = frames.pop() {
            if frame.cell().home == self.0 {
                // SAFETY: an owned frame is valid and in no queue.
                unsafe { home.push_back(frame.into_raw()) };
            }
        }
        let count = home.len;
        let inner = self.inner();
        // SAFETY: the pool's cells are valid.
        unsafe { inner.free.lock(at).append(home) };
        inner.away.fetch_sub(count, Ordering::AcqRel);
    }
}

impl Drop for FramePool {
    fn drop(&mut self) {
        // A frame that NDIS or a queue still holds must not lose its memory. It does not happen:
        // an adapter is paused before it is halted. Rather than trust that, leak.
        if self.away() != 0 {
            debug_assert!(false, "a receive pool is freed while frames are out");
            return;
        }
        // SAFETY: leaked by `new`; no frame is out, so nothing points to it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        // SAFETY: each is null or came from its allocation and is freed once; the list goes first,
        // for it names the MDL, and the MDL before the buffer that it describes.
        unsafe {
            if !self.nbl.is_null() {
                NdisFreeNetBufferList(self.nbl);
            }
            if !self.mdl.is_null() {
                NdisFreeMdl(self.mdl);
            }
        }
    }
}

/// One receive frame, owned.
pub struct Frame(NonNull<Cell>);

// SAFETY: a frame is bound to no processor.
unsafe impl Send for Frame {}

impl Frame {
    fn cell(&self) -> &Cell {
        // SAFETY: an owned frame's cell is valid, and nobody else has it.
        unsafe { self.0.as_ref() }
    }

    fn cell_mut(&mut self) -> &mut Cell {
        // SAFETY: as in `cell`, and borrowed exclusively.
        unsafe { self.0.as_mut() }
    }

    const fn into_raw(self) -> NonNull<Cell> {
        let cell = self.0;
        core::mem::forget(self);
        cell
    }

    /// The whole buffer, to be filled; [`set_data`](Self::set_data) then says what of it is the
    /// frame.
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.cell_mut().buffer
    }

    /// Says where in the buffer the frame lies. What lies outside of the buffer is cut off.
    pub fn set_data(&mut self, offset: usize, len: usize) {
        let cell = self.cell_mut();
        let capacity = cell.buffer.len();
        cell.offset = offset.min(capacity);
        cell.len = len.min(capacity.saturating_sub(cell.offset));
    }

    /// The bytes of the frame.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let cell = self.cell();
        let end = cell.offset.saturating_add(cell.len);
        cell.buffer.get(cell.offset..end).unwrap_or_default()
    }

    /// The bytes of the frame.
    pub fn data_mut(&mut self) -> &mut [u8] {
        let cell = self.cell_mut();
        let end = cell.offset.saturating_add(cell.len);
        cell.buffer.get_mut(cell.offset..end).unwrap_or_default()
    }

    /// Cuts `count` bytes off the front.
    pub fn advance(&mut self, count: usize) {
        let (offset, len) = (self.cell().offset, self.cell().len);
        let count = count.min(len);
        self.set_data(offset.saturating_add(count), len.saturating_sub(count));
    }

    /// Clears the out-of-band information of the list that takes the frame up: it may hold what the
    /// stack wrote the last time.
    pub fn clear_info(&mut self) {
        let cell = self.cell();
        // SAFETY: the pool outlives its frames; the frame's list is the driver's while the frame is
        // owned, and has the slots of the version that the driver registered with.
        unsafe { oob::clear(cell.nbl, cell.home.as_ref().slots) }
    }

    /// Sets a word of out-of-band information.
    pub fn set_info(&mut self, slot: InfoSlot, value: PVOID) {
        // SAFETY: the frame's list is the driver's while the frame is owned; every list has the slot.
        unsafe { *NET_BUFFER_LIST_INFO(self.cell().nbl, slot.id()) = value }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let raised = RaisedIrql::raise();
        // SAFETY: the pool outlives its frames (its Drop leaks them otherwise); the frame is owned,
        // so the cell is in no queue.
        unsafe {
            let home = self.cell().home.as_ref();
            home.free.lock(raised.dispatch()).push_back(self.0);
            home.away.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Receive frames in order, owned.
pub struct FrameQueue(Fifo);

impl FrameQueue {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Fifo::EMPTY)
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.head.is_null()
    }

    /// The first frame, taken out.
    pub fn pop(&mut self) -> Option<Frame> {
        // SAFETY: queued frames are owned by the queue.
        unsafe { self.0.pop_front() }.map(Frame)
    }

    /// Puts `frame` at the end.
    pub fn push_back(&mut self, frame: Frame) {
        // SAFETY: an owned frame is valid and in no queue.
        unsafe { self.0.push_back(frame.into_raw()) }
    }

    /// Puts all of `other` at the end.
    pub fn append(&mut self, mut other: Self) {
        let fifo = core::mem::replace(&mut other.0, Fifo::EMPTY);
        // SAFETY: queued frames are owned by their queue.
        unsafe { self.0.append(fifo) }
    }

    /// All of the queue; this one is empty afterwards.
    #[must_use]
    pub const fn take(&mut self) -> Self {
        Self(core::mem::replace(&mut self.0, Fifo::EMPTY))
    }

    /// Takes the first `count` frames, or as many as there are.
    #[must_use]
    pub fn split_front(&mut self, count: usize) -> Self {
        let mut front = Self::new();
        while front.len() < count {
            let Some(frame) = self.pop() else { break };
            front.push_back(frame);
        }
        front
    }

    /// Every frame, in place.
    pub fn for_each(&mut self, mut work: impl FnMut(&mut Frame)) {
        let mut next = self.0.head;
        while let Some(cell) = NonNull::new(next) {
            // SAFETY: queued frames are owned by the queue, which is borrowed exclusively.
            next = unsafe { (*cell.as_ptr()).next };
            // The frame is lent, not taken: forgotten after use, it stays in the queue.
            let mut frame = core::mem::ManuallyDrop::new(Frame(cell));
            work(&mut frame);
        }
    }

    /// Indicates the frames to NDIS, which owns them until MiniportReturnNetBufferLists. Call with
    /// no lock held: the protocol runs inside, and may send.
    pub fn indicate(mut self, adapter: MiniportHandle, _at: Dispatch<'_>) {
        let mut list = NblList::EMPTY;
        let mut count: u32 = 0;
        while let Some(frame) = self.pop() {
            let cell = frame.into_raw().as_ptr();
            // SAFETY: the cell was owned until the line above; its list and NET_BUFFER are the
            // driver's until the indication. Their fields are set anew each time: the stack may
            // have advanced the data start and left its status.
            unsafe {
                let nbl = (*cell).nbl;
                let nb = (*nbl).FirstNetBuffer;
                (*nb).CurrentMdl = (*cell).mdl;
                (*nb).MdlChain = (*cell).mdl;
                (*nb).CurrentMdlOffset = (*cell).offset as u32;
                (*nb).DataOffset = (*cell).offset as u32;
                (*nb).DataLength = (*cell).len as u32;
                (*nbl).Status = NDIS_STATUS_SUCCESS;
                if let Some(nbl) = NonNull::new(nbl) {
                    list.push_back(nbl);
                    count = count.saturating_add(1);
                }
            }
        }
        if count == 0 {
            return;
        }
        // SAFETY: valid lists, `count` of them; the level is DISPATCH_LEVEL by the token.
        unsafe {
            NdisMIndicateReceiveNetBufferLists(
                adapter.raw(),
                list.head(),
                NDIS_DEFAULT_PORT_NUMBER,
                count,
                NDIS_RECEIVE_FLAGS_DISPATCH_LEVEL,
            );
        }
    }

    /// Takes over what MiniportReturnNetBufferLists was given.
    ///
    /// # Safety
    /// `first` is the parameter of that call, taken over once.
    #[must_use]
    pub unsafe fn from_returned(first: *mut NET_BUFFER_LIST) -> Self {
        let mut frames = Self::new();
        let mut next = first;
        while let Some(nbl) = NonNull::new(next) {
            // SAFETY: NDIS returns lists that this driver indicated; MiniportReserved is still as
            // the pool set it, for nobody else may write it.
            unsafe {
                next = (*nbl.as_ptr()).Next;
                (*nbl.as_ptr()).Next = null_mut();
                if let Some(cell) = NonNull::new((*nbl.as_ptr()).MiniportReserved[0].cast()) {
                    frames.push_back(Frame(cell));
                }
            }
        }
        frames
    }
}

impl Default for FrameQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FrameQueue {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
