//! One simulated computer.

use std::{
    panic,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    clock::Clock,
    driver::Images,
    exports::{Export, Registry},
    fence::Fences,
    gate::{self, Stacks, Thunks},
    guarded::{Fence, GuardedBuf},
    history::{Histories, Object},
    inject::Faults,
    irql::Irql,
    ntos,
    processor::{self, Processor, SharedJobs},
    report::{BugCheck, Finding, Report, Reporter, Rule},
    sync::{self, Signal},
    track::Tracker,
    turns::{self, Turns},
    wdf,
};

/// How a machine is built.
#[derive(Clone, Debug)]
pub struct Builder {
    processors: usize,
    settings: Settings,
    manual_clock: bool,
}

/// Switches that the parts of a machine look at.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) canaries: bool,
    pub(crate) watchdog: Duration,
    pub(crate) stack_limit: Option<usize>,
    pub(crate) special_pool: Option<Fence>,
    pub(crate) buffers: Option<Fence>,
    pub(crate) echo: bool,
    pub(crate) features: u64,
    pub(crate) history: bool,
    pub(crate) dispatch_limit: Option<Duration>,
    pub(crate) perturb: Option<u64>,
    pub(crate) in_turns: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            processors: 2,
            settings: Settings {
                canaries: true,
                watchdog: Duration::from_secs(60),
                stack_limit: Some(12 * 1024),
                special_pool: Some(Fence::End),
                buffers: None,
                echo: false,
                features: u64::MAX,
                history: true,
                dispatch_limit: Some(Duration::from_secs(2)),
                perturb: None,
                in_turns: false,
            },
            manual_clock: false,
        }
    }
}

impl Builder {
    /// Number of processors, at least one; more than 64 make processor groups.
    /// Default 2.
    #[must_use]
    pub fn processors(mut self, count: usize) -> Self {
        self.processors = count.max(1);
        self
    }

    /// Whether canaries in the extended registers watch the driver. Default on;
    /// off only for runs that measure speed.
    #[must_use]
    pub fn canaries(mut self, on: bool) -> Self {
        self.settings.canaries = on;
        self
    }

    /// Wall time after which a call or a wait that does not end is reported as
    /// a hang. Default 60 s.
    #[must_use]
    pub fn watchdog(mut self, limit: Duration) -> Self {
        self.settings.watchdog = limit;
        self
    }

    /// Kernel stack that one chain of driver callbacks may use, in bytes;
    /// `None` only measures. Default 12 KiB, half of what Windows gives a thread.
    #[must_use]
    pub fn stack_limit(mut self, bytes: Option<usize>) -> Self {
        self.settings.stack_limit = bytes;
        self
    }

    /// Processor time that one DPC, or one call of the driver at DISPATCH_LEVEL, may take, what NDIS
    /// and the protocols do in it included; `None` sets no limit. Default 2 s: Windows asks for 100
    /// microseconds, has a watchdog that is patient, and is not a debug build on a host that others use.
    #[must_use]
    pub fn dispatch_limit(mut self, limit: Option<Duration>) -> Self {
        self.settings.dispatch_limit = limit;
        self
    }

    /// Whether the events in the lives of objects are kept for reports. Default on; off only for runs
    /// that measure speed.
    #[must_use]
    pub fn history(mut self, on: bool) -> Self {
        self.settings.history = on;
        self
    }

    /// Whether everything that the driver allocates (pool, NET_BUFFER_LISTs, NET_BUFFERs, MDLs) ends at
    /// an inaccessible page and is inaccessible once it is freed, as with Driver Verifier's special
    /// pool. Default on; off only for runs that measure speed, which keep the guard bytes. As on
    /// Windows, what is too much for it comes from elsewhere: see [`crate::ntos::pool::Pool::not_special`].
    #[must_use]
    pub fn special_pool(mut self, on: bool) -> Self {
        self.settings.special_pool = on.then_some(Fence::End);
        self
    }

