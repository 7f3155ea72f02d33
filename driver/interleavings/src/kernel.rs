//! What the sources use of the kernel.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr,
};

use loom::sync::{Condvar, Mutex, MutexGuard};
use ndis_sys::{NDIS_HANDLE, NDIS_IO_WORKITEM_FUNCTION, PVOID};

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

/// Whatever `work` does, at DISPATCH_LEVEL.
pub fn at_dispatch<R>(_raised: bool, work: impl FnOnce(Dispatch<'_>) -> R) -> R {
    work(Dispatch::assume())
}

/// No memory.
#[derive(Debug)]
pub struct OutOfMemory;

/// An adapter's handle.
#[derive(Clone, Copy)]
pub struct MiniportHandle;

impl MiniportHandle {
    pub fn raw(self) -> NDIS_HANDLE {
        ptr::without_provenance_mut(8)
    }
}

#[unsafe(no_mangle)]
extern "efiapi" fn NdisAllocateIoWorkItem(adapter: NDIS_HANDLE) -> NDIS_HANDLE {
    adapter
}

#[unsafe(no_mangle)]
extern "efiapi" fn NdisFreeIoWorkItem(_item: NDIS_HANDLE) {}

/// Any thread may have it at any time from now on.
#[unsafe(no_mangle)]
extern "efiapi" fn NdisQueueIoWorkItem(
    item: NDIS_HANDLE,
    routine: Option<NDIS_IO_WORKITEM_FUNCTION>,
    context: PVOID,
) {
    let routine = routine.expect("there is one");
    let (item, context) = (item.expose_provenance(), context.expose_provenance());
    loom::thread::spawn(move || {
        let (item, context) = (
            ptr::with_exposed_provenance_mut(item),
            ptr::with_exposed_provenance_mut(context),
        );
        // SAFETY: what the work item was initialised with.
        unsafe { routine(context, item) };
    });
}
