//! The table: slots, free list and index put together.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use crate::MAX_CAPACITY;
use crate::MAX_KEYS;
use crate::free_list::FreeList;
use crate::handle::Handle;
use crate::index::{Candidates, Index};
use crate::slot::{Released, Slot};
use crate::sync::{AtomicUsize, Ordering};

/// An item that can be found by key.
pub trait Keyed {
    /// The keys under which [`Table::lookup`] finds the item, without duplicates. They
    /// must not change while the item is in a table.
    fn keys(&self) -> [Option<u32>; MAX_KEYS];
}

/// The allocator had not enough memory, or the capacity asked for is above
/// [`MAX_CAPACITY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// The table has no free slot. The item that found no room comes back.
pub struct TableFull<T>(pub T);

impl<T> fmt::Debug for TableFull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TableFull")
    }
}

/// A fixed number of slots for items of type `T`. See the [crate] for its properties.
pub struct Table<T: Keyed> {
    slots: Vec<Slot<T>>,
    free: FreeList,
    index: Index,
    linked: AtomicUsize,
}

// SAFETY: the table hands out `&T` on any thread (hence `T: Sync`) and drops a `T` on the
// thread that releases it last (hence `T: Send`); all else in it is atomic.
unsafe impl<T: Keyed + Send + Sync> Send for Table<T> {}
// SAFETY: as above.
unsafe impl<T: Keyed + Send + Sync> Sync for Table<T> {}

impl<T: Keyed> Table<T> {
    /// Takes all memory that a table of `capacity` slots will ever use.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing is kept then.
    pub fn try_new(capacity: usize) -> Result<Self, OutOfMemory> {
        const {
            // The kernel's allocator serves 16 bytes at most.
            assert!(align_of::<Slot<T>>() <= 16, "over-aligned item");
        }
        if capacity > MAX_CAPACITY {
            return Err(OutOfMemory);
        }
        let count = u32::try_from(capacity).map_err(|_| OutOfMemory)?;
        let mut slots = Vec::new();
        slots.try_reserve_exact(capacity).map_err(|_| OutOfMemory)?;
        slots.extend((0..capacity).map(|_| Slot::new()));
        Ok(Self {
            slots,
            free: FreeList::try_new(count)?,
            index: Index::try_new(capacity)?,
            linked: AtomicUsize::new(0),
        })
    }