    /// Special pool with the inaccessible page in front of each allocation: Driver Verifier's "verify
    /// start". Accesses beyond an end are seen if they are writes, when the block is freed.
    #[must_use]
    pub fn verify_start(mut self) -> Self {
        self.settings.special_pool = Some(Fence::Start);
        self
    }

    /// Which end of the buffers of send and OID requests lies against an inaccessible page. Default:
    /// now the one, now the other; a test that runs off one of them says which.
    #[must_use]
    pub fn buffers(mut self, fence: Fence) -> Self {
        self.settings.buffers = Some(fence);
        self
    }

    /// Lets the simulated clock stand still except for [`Clock::advance`].
    /// Default: it runs with the host's.
    #[must_use]
    pub fn manual_clock(mut self, manual: bool) -> Self {
        self.manual_clock = manual;
        self
    }

    /// Copies DbgPrint output to standard error. Default off.
    #[must_use]
    pub fn echo(mut self, on: bool) -> Self {
        self.settings.echo = on;
        self
    }

    /// Extended processor features (XSTATE_MASK bits) that the simulated system
    /// enables, of those that the host has. Default all.
    #[must_use]
    pub fn enabled_features(mut self, mask: u64) -> Self {
        self.settings.features = mask | gate::XSTATE_LEGACY;
        self
    }

    /// Perturbs the order of events, another way with each seed: at every call into and out of the
    /// driver a processor may be held up, preempted (below DISPATCH_LEVEL), run its DPCs a little
    /// later, or have no time left for them (see [`ntos::dpc_watchdog`]). Default: as the host's threads happen to run.
    #[must_use]
    pub fn perturb(mut self, seed: u64) -> Self {
        self.settings.perturb = Some(seed);
        self
    }

    /// Lets the machine's threads run one at a time, in an order that the seed decides ([`Builder::perturb`]
    /// included): whoever runs hands over at some of the calls into and out of the driver, and where it
    /// waits. The same seed gives the same order of everything, on any host, if all else is the same:
    /// nothing may depend on the host's time or on addresses. The machine's own time is counted in calls.
    /// The thread that builds the machine takes part, and those that [`Machine::scope`] starts; no other may
    /// use the machine. Whoever has the turn must not block on anything of the host's whose owner needs one.
    /// A thread takes part in the turns of one machine at a time: building another one gives its place up.
    #[must_use]
    pub fn in_turns(mut self, seed: u64) -> Self {
        self.settings.in_turns = true;
        self.perturb(seed)
    }

    /// Builds and starts the machine.
    #[must_use]
    pub fn build(self) -> Arc<Machine> {
        gate::install_trap_handler();
        let shared = Arc::new(SharedJobs::default());
        let fences = Arc::new(Fences::default());
        Arc::new_cyclic(|me: &Weak<Machine>| {
            let seed = self.settings.perturb.filter(|_| self.settings.in_turns);
            let turns = seed.map(|seed| Turns::new(seed, me.clone()));
            Machine {
                processors: (0..self.processors)
                    .map(|n| u32::try_from(n).expect("fewer than 2^32"))
                    .map(|n| Processor::new(n, me.clone(), Arc::clone(&shared), turns.clone()))
                    .collect(),
                shared,
                clock: Clock::new(me.clone(), self.manual_clock, turns.clone()),
                turns,
                born: Instant::now(),
                registry: Registry::new(),
                thunks: Thunks::new(),
                images: Images::default(),
                reporter: Reporter::default(),
                tracker: Tracker::default(),
                faults: Faults::default(),
                histories: Histories::new(self.settings.history),
                kernel: ntos::State::new(&self.settings, &fences),
                fences,
                stacks: Arc::default(),
                wdf: wdf::State::default(),
                ndis: crate::ndis::State::default(),
                settings: self.settings,
                stopped: AtomicBool::new(false),
                next: AtomicUsize::new(0),
                fenced: AtomicUsize::new(0),
                waits: Mutex::default(),
                me: me.clone(),
            }
        })
    }
}

