//! NET_BUFFERs that came down to be sent, and the bytes that their MDL chains describe.

use core::{
    marker::PhantomData,
    ptr::{NonNull, copy_nonoverlapping},
};

use ndis_sys::{
    MDL, MdlMappingNoExecute, MmGetSystemAddressForMdlSafe, NET_BUFFER, NormalPagePriority, PVOID,
    ULONG,
};

/// Why the bytes of a NET_BUFFER could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatherError {
    /// The MDL chain describes fewer bytes than DataLength says.
    ChainTooShort,
    /// An MDL could not be mapped into system space: low on resources.
    NotMapped,
    /// The destination is smaller than the data.
    NoRoom,
}

/// More MDLs without a byte than any packet has: a chain with so many is broken. Those with bytes are
/// bounded by the packet's length.
const MAX_EMPTY_MDLS: usize = 0x1_0000;

/// One packet to send, borrowed from its NET_BUFFER_LIST.
#[derive(Clone, Copy)]
pub struct NetBuffer<'a> {
    raw: NonNull<NET_BUFFER>,
    list: PhantomData<&'a NET_BUFFER>,
}

impl<'a> NetBuffer<'a> {
    /// # Safety
    /// `raw` is a NET_BUFFER that the driver owns for `'a`, with its MDLs.
    #[must_use]
    pub const unsafe fn from_raw(raw: NonNull<NET_BUFFER>) -> Self {
        Self {
            raw,
            list: PhantomData,
        }
    }

    /// The bytes of the packet, from the link-layer header on.
    #[must_use]
    pub fn len(self) -> usize {
        // SAFETY: a valid NET_BUFFER (see `from_raw`).
        unsafe { (*self.raw.as_ptr()).DataLength as usize }
    }

    /// Whether it has no bytes at all.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The start of the packet's bytes.
    #[must_use]
    pub fn cursor(self) -> Cursor<'a> {
        // SAFETY: a valid NET_BUFFER (see `from_raw`).
        let (mdl, skip) = unsafe {
            (
                (*self.raw.as_ptr()).CurrentMdl,
                (*self.raw.as_ptr()).CurrentMdlOffset,
            )
        };
        Cursor {
            mdl,
            skip: skip as usize,
            left: self.len(),
            empty: 0,
            list: PhantomData,
        }
    }

    /// The place that [`park`](Self::park) left.
    pub(crate) fn parked(self) -> Cursor<'a> {
        // SAFETY: a valid NET_BUFFER, whose words `park` has written: a list parks the start of each
        // of its packets before anything else can get hold of it.
        let [mdl, skip, left, empty] = unsafe { (*self.raw.as_ptr()).MiniportReserved };
        Cursor {
            mdl: mdl.cast(),
            skip: skip.addr(),
            left: left.addr(),
            empty: empty.addr(),
            list: PhantomData,
        }
    }

    /// Keeps a place of this packet in the words that are the miniport's.
    pub(crate) fn park(self, cursor: &Cursor<'_>) {
        let number = |number: usize| -> PVOID { core::ptr::without_provenance_mut(number) };
        let words = [
            cursor.mdl.cast(),
            number(cursor.skip),
            number(cursor.left),
            number(cursor.empty),
        ];
        // SAFETY: a valid NET_BUFFER that the driver owns; MiniportReserved is its own.
        unsafe { (*self.raw.as_ptr()).MiniportReserved = words }
    }

    /// Copies the whole packet to the front of `to` and returns its length.
    ///
    /// # Errors
    /// [`GatherError`]; `to` then holds an unspecified part of the packet.
    pub fn gather(self, to: &mut [u8]) -> Result<usize, GatherError> {
        let len = self.len();
        let to = to.get_mut(..len).ok_or(GatherError::NoRoom)?;
        self.cursor().read(to)?;
        Ok(len)
    }

    /// Copies the first bytes of the packet, as many as `to` holds.
    ///
    /// # Errors
    /// [`GatherError::NoRoom`] never; [`GatherError::ChainTooShort`] also when the packet is
    /// shorter than `to`.
    pub fn peek(self, to: &mut [u8]) -> Result<(), GatherError> {
        self.cursor().read(to)
    }
}

/// A place in the bytes of a packet: reading goes on from there.
pub struct Cursor<'a> {
    mdl: *mut MDL,
    /// Bytes of that MDL before the place.
    skip: usize,
    /// Bytes of the packet from the place on.
    left: usize,
    empty: usize,
    list: PhantomData<&'a NET_BUFFER>,
}

impl Cursor<'_> {
    /// Bytes of the packet that were not read yet.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Copies the next bytes, as many as `to` holds, and goes behind them.
    ///
    /// # Errors
    /// [`GatherError::NoRoom`] never; [`GatherError::ChainTooShort`] also when fewer are left.
    pub fn read(&mut self, to: &mut [u8]) -> Result<(), GatherError> {
        if self.left < to.len() {
            return Err(GatherError::ChainTooShort);
        }
        let mut rest = to;
        while !rest.is_empty() {
            let (from, len) = self.piece()?;
            let len = len.min(rest.len());
            let Some((head, tail)) = core::mem::take(&mut rest).split_at_mut_checked(len) else {
                return Err(GatherError::NoRoom);
            };
            // SAFETY: `piece` gives mapped memory of at least `len` bytes; `head` is `len` bytes of
            // the driver's own memory, which no MDL of a packet to send describes. The bytes are not
            // turned into a reference: their owner may be writing them.
            unsafe { copy_nonoverlapping(from.as_ptr(), head.as_mut_ptr(), len) };
            self.skip = self.skip.saturating_add(len);
            self.left = self.left.saturating_sub(len);
            rest = tail;
        }
        Ok(())
    }

    /// Address and length of what the first MDL with bytes left describes from the place on.
    fn piece(&mut self) -> Result<(NonNull<u8>, usize), GatherError> {
        while let Some(mdl) = NonNull::new(self.mdl) {
            let mdl = mdl.as_ptr();
            // SAFETY: MDLs of a NET_BUFFER that the driver owns are valid until it is completed.
            let (count, next) = unsafe { ((*mdl).ByteCount as usize, (*mdl).Next) };
            let usable = count.checked_sub(self.skip);
            let usable = usable.ok_or(GatherError::ChainTooShort)?;
            if usable != 0 {
                let priority = NormalPagePriority as ULONG | MdlMappingNoExecute;
                // SAFETY: the MDL describes locked or non-paged memory, as NDIS requires of its
                // senders.
                let base = unsafe { MmGetSystemAddressForMdlSafe(mdl, priority) };
                let base = NonNull::new(base.cast::<u8>()).ok_or(GatherError::NotMapped)?;
                // SAFETY: `skip` is less than the MDL's ByteCount.
                return Ok((unsafe { base.add(self.skip) }, usable));
            }
            if count == 0 {
                self.empty = self.empty.saturating_add(1);
                if self.empty > MAX_EMPTY_MDLS {
                    break;
                }
            }
            self.mdl = next;
            self.skip = 0;
        }
        Err(GatherError::ChainTooShort)
    }
}
