//! NET_BUFFER_LISTs on the send path: owned by the driver from MiniportSendNetBufferLists until
//! NdisMSendNetBufferListsComplete, and completed exactly once because only an owned value can be
//! completed, and completing consumes it.
//!
//! ```text
//!  NDIS --from_raw--> SendChain --pop--> SendNbl --finish--> Completions --flush--> NDIS
//!                         ^                 |                     (at the latest when dropped)
//!                         +---push_front----+
//! ```
//!
//! A `SendChain` or `SendNbl` that is dropped completes with NDIS_STATUS_FAILURE: a packet can be
//! refused by mistake, never lost.
//!
//! MiniportReserved[0] of a list holds the next NET_BUFFER to send, MiniportReserved[1] the bytes of
//! payload that a large send has sent. MiniportReserved of that NET_BUFFER is the place up to which it
//! was read.

use core::{
    marker::PhantomData,
    ptr::{NonNull, null_mut},
};

use ndis_sys::{
    NDIS_SEND_COMPLETE_FLAGS_DISPATCH_LEVEL, NDIS_STATUS, NDIS_STATUS_FAILURE,
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_TRANSMIT as LargeSendInfo,
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V1_COMPLETE as LargeSendV1Complete,
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V2_COMPLETE as LargeSendV2Complete,
    NDIS_TCP_LARGE_SEND_OFFLOAD_V1_TYPE, NDIS_TCP_LARGE_SEND_OFFLOAD_V2_TYPE, NET_BUFFER,
    NET_BUFFER_LIST, NET_BUFFER_LIST_INFO, NdisMSendNetBufferListsComplete, PVOID, Zero as _,
};

use crate::{
    irql::Dispatch,
    miniport::MiniportHandle,
    net_buffer::{GatherError, NetBuffer},
    oob::InfoSlot,
};

/// A singly linked list through `Next`, with its tail and length. Owns nothing.
pub(crate) struct List {
    head: *mut NET_BUFFER_LIST,
    tail: *mut NET_BUFFER_LIST,
    len: usize,
}

impl List {
    pub(crate) const EMPTY: Self = Self {
        head: null_mut(),
        tail: null_mut(),
        len: 0,
    };

    /// # Safety
    /// `nbl` is valid and in no other list; so are all that are in this list.
    pub(crate) unsafe fn push_back(&mut self, nbl: NonNull<NET_BUFFER_LIST>) {
        let nbl = nbl.as_ptr();
        // SAFETY: both are valid by the caller's promise.
        unsafe {
            (*nbl).Next = null_mut();
            if self.tail.is_null() {
                self.head = nbl;
            } else {
                (*self.tail).Next = nbl;
            }
        }
        self.tail = nbl;
        self.len = self.len.saturating_add(1);
    }

    /// # Safety
    /// As [`push_back`](Self::push_back).
    unsafe fn push_front(&mut self, nbl: NonNull<NET_BUFFER_LIST>) {
        let nbl = nbl.as_ptr();
        // SAFETY: valid by the caller's promise.
        unsafe { (*nbl).Next = self.head };
        if self.tail.is_null() {
            self.tail = nbl;
        }
        self.head = nbl;
        self.len = self.len.saturating_add(1);
    }

    /// # Safety
    /// All that are in this list are valid.
    unsafe fn pop_front(&mut self) -> Option<NonNull<NET_BUFFER_LIST>> {
        let nbl = NonNull::new(self.head)?;
        // SAFETY: valid by the caller's promise.
        unsafe {
            self.head = (*nbl.as_ptr()).Next;
            (*nbl.as_ptr()).Next = null_mut();
        }
        if self.head.is_null() {
            self.tail = null_mut();
        }
        self.len = self.len.saturating_sub(1);
        Some(nbl)
    }

    /// # Safety
    /// All that are in either list are valid.
    unsafe fn append(&mut self, other: Self) {
        if other.head.is_null() {
            return;
        }
        if self.tail.is_null() {
            *self = other;
            return;
        }
        // SAFETY: valid by the caller's promise.
        unsafe { (*self.tail).Next = other.head };
        self.tail = other.tail;
        self.len = self.len.saturating_add(other.len);
    }

    pub(crate) const fn head(&self) -> *mut NET_BUFFER_LIST {
        self.head
    }
}