/// One simulated computer. Nothing is shared between machines.
pub struct Machine {
    processors: Vec<Arc<Processor>>,
    shared: Arc<SharedJobs>,
    clock: Clock,
    registry: Registry,
    thunks: Thunks,
    images: Images,
    reporter: Reporter,
    tracker: Tracker,
    faults: Faults,
    histories: Histories,
    kernel: ntos::State,
    fences: Arc<Fences>,
    stacks: Arc<Stacks>,
    wdf: wdf::State,
    ndis: crate::ndis::State,
    settings: Settings,
    stopped: AtomicBool,
    next: AtomicUsize,
    fenced: AtomicUsize,
    pub(crate) waits: Mutex<Vec<String>>,
    turns: Option<Arc<Turns>>,
    born: Instant,
    me: Weak<Machine>,
}

impl Machine {
    /// A machine to configure and build.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Runs `f` on a processor at `irql` and waits for its result.
    ///
    /// `cpu` is a processor number (modulo the count); `None` takes the first
    /// free one, or the current one on a processor thread. Jobs of one processor are serial, except
    /// that a job which waits at PASSIVE_LEVEL lets others run. May be nested:
    /// on the same processor `f` runs at once, at a raised IRQL.
    ///
    /// # Errors
    /// The bug check that stopped the machine, before or during the job. What
    /// `f` owns is then lost with the parked thread.
    ///
    /// # Panics
    /// When `f` panics, with the same payload.
    pub fn run<R: Send + 'static>(
        &self,
        cpu: Option<usize>,
        irql: Irql,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, BugCheck> {
        if let Some(check) = self.bug_check() {
            return Err(check);
        }
        let current = processor::try_current().filter(|c| c.is_on(self));
        if let Some(current) = current {
            let here = current.number() as usize;
            if cpu.is_none_or(|n| n % self.processors.len() == here) {
                let _raised = current.raise(irql.max(current.irql()));
                return Ok(f());
            }
        }
        struct Slot<R> {
            result: Mutex<Option<std::thread::Result<R>>>,
            done: Signal,
        }
        let slot = Arc::new(Slot {
            result: Mutex::new(None),
            done: Signal::new(),
        });
        let filled = Arc::clone(&slot);
        self.post(cpu, irql, move || {
            let result = panic::catch_unwind(panic::AssertUnwindSafe(f));
            *filled.result.lock() = Some(result);
            filled.done.notify_all();
        });
        let result = sync::wait(
            self,
            "a job on another processor",
            &slot.result,
            &slot.done,
            None,
            Option::take,
        )?;
        match result.expect("no deadline was given") {
            Ok(value) => Ok(value),
            Err(payload) => panic::resume_unwind(payload),
        }
    }

    /// Like [`Machine::run`] without waiting: a work item, for `irql` PASSIVE.
    pub fn spawn(&self, cpu: Option<usize>, irql: Irql, f: impl FnOnce() + Send + 'static) {
        self.post(cpu, irql, f);
    }

    fn post(&self, cpu: Option<usize>, irql: Irql, f: impl FnOnce() + Send + 'static) {
        let count = self.processors.len();
        if let Some(n) = cpu {
            return self.processors[n % count].post(irql, Box::new(f));
        }
        self.shared.push(irql, Box::new(f));
        // In turn; when all are busy, the first that becomes free looks itself.
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let _ = (0..count).any(|i| self.processors[first.wrapping_add(i) % count].offer());
    }

    /// Waits until no processor has anything to do. From outside of the
    /// processors only.
    ///
    /// # Errors
    /// The bug check that stopped the machine meanwhile.
    ///
    /// # Panics
    /// As [`sync::wait`].
    pub fn settle(&self) -> Result<(), BugCheck> {
        turns::expect_part(self.turns(), "waits");
        let mut watch = sync::Watch::new(self);
        loop {
            if let Some(check) = self.bug_check() {
                return Err(check);
            }
            if self.is_idle() {
                return Ok(());
            }
            if let Some(check) = watch.look(self, "Machine::settle") {
                return Err(check);
            }
            sync::sleep(Duration::from_micros(200));
        }
    }

