//! Counting what is under way, so that pause and halt can wait for it: entering is refused once the
//! rundown is closed, and exactly one leaver learns that it was the last.

use crate::sync::{AtomicU64, Ordering};

/// The count is in the low bits; the highest bit says closed.
pub struct Rundown(AtomicU64);

const CLOSED: u64 = 1 << 63;

/// Told to the one who made the rundown both closed and empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the one who drains a rundown must tell whoever waits for it"]
pub struct Drained(pub bool);

impl Rundown {
    /// Closed and empty.
    #[must_use]
    pub fn closed() -> Self {
        Self(AtomicU64::new(CLOSED))
    }

    /// Counts `n` more under way; false when the rundown is closed, and nothing is counted.
    pub fn enter(&self, n: u32) -> bool {
        self.0
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |old| {
                // 2^63 entries of at most 2^32 cannot be reached by what memory holds; a wrap
                // would refuse instead of count.
                if old & CLOSED != 0 {
                    None
                } else {
                    old.checked_add(u64::from(n))
                }
            })
            .is_ok()
    }

    /// Counts `n` of those under way as done.
    pub fn leave(&self, n: u32) -> Drained {
        if n == 0 {
            return Drained(false);
        }
        let old = self.0.fetch_sub(u64::from(n), Ordering::AcqRel);
        debug_assert!(old & !CLOSED >= u64::from(n), "more left than entered");
        Drained(old == CLOSED | u64::from(n))
    }

    /// Refuses all that come from now on. `Drained(true)` when nothing was under way; otherwise the
    /// last `leave` says so. Closing a closed rundown tells nothing: whoever closed it first was told.
    pub fn close(&self) -> Drained {
        Drained(self.0.fetch_or(CLOSED, Ordering::AcqRel) == 0)
    }

    /// Lets them in again.
    pub fn open(&self) {
        self.0.fetch_and(!CLOSED, Ordering::Release);
    }

    /// Whether it is closed and nothing is under way.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.0.load(Ordering::Acquire) == CLOSED
    }

    /// How many are under way now.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.0.load(Ordering::Relaxed) & !CLOSED
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn refuses_when_closed_and_admits_when_open() {
        let rundown = Rundown::closed();
        assert!(rundown.is_drained());
        assert!(!rundown.enter(1));
        rundown.open();
        assert!(rundown.enter(3));
        assert_eq!(rundown.outstanding(), 3);
        assert!(!rundown.is_drained());
    }

    #[test]
    fn close_tells_at_once_when_empty_and_only_once() {
        let rundown = Rundown::closed();
        rundown.open();
        assert_eq!(rundown.close(), Drained(true));
        assert_eq!(rundown.close(), Drained(false));
    }

    #[test]
    fn exactly_the_last_leaver_is_told() {
        let rundown = Rundown::closed();
        rundown.open();
        assert!(rundown.enter(5));
        assert_eq!(rundown.leave(2), Drained(false));
        assert_eq!(rundown.close(), Drained(false));
        assert!(!rundown.enter(1));
        assert_eq!(rundown.leave(2), Drained(false));
        assert_eq!(rundown.leave(1), Drained(true));
        assert!(rundown.is_drained());
    }

    #[test]
    fn threads_drain_it_once() {
        extern crate std;
        use std::{sync::atomic::AtomicU32, thread};
        for _ in 0..30 {
            let rundown = Rundown::closed();
            rundown.open();
            let told = AtomicU32::new(0);
            thread::scope(|scope| {
                let threads = [(); 3].map(|()| {
                    scope.spawn(|| {
                        while rundown.enter(2) {
                            told.fetch_add(u32::from(rundown.leave(2).0), Ordering::Relaxed);
                        }
                    })
                });
                thread::yield_now();
                told.fetch_add(u32::from(rundown.close().0), Ordering::Relaxed);
                for thread in threads {
                    thread.join().unwrap();
                }
            });
            assert_eq!(told.load(Ordering::Relaxed), 1);
            assert!(rundown.is_drained());
        }
    }
}
