//! Processors: one at a time of a processor's threads runs, with an emulated
//! IRQL; deferred procedure calls run when the IRQL allows.
//!
//! A thread that waits below DISPATCH_LEVEL hands its processor to another
//! thread, as a Windows scheduler would, so jobs that wait for each other do
//! not deadlock.

use std::{
    cell::Cell,
    collections::VecDeque,
    marker::PhantomData,
    panic::{self, AssertUnwindSafe},
    ptr::NonNull,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{
    gate::Context as ThreadContext,
    irql::Irql,
    machine::Machine,
    report::{self, rules, violation},
};

type Job = Box<dyn FnOnce() + Send>;

/// Jobs for whichever processor of a machine is free first.
#[derive(Default)]
pub(crate) struct SharedJobs {
    jobs: Mutex<VecDeque<(Irql, Job)>>,
    len: AtomicUsize,
}

impl SharedJobs {
    pub(crate) fn push(&self, irql: Irql, job: Job) {
        let mut jobs = self.jobs.lock();
        jobs.push_back((irql, job));
        self.len.store(jobs.len(), Ordering::Release);
    }

    fn pop(&self) -> Option<(Irql, Job)> {
        if self.is_empty() {
            return None;
        }
        let mut jobs = self.jobs.lock();
        let job = jobs.pop_front();
        self.len.store(jobs.len(), Ordering::Release);
        job
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }
}

/// A queued deferred procedure call.
struct Dpc {
    key: usize,
    run: Job,
}

#[derive(Default)]
struct Queue {
    /// A thread is running on the processor.
    busy: bool,
    /// Threads whose wait ended and that want the processor back.
    returning: usize,
    /// Threads that wait for work, or are about to.
    idle: usize,
    jobs: VecDeque<(Irql, Job)>,
    dpcs: VecDeque<Dpc>,
    closed: bool,
}

/// One processor of a machine.
pub struct Processor {
    number: u32,
    machine: Weak<Machine>,
    shared: Arc<SharedJobs>,
    queue: Mutex<Queue>,
    wake: Condvar,
    dpc_pending: AtomicBool,
    transitions: AtomicU64,
    /// When the outermost driver callback in progress began, nanoseconds since
    /// `epoch`; 0 for none.
    entered: AtomicU64,
    callback: Mutex<&'static str>,
    thread: AtomicUsize,
    epoch: Instant,
}

impl Processor {
    pub(crate) fn new(number: u32, machine: Weak<Machine>, shared: Arc<SharedJobs>) -> Arc<Self> {
        Arc::new(Self {
            number,
            machine,
            shared,
            queue: Mutex::default(),
            wake: Condvar::new(),
            dpc_pending: AtomicBool::new(false),
            transitions: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            callback: Mutex::new(""),
            thread: AtomicUsize::new(0),
            epoch: Instant::now(),
        })
    }

    /// Its number, from 0, across processor groups.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Queues `run` to be called on this processor at DISPATCH_LEVEL, as soon
    /// as its IRQL is below that. With a `key` other than 0 nothing happens,
    /// and the result is false, while a call of the same key is queued here.
    pub fn queue_dpc(self: &Arc<Self>, key: usize, run: impl FnOnce() + Send + 'static) -> bool {
        let mut queue = self.queue.lock();
        if key != 0 && queue.dpcs.iter().any(|d| d.key == key) {
            return false;
        }
        queue.dpcs.push_back(Dpc {
            key,
            run: Box::new(run),
        });
        self.dpc_pending.store(true, Ordering::Release);
        self.kick(&mut queue);
        true
    }

    /// Takes a queued call back; false if it was not queued here (any more).
    pub fn remove_dpc(&self, key: usize) -> bool {
        let mut queue = self.queue.lock();
        let before = queue.dpcs.len();
        queue.dpcs.retain(|d| d.key != key);
        queue.dpcs.len() != before
    }

    /// How many calls with a key are queued.
    pub(crate) fn keyed_dpcs(&self) -> usize {
        self.queue.lock().dpcs.iter().filter(|d| d.key != 0).count()
    }

    /// Whether nothing runs here and nothing is queued.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        !queue.busy && queue.returning == 0 && queue.jobs.is_empty() && queue.dpcs.is_empty()
    }

    pub(crate) fn post(self: &Arc<Self>, irql: Irql, job: Job) {
        let mut queue = self.queue.lock();
        queue.jobs.push_back((irql, job));
        self.kick(&mut queue);
    }

    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.wake.notify_all();
    }

    /// Offers a shared job to this processor; false if it is busy.
    pub(crate) fn offer(self: &Arc<Self>) -> bool {
        let mut queue = self.queue.lock();
        let free = !queue.busy && queue.returning == 0;
        self.kick(&mut queue);
        free
    }

    fn has_work(&self, queue: &Queue) -> bool {
        !queue.jobs.is_empty() || !queue.dpcs.is_empty() || !self.shared.is_empty()
    }

    /// Sees to it that somebody takes up the work that is queued.
    fn kick(self: &Arc<Self>, queue: &mut Queue) {
        if queue.busy || queue.returning > 0 || !self.has_work(queue) {
            return;
        }
        if queue.idle > 0 {
            self.wake.notify_all();
            return;
        }
        queue.idle += 1;
        let me = Arc::clone(self);
        std::thread::Builder::new()
            .name(format!("cpu{}", self.number))
            .spawn(move || me.work())
            .expect("the host can start a thread");
    }

    fn work(self: Arc<Self>) {
        let mut context: Option<Box<ThreadContext>> = None;
        let mut queue = self.queue.lock();
        loop {
            // Counted as idle by whoever started this thread, or below.
            while !queue.closed && (queue.busy || queue.returning > 0 || !self.has_work(&queue)) {
                self.wake.wait(&mut queue);
            }
            queue.idle -= 1;
            if queue.closed {
                CURRENT.set(None);
                return;
            }
            let job = if queue.dpcs.is_empty() {
                queue.jobs.pop_front().or_else(|| self.shared.pop())
            } else {
                None
            };
            if job.is_none() && queue.dpcs.is_empty() {
                queue.idle += 1;
                continue; // Another processor was first.
            }
            queue.busy = true;
            drop(queue);
            let Some(machine) = self.machine.upgrade() else {
                CURRENT.set(None);
                return;
            };
            let context =
                context.get_or_insert_with(|| ThreadContext::new(&machine, Arc::clone(&self)));
            context.machine.set(&*machine);
            CURRENT.set(Some(NonNull::from(&**context)));
            let done = panic::catch_unwind(AssertUnwindSafe(|| {
                if let Some((irql, job)) = job {
                    context.irql.set(irql);
                    job();
                    context.irql.set(Irql::PASSIVE);
                }
                current().deliver_dpcs();
            }));
            if let Err(payload) = done {
                // Nobody waits for the result of a work item or a DPC.
                let text = payload.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
                violation(rules::SIMULATOR_PANIC, text.unwrap_or("a panic"));
            }
            context.machine.set(std::ptr::null());
            drop(machine);
            // Under one lock until this thread counts as idle again, so that
            // nobody starts another one for what it is about to do itself.
            queue = self.queue.lock();
            queue.busy = false;
            queue.idle += 1;
            if queue.returning > 0 {
                self.wake.notify_all();
            }
        }
    }

    /// Lets another thread have the processor.
    fn give_up(self: &Arc<Self>) {
        let mut queue = self.queue.lock();
        queue.busy = false;
        if queue.returning > 0 {
            self.wake.notify_all();
        } else {
            self.kick(&mut queue);
        }
    }

    /// Waits until the processor is free and takes it.
    fn take_back(&self) {
        let mut queue = self.queue.lock();
        queue.returning += 1;
        while queue.busy {
            self.wake.wait(&mut queue);
        }
        queue.returning -= 1;
        queue.busy = true;
    }

    fn next_dpc(&self) -> Option<Dpc> {
        let mut queue = self.queue.lock();
        let dpc = queue.dpcs.pop_front();
        self.dpc_pending
            .store(!queue.dpcs.is_empty(), Ordering::Release);
        dpc
    }

    pub(crate) fn transitions(&self) -> u64 {
        self.transitions.load(Ordering::Relaxed)
    }

    pub(crate) fn note_transition(&self) {
        // Only the running thread writes: no read-modify-write is needed.
        self.transitions
            .store(self.transitions().wrapping_add(1), Ordering::Relaxed);
    }

    /// Notes that an outermost callback begins (`Some`) or ends.
    pub(crate) fn note_callback(&self, what: Option<&'static str>) {
        if let Some(what) = what {
            *self.callback.lock() = what;
            // SAFETY: no preconditions.
            self.thread
                .store(unsafe { libc::pthread_self() } as usize, Ordering::Relaxed);
            let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.entered.store(now.max(1), Ordering::Release);
        } else {
            self.entered.store(0, Ordering::Release);
        }
    }

    /// The callback that has been running for longer than `limit`.
    pub(crate) fn overdue(&self, limit: Duration) -> Option<&'static str> {
        let entered = self.entered.load(Ordering::Acquire);
        if entered == 0 || self.epoch.elapsed() < Duration::from_nanos(entered) + limit {
            return None;
        }
        Some(*self.callback.lock())
    }

    /// Takes the driver code that is running here out of circulation, after the
    /// machine was stopped.
    pub(crate) fn interrupt(&self) {
        if self.entered.load(Ordering::Acquire) != 0 {
            let thread = self.thread.load(Ordering::Relaxed) as libc::pthread_t;
            // SAFETY: a processor's threads live as long as a callback is in
            // progress on them. The trap handler expects the signal.
            unsafe { libc::pthread_kill(thread, libc::SIGSEGV) };
        }
    }
}

thread_local! {
    static CURRENT: Cell<Option<NonNull<ThreadContext>>> = const { Cell::new(None) };
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
            (dpc.run)();
            if self.irql() != Irql::DISPATCH {
                let level = self.irql();
                violation(rules::IRQL_AT_RETURN, format!("a DPC returned at {level}"));
            }
        }
        thread.end_interrupt(bracket);
        thread.irql.set(before);
    }

    /// Hands the processor to other threads until the guard is dropped.
    pub(crate) fn release(&self) -> Released {
        let processor = self.processor();
        let callback =
            (processor.entered.load(Ordering::Relaxed) != 0).then(|| *processor.callback.lock());
        processor.note_callback(None);
        processor.give_up();
        Released {
            current: *self,
            callback,
        }
    }

    pub(crate) fn context(&self) -> report::Context {
        let thread = self.thread();
        report::Context {
            processor: self.number(),
            irql: self.irql(),
            callbacks: thread.callbacks(),
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
    callback: Option<&'static str>,
}

impl Drop for Released {
    fn drop(&mut self) {
        let processor = self.current.processor();
        processor.take_back();
        processor.note_callback(self.callback);
    }
}
