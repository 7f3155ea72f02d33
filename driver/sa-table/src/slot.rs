//! One slot: an item, who may reach it, and how many do.
//!
//! All of a slot's life is in one word, so that "is it still the item I mean?" and
//! "keep it alive" are one atomic step:
//!
//! ```text
//!   63                    24 23        22                    0
//!  +------------------------+--------+------------------------+
//!  |       generation       | linked |       references       |
//!  +------------------------+--------+------------------------+
//! ```
//!
//! | references | linked | the slot is |
//! |---|---|---|
//! | 0 | 0 | free, being filled, or being emptied: the item is nobody's to read |
//! | > 0 | 1 | live; one of the references is the table's own |
//! | > 0 | 0 | removed, still used by those who had it |

use core::mem::MaybeUninit;

use crate::handle::MAX_GENERATION;
use crate::sync::{AtomicU64, Ordering, UnsafeCell};

const LINKED: u64 = 1 << 23;
const REFERENCES: u64 = LINKED - 1;
const GENERATION_SHIFT: u32 = 24;

pub(crate) struct Slot<T> {
    state: AtomicU64,
    item: UnsafeCell<MaybeUninit<T>>,
}

/// What releasing a reference led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// Others still use the item.
    Shared,
    /// The item was dropped; the slot can be filled again.
    Free,
    /// The item was dropped and the slot's generations are used up.
    Retired,
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU64::new(1 << GENERATION_SHIFT),
            item: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Puts an item in and links it, with one reference: the table's. Returns the
    /// generation.
    ///
    /// # Safety
    /// The caller took the slot from the free list, so nobody else fills or empties it.
    pub(crate) unsafe fn fill(&self, item: T) -> u64 {
        // SAFETY: with zero references nobody reads the item, and the caller is the only
        // one to write it.
        self.item.with_mut(|cell| unsafe {
            (*cell).write(item);
        });
        let generation = self.state.load(Ordering::Relaxed) >> GENERATION_SHIFT;
        // Release: whoever acquires a reference sees the item whole.
        self.state.store(
            (generation << GENERATION_SHIFT) | LINKED | 1,
            Ordering::Release,
        );
        generation
    }

    /// Takes a reference if the slot is live, and holds `generation` when one is asked
    /// for. Returns the generation found.
    #[inline]
    pub(crate) fn acquire(&self, generation: Option<u64>) -> Option<u64> {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let found = state >> GENERATION_SHIFT;
            if generation.is_some_and(|wanted| wanted != found)
                || state & LINKED == 0
                || state & REFERENCES == REFERENCES
            {
                return None;
            }
            // Acquire: pairs with `fill`. References cannot carry into LINKED: checked above.
            match self.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(found),
                Err(now) => state = now,
            }
        }
    }

    /// Makes the item unreachable. `true` for exactly one caller, who thereby owns the
    /// table's reference and has to release it.
    pub(crate) fn unlink(&self, generation: u64) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state >> GENERATION_SHIFT != generation || state & LINKED == 0 {
                return false;
            }
            match self.state.compare_exchange_weak(
                state,
                state & !LINKED,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// The item.
    ///
    /// # Safety
    /// The caller holds a reference, and holds it for as long as it uses the result.
    #[inline]
    pub(crate) unsafe fn item(&self) -> &T {
        // SAFETY: a reference is held, so the item was written by `fill` (made visible by the
        // acquire) and is not dropped before the reference is released.
        self.item.with(|cell| unsafe { (*cell).assume_init_ref() })
    }

    /// Gives one reference back; the last one drops the item.
    ///
    /// # Safety
    /// The caller owns a reference of this slot and does not use it afterwards.
    #[inline]
    pub(crate) unsafe fn release(&self) -> Released {
        // Release: what this processor did with the item comes before its end. The
        // subtraction cannot borrow: the caller's own reference is in the count.
        let before = self.state.fetch_sub(1, Ordering::Release);
        if before & REFERENCES != 1 {
            return Released::Shared;
        }
        // Acquire: what the others did with the item comes before its end too. Their subtractions, this one and
        // what is read now are one release sequence; a fence would do as well, but ThreadSanitizer knows
        // none.
        self.state.load(Ordering::Acquire);
        // SAFETY: the count went from one to zero, and zero is final: `acquire` needs LINKED,
        // and the table's reference is only released after LINKED was cleared. So no other
        // processor reads the item, and this one comes here once per item.
        self.item
            .with_mut(|cell| unsafe { (*cell).assume_init_drop() });
        let generation = before >> GENERATION_SHIFT;
        if generation >= MAX_GENERATION {
            return Released::Retired;
        }
        self.state
            .store((generation + 1) << GENERATION_SHIFT, Ordering::Release);
        Released::Free
    }

    /// Drops the item if there is one, whoever still counts as its user.
    pub(crate) fn clear(&mut self) {
        // No reference can be alive, since each borrows the table; a count above one is a
        // `Ref` that was leaked on purpose.
        if self.state.load(Ordering::Acquire) & REFERENCES != 0 {
            // SAFETY: references above zero mean that the item is there, `&mut self` that
            // nobody else has it.
            self.item
                .with_mut(|cell| unsafe { (*cell).assume_init_drop() });
            self.state.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_counts_its_generations_and_retires() {
        let slot = Slot::new();
        // SAFETY: nobody else has the slot.
        let first = unsafe { slot.fill(7u8) };
        assert!(slot.unlink(first));
        // SAFETY: unlinking gave this call the reference.
        assert_eq!(unsafe { slot.release() }, Released::Free);

        slot.state
            .store(MAX_GENERATION << GENERATION_SHIFT, Ordering::Relaxed);
        // SAFETY: as above.
        let last = unsafe { slot.fill(8) };
        assert_eq!(last, MAX_GENERATION);
        assert_eq!(slot.acquire(Some(first)), None);
        assert_eq!(slot.acquire(None), Some(last));
        assert!(slot.unlink(last));
        // SAFETY: two references are owned: the acquired one and the table's.
        assert_eq!(unsafe { slot.release() }, Released::Shared);
        // SAFETY: as above, the second.
        assert_eq!(unsafe { slot.release() }, Released::Retired);
        assert_eq!(slot.acquire(None), None);
    }

    #[test]
    fn references_never_carry_over() {
        let slot = Slot::new();
        // SAFETY: nobody else has the slot.
        let generation = unsafe { slot.fill(1u8) };
        slot.state.store(
            (generation << GENERATION_SHIFT) | LINKED | REFERENCES,
            Ordering::Relaxed,
        );
        assert_eq!(slot.acquire(Some(generation)), None);
    }
}
