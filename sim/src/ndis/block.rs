//! Memory of the structures that drivers allocate from pools.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    ptr,
};

use ndis_sys::MDL;

use super::memory::{mdl_for, mdl_size};

/// Zeroed memory with guard bytes behind it.
pub(super) struct Block {
    pub(super) memory: *mut u8,
    layout: Layout,
    used: usize,
}

// SAFETY: owned memory.
unsafe impl Send for Block {}
// SAFETY: only read through a shared reference.
unsafe impl Sync for Block {}

const GUARD: u8 = 0xFD;
const GUARD_LEN: usize = 16;

impl Block {
    pub(super) fn new(used: usize) -> Option<Self> {
        let layout = Layout::from_size_align(used + GUARD_LEN, 16).ok()?;
        // SAFETY: the size is not 0; the guard lies within the allocation.
        unsafe {
            let memory = alloc_zeroed(layout);
            if memory.is_null() {
                return None;
            }
            ptr::write_bytes(memory.add(used), GUARD, GUARD_LEN);
            Some(Self {
                memory,
                layout,
                used,
            })
        }
    }

    pub(super) fn is_intact(&self) -> bool {
        // SAFETY: the guard lies within the allocation.
        (0..GUARD_LEN).all(|i| unsafe { *self.memory.add(self.used + i) } == GUARD)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; poisoned for those who look later.
        unsafe {
            ptr::write_bytes(self.memory, 0xDD, self.used);
            dealloc(self.memory, self.layout);
        }
    }
}

/// Data and its MDL, for pools with a DataSize.
pub(super) struct Data {
    _bytes: Box<[u8]>,
    pub(super) mdl: Block,
}

impl Data {
    pub(super) fn new(len: u32) -> Option<Self> {
        let mut bytes = vec![0; len as usize].into_boxed_slice();
        let va = bytes.as_mut_ptr() as u64;
        let mdl = Block::new(mdl_size(va, len))?;
        // SAFETY: the block holds an MDL.
        unsafe { mdl.memory.cast::<MDL>().write(mdl_for(va, len)) };
        Some(Self { _bytes: bytes, mdl })
    }
}
