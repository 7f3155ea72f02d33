//! Allocation that reports failure. The global allocator of the driver is non-paged pool
//! (`wdk-alloc`), so what is allocated here may be touched at `DISPATCH_LEVEL`.

use alloc::{alloc::Layout, boxed::Box, vec::Vec};

/// The pool had no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// `wdk-alloc` promises the alignment of the pool and no more.
const POOL_ALIGNMENT: usize = 16;

/// `value` on the heap.
///
/// # Errors
/// [`OutOfMemory`]; `value` is dropped.
pub fn try_box<T>(value: T) -> Result<Box<T>, OutOfMemory> {
    const {
        assert!(
            align_of::<T>() <= POOL_ALIGNMENT,
            "the pool does not align further"
        );
        assert!(size_of::<T>() > 0, "nothing to allocate");
    }
    // SAFETY: the layout is not of size zero (asserted above).
    let memory = unsafe { alloc::alloc::alloc(Layout::new::<T>()) }.cast::<T>();
    if memory.is_null() {
        return Err(OutOfMemory);
    }
    // SAFETY: fresh memory of T's layout from the global allocator, initialised before the Box
    // takes it.
    unsafe {
        memory.write(value);
        Ok(Box::from_raw(memory))
    }
}

/// `len` zero bytes.
///
/// # Errors
/// [`OutOfMemory`].
pub fn try_zeroed(len: usize) -> Result<Box<[u8]>, OutOfMemory> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| OutOfMemory)?;
    bytes.resize(len, 0);
    // `try_reserve_exact` may give more than asked for, and shrinking may reallocate: the pool
    // gives what is asked for.
    Ok(bytes.into_boxed_slice())
}

/// A vector with room for `capacity` elements.
///
/// # Errors
/// [`OutOfMemory`].
pub fn try_with_capacity<T>(capacity: usize) -> Result<Vec<T>, OutOfMemory> {
    const {
        assert!(
            align_of::<T>() <= POOL_ALIGNMENT,
            "the pool does not align further"
        )
    }
    let mut vec = Vec::new();
    vec.try_reserve_exact(capacity).map_err(|_| OutOfMemory)?;
    Ok(vec)
}
