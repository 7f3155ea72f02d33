//! The processor that a thread is running on.

use std::{
    cell::Cell,
    marker::PhantomData,
    ptr::NonNull,
    sync::{Arc, atomic::Ordering},
};

use super::Processor;
use crate::{
    gate::Context as ThreadContext,
    irql::Irql,
    machine::Machine,
    report::{self, CallStack, rules, violation},
    turns,
};

thread_local! {
    pub(super) static CURRENT: Cell<Option<NonNull<ThreadContext>>> = const { Cell::new(None) };
}

/// The processor that the calling thread is running on.
#[derive(Clone, Copy)]
pub struct Current {
    context: NonNull<ThreadContext>,
    not_send: PhantomData<*const ()>,
}

/// The processor that the calling thread is running on.
///
/// # Panics
/// Outside of [`Machine::run`], DPCs and callbacks.
#[must_use]
pub fn current() -> Current {
    try_current().expect("only code on a processor of a machine may do this")
}

/// The processor that the calling thread is running on, if it is one's.
#[must_use]
pub fn try_current() -> Option<Current> {
    let context = CURRENT.get()?;
    // SAFETY: set by `work` for the life of the thread's context.
    let live = unsafe { !context.as_ref().machine.get().is_null() };
    live.then_some(Current {
        context,
        not_send: PhantomData,
    })
}

/// Keeps a thread that may not return to the driver.
pub(crate) fn park_forever() -> ! {
    loop {
        std::thread::park();
    }
}

impl Current {
    pub(crate) fn thread(&self) -> &ThreadContext {
        // SAFETY: `Current` stays on its thread, where the context outlives
        // everything that runs on it.
        unsafe { self.context.as_ref() }
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        // SAFETY: `work` holds a reference to the machine while the pointer is
        // set, and `try_current` saw it set; it stays so for the whole job.
        unsafe { &*self.thread().machine.get() }
    }

    /// Whether this is a processor of `machine`.
    #[must_use]
    pub fn is_on(&self, machine: &Machine) -> bool {
        std::ptr::eq(self.machine(), machine)
    }

    /// The processor.
    #[must_use]
    pub fn processor(&self) -> &Arc<Processor> {
        &self.thread().processor
    }

    /// Number of the processor.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.processor().number
    }

    /// Its IRQL.
    #[must_use]
    pub fn irql(&self) -> Irql {
        self.thread().irql.get()
    }

    /// Name of the import that is being served, or of the callback that runs.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.thread().what()
    }

    /// Raises the IRQL until the guard is dropped. For simulator code that
    /// calls the driver at a given IRQL.
    ///
    /// # Panics
    /// When `level` is below the current IRQL.
    pub fn raise(&self, level: Irql) -> RaisedIrql {
        let before = self.irql();
        assert!(level >= before, "cannot raise from {before} to {level}");
        self.thread().irql.set(level);
        RaisedIrql {
            current: *self,
            before,
        }
    }

    /// Sets the IRQL as KeRaiseIrql and KeLowerIrql do; below DISPATCH_LEVEL
    /// the pending DPCs run before it returns.
    pub fn set_irql(&self, level: Irql) {
        self.thread().irql.set(level);
        if level < Irql::DISPATCH {
            self.deliver_dpcs();
        }
    }

    /// Runs what is queued, if the IRQL allows.
    pub fn deliver_dpcs(&self) {
        let processor = self.processor();
        if self.irql() >= Irql::DISPATCH || !processor.dpc_pending.load(Ordering::Acquire) {
            return;
        }
        let thread = self.thread();
        let before = thread.irql.replace(Irql::DISPATCH);
        let bracket = thread.begin_interrupt();
        while let Some(dpc) = processor.next_dpc() {
            if self.machine().is_stopped() {
                park_forever();
            }
            let series = processor.dpc_series().saturating_add(1);
            processor.dpc_series.store(series, Ordering::Relaxed);
            self.machine().kernel().dpc_watchdog.look(series);
            (dpc.run)();
            if self.irql() != Irql::DISPATCH {
                let level = self.irql();
                violation(rules::IRQL_AT_RETURN, format!("a DPC returned at {level}"));
            }
        }
        processor.dpc_series.store(0, Ordering::Relaxed);
        thread.end_interrupt(bracket);
        thread.irql.set(before);
    }

    /// Hands the processor to other threads until the guard is dropped.
    pub(crate) fn release(&self) -> Released {
        self.let_go(false)
    }

    /// The thread's time slice is over: others may run before this returns.
    pub(crate) fn preempt(&self) {
        let released = self.let_go(true);
        turns::pass();
        drop(released);
    }

    fn let_go(&self, preempted: bool) -> Released {
        let processor = self.processor();
        let callback =
            (processor.entered.load(Ordering::Relaxed) != 0).then(|| *processor.callback.lock());
        processor.note_callback(None);
        processor.give_up(preempted);
        Released {
            current: *self,
            preempted,
            callback,
        }
    }

    /// The calls in progress here: imports, the driver's code, callbacks.
    #[must_use]
    pub fn call_stack(&self) -> CallStack {
        CallStack::new(self.thread().walk(self.machine().images()))
    }

    pub(crate) fn context(&self) -> report::Context {
        let thread = self.thread();
        report::Context {
            processor: self.number(),
            irql: self.irql(),
            stack: self.call_stack(),
            trail: thread.trail(),
        }
    }
}

/// A raised IRQL; see [`Current::raise`].
#[must_use]
pub struct RaisedIrql {
    current: Current,
    before: Irql,
}

impl Drop for RaisedIrql {
    fn drop(&mut self) {
        self.current.set_irql(self.before);
    }
}

/// A released processor; taken back on drop.
pub(crate) struct Released {
    current: Current,
    preempted: bool,
    callback: Option<&'static str>,
}

impl Drop for Released {
    fn drop(&mut self) {
        let processor = self.current.processor();
        processor.take_back(self.preempted);
        processor.note_callback(self.callback);
    }
}
