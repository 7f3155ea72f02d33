//! The gate between the machine and driver code.
//!
//! The driver runs on a kernel stack of its own. On the way in the gate fills
//! every register that the driver must preserve with canaries: the non-volatile
//! ones of the x64 calling convention, and the extended state (upper halves of
//! YMM, ZMM, opmask), which belongs to the interrupted thread. On the way out,
//! and at every import, it looks whether they are still there.

mod asm;
mod budget;
mod context;
mod emulate;
mod stack;
mod thunk;
mod trap;
mod unwind;
mod xstate;

pub(crate) use context::{Context, HeldLock};
pub(crate) use stack::Stacks;
pub(crate) use thunk::Thunks;
pub(crate) use trap::install as install_trap_handler;
pub use xstate::{XSTATE_AVX, XSTATE_AVX512, XSTATE_LEGACY, enabled_features};

use crate::{
    exports::MAX_ARITY,
    processor,
    report::{Direction, rules, violation},
};

/// Calls driver code at `f` with integer and pointer arguments, in the x64
/// convention of Windows, and returns rax.
///
/// `what` is the documented name of the callback ("MiniportHaltEx"), for
/// reports. The callback runs at the current IRQL; afterwards IRQL, spin locks,
/// extended state, non-volatile registers and stack use are checked.
///
/// # Safety
/// `f` is a function of that convention that takes these arguments, and the
/// pointers among them are good for what its documentation says.
///
/// # Panics
/// Outside of a processor thread, or with more than [`MAX_ARITY`] arguments.
pub unsafe fn call(what: &'static str, f: *const (), args: &[u64]) -> u64 {
    let count = args.len();
    assert!(
        count <= usize::from(MAX_ARITY),
        "{what} has too many arguments"
    );
    if f.is_null() {
        violation(
            rules::PAGE_FAULT,
            format!("{what}: the driver gave a null function pointer"),
        );
    }
    let mut padded = [0; MAX_ARITY as usize];
    padded[..count].copy_from_slice(args);
    let cpu = processor::current();
    let context = cpu.thread();
    if cpu.machine().is_stopped() {
        processor::park_forever();
    }
    if let Some(schedule) = context.schedule() {
        schedule.cross(&cpu);
    }
    let clock = context.start_clock();
    let frame = context.enter_callback(what);
    context.step(Direction::Enter, what, padded[0]);
    // SAFETY: the caller vouches for `f`; the context is this thread's, its
    // stacks are not in use by anybody else.
    let result = unsafe { asm::enter(context.asm(), f, padded.as_ptr(), count.max(4)) };
    context.step(Direction::Leave, what, result);
    if cpu.machine().is_stopped() {
        processor::park_forever();
    }
    context.leave_callback(what, frame);
    if let Some(clock) = clock {
        context.stop_clock(clock, what);
    }
    cpu.deliver_dpcs();
    result
}