    /// Whether nothing runs, and nothing waits to. They are looked at one after the other, so this holds only
    /// if nobody has queued anything meanwhile: for one that was looked at before, or for all of them.
    fn is_idle(&self) -> bool {
        let before = self.shared.queued();
        self.shared.is_empty()
            && self.processors.iter().all(|processor| processor.is_idle())
            && self.shared.queued() == before
    }

    /// Who takes turns.
    pub(crate) fn turns(&self) -> Option<&Arc<Turns>> {
        self.turns.as_ref()
    }

    /// The time for which the machine is there: simulated if its threads take turns, the host's otherwise.
    pub(crate) fn elapsed(&self) -> Duration {
        let turns = self.turns.as_ref();
        turns.map_or_else(|| self.born.elapsed(), |turns| turns.now())
    }

    /// A hash of all calls into and out of drivers so far, in their order and with their processors, of a
    /// machine whose threads take turns: two that did the same have the same.
    #[must_use]
    pub fn order(&self) -> Option<u64> {
        self.turns.as_ref().map(|turns| turns.order())
    }

    /// Lets some time pass for the calling thread: the host's, or the machine's if its threads take turns.
    pub fn sleep(&self, time: Duration) {
        sync::sleep(time);
    }

    /// The processors, by number.
    #[must_use]
    pub fn processors(&self) -> &[Arc<Processor>] {
        &self.processors
    }

    /// The simulated clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Fault injection.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// State of the NDIS half.
    #[must_use]
    pub fn ndis(&self) -> &crate::ndis::State {
        &self.ndis
    }

    /// State of the kernel half: pool, debug output.
    #[must_use]
    pub fn kernel(&self) -> &ntos::State {
        &self.kernel
    }

    pub(crate) fn stacks(&self) -> Arc<Stacks> {
        Arc::clone(&self.stacks)
    }

    /// Shows what driver code has left on each kernel stack, for tests of what stays behind. To be
    /// called when nothing runs: after [`Machine::settle`].
    pub fn for_each_kernel_stack(&self, look: impl FnMut(&[u8])) {
        self.stacks.for_each(look);
    }

    /// State of KMDF.
    #[must_use]
    pub fn wdf(&self) -> &wdf::State {
        &self.wdf
    }

    /// Objects that were handed out and must come back before unload.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Notes an object that the driver must give back before it unloads.
    /// `kind` is the documented name of what was allocated, `id` its handle or
    /// address, `what` helps the reader of a leak report.
    pub fn track(&self, kind: &'static str, id: u64, what: impl Into<String>) {
        self.tracker.add(kind, id, what.into());
    }

    /// Forgets an object that came back; false if it was not known.
    pub fn untrack(&self, kind: &'static str, id: u64) -> bool {
        self.tracker.remove(kind, id)
    }

    /// A buffer to hand to the driver, against an inaccessible page at its end
    /// and guard bytes at its start; aligned to 8 bytes.
    #[must_use]
    pub fn guarded(&self, len: usize) -> GuardedBuf {
        GuardedBuf::new(self.arc(), len)
    }

    /// Which end of the next buffer to fence.
    pub(crate) fn next_fence(&self) -> Fence {
        let turn = || self.fenced.fetch_add(1, Ordering::Relaxed);
        self.settings.buffers.unwrap_or_else(|| match turn() % 2 {
            0 => Fence::End,
            _ => Fence::Start,
        })
    }

    /// The address that the import `name` of `dll` is bound to, or `None` for
    /// one that the simulator does not export. It may be called only by code that runs under [`gate::call`].
    #[must_use]
    pub fn resolve(&self, dll: &str, name: &str) -> Option<*const ()> {
        self.registry
            .get(dll, name)
            .map(|export| self.thunk(export))
    }

    /// The address through which driver code reaches `export`. For tables of
    /// functions that are not imported by name.
    #[must_use]
    pub fn thunk(&self, export: &Export) -> *const () {
        if export.direct {
            export.f
        } else {
            self.thunks.get(export)
        }
    }

