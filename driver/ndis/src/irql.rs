//! IRQL as values: a function that needs a level takes the token of that level, so that calling it
//! at another one does not compile.
//!
//! The tokens are zero-sized. They are not `Send`: they speak of the processor that runs the code.

use core::marker::PhantomData;

use ndis_sys::{DISPATCH_LEVEL, KIRQL, KeGetCurrentProcessorNumberEx, KeLowerIrql, KfRaiseIrql};

/// Neither `Send` nor `Sync`, and bound to a scope.
type Here<'a> = PhantomData<(&'a (), *const ())>;

/// Proof that the code runs at `PASSIVE_LEVEL`: it may wait.
#[derive(Clone, Copy)]
pub struct Passive<'a>(Here<'a>);

impl Passive<'_> {
    /// Asserts the level of a callback that its documentation says is called at `PASSIVE_LEVEL`.
    ///
    /// # Safety
    /// The caller runs at `PASSIVE_LEVEL`, and the token does not outlive that.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}

/// Proof that the code runs at `DISPATCH_LEVEL`: it is not preempted and must not wait.
#[derive(Clone, Copy)]
pub struct Dispatch<'a>(Here<'a>);

impl Dispatch<'_> {
    /// Asserts the level of a callback that is called at `DISPATCH_LEVEL`: a DPC, or a handler
    /// whose flags say so.
    ///
    /// # Safety
    /// The caller runs at `DISPATCH_LEVEL`, and the token does not outlive that.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}

/// The processor raised to `DISPATCH_LEVEL` until this is dropped.
pub struct RaisedIrql {
    old: KIRQL,
    here: Here<'static>,
}

impl RaisedIrql {
    /// Raises to `DISPATCH_LEVEL`. Callable at IRQL <= `DISPATCH_LEVEL`; every caller in an NDIS
    /// handler is.
    #[must_use]
    pub fn raise() -> Self {
        // SAFETY: NDIS calls its handlers, and DPCs run, at IRQL <= DISPATCH_LEVEL, which is all
        // that KfRaiseIrql asks for; the old level is restored by Drop on the same processor, for
        // the value is not Send.
        let old = unsafe { KfRaiseIrql(DISPATCH_LEVEL) };
        Self {
            old,
            here: PhantomData,
        }
    }

    /// The level, for as long as the guard lives.
    #[must_use]
    pub const fn dispatch(&self) -> Dispatch<'_> {
        Dispatch(PhantomData)
    }
}

impl Drop for RaisedIrql {
    fn drop(&mut self) {
        let _: Here<'_> = self.here;
        // SAFETY: `old` is what the raise returned on this processor, and is not above the current
        // level; guards are dropped in reverse order of their making.
        unsafe { KeLowerIrql(self.old) }
    }
}

/// Runs `work` at `DISPATCH_LEVEL`. `already` is what the handler's flags say of the current level
/// (Dispatch IRQL Tracking): the level is then not touched.
pub fn at_dispatch<R>(already: bool, work: impl FnOnce(Dispatch<'_>) -> R) -> R {
    if already {
        return work(Dispatch(PhantomData));
    }
    let raised = RaisedIrql::raise();
    work(raised.dispatch())
}

/// The number of the current processor, over all groups. It stays that as long as the level does.
#[must_use]
pub fn current_processor(_at: Dispatch<'_>) -> usize {
    // SAFETY: callable at any IRQL; the result's other form is not wanted.
    unsafe { KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) as usize }
}
