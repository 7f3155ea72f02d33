//! Processors: one at a time of a processor's threads runs, with an emulated
//! IRQL; deferred procedure calls run when the IRQL allows.
//!
//! A thread that waits below DISPATCH_LEVEL hands its processor to another
//! thread, as a Windows scheduler would, so jobs that wait for each other do
//! not deadlock.

mod current;

use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    ptr::NonNull,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use current::CURRENT;
pub(crate) use current::park_forever;
pub use current::{Current, RaisedIrql, current, try_current};

use crate::{
    gate::Context as ThreadContext,
    irql::Irql,
    machine::Machine,
    report::{rules, violation},
    sync::Signal,
    turns::{self, Ticket, Turns},
};

type Job = Box<dyn FnOnce() + Send>;

/// Jobs for whichever processor of a machine is free first.
#[derive(Default)]
pub(crate) struct SharedJobs {
    jobs: Mutex<VecDeque<(Irql, Job)>>,
    len: AtomicUsize,
    /// How often anything was queued, here or for one processor.
    queued: AtomicU64,
}

impl SharedJobs {
    pub(crate) fn push(&self, irql: Irql, job: Job) {
        let mut jobs = self.jobs.lock();
        self.count();
        jobs.push_back((irql, job));
        self.len.store(jobs.len(), Ordering::Release);
    }

    /// Something is about to be queued.
    fn count(&self) {
        self.queued.fetch_add(1, Ordering::SeqCst);
    }

    /// How often anything was queued.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::SeqCst)
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
    /// Threads whose time slice is over and that come back without anybody's doing.
    preempted: usize,
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
    wake: Signal,
    turns: Option<Arc<Turns>>,
    dpc_pending: AtomicBool,
    /// The DPCs that have run since the IRQL was below DISPATCH_LEVEL, with the one that runs.
    dpc_series: AtomicU32,
    transitions: AtomicU64,
    /// When the outermost driver callback in progress began, nanoseconds since
    /// `epoch`; 0 for none.
    entered: AtomicU64,
    callback: Mutex<&'static str>,
    thread: AtomicUsize,
    epoch: Instant,
}

impl Processor {
    pub(crate) fn new(
        number: u32,
        machine: Weak<Machine>,
        shared: Arc<SharedJobs>,
        turns: Option<Arc<Turns>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            machine,
            shared,
            queue: Mutex::default(),
            wake: Signal::new(),
            turns,
            dpc_pending: AtomicBool::new(false),
            dpc_series: AtomicU32::new(0),
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
        self.shared.count();
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

    /// How many DPCs have run in a row, with the one that runs; 0 when none does.
    pub(crate) fn dpc_series(&self) -> u32 {
        self.dpc_series.load(Ordering::Relaxed)
    }

    /// How many calls with a key are queued.
    pub(crate) fn keyed_dpcs(&self) -> usize {
        self.queue.lock().dpcs.iter().filter(|d| d.key != 0).count()
    }

    /// Whether nothing runs here and nothing is queued.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        !queue.busy
            && queue.returning == 0
            && queue.preempted == 0
            && queue.jobs.is_empty()
            && queue.dpcs.is_empty()
    }

    pub(crate) fn post(self: &Arc<Self>, irql: Irql, job: Job) {
        let mut queue = self.queue.lock();
        self.shared.count();
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
        turns::expect_part(self.turns.as_ref(), "uses the machine");
        if queue.busy || queue.returning > 0 || !self.has_work(queue) {
            return;
        }
        if queue.idle > 0 {
            self.wake.notify_all();
            return;
        }
        queue.idle += 1;
        let me = Arc::clone(self);
        let ticket = self.turns.as_ref().map(Turns::ticket);
        std::thread::Builder::new()
            .name(format!("cpu{}", self.number))
            .spawn(move || {
                let _seat = ticket.map(Ticket::take);
                me.work();
            })
            .expect("the host can start a thread");
    }

    fn work(self: Arc<Self>) {
        let mut context: Option<Box<ThreadContext>> = None;
        let mut queue = self.queue.lock();
        loop {
            // Counted as idle by whoever started this thread, or below.
            while !queue.closed && (queue.busy || queue.returning > 0 || !self.has_work(&queue)) {
                self.wake.wait(&mut queue, None);
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

    /// Lets another thread have the processor; `preempted` is one that takes it back by itself.
    fn give_up(self: &Arc<Self>, preempted: bool) {
        let mut queue = self.queue.lock();
        queue.busy = false;
        queue.preempted += usize::from(preempted);
        if queue.returning > 0 {
            self.wake.notify_all();
        } else {
            self.kick(&mut queue);
        }
    }

    /// Waits until the processor is free and takes it.
    fn take_back(&self, preempted: bool) {
        let mut queue = self.queue.lock();
        queue.preempted -= usize::from(preempted);
        queue.returning += 1;
        while queue.busy {
            self.wake.wait(&mut queue, None);
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