/// Hands the lists back to NDIS.
///
/// # Safety
/// The driver owns every list in `list`; each has its status; `flags` tell the IRQL truly.
unsafe fn complete(adapter: MiniportHandle, list: &mut List, flags: u32) {
    let list = core::mem::replace(list, List::EMPTY);
    if !list.head.is_null() {
        // SAFETY: by the caller's promise; ownership ends here.
        unsafe { NdisMSendNetBufferListsComplete(adapter.raw(), list.head, flags) }
    }
}

/// Makes `packet` the next one of the list, to be read from its start.
///
/// # Safety
/// The driver owns the list, and `packet` is null or a NET_BUFFER of it.
unsafe fn set_current(nbl: *mut NET_BUFFER_LIST, packet: *mut NET_BUFFER) {
    // SAFETY: valid by the caller's promise; MiniportReserved is the miniport's while it owns the list.
    unsafe {
        (*nbl).MiniportReserved[0] = packet.cast();
        if let Some(packet) = NonNull::new(packet) {
            let packet = NetBuffer::from_raw(packet);
            packet.park(&packet.cursor());
        }
    }
}

/// Writes what a large send has to tell on completion over what it was asked for ("Offloading the
/// Segmentation of Large TCP Packets"): of version 1 how many bytes of payload were sent, of version 2
/// the type alone. Other lists are left as they are.
///
/// # Safety
/// The driver owns the list.
unsafe fn report_large_send(nbl: NonNull<NET_BUFFER_LIST>) {
    // SAFETY: the list is owned, and the slot is one of every list.
    let (slot, sent) = unsafe {
        (
            NET_BUFFER_LIST_INFO(nbl.as_ptr(), InfoSlot::LargeSend.id()),
            (*nbl.as_ptr()).MiniportReserved[1].addr(),
        )
    };
    // SAFETY: as above.
    let asked = unsafe { *slot };
    if asked.is_null() {
        return;
    }
    let asked = LargeSendInfo {
        Bits: asked.addr() as u32,
    };
    let bits = if asked.get(LargeSendInfo::Type) == NDIS_TCP_LARGE_SEND_OFFLOAD_V1_TYPE {
        LargeSendV1Complete::ZERO
            .with(LargeSendV1Complete::TcpPayload, sent as u32)
            .with(
                LargeSendV1Complete::Type,
                NDIS_TCP_LARGE_SEND_OFFLOAD_V1_TYPE,
            )
            .Bits
    } else {
        LargeSendV2Complete::ZERO
            .with(
                LargeSendV2Complete::Type,
                NDIS_TCP_LARGE_SEND_OFFLOAD_V2_TYPE,
            )
            .Bits
    };
    // SAFETY: as above.
    unsafe { *slot = core::ptr::without_provenance_mut(bits as usize) }
}

/// Lists to send, owned, in order.
pub struct SendChain {
    list: List,
    adapter: MiniportHandle,
}

// SAFETY: NDIS does not bind a list to a processor; ownership of the chain is unique.
unsafe impl Send for SendChain {}

impl SendChain {
    /// A chain of none.
    #[must_use]
    pub const fn empty(adapter: MiniportHandle) -> Self {
        Self {
            list: List::EMPTY,
            adapter,
        }
    }

    /// Takes over what MiniportSendNetBufferLists was given.
    ///
    /// # Safety
    /// `first` is the parameter of that call for `adapter`, taken over once.
    #[must_use]
    pub unsafe fn from_raw(adapter: MiniportHandle, first: *mut NET_BUFFER_LIST) -> Self {
        let mut list = List {
            head: first,
            tail: null_mut(),
            len: 0,
        };
        let mut nbl = first;
        while !nbl.is_null() {
            list.tail = nbl;
            list.len = list.len.saturating_add(1);
            // SAFETY: NDIS hands over valid lists; MiniportReserved is the miniport's while it owns
            // the list.
            unsafe {
                (*nbl).MiniportReserved[1] = null_mut();
                set_current(nbl, (*nbl).FirstNetBuffer);
                nbl = (*nbl).Next;
            }
        }
        Self { list, adapter }
    }

