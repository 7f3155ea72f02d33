//! Memory that is given back holds nothing.

use core::alloc::{GlobalAlloc, Layout};

/// An allocator that clears what it gives back to `A`.
///
/// What holds keys wipes them when it is dropped, but cannot reach the padding between its members: a value
/// that is moved to the heap takes along what was on the stack beside it. Blocks are freed at set-up,
/// at the end of an SA and at halt, never per packet.
pub struct Wiping<A>(pub A);

// SAFETY: `A` makes every promise; the memory of a block is the caller's until `A` takes it back.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: a block of this layout that nobody else uses any more. The pool is the kernel's, so for
        // the compiler these bytes may still be read, and the writes stay.
        unsafe { block.write_bytes(0, layout.size()) };
        // SAFETY: as the caller promises.
        unsafe { self.0.dealloc(block, layout) };
    }
}

#[cfg(test)]
mod tests {
    use core::cell::RefCell;
    use std::{alloc::System, vec::Vec};

    use super::*;

    /// Keeps what it was given back.
    #[derive(Default)]
    struct Keeping(RefCell<Vec<Vec<u8>>>);

    // SAFETY: the system's.
    unsafe impl GlobalAlloc for Keeping {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: a block of this layout, all of whose bytes the test has written.
            let bytes = unsafe { core::slice::from_raw_parts(block, layout.size()) };
            self.0.borrow_mut().push(bytes.to_vec());
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(block, layout) };
        }
    }

    #[test]
    fn a_block_that_is_freed_or_outgrown_holds_nothing() {
        let memory = Wiping(Keeping::default());
        let layout = Layout::from_size_align(40, 8).unwrap();
        // SAFETY: blocks of this allocator, with their layouts, written within their sizes.
        unsafe {
            let block = memory.alloc(layout);
            block.write_bytes(0x5A, 40);
            let block = memory.realloc(block, layout, 80);
            assert_eq!(
                core::slice::from_raw_parts(block, 40),
                [0x5A; 40],
                "a block keeps its bytes when it grows"
            );
            block.write_bytes(0xA5, 80);
            memory.dealloc(block, Layout::from_size_align(80, 8).unwrap());
        }
        assert_eq!(*memory.0.0.borrow(), [vec![0; 40], vec![0; 80]]);
    }
}
