//! Keys to slots: a hash multimap that is read and written without a lock.
//!
//! Open addressing within one bucket: an entry is `key << 32 | slot + 1`, zero is
//! empty, and an entry stays where it was put. A reader looks at the eight entries
//! of the key's bucket and at nothing else, so there are no tombstones, no chains
//! to follow while others change them, and no probe sequence that a removal could
//! break. What does not fit its bucket goes into an overflow area, which has room
//! for everything and is looked at only by keys of buckets that have overflowed.
//! With the table's four entries of room per item that is one bucket in thousands.

use alloc::vec::Vec;

use crate::MAX_KEYS;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crate::table::OutOfMemory;

const WAYS: usize = 8;
const EMPTY: u64 = 0;

pub(crate) struct Index {
    entries: Vec<AtomicU64>,
    /// Entries in `overflow` by the bucket that they belong to.
    overflowed: Vec<AtomicUsize>,
    overflow: Vec<AtomicU64>,
    /// `overflow` was never used from here on.
    overflow_end: AtomicUsize,
    shift: u32,
}

impl Index {
    pub(crate) fn try_new(capacity: usize) -> Result<Self, OutOfMemory> {
        let buckets = capacity.div_ceil(2).max(1).next_power_of_two();
        Ok(Self {
            entries: filled(buckets.checked_mul(WAYS).ok_or(OutOfMemory)?, vacant)?,
            overflowed: filled(buckets, || AtomicUsize::new(0))?,
            overflow: filled(capacity.checked_mul(MAX_KEYS).ok_or(OutOfMemory)?, vacant)?,
            overflow_end: AtomicUsize::new(0),
            shift: 32u32.saturating_sub(buckets.ilog2()),
        })
    }

    fn bucket(&self, key: u32) -> usize {
        // Fibonacci hashing: the high bits of the product depend on every bit of the key.
        // One bucket leaves a shift of 32, hence the wider type.
        (u64::from(key.wrapping_mul(0x9E37_79B1)) >> self.shift) as usize
    }

    fn ways(&self, bucket: usize) -> &[AtomicU64] {
        let start = bucket.saturating_mul(WAYS);
        self.entries
            .get(start..start.saturating_add(WAYS))
            .unwrap_or(&[])
    }

    /// Adds an entry. There is room for `MAX_KEYS` entries per slot; `false` can only
    /// come back when others kept adding and removing just where this call was not
    /// looking.
    pub(crate) fn insert(&self, key: u32, slot: u32) -> bool {
        let entry = pack(key, slot);
        let bucket = self.bucket(key);
        for way in self.ways(bucket) {
            if claim(way, entry) {
                return true;
            }
        }
        // Counted before the entry is there, uncounted after it went: a reader that may
        // find the entry looks for it.
        if let Some(count) = self.overflowed.get(bucket) {
            count.fetch_add(1, Ordering::AcqRel);
        }
        for (position, way) in self.overflow.iter().enumerate() {
            if way.load(Ordering::Relaxed) != EMPTY {
                continue;
            }
            self.overflow_end
                .fetch_max(position.saturating_add(1), Ordering::AcqRel);
            if claim(way, entry) {
                return true;
            }
        }
        if let Some(count) = self.overflowed.get(bucket) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
        false
    }

    /// Takes an entry out that `insert` put in.
    pub(crate) fn remove(&self, key: u32, slot: u32) {
        let entry = pack(key, slot);
        let bucket = self.bucket(key);
        for way in self.ways(bucket) {
            if vacate(way, entry) {
                return;
            }
        }
        for way in &self.overflow {
            if vacate(way, entry) {
                if let Some(count) = self.overflowed.get(bucket) {
                    count.fetch_sub(1, Ordering::AcqRel);
                }
                return;
            }
        }
    }