    /// How many lists.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.list.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.head.is_null()
    }

    /// The first list, taken out.
    pub fn pop(&mut self) -> Option<SendNbl> {
        // SAFETY: the chain owns its lists, which are valid.
        let nbl = unsafe { self.list.pop_front() }?;
        Some(SendNbl {
            nbl,
            adapter: self.adapter,
        })
    }

    /// Puts `nbl` at the end.
    pub fn push_back(&mut self, nbl: SendNbl) {
        // SAFETY: an owned list is valid and in no other list.
        unsafe { self.list.push_back(nbl.into_raw()) }
    }

    /// Puts `nbl` at the front.
    pub fn push_front(&mut self, nbl: SendNbl) {
        // SAFETY: an owned list is valid and in no other list.
        unsafe { self.list.push_front(nbl.into_raw()) }
    }

    /// Puts all of `other` at the end.
    pub fn append(&mut self, mut other: Self) {
        let list = core::mem::replace(&mut other.list, List::EMPTY);
        // SAFETY: both chains own their lists.
        unsafe { self.list.append(list) }
    }

    /// All of the chain; this one is empty afterwards.
    #[must_use]
    pub const fn take(&mut self) -> Self {
        Self {
            list: core::mem::replace(&mut self.list, List::EMPTY),
            adapter: self.adapter,
        }
    }

    /// Takes the first `count` lists, or as many as there are.
    #[must_use]
    pub fn split_front(&mut self, count: usize) -> Self {
        let mut front = Self::empty(self.adapter);
        while front.len() < count {
            let Some(nbl) = self.pop() else { break };
            front.push_back(nbl);
        }
        front
    }

    /// Takes out the lists for which `wanted` says true; the order of both parts is kept.
    #[must_use]
    pub fn extract(&mut self, mut wanted: impl FnMut(&SendNbl) -> bool) -> Self {
        let mut out = Self::empty(self.adapter);
        let mut kept = Self::empty(self.adapter);
        while let Some(nbl) = self.pop() {
            if wanted(&nbl) {
                out.push_back(nbl)
            } else {
                kept.push_back(nbl)
            }
        }
        *self = kept;
        out
    }

    /// Whether `wanted` says true of one of the first `count` lists.
    #[must_use]
    pub fn any_of_first(&mut self, count: usize, mut wanted: impl FnMut(&SendNbl) -> bool) -> bool {
        let mut next = self.list.head;
        for _ in 0..count {
            let Some(nbl) = NonNull::new(next) else {
                return false;
            };
            // The list is lent, not taken: it stays in the chain.
            let lent = core::mem::ManuallyDrop::new(SendNbl {
                nbl,
                adapter: self.adapter,
            });
            if wanted(&lent) {
                return true;
            }
            // SAFETY: the chain owns its lists, which are valid.
            next = unsafe { (*nbl.as_ptr()).Next };
        }
        false
    }

    /// Completes all of the chain with `status`.
    pub fn complete(mut self, status: NDIS_STATUS, at: Dispatch<'_>) {
        let mut done = Completions::new(self.adapter, at);
        while let Some(nbl) = self.pop() {
            done.add(nbl, status);
        }
    }
}

impl Drop for SendChain {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// One list to send, owned.
pub struct SendNbl {
    nbl: NonNull<NET_BUFFER_LIST>,
    adapter: MiniportHandle,
}

impl SendNbl {
    const fn into_raw(self) -> NonNull<NET_BUFFER_LIST> {
        let nbl = self.nbl;
        core::mem::forget(self);
        nbl
    }

    /// The next packet to send; it stays the next until [`advance`](Self::advance).
    #[must_use]
    pub fn current(&self) -> Option<NetBuffer<'_>> {
        // SAFETY: set by `SendChain::from_raw`, changed by `advance` alone.
        let raw = unsafe { (*self.nbl.as_ptr()).MiniportReserved[0] };
        // SAFETY: a NET_BUFFER of this list, which is owned while it is borrowed.
        NonNull::new(raw.cast::<NET_BUFFER>()).map(|raw| unsafe { NetBuffer::from_raw(raw) })
    }

    /// Goes on to the packet after the current one.
    pub fn advance(&mut self) {
        let nbl = self.nbl.as_ptr();
        // SAFETY: the word is null or a NET_BUFFER of this list.
        unsafe {
            let current = (*nbl).MiniportReserved[0].cast::<NET_BUFFER>();
            if !current.is_null() {
                set_current(nbl, (*current).Next);
            }
        }
    }

    /// How many packets are to be sent yet, the current one included.
    #[must_use]
    pub fn left(&self) -> usize {
        // SAFETY: as in `current`.
        let mut next = unsafe { (*self.nbl.as_ptr()).MiniportReserved[0] }.cast::<NET_BUFFER>();
        let mut count: usize = 0;
        while let Some(packet) = NonNull::new(next) {
            count = count.saturating_add(1);
            // SAFETY: a NET_BUFFER of this list, which is owned.
            next = unsafe { (*packet.as_ptr()).Next };
        }
        count
    }