    /// Number of slots.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Number of items that are in the table and not removed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.linked.load(Ordering::Relaxed)
    }

    /// Whether no item is in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an item into a free slot. It can be found from here on.
    ///
    /// # Errors
    /// [`TableFull`] when every slot holds an item, or a removed one that is still used.
    pub fn insert(&self, item: T) -> Result<Handle, TableFull<T>> {
        let keys = item.keys();
        let Some(index) = self.free.pop() else {
            return Err(TableFull(item));
        };
        let Some(slot) = self.slots.get(index as usize) else {
            return Err(TableFull(item));
        };
        // Keys before the item: it appears to handle and lookup in one step, and cannot be
        // removed while keys are still to come.
        for (done, key) in keys.into_iter().flatten().enumerate() {
            if !self.index.insert(key, index) {
                for key in keys.into_iter().flatten().take(done) {
                    self.index.remove(key, index);
                }
                self.free.push(index);
                return Err(TableFull(item));
            }
        }
        // Counted first, so that a removal on another processor never counts below zero.
        self.linked.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the slot came off the free list, which gives each to one caller only.
        let generation = unsafe { slot.fill(item) };
        Ok(Handle::new(index, generation))
    }

    /// Takes a reference to the item that `handle` names, unless it was removed.
    #[inline]
    pub fn acquire(&self, handle: Handle) -> Option<Ref<'_, T>> {
        let slot = self.slots.get(handle.index())?;
        let generation = slot.acquire(Some(handle.generation()))?;
        Some(Ref {
            table: self,
            slot,
            index: handle.index() as u32,
            generation,
        })
    }

    /// References to the items with this key, in no order.
    #[inline]
    pub fn lookup(&self, key: u32) -> Lookup<'_, T> {
        Lookup {
            table: self,
            key,
            candidates: self.index.candidates(key),
        }
    }

    /// References to all items. One that is added or removed meanwhile may be missed.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            table: self,
            next: 0,
        }
    }

    /// Makes the item unreachable and drops the table's reference to it: the item goes
    /// now, or with the last [`Ref`]. Never waits. `false` if the handle names no item
    /// (any more).
    pub fn remove(&self, handle: Handle) -> bool {
        let Some(slot) = self.slots.get(handle.index()) else {
            return false;
        };
        if !slot.unlink(handle.generation()) {
            return false;
        }
        self.linked.fetch_sub(1, Ordering::Relaxed);
        let index = handle.index() as u32;
        // SAFETY: unlinking gave the table's reference to this call, which releases it below.
        let keys = unsafe { slot.item() }.keys();
        for key in keys.into_iter().flatten() {
            self.index.remove(key, index);
        }
        // SAFETY: as above; the reference is not used after this.
        unsafe { self.release(slot, index) };
        true
    }

    /// Removes every item that is in the table now. Never waits.
    pub fn remove_all(&self) {
        for item in self.iter() {
            self.remove(item.handle());
        }
    }

    /// # Safety
    /// The caller owns a reference of `slot`, which is the slot at `index`.
    #[inline]
    unsafe fn release(&self, slot: &Slot<T>, index: u32) {
        // SAFETY: the caller's promise.
        if unsafe { slot.release() } == Released::Free {
            self.free.push(index);
        }
    }

    #[inline]
    fn acquire_current(&self, index: u32) -> Option<Ref<'_, T>> {
        let slot = self.slots.get(index as usize)?;
        let generation = slot.acquire(None)?;
        Some(Ref {
            table: self,
            slot,
            index,
            generation,
        })
    }
}

impl<T: Keyed> Drop for Table<T> {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            slot.clear();
        }
    }
}

impl<T: Keyed> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .finish()
    }
}

/// Keeps an item alive, removed or not. Dropping the last one of a removed item drops
/// the item, on whichever thread and at whichever IRQL that is.
pub struct Ref<'a, T: Keyed> {
    table: &'a Table<T>,
    slot: &'a Slot<T>,
    index: u32,
    generation: u64,
}

// SAFETY: a reference is an `&T` that may drop the `T` in the end.
unsafe impl<T: Keyed + Send + Sync> Send for Ref<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Keyed + Send + Sync> Sync for Ref<'_, T> {}

impl<T: Keyed> Ref<'_, T> {
    /// The handle of the item.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.index, self.generation)
    }
}

impl<T: Keyed> Deref for Ref<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `self` owns a reference, and the result borrows `self`.
        unsafe { self.slot.item() }
    }
}

impl<T: Keyed> Drop for Ref<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `self` owns a reference, and this is its last act.
        unsafe { self.table.release(self.slot, self.index) };
    }
}

impl<T: Keyed + fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// See [`Table::lookup`].
pub struct Lookup<'a, T: Keyed> {
    table: &'a Table<T>,
    key: u32,
    candidates: Candidates<'a>,
}

impl<'a, T: Keyed> Iterator for Lookup<'a, T> {
    type Item = Ref<'a, T>;

    #[inline]
    fn next(&mut self) -> Option<Ref<'a, T>> {
        loop {
            let Some(item) = self.table.acquire_current(self.candidates.next()?) else {
                continue;
            };
            // The slot may have been emptied and filled since its entry was read.
            if item.keys().contains(&Some(self.key)) {
                return Some(item);
            }
        }
    }
}

/// See [`Table::iter`].
pub struct Iter<'a, T: Keyed> {
    table: &'a Table<T>,
    next: u32,
}

impl<'a, T: Keyed> Iterator for Iter<'a, T> {
    type Item = Ref<'a, T>;

    fn next(&mut self) -> Option<Ref<'a, T>> {
        while (self.next as usize) < self.table.capacity() {
            let index = self.next;
            self.next = index.saturating_add(1);
            if let Some(item) = self.table.acquire_current(index) {
                return Some(item);
            }
        }
        None
    }
}
