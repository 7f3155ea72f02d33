//! What a processor thread knows about the driver code it runs.

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    sync::Arc,
    time::Duration,
};

use super::{
    asm::{AsmState, EXPECTED, GENERAL, Registers},
    stack::KernelStack,
    trap::{Fault, SignalStack},
    unwind::Place,
    xstate::{self, Area},
};
use crate::{
    irql::Irql,
    machine::Machine,
    processor::Processor,
    report::{Direction, Step, Trail, rules, violation},
    schedule::Schedule,
};

/// Flags and MXCSR bits that a callee preserves.
const DIRECTION_FLAG: u64 = 1 << 10;
const MXCSR_CONTROL: u64 = 0xFFC0;
const MXCSR_EXPECTED: u64 = 0x1F80;
/// How many callbacks have their stack use measured for certain; later ones are
/// sampled.
const MEASURED: u64 = 512;
const SAMPLE: u64 = 64;

/// A spin lock that the thread holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldLock {
    pub(crate) address: usize,
    /// The call that acquired it.
    pub(crate) by: &'static str,
    /// The call that must release it.
    pub(crate) release: &'static str,
}

/// An open KeSaveExtendedProcessorState.
#[derive(Clone, Copy)]
pub(crate) struct Bracket {
    pub(crate) save: usize,
    pub(crate) mask: u64,
    pub(crate) irql: Irql,
    /// Callback depth at which it was opened.
    depth: usize,
}

/// A call in progress on the thread.
#[derive(Clone, Copy)]
pub(super) enum Call {
    /// The driver called an import; of its arguments the first two, zero if it has fewer.
    Import {
        name: &'static str,
        operands: [u64; 2],
    },
    /// The machine called the driver, whose stack began at `outer`.
    Callback { name: &'static str, outer: usize },
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Import { name, .. } | Self::Callback { name, .. } => name,
        }
    }
}

/// State at the entry of a callback, to be found again at its end.
pub(super) struct Frame {
    irql: Irql,
    callback: &'static str,
    locks: usize,
    brackets: usize,
}

/// One per processor thread. The machine code finds it through the kernel
/// stack, the rest through thread-local storage.
#[repr(C)]
pub(crate) struct Context {
    asm: AsmState,
    pub(crate) machine: Cell<*const Machine>,
    pub(crate) processor: Arc<Processor>,
    pub(crate) irql: Cell<Irql>,
    pub(crate) locks: RefCell<Vec<HeldLock>>,
    brackets: RefCell<Vec<Bracket>>,
    /// Brackets below this index belong to the code that a DPC interrupted.
    bracket_base: Cell<usize>,
    /// Callbacks and imports in progress, outermost first.
    calls: RefCell<Vec<Call>>,
    callback: Cell<&'static str>,
    /// Callbacks in progress.
    depth: Cell<usize>,
    entered: Cell<u64>,
    trail: RefCell<Trail>,
    /// A call at DISPATCH_LEVEL is being timed.
    pub(super) timed: Cell<bool>,
    pub(super) longest: Cell<Duration>,
    watched: u64,
    stack: KernelStack,
    saved: Area,
    canaries: Area,
    pub(super) fault: Cell<Option<Fault>>,
    /// Where driver code faulted, for the call stack.
    pub(super) faulted: Cell<Option<Place>>,
    schedule: Option<Schedule>,
    _signal_stack: SignalStack,
}

impl Context {
    pub(crate) fn new(machine: &Machine, processor: Arc<Processor>) -> Box<Self> {
        let watched = if machine.settings().canaries {
            xstate::watched()
        } else {
            0
        };
        let (stack, saved, canaries) = (
            KernelStack::new(machine.stacks()),
            Area::new(),
            xstate::canaries(),
        );
        let schedule = machine.settings().perturb;
        let schedule = schedule.map(|seed| Schedule::new(seed, processor.number()));
        let context = Box::new(Self {
            asm: AsmState {
                host_rsp: Cell::new(0),
                driver_rsp: Cell::new(stack.top()),
                watched: Cell::new(watched),
                area: saved.as_ptr(),
                image: canaries.as_ptr(),
                has_avx: xstate::enabled_features() & xstate::XSTATE_AVX,
                result: Cell::new(0),
                registers: UnsafeCell::new(Registers::default()),
            },
            machine: Cell::new(machine),
            processor,
            irql: Cell::new(Irql::PASSIVE),
            locks: RefCell::default(),
            brackets: RefCell::default(),
            bracket_base: Cell::new(0),
            calls: RefCell::new(Vec::with_capacity(64)),
            callback: Cell::new("the simulator"),
            depth: Cell::new(0),
            entered: Cell::new(0),
            trail: RefCell::new(Trail::new()),
            timed: Cell::new(false),
            longest: Cell::new(Duration::ZERO),
            watched,
            stack,
            saved,
            canaries,
            fault: Cell::new(None),
            faulted: Cell::new(None),
            schedule,
            _signal_stack: SignalStack::install(),
        });
        context.stack.set_owner((&raw const *context).cast());
        context
    }

