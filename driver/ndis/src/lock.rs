//! Spin locks over the value that they protect. Memory of a lock must be non-paged, as everything
//! that the driver allocates is.

use core::{
    cell::UnsafeCell,
    ops::{Deref, DerefMut},
};

use ndis_sys::{
    EX_SPIN_LOCK, ExAcquireSpinLockExclusiveAtDpcLevel, ExAcquireSpinLockSharedAtDpcLevel,
    ExReleaseSpinLockExclusiveFromDpcLevel, ExReleaseSpinLockSharedFromDpcLevel, KSPIN_LOCK,
    KeAcquireSpinLockAtDpcLevel, KeReleaseSpinLockFromDpcLevel,
};

use crate::irql::Dispatch;

/// A `KSPIN_LOCK` and the value under it. Taken at `DISPATCH_LEVEL` alone: whoever runs lower
/// raises first, once for all the locks of its burst.
pub struct SpinLock<T> {
    lock: UnsafeCell<KSPIN_LOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through the guard alone, which one processor holds at a time.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// A free lock. KeInitializeSpinLock does no more than store zero.
    pub const fn new(value: T) -> Self {
        Self {
            lock: UnsafeCell::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Spins until the lock is this processor's.
    pub fn lock<'a>(&'a self, at: Dispatch<'a>) -> SpinGuard<'a, T> {
        // SAFETY: the lock is initialised, does not move while it is borrowed, and the token says
        // that the level is DISPATCH_LEVEL.
        unsafe { KeAcquireSpinLockAtDpcLevel(self.lock.get()) };
        SpinGuard { lock: self, at }
    }

    /// The value, when nobody else can hold the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// The lock held: the way to its value.
pub struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    at: Dispatch<'a>,
}

impl<'a, T> SpinGuard<'a, T> {
    /// The level at which the lock was taken.
    #[must_use]
    pub const fn dispatch(&self) -> Dispatch<'a> {
        self.at
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so nobody else has a reference to the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: taken by `lock` at DISPATCH_LEVEL on this processor (the guard is not Send).
        unsafe { KeReleaseSpinLockFromDpcLevel(self.lock.lock.get()) }
    }
}

/// An `EX_SPIN_LOCK`: many readers or one writer. A waiting writer keeps new readers out, so
/// readers must not nest.
pub struct RwSpinLock<T> {
    lock: UnsafeCell<EX_SPIN_LOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: readers share `&T` between processors (Sync), the writer moves `&mut T` there (Send).
unsafe impl<T: Send + Sync> Sync for RwSpinLock<T> {}

impl<T> RwSpinLock<T> {
    /// A free lock; the documentation asks for zero.
    pub const fn new(value: T) -> Self {
        Self {
            lock: UnsafeCell::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Shares the value with other readers.
    pub fn read<'a>(&'a self, at: Dispatch<'a>) -> ReadGuard<'a, T> {
        // SAFETY: the lock is initialised and does not move while borrowed; the token says that the
        // level is DISPATCH_LEVEL.
        unsafe { ExAcquireSpinLockSharedAtDpcLevel(self.lock.get()) };
        ReadGuard {
            lock: self,
            _at: at,
        }
    }

    /// Waits for the readers to leave, then has the value alone.
    pub fn write<'a>(&'a self, at: Dispatch<'a>) -> WriteGuard<'a, T> {
        // SAFETY: as in `read`.
        unsafe { ExAcquireSpinLockExclusiveAtDpcLevel(self.lock.get()) };
        WriteGuard {
            lock: self,
            _at: at,
        }
    }
}

/// The lock held for reading.
pub struct ReadGuard<'a, T> {
    lock: &'a RwSpinLock<T>,
    _at: Dispatch<'a>,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: held for reading: no writer exists.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: taken by `read` on this processor.
        unsafe { ExReleaseSpinLockSharedFromDpcLevel(self.lock.lock.get()) }
    }
}

/// The lock held for writing.
pub struct WriteGuard<'a, T> {
    lock: &'a RwSpinLock<T>,
    _at: Dispatch<'a>,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: held for writing: nobody else has a reference.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: held for writing, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: taken by `write` on this processor.
        unsafe { ExReleaseSpinLockExclusiveFromDpcLevel(self.lock.lock.get()) }
    }
}