    /// The exports that drivers are bound to.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The images that are mapped.
    pub(crate) fn images(&self) -> &Images {
        &self.images
    }

    pub(crate) fn histories(&self) -> &Histories {
        &self.histories
    }

    pub(crate) fn fences(&self) -> &Arc<Fences> {
        &self.fences
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What RtlGetEnabledExtendedFeatures reports.
    #[must_use]
    pub fn enabled_features(&self) -> u64 {
        gate::enabled_features() & self.settings.features
    }

    /// A counted reference to this machine.
    ///
    /// # Panics
    /// While the machine is being dropped.
    #[must_use]
    pub fn arc(&self) -> Arc<Self> {
        self.me
            .upgrade()
            .expect("the machine is alive while it is borrowed")
    }

    /// Adds a finding that does not stop the machine.
    pub fn finding(&self, rule: Rule, message: impl Into<String>) {
        self.add_finding(Finding::new(rule, message));
    }

    pub(crate) fn add_finding(&self, finding: Finding) {
        self.reporter.0.lock().findings.push(finding);
    }

    /// What was found so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.reporter.0.lock().clone()
    }

    /// The bug check that stopped the machine, if one did.
    #[must_use]
    pub fn bug_check(&self) -> Option<BugCheck> {
        if !self.is_stopped() {
            return None;
        }
        self.reporter.0.lock().bug_check.clone()
    }

    /// Whether somebody on a processor waits in this function, or for the end of this operation: an event
    /// for tests of who waits for whom.
    #[must_use]
    pub fn waits_in(&self, what: &str) -> bool {
        self.waits.lock().iter().any(|wait| wait == what)
    }

    /// Whether the machine was stopped by a violation.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Stops the machine for a broken rule and returns; the first violation
    /// counts. Code on a processor uses [`crate::report::violation`].
    pub fn stop(&self, rule: Rule, message: impl Into<String>) -> BugCheck {
        self.stop_about(rule, message, &[])
    }

    /// Like [`Machine::stop`], with the histories of the objects that it is about: those named here, and
    /// those that the driver named in the call that it is making.
    pub(crate) fn stop_about(
        &self,
        rule: Rule,
        message: impl Into<String>,
        objects: &[Object],
    ) -> BugCheck {
        let current = processor::try_current().filter(|c| c.is_on(self));
        let context = current.map(|c| c.context());
        let operands = current.map_or([0; 2], |c| c.thread().operands());
        let named = operands.iter().filter_map(|id| self.histories.named(*id));
        let mut objects = objects.to_vec();
        for object in named {
            if !objects.contains(&object) {
                objects.push(object);
            }
        }
        if let Some(check) = self.bug_check() {
            return check;
        }
        // Names take their time to look up: not under the lock.
        let histories = objects
            .iter()
            .filter_map(|object| self.histories.of(&self.images, *object))
            .collect();
        let check = BugCheck::new(rule, message.into(), context, Some(&self.images), histories);
        let mut report = self.reporter.0.lock();
        let check = report.bug_check.get_or_insert(check).clone();
        drop(report);
        self.stopped.store(true, Ordering::Release);
        if let Some(turns) = &self.turns {
            turns.end();
        }
        check
    }

    pub(crate) fn note_dispatch(&self, time: Duration, what: &'static str) {
        let mut report = self.reporter.0.lock();
        if report.longest_at_dispatch.is_none_or(|(t, _)| t < time) {
            report.longest_at_dispatch = Some((time, what));
        }
    }

    pub(crate) fn note_stack(&self, depth: usize, what: &'static str) {
        let mut report = self.reporter.0.lock();
        if report.stack_high_water.is_none_or(|(d, _)| d < depth) {
            report.stack_high_water = Some((depth, what));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for processor in &self.processors {
            processor.close();
        }
        self.clock.close();
        if let Some(turns) = &self.turns {
            turns.end();
        }
    }
}
