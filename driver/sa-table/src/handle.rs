//! Handles: which slot, and which of the items that the slot ever held.

use core::num::NonZeroU64;

const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// Highest generation; a slot that has used it is never filled again.
pub(crate) const MAX_GENERATION: u64 = (1 << 40) - 1;

/// Names one item of one [`Table`](crate::Table), for as long as that item lives
/// and never afterwards. It is `generation << 24 | index` and never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(NonZeroU64);

impl Handle {
    pub(crate) fn new(index: u32, generation: u64) -> Self {
        let raw = (generation << INDEX_BITS) | (u64::from(index) & INDEX_MASK);
        // Generations start at one, so that the number is never zero.
        Self(NonZeroU64::new(raw).unwrap_or(NonZeroU64::MIN))
    }

    /// Takes any number as a handle; whether it names an item is the table's to say.
    /// `None` for zero, which means "no handle".
    #[must_use]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        match NonZeroU64::new(raw) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The number that stands for the handle; never zero.
    #[must_use]
    pub const fn to_raw(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn index(self) -> usize {
        // 24 bits fit every usize that this crate compiles for.
        (self.0.get() & INDEX_MASK) as usize
    }

    pub(crate) const fn generation(self) -> u64 {
        self.0.get() >> INDEX_BITS
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_handle_carries_index_and_generation() {
        for (index, generation) in [(0, 1), (7, 1), (0xFF_FFFF, 1), (3, MAX_GENERATION)] {
            let handle = Handle::new(index, generation);
            assert_eq!(handle.index(), index as usize);
            assert_eq!(handle.generation(), generation);
            assert_eq!(Handle::from_raw(handle.to_raw()), Some(handle));
        }
    }

    #[test]
    fn zero_is_no_handle() {
        assert_eq!(Handle::from_raw(0), None);
    }
}
