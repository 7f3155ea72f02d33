//! The free slots: a stack linked by index.

use alloc::vec::Vec;

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::table::OutOfMemory;

const NONE: u32 = u32::MAX;

/// A Treiber stack. The head carries a count of its changes beside the index, so that
/// a pop that slept while others popped and pushed the same index does not succeed.
pub(crate) struct FreeList {
    head: AtomicU64,
    next: Vec<AtomicU32>,
}

impl FreeList {
    /// All of `capacity` slots free, the lowest index on top.
    pub(crate) fn try_new(capacity: u32) -> Result<Self, OutOfMemory> {
        let mut next = Vec::new();
        next.try_reserve_exact(capacity as usize)
            .map_err(|_| OutOfMemory)?;
        for index in 0..capacity {
            let below = index.saturating_add(1);
            next.push(AtomicU32::new(if below == capacity { NONE } else { below }));
        }
        let top = if capacity == 0 { NONE } else { 0 };
        Ok(Self {
            head: AtomicU64::new(u64::from(top)),
            next,
        })
    }

    pub(crate) fn pop(&self) -> Option<u32> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let top = head as u32;
            let below = self.next.get(top as usize)?.load(Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                changed(head, below),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(top),
                Err(now) => head = now,
            }
        }
    }

    /// Gives a slot back. Each index is pushed only by the one who popped or emptied it.
    pub(crate) fn push(&self, index: u32) {
        let Some(next) = self.next.get(index as usize) else {
            return;
        };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            next.store(head as u32, Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                changed(head, index),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

fn changed(head: u64, top: u32) -> u64 {
    let changes = (head >> 32).wrapping_add(1);
    (changes << 32) | u64::from(top)
}
