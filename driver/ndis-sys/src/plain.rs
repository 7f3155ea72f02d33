//! Structures as bytes, copied in and out: buffers come from others, and need not be aligned.

use crate::Zero;

/// Plain data at the front of `bytes`, wherever it is aligned. None when it is too short.
#[must_use]
pub fn read<T: Zero>(bytes: &[u8]) -> Option<T> {
    read_prefix(bytes, size_of::<T>())
}

/// Plain data whose first `size` bytes are at the front of `bytes`; the rest of it is zero. None
/// when `bytes` is shorter than that. For structures of which the sender may know an older revision.
#[must_use]
pub fn read_prefix<T: Zero>(bytes: &[u8], size: usize) -> Option<T> {
    let size = size.min(size_of::<T>());
    let bytes = bytes.get(..size)?;
    let mut value = T::ZERO;
    // SAFETY: `Zero` types are plain data of ndis.h, for which every bit pattern is valid (BOOLEAN
    // and enumerations are integers, pointers are raw); `size` is within both.
    unsafe {
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast::<u8>(), size);
    }
    Some(value)
}

/// The bytes of plain data, `size` of them.
#[must_use]
pub fn bytes_of<T: Zero>(value: &T, size: usize) -> &[u8] {
    // SAFETY: `Zero` types of this crate's callers name their padding, so that every byte is
    // initialised; the length is within the value.
    unsafe {
        core::slice::from_raw_parts((&raw const *value).cast::<u8>(), size.min(size_of::<T>()))
    }
}
