//! The linked lists in the buffers of ADD_SA and DELETE_SA.

use ndis::read;
use ndis_sys::{IPSEC_OFFLOAD_V2_ADD_SA, IPSEC_OFFLOAD_V2_DELETE_SA};

/// Where in the information buffer the list element at `next` lies; None when it does not lie there
/// wholly, aligned as the structure is.
///
/// The pages of ADD_SA and DELETE_SA are silent on where the elements of a list live. NDIS promises
/// InformationBufferLength bytes and no more, so nothing outside of them is touched.
fn element(buffer: &[u8], next: usize, size: usize, align: usize) -> Option<usize> {
    let offset = next.checked_sub(buffer.as_ptr().addr())?;
    let end = offset.checked_add(size)?;
    (end <= buffer.len() && next.is_multiple_of(align)).then_some(offset)
}

/// The offsets of the elements of a list, the first at offset 0, `next` within each at offset 8. A
/// walk is bounded by the number of elements that the buffer has room for, so that a circle ends.
/// Ends with None in place of an element that is not in the buffer.
pub struct Elements<'a> {
    buffer: &'a [u8],
    size: usize,
    align: usize,
    next: Option<usize>,
    left: usize,
}

impl<'a> Elements<'a> {
    /// `buffer` holds elements of `size` bytes, aligned to `align`.
    pub fn new(buffer: &'a [u8], size: usize, align: usize) -> Self {
        let left = buffer
            .len()
            .checked_div(size)
            .unwrap_or(0)
            .saturating_add(1);
        Self {
            buffer,
            size,
            align,
            next: Some(buffer.as_ptr().addr()),
            left,
        }
    }
}

impl Iterator for Elements<'_> {
    type Item = Option<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        /// Header, then Next: in both list structures.
        const NEXT: usize = core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Next);
        const { assert!(NEXT == core::mem::offset_of!(IPSEC_OFFLOAD_V2_DELETE_SA, Next)) }

        let address = self.next.take()?;
        let Some(left) = self.left.checked_sub(1) else {
            return Some(None);
        };
        self.left = left;
        let offset = element(self.buffer, address, self.size, self.align);
        if let Some(offset) = offset {
            let at = offset.saturating_add(NEXT);
            let next = self.buffer.get(at..).and_then(read::<usize>).unwrap_or(0);
            self.next = (next != 0).then_some(next);
        }
        Some(offset)
    }
}

/// The element after that at `offset`.
pub fn next_element(buffer: &[u8], offset: usize, size: usize, align: usize) -> Option<usize> {
    let at = offset.saturating_add(core::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Next));
    let next = buffer.get(at..).and_then(read::<usize>)?;
    if next == 0 {
        None
    } else {
        element(buffer, next, size, align)
    }
}
