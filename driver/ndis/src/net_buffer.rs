//! NET_BUFFERs that came down to be sent, and the bytes that their MDL chains describe.

use core::{
    marker::PhantomData,
    ptr::{NonNull, copy_nonoverlapping},
};

use ndis_sys::{
    MDL, MdlMappingNoExecute, MmGetSystemAddressForMdlSafe, NET_BUFFER, NormalPagePriority, ULONG,
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

/// More MDLs than any packet has: a chain that is this long is broken.
const MAX_MDLS: u32 = 0x1_0000;

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

    /// The pieces of the packet, in order.
    #[must_use]
    pub fn pieces(self) -> Pieces<'a> {
        // SAFETY: a valid NET_BUFFER (see `from_raw`).
        let (mdl, skip) = unsafe {
            (
                (*self.raw.as_ptr()).CurrentMdl,
                (*self.raw.as_ptr()).CurrentMdlOffset,
            )
        };
        Pieces {
            mdl,
            skip: skip as usize,
            left: self.len(),
            mdls: 0,
            list: PhantomData,
        }
    }

    /// Copies the whole packet to the front of `to` and returns its length.
    ///
    /// # Errors
    /// [`GatherError`]; `to` then holds an unspecified part of the packet.
    pub fn gather(self, to: &mut [u8]) -> Result<usize, GatherError> {
        let len = self.len();
        let to = to.get_mut(..len).ok_or(GatherError::NoRoom)?;
        self.fill(to)?;
        Ok(len)
    }

    /// Copies the first bytes of the packet, as many as `to` holds.
    ///
    /// # Errors
    /// [`GatherError::NoRoom`] never; [`GatherError::ChainTooShort`] also when the packet is
    /// shorter than `to`.
    pub fn peek(self, to: &mut [u8]) -> Result<(), GatherError> {
        if self.len() < to.len() {
            return Err(GatherError::ChainTooShort);
        }
        self.fill(to)
    }

    fn fill(self, to: &mut [u8]) -> Result<(), GatherError> {
        let mut rest = to;
        let mut pieces = self.pieces();
        while !rest.is_empty() {
            let (from, len) = match pieces.next() {
                Some(piece) => piece?,
                None => return Err(GatherError::ChainTooShort),
            };
            let len = len.min(rest.len());
            let Some((head, tail)) = core::mem::take(&mut rest).split_at_mut_checked(len) else {
                return Err(GatherError::NoRoom);
            };
            // SAFETY: `pieces` yields mapped memory of at least `len` bytes; `head` is `len` bytes
            // of the driver's own memory, which no MDL of a packet to send describes. The bytes are
            // not turned into a reference: their owner may be writing them.
            unsafe { copy_nonoverlapping(from.as_ptr(), head.as_mut_ptr(), len) };
            rest = tail;
        }
        Ok(())
    }
}

/// Iterator over the pieces of a packet: address and length of each, none empty.
pub struct Pieces<'a> {
    mdl: *mut MDL,
    skip: usize,
    left: usize,
    mdls: u32,
    list: PhantomData<&'a NET_BUFFER>,
}

impl Iterator for Pieces<'_> {
    type Item = Result<(NonNull<u8>, usize), GatherError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            let mdl = self.mdl;
            self.mdls = self.mdls.saturating_add(1);
            if mdl.is_null() || self.mdls > MAX_MDLS {
                self.left = 0;
                return Some(Err(GatherError::ChainTooShort));
            }
            // SAFETY: MDLs of a NET_BUFFER that the driver owns are valid until it is completed.
            let (count, next) = unsafe { ((*mdl).ByteCount as usize, (*mdl).Next) };
            let skip = core::mem::take(&mut self.skip);
            self.mdl = next;
            let Some(usable) = count.checked_sub(skip) else {
                self.left = 0;
                return Some(Err(GatherError::ChainTooShort));
            };
            if usable == 0 {
                continue;
            }
            let priority = NormalPagePriority as ULONG | MdlMappingNoExecute;
            // SAFETY: the MDL describes locked or non-paged memory, as NDIS requires of its senders.
            let base = unsafe { MmGetSystemAddressForMdlSafe(mdl, priority) }.cast::<u8>();
            let Some(base) = NonNull::new(base) else {
                self.left = 0;
                return Some(Err(GatherError::NotMapped));
            };
            let len = usable.min(self.left);
            self.left = self.left.saturating_sub(len);
            // SAFETY: `skip` is less than the MDL's ByteCount.
            return Some(Ok((unsafe { base.add(skip) }, len)));
        }
        None
    }
}
