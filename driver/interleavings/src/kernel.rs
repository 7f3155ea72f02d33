//! What the sources use of the kernel.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use loom::sync::{Condvar, Mutex, MutexGuard};

/// DISPATCH_LEVEL; levels are no matter here.
#[derive(Clone, Copy)]
pub struct Dispatch<'a>(PhantomData<&'a ()>);

impl Dispatch<'_> {
    pub fn assume() -> Self {
        Self(PhantomData)
    }
}

/// PASSIVE_LEVEL.
#[derive(Clone, Copy)]
pub struct Passive<'a>(PhantomData<&'a ()>);

impl Passive<'_> {
    pub fn assume() -> Self {
        Self(PhantomData)
    }
}

/// A spin lock.
pub struct SpinLock<T>(Mutex<T>);

impl<T> SpinLock<T> {
    pub fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub fn lock<'a>(&'a self, _at: Dispatch<'a>) -> SpinGuard<'a, T> {
        SpinGuard(self.0.lock().unwrap())
    }
}

/// The lock held.
pub struct SpinGuard<'a, T>(MutexGuard<'a, T>);

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A notification event.
pub struct Event {
    signalled: Mutex<bool>,
    changed: Condvar,
}

impl Event {
    pub fn uninitialized() -> Self {
        Self {
            signalled: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    /// # Safety
    /// None is needed here.
    pub unsafe fn initialize(&self) {}

    pub fn set(&self) {
        *self.signalled.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub fn clear(&self) {
        *self.signalled.lock().unwrap() = false;
    }

    pub fn wait(&self, _at: Passive<'_>) {
        let mut signalled = self.signalled.lock().unwrap();
        while !*signalled {
            signalled = self.changed.wait(signalled).unwrap();
        }
    }
}
