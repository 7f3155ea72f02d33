//! The linked lists in the buffers of ADD_SA and DELETE_SA.

use ndis_sys::{IPSEC_OFFLOAD_V2_ADD_SA, IPSEC_OFFLOAD_V2_DELETE_SA, read};

/// Header, then Next: in both list structures.
const NEXT: usize = core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Next);
const _: () = assert!(NEXT == core::mem::offset_of!(IPSEC_OFFLOAD_V2_DELETE_SA, Next));

/// Where the elements of a list lie: `size` bytes each, aligned to `align`, in a buffer at `address`.
///
/// The pages of ADD_SA and DELETE_SA are silent on where that is. NDIS promises InformationBufferLength
/// bytes and no more, so nothing outside of them is touched.
#[derive(Clone, Copy)]
pub(crate) struct List {
    address: usize,
    size: usize,
    align: usize,
}

impl List {
    /// Of structures `T`, of which `size` bytes have to be there. `buffer` begins with the first one.
    pub(crate) fn of<T>(size: usize, buffer: &[u8]) -> Self {
        Self {
            address: buffer.as_ptr().addr(),
            size,
            align: align_of::<T>(),
        }
    }

    /// More elements than the buffer has room for are a circle.
    pub(crate) fn most(self, buffer: &[u8]) -> usize {
        let room = buffer.len().checked_div(self.size).unwrap_or(0);
        room.saturating_add(1)
    }

    /// The offset of the element at `address`; None when it does not lie wholly in the buffer, aligned as
    /// the structure is.
    fn offset(self, buffer: &[u8], address: usize) -> Option<usize> {
        let offset = address.checked_sub(self.address)?;
        let end = offset.checked_add(self.size)?;
        (end <= buffer.len() && address.is_multiple_of(self.align)).then_some(offset)
    }

    /// The address of the element behind the one at `offset`. None at the end of the list.
    fn next(buffer: &[u8], offset: usize) -> Option<usize> {
        let next = buffer.get(offset.saturating_add(NEXT)..).and_then(read)?;
        (next != 0).then_some(next)
    }

    /// The offset of the element behind the one at `offset`. None at the end of the list, and where that
    /// leaves the buffer.
    pub(crate) fn after(self, buffer: &[u8], offset: usize) -> Option<usize> {
        self.offset(buffer, Self::next(buffer, offset)?)
    }

    /// The offsets of all elements, the first at 0. Ends with None in place of an element that is not in the
    /// buffer, or when the list turns out to be a circle.
    pub(crate) fn elements(self, buffer: &[u8]) -> Elements<'_> {
        Elements {
            list: self,
            buffer,
            next: Some(self.address),
            left: self.most(buffer),
        }
    }
}

pub(crate) struct Elements<'a> {
    list: List,
    buffer: &'a [u8],
    next: Option<usize>,
    left: usize,
}

impl Iterator for Elements<'_> {
    type Item = Option<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let address = self.next.take()?;
        let Some(left) = self.left.checked_sub(1) else {
            return Some(None);
        };
        self.left = left;
        let offset = self.list.offset(self.buffer, address);
        self.next = offset.and_then(|offset| List::next(self.buffer, offset));
        Some(offset)
    }
}
