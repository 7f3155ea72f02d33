//! What is in the pool, for tests of what a driver leaves behind.

use std::slice;

use super::{Block, Pool};

/// A freed block as it was when it was freed.
pub(super) struct Kept {
    address: usize,
    tag: u32,
    by: &'static str,
    bytes: Vec<u8>,
}

/// A block of the pool, as [`Pool::for_each_block`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolBlock<'a> {
    /// Where it is, or was.
    pub address: usize,
    /// Its tag.
    pub tag: u32,
    /// The callback that allocated it.
    pub by: &'static str,
    /// It was freed; `bytes` are what it held then.
    pub freed: bool,
    /// All of it.
    pub bytes: &'a [u8],
}

impl Kept {
    /// Copies a block that the driver has just given back.
    pub(super) fn of(block: &Block) -> Self {
        Self {
            address: block.address,
            tag: block.tag,
            by: block.by,
            bytes: block.bytes().to_vec(),
        }
    }
}

impl Block {
    fn bytes(&self) -> &[u8] {
        // SAFETY: a block that is not freed has that many bytes, all of them written when it was
        // allocated. Callers see to it that no driver code writes them meanwhile.
        unsafe { slice::from_raw_parts(self.address as *const u8, self.len) }
    }
}

impl Pool {
    /// From now on what blocks hold when they are freed is kept, for tests of what a driver leaves
    /// behind; what was kept before is forgotten.
    pub fn keep_freed(&self) {
        self.state.lock().kept = Some(Vec::new());
    }

    /// Shows every allocated block, and the freed ones since [`Pool::keep_freed`]. No driver code
    /// may run meanwhile.
    pub fn for_each_block(&self, mut look: impl FnMut(PoolBlock<'_>)) {
        let state = self.state.lock();
        for block in state.live.values() {
            look(PoolBlock {
                address: block.address,
                tag: block.tag,
                by: block.by,
                freed: false,
                bytes: block.bytes(),
            });
        }
        for kept in state.kept.iter().flatten() {
            look(PoolBlock {
                address: kept.address,
                tag: kept.tag,
                by: kept.by,
                freed: true,
                bytes: &kept.bytes,
            });
        }
    }
}