    pub(super) fn asm(&self) -> *const AsmState {
        &raw const self.asm
    }

    pub(super) fn stack(&self) -> &KernelStack {
        &self.stack
    }

    /// Where the driver's stack begins.
    pub(crate) fn stack_top(&self) -> usize {
        self.stack.top()
    }

    /// Host stack pointer of the innermost gate.
    pub(super) fn host_rsp(&self) -> usize {
        self.asm.host_rsp.get()
    }

    pub(super) fn in_callback(&self) -> bool {
        self.depth.get() != 0
    }

    pub(super) fn machine(&self) -> &Machine {
        // SAFETY: set while the thread runs anything, see `Processor::work`.
        unsafe { &*self.machine.get() }
    }

    pub(super) fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// Whether the DPCs before are to have left no time, this time.
    pub(crate) fn starves_dpcs(&self) -> bool {
        self.schedule.as_ref().is_some_and(Schedule::starves_dpcs)
    }

    /// Whether NDIS pauses an adapter while calls into it are under way, by the schedule.
    pub(crate) fn pauses_over_calls(&self) -> bool {
        let schedule = self.schedule.as_ref();
        schedule.is_some_and(Schedule::pauses_over_calls)
    }

    pub(crate) fn what(&self) -> &'static str {
        self.calls
            .borrow()
            .last()
            .map_or("the simulator", |call| call.name())
    }

    /// The innermost callback of the driver.
    pub(crate) fn callback(&self) -> &'static str {
        self.callback.get()
    }

    /// Home space of the import that is being served: its arguments, in order.
    pub(crate) fn import_arguments(&self) -> *const u64 {
        (self.asm.driver_rsp.get() + 24) as *const u64
    }

    /// Where the import that is being served returns to.
    pub(crate) fn import_caller(&self) -> usize {
        // SAFETY: the common path left the stack pointer below two saved
        // registers and the return address.
        unsafe { *((self.asm.driver_rsp.get() + 16) as *const usize) }
    }

    /// Where the import that is being served returns to; `None` outside of imports.
    pub(crate) fn import_in_progress(&self) -> Option<usize> {
        let import = matches!(self.calls.borrow().last(), Some(Call::Import { .. }));
        import.then(|| self.import_caller())
    }

    /// What the import that is being served was called with: handles and addresses of objects.
    pub(crate) fn operands(&self) -> [u64; 2] {
        match self.calls.borrow().last() {
            Some(Call::Import { operands, .. }) => *operands,
            _ => [0; 2],
        }
    }

    pub(super) fn calls(&self) -> std::cell::Ref<'_, Vec<Call>> {
        self.calls.borrow()
    }

    /// Stack pointer of the driver at its innermost import.
    pub(super) fn driver_rsp(&self) -> usize {
        self.asm.driver_rsp.get()
    }

    pub(crate) fn trail(&self) -> Vec<Step> {
        self.trail.borrow().steps()
    }

    pub(super) fn step(&self, direction: Direction, name: &'static str, value: u64) {
        self.processor.note_transition();
        if let Some(turns) = self.machine().turns() {
            turns.note(self.processor.number(), direction as u8, name);
        }
        self.trail.borrow_mut().push(Step {
            direction,
            name,
            value,
            irql: self.irql.get(),
        });
    }

    pub(super) fn enter_import(&self, name: &'static str, operands: [u64; 2]) {
        let call = Call::Import { name, operands };
        self.calls.borrow_mut().push(call);
    }

    pub(super) fn leave_import(&self) -> &'static str {
        self.calls.borrow_mut().pop().map_or("", Call::name)
    }

    pub(super) fn enter_callback(&self, what: &'static str) -> Frame {
        self.calls.borrow_mut().push(Call::Callback {
            name: what,
            outer: self.driver_rsp(),
        });
        let depth = self.depth.get();
        self.depth.set(depth + 1);
        if depth == 0 {
            self.processor.note_callback(Some(what));
        }
        Frame {
            irql: self.irql.get(),
            callback: self.callback.replace(what),
            locks: self.locks.borrow().len(),
            brackets: self.brackets.borrow().len(),
        }
    }

    /// The checks that are due when a callback has returned.
    pub(super) fn leave_callback(&self, what: &'static str, frame: Frame) {
        self.check_canaries(|| format!("by the time {what} returned"));
        if self.irql.get() != frame.irql {
            let (is, was) = (self.irql.get(), frame.irql);
            violation(
                rules::IRQL_AT_RETURN,
                format!("{what} was called at {was} and returned at {is}"),
            );
        }
        if let Some(lock) = self.locks.borrow().get(frame.locks).copied() {
            let HeldLock { address, by, .. } = lock;
            violation(
                rules::SPIN_LOCK_HELD,
                format!("{what} returned with the spin lock 0x{address:x} held, acquired by {by}"),
            );
        }
        if self.brackets.borrow().len() != frame.brackets {
            violation(
                rules::EXTENDED_STATE_BALANCE,
                format!("{what} returned without KeRestoreExtendedProcessorState"),
            );
        }
        self.check_registers(what);
        let depth = self.depth.get() - 1;
        self.depth.set(depth);
        self.callback.set(frame.callback);
        self.calls.borrow_mut().pop();
        if depth == 0 {
            self.processor.note_callback(None);
            self.measure_stack(what);
        }
    }

    fn check_registers(&self, what: &'static str) {
        // SAFETY: written by the machine code before it returned, on this thread.
        let is = unsafe { &*self.asm.registers.get() };
        let general = (0..8)
            .find(|&i| is.general[i] != EXPECTED.general[i])
            .map(|i| GENERAL[i].to_owned());
        let xmm = || {
            (0..10)
                .find(|&i| is.xmm[i] != EXPECTED.xmm[i])
                .map(|i| format!("xmm{}", i + 6))
        };
        let flags = || (is.flags & DIRECTION_FLAG != 0).then(|| "the direction flag".to_owned());
        let mxcsr = || {
            (is.mxcsr & MXCSR_CONTROL != MXCSR_EXPECTED & MXCSR_CONTROL)
                .then(|| "MXCSR's control bits".to_owned())
        };
        if let Some(name) = general.or_else(xmm).or_else(flags).or_else(mxcsr) {
            violation(
                rules::NONVOLATILE_REGISTER,
                format!("{what} returned with {name} changed"),
            );
        }
    }

    fn measure_stack(&self, what: &'static str) {
        let count = self.entered.get();
        self.entered.set(count.wrapping_add(1));
        if count >= MEASURED && !count.is_multiple_of(SAMPLE) {
            return;
        }
        let Some(depth) = self.stack.measure() else {
            return;
        };
        self.machine().note_stack(depth, what);
        if let Some(limit) = self.machine().settings().stack_limit.filter(|l| depth > *l) {
            violation(
                rules::STACK_USE,
                format!("{what} used {depth} bytes of kernel stack; the limit is {limit}"),
            );
        }
    }

    /// Compares the extended state that the machine code has just saved.
    pub(super) fn check_canaries(&self, when: impl FnOnce() -> String) {
        let watched = self.asm.watched.get();
        if watched == 0 {
            return;
        }
        if let Some(what) = xstate::difference(&self.saved, &self.canaries, watched) {
            let when = when();
            let open = self.watched & !watched;
            let hint = if open & xstate::XSTATE_AVX != 0 {
                "; code for YMM also changes ZMM, so a mask with XSTATE_MASK_AVX needs XSTATE_MASK_AVX512 \
                 where that is enabled"
            } else {
                ""
            };
            violation(
                rules::EXTENDED_STATE,
                format!(
                    "the driver changed {what} {when}, outside of KeSaveExtendedProcessorState{hint}"
                ),
            );
        }
    }

    /// Opens a bracket over the components of `mask`.
    pub(crate) fn push_bracket(&self, save: usize, mask: u64) {
        let (irql, depth) = (self.irql.get(), self.depth.get());
        self.brackets.borrow_mut().push(Bracket {
            save,
            mask,
            irql,
            depth,
        });
        self.update_watch();
    }

    /// The innermost bracket of the current callback.
    pub(crate) fn bracket(&self) -> Option<Bracket> {
        let brackets = self.brackets.borrow();
        brackets
            .get(self.bracket_base.get()..)?
            .last()
            .filter(|b| b.depth == self.depth.get())
            .copied()
    }

    /// The innermost bracket that code on this thread has open.
    pub(crate) fn surrounding_bracket(&self) -> Option<Bracket> {
        self.brackets
            .borrow()
            .get(self.bracket_base.get()..)?
            .last()
            .copied()
    }

    pub(crate) fn pop_bracket(&self) {
        self.brackets.borrow_mut().pop();
        self.update_watch();
    }

    fn update_watch(&self) {
        let open = self.brackets.borrow()[self.bracket_base.get()..]
            .iter()
            .fold(0, |m, b| m | b.mask);
        self.asm.watched.set(self.watched & !open);
    }

    /// A DPC interrupts what runs: brackets of that code are not the DPC's.
    pub(crate) fn begin_interrupt(&self) -> usize {
        let base = self.bracket_base.replace(self.brackets.borrow().len());
        self.update_watch();
        base
    }

    pub(crate) fn end_interrupt(&self, base: usize) {
        self.bracket_base.set(base);
        self.update_watch();
    }
}