    /// Goes back to the start of the current packet.
    pub fn restart(&mut self) {
        if let Some(packet) = self.current() {
            packet.park(&packet.cursor());
        }
    }

    /// Copies the next bytes of the current packet, as many as `to` holds, and keeps the place behind
    /// them: a packet that is sent in pieces goes on from there, also in another burst.
    ///
    /// # Errors
    /// As [`Cursor::read`](crate::Cursor::read).
    pub fn read(&mut self, to: &mut [u8]) -> Result<(), GatherError> {
        let packet = self.current().ok_or(GatherError::ChainTooShort)?;
        let mut cursor = packet.parked();
        cursor.read(to)?;
        packet.park(&cursor);
        Ok(())
    }

    /// Bytes of payload that a large send has sent so far, for its completion to tell.
    #[must_use]
    pub fn payload_sent(&self) -> usize {
        // SAFETY: the list is owned; set by `SendChain::from_raw` and `set_payload_sent` alone.
        unsafe { (*self.nbl.as_ptr()).MiniportReserved[1].addr() }
    }

    /// Remembers how many bytes of payload a large send has sent.
    pub fn set_payload_sent(&mut self, bytes: usize) {
        // SAFETY: the list is owned, and the word is the miniport's.
        unsafe {
            (*self.nbl.as_ptr()).MiniportReserved[1] = core::ptr::without_provenance_mut(bytes);
        }
    }

    /// Whether the list has one packet and no more.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.net_buffers().take(2).count() == 1
    }

    /// Every packet of the list, sent or not.
    pub fn net_buffers(&self) -> impl Iterator<Item = NetBuffer<'_>> {
        // SAFETY: the list is owned.
        let mut next = unsafe { (*self.nbl.as_ptr()).FirstNetBuffer };
        core::iter::from_fn(move || {
            let raw = NonNull::new(next)?;
            // SAFETY: a NET_BUFFER of an owned list.
            next = unsafe { (*raw.as_ptr()).Next };
            // SAFETY: as above; the borrow keeps the list owned.
            Some(unsafe { NetBuffer::from_raw(raw) })
        })
    }

    /// The word of out-of-band information in slot `id`.
    #[must_use]
    pub fn info(&self, id: InfoSlot) -> PVOID {
        // SAFETY: the list is owned, and an InfoSlot is a slot of every list.
        unsafe { *NET_BUFFER_LIST_INFO(self.nbl.as_ptr(), id.id()) }
    }

    /// Ends the list with `status`: it goes back to NDIS when `done` is flushed.
    pub fn finish(self, status: NDIS_STATUS, done: &mut Completions<'_>) {
        done.add(self, status);
    }
}

impl Drop for SendNbl {
    fn drop(&mut self) {
        let mut list = List::EMPTY;
        // SAFETY: the list is owned; without flags the call is allowed at every IRQL that a send
        // path runs at.
        unsafe {
            (*self.nbl.as_ptr()).Status = NDIS_STATUS_FAILURE;
            report_large_send(self.nbl);
            list.push_back(self.nbl);
            complete(self.adapter, &mut list, 0);
        }
    }
}

/// Lists that are done, to be handed back together.
pub struct Completions<'a> {
    list: List,
    adapter: MiniportHandle,
    at: PhantomData<Dispatch<'a>>,
}

impl<'a> Completions<'a> {
    /// None yet.
    #[must_use]
    pub const fn new(adapter: MiniportHandle, _at: Dispatch<'a>) -> Self {
        Self {
            list: List::EMPTY,
            adapter,
            at: PhantomData,
        }
    }

    /// Adds a list, with its status.
    pub fn add(&mut self, nbl: SendNbl, status: NDIS_STATUS) {
        let nbl = nbl.into_raw();
        // SAFETY: it was owned until the line above.
        unsafe {
            (*nbl.as_ptr()).Status = status;
            report_large_send(nbl);
            self.list.push_back(nbl);
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.list.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.head.is_null()
    }

    /// Hands them back. Call with no lock held: NDIS calls the protocol, which may send again.
    pub fn flush(&mut self) {
        // SAFETY: the lists came from owned values, have their status, and the token says that the
        // level is DISPATCH_LEVEL.
        unsafe {
            complete(
                self.adapter,
                &mut self.list,
                NDIS_SEND_COMPLETE_FLAGS_DISPATCH_LEVEL,
            );
        }
    }
}

impl Drop for Completions<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