    /// The slots that may hold an item with this key.
    pub(crate) fn candidates(&self, key: u32) -> Candidates<'_> {
        let bucket = self.bucket(key);
        let overflowed = self
            .overflowed
            .get(bucket)
            .is_some_and(|count| count.load(Ordering::Acquire) != 0);
        let end = if overflowed {
            self.overflow_end.load(Ordering::Acquire)
        } else {
            0
        };
        Candidates {
            key,
            ways: self.ways(bucket).iter(),
            overflow: self.overflow.get(..end).unwrap_or(&[]).iter(),
        }
    }
}

pub(crate) struct Candidates<'a> {
    key: u32,
    ways: core::slice::Iter<'a, AtomicU64>,
    overflow: core::slice::Iter<'a, AtomicU64>,
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let key = self.key;
        let matching = |way: &AtomicU64| {
            let entry = way.load(Ordering::Acquire);
            (entry >> 32 == u64::from(key))
                .then_some(entry as u32)
                .and_then(|slot| slot.checked_sub(1))
        };
        self.ways
            .find_map(matching)
            .or_else(|| self.overflow.find_map(matching))
    }
}

fn pack(key: u32, slot: u32) -> u64 {
    (u64::from(key) << 32) | u64::from(slot.saturating_add(1))
}

fn claim(way: &AtomicU64, entry: u64) -> bool {
    way.load(Ordering::Relaxed) == EMPTY
        && way
            .compare_exchange(EMPTY, entry, Ordering::Release, Ordering::Relaxed)
            .is_ok()
}

fn vacate(way: &AtomicU64, entry: u64) -> bool {
    way.load(Ordering::Relaxed) == entry
        && way
            .compare_exchange(entry, EMPTY, Ordering::Release, Ordering::Relaxed)
            .is_ok()
}

fn vacant() -> AtomicU64 {
    AtomicU64::new(EMPTY)
}

fn filled<T>(len: usize, new: impl Fn() -> T) -> Result<Vec<T>, OutOfMemory> {
    let mut items = Vec::new();
    items.try_reserve_exact(len).map_err(|_| OutOfMemory)?;
    items.extend((0..len).map(|_| new()));
    Ok(items)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn sorted(index: &Index, key: u32) -> Vec<u32> {
        let mut slots: Vec<u32> = index.candidates(key).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn one_key_may_have_every_slot() {
        let index = Index::try_new(40).unwrap();
        for slot in 0..40 {
            assert!(index.insert(7, slot));
        }
        assert_eq!(sorted(&index, 7), (0..40).collect::<Vec<_>>());
        for slot in (0..40).step_by(2) {
            index.remove(7, slot);
        }
        assert_eq!(sorted(&index, 7), (1..40).step_by(2).collect::<Vec<_>>());
        for slot in (1..40).step_by(2) {
            index.remove(7, slot);
        }
        assert_eq!(sorted(&index, 7), []);
        assert!(
            index
                .overflowed
                .iter()
                .all(|c| c.load(Ordering::Relaxed) == 0)
        );
    }

    #[test]
    fn keys_are_kept_apart_even_in_one_bucket() {
        let index = Index::try_new(1).unwrap();
        assert!(index.insert(1, 0));
        assert!(index.insert(2, 0));
        assert_eq!(sorted(&index, 1), [0]);
        assert_eq!(sorted(&index, 2), [0]);
        assert_eq!(sorted(&index, 3), []);
    }

    #[test]
    fn key_zero_is_a_key() {
        let index = Index::try_new(4).unwrap();
        assert_eq!(sorted(&index, 0), []);
        assert!(index.insert(0, 0));
        assert_eq!(sorted(&index, 0), [0]);
    }

    #[test]
    fn random_keys_seldom_overflow() {
        let index = Index::try_new(4096).unwrap();
        let mut key = 0x1234_5678u32;
        for slot in 0..4096 {
            key ^= key << 13;
            key ^= key >> 17;
            key ^= key << 5;
            assert!(index.insert(key, slot));
        }
        assert!(index.overflow_end.load(Ordering::Relaxed) < 16);
    }
}
