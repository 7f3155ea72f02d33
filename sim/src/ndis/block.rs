//! Memory of the structures that drivers allocate from pools.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ndis_sys::MDL;

use super::memory::{mdl_for, mdl_size};
use crate::{
    history::{Kind, Object},
    machine::Machine,
    ntos::pool::{Pool, free_object},
};

/// Zeroed memory of an object, from the system's pool: fenced, and in quarantine once it is freed.
pub(super) struct Block {
    pub(super) memory: *mut u8,
    object: Object,
    pool: Arc<Pool>,
    freed: AtomicBool,
}

// SAFETY: owned memory.
unsafe impl Send for Block {}
// SAFETY: only read through a shared reference.
unsafe impl Sync for Block {}

/// MEMORY_ALLOCATION_ALIGNMENT
const ALIGN: usize = 16;
/// An MDL has pointers and 32-bit integers in it, and ends in an array of addresses.
const MDL_ALIGN: usize = 8;

impl Block {
    /// An object that is known by its address.
    pub(super) fn new(machine: &Machine, len: usize, kind: Kind) -> Option<Self> {
        Self::with(machine, len, ALIGN, kind, None)
    }

    /// Room for an MDL.
    pub(super) fn mdl(machine: &Machine, va: u64, len: u32) -> Option<Self> {
        let block = Self::with(machine, mdl_size(va, len), MDL_ALIGN, Kind::Mdl, None)?;
        // SAFETY: the block holds an MDL.
        unsafe { block.memory.cast::<MDL>().write(mdl_for(va, len)) };
        Some(block)
    }

    /// A part of an object that has an address elsewhere.
    pub(super) fn part(machine: &Machine, len: usize, object: Object) -> Option<Self> {
        Self::with(machine, len, ALIGN, object.0, Some(object.1))
    }

    fn with(
        machine: &Machine,
        len: usize,
        align: usize,
        kind: Kind,
        name: Option<u64>,
    ) -> Option<Self> {
        let pool = Arc::clone(&machine.kernel().objects);
        let memory = pool.allocate_object(len, align, kind, name);
        (!memory.is_null()).then(|| Self {
            memory,
            object: (kind, name.unwrap_or(memory as u64)),
            pool,
            freed: AtomicBool::new(false),
        })
    }

    /// Frees it for the driver; stops the machine when the memory around it was written.
    pub(super) fn free(&self) {
        if !self.freed.swap(true, Ordering::AcqRel) {
            free_object(&self.pool, self.memory, self.object);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !self.freed.swap(true, Ordering::AcqRel) {
            // Nobody's any more, so what is wrong with it is nobody's fault.
            drop(self.pool.free(self.memory, None));
        }
    }
}

/// Data and its MDL, for pools with a DataSize.
pub(super) struct Data {
    bytes: Block,
    pub(super) mdl: Block,
}

impl Data {
    pub(super) fn new(machine: &Machine, len: u32) -> Option<Self> {
        let bytes = Block::new(machine, len as usize, Kind::Pool)?;
        let mdl = Block::mdl(machine, bytes.memory as u64, len)?;
        machine.note(
            Kind::Pool,
            bytes.memory as u64,
            "data of a pool with DataSize",
            0,
        );
        Some(Self { bytes, mdl })
    }

    /// Frees both.
    pub(super) fn free(&self) {
        self.bytes.free();
        self.mdl.free();
    }
}
