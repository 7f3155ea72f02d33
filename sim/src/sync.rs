//! Waiting in simulator code without blocking a processor.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::{
    irql::Irql,
    machine::Machine,
    processor,
    report::{BugCheck, rules},
    turns,
};

/// How often a wait looks whether the machine was stopped.
const POLL: Duration = Duration::from_millis(20);
/// How often a thread that takes turns looks whether a lock is free.
const RETRY: Duration = Duration::from_micros(100);

/// Tells those who wait for something that it may have come: a condition variable, with which threads
/// that take turns wait for theirs.
#[derive(Default)]
pub struct Signal(Condvar);

impl Signal {
    /// One that nobody waits for.
    #[must_use]
    pub const fn new() -> Self {
        Self(Condvar::new())
    }

    fn channel(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Wakes everybody who waits.
    pub fn notify_all(&self) {
        self.0.notify_all();
        turns::wake(self.channel());
    }

    /// Waits, without the lock, until it is notified or `limit` is over, or for no reason.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>, limit: Option<Duration>) {
        if turns::are_taken() {
            // Whoever has the turn is alone: nobody notifies before this waits.
            MutexGuard::unlocked(guard, || turns::wait(Some(self.channel()), limit));
            return;
        }
        match limit {
            Some(limit) => drop(self.0.wait_for(guard, limit)),
            None => self.0.wait(guard),
        }
    }
}

/// Lets others go on.
pub(crate) fn relax() {
    if !turns::pass() {
        std::thread::yield_now();
    }
}

/// Waits for some time: the host's, or the machine's when its threads take turns.
pub(crate) fn sleep(time: Duration) {
    if time.is_zero() {
        relax();
    } else if !turns::wait(None, Some(time)) {
        std::thread::sleep(time);
    }
}

/// Locks what is held while its owner waits for others. Who has the turn must not block for it: the owner
/// needs it to come to an end.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    while turns::are_taken() {
        if let Some(guard) = mutex.try_lock() {
            return guard;
        }
        sleep(RETRY);
    }
    mutex.lock()
}

/// An event of the simulator's own, for NDIS-like code that waits for the
/// driver. Notification (manual reset) or synchronization (auto reset).
pub struct Event {
    set: Mutex<bool>,
    changed: Signal,
    auto_reset: bool,
}

impl Event {
    /// An event that stays set until it is reset.
    #[must_use]
    pub const fn notification() -> Self {
        Self {
            set: Mutex::new(false),
            changed: Signal::new(),
            auto_reset: false,
        }
    }

    /// An event that lets one waiter through each time it is set.
    #[must_use]
    pub const fn synchronization() -> Self {
        Self {
            set: Mutex::new(false),
            changed: Signal::new(),
            auto_reset: true,
        }
    }

    /// Sets the event; returns whether it was set before.
    pub fn set(&self) -> bool {
        let was = std::mem::replace(&mut *self.set.lock(), true);
        self.changed.notify_all();
        was
    }

    /// Clears the event; returns whether it was set.
    pub fn reset(&self) -> bool {
        std::mem::replace(&mut *self.set.lock(), false)
    }

    /// Whether the event is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.set.lock()
    }

    /// Waits, at most for `timeout` of wall time, or of the machine's when its threads take turns; false on
    /// time-out. On a processor thread below DISPATCH_LEVEL other jobs and DPCs of the processor run
    /// meanwhile.
    ///
    /// # Errors
    /// The bug check that stopped the machine (on a processor thread it does
    /// not return instead). `what` names the wait in a hang report.
    pub fn wait(
        &self,
        machine: &Machine,
        what: &str,
        timeout: Option<Duration>,
    ) -> Result<bool, BugCheck> {
        let auto_reset = self.auto_reset;
        let got = wait(machine, what, &self.set, &self.changed, timeout, |set| {
            if !*set {
                return None;
            }
            *set = !auto_reset;
            Some(())
        })?;
        Ok(got.is_some())
    }
}

/// Waits until `done` yields a value, the time is over (`None`) or the
/// machine stops. Releases the processor of a processor thread meanwhile, and
/// watches for hangs.
///
/// # Errors
/// The bug check that stopped the machine; on a processor thread of the
/// machine the thread is parked instead.
///
/// # Panics
/// When the machine's threads take turns and the calling one is not among them: see [`Machine::scope`].
pub fn wait<T, R>(
    machine: &Machine,
    what: &str,
    state: &Mutex<T>,
    changed: &Signal,
    timeout: Option<Duration>,
    mut done: impl FnMut(&mut T) -> Option<R>,
) -> Result<Option<R>, BugCheck> {
    if let Some(r) = done(&mut state.lock()) {
        return Ok(Some(r));
    }
    turns::expect_part(machine.turns(), format_args!("waits for {what}"));
    let deadline = timeout.map(|timeout| machine.elapsed() + timeout);
    let current = processor::try_current().filter(|c| c.is_on(machine));
    let _released = current
        .as_ref()
        .filter(|c| c.irql() < Irql::DISPATCH)
        .map(|c| c.release());
    let mut watch = Watch::new(machine);
    let _noted = current.as_ref().map(|_| Noted::new(machine, what));
    let mut guard = state.lock();
    loop {
        if let Some(r) = done(&mut guard) {
            return Ok(Some(r));
        }
        let now = machine.elapsed();
        if deadline.is_some_and(|d| now >= d) {
            return Ok(None);
        }
        let check = match machine.bug_check() {
            None => watch.look(machine, what),
            stopped => stopped,
        };
        if let Some(check) = check {
            drop(guard);
            if current.is_some() {
                processor::park_forever();
            }
            return Err(check);
        }
        let slice = deadline.map_or(POLL, |d| POLL.min(d - now));
        changed.wait(&mut guard, Some(slice));
    }
}

/// A wait on a processor, as long as it lasts.
struct Noted<'a> {
    machine: &'a Machine,
    what: &'a str,
}

impl<'a> Noted<'a> {
    fn new(machine: &'a Machine, what: &'a str) -> Self {
        machine.waits.lock().push(what.to_owned());
        Self { machine, what }
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut waits = self.machine.waits.lock();
        if let Some(at) = waits.iter().position(|wait| wait == self.what) {
            waits.swap_remove(at);
        }
    }
}

/// Notices that nothing moves any more.
pub(crate) struct Watch {
    progress: u64,
    since: Duration,
    /// Where the host's time counts although threads take turns: from then.
    host: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(machine: &Machine) -> Self {
        Self {
            progress: progress(machine),
            since: machine.elapsed(),
            host: None,
        }
    }

    /// Over whoever's turn it is.
    pub(crate) fn of_the_host(machine: &Machine) -> Self {
        Self {
            progress: progress(machine),
            since: Duration::ZERO,
            host: Some(Instant::now()),
        }
    }

    /// Stops the machine when a callback or everything has stood still too long.
    pub(crate) fn look(&mut self, machine: &Machine, what: &str) -> Option<BugCheck> {
        let now = match self.host {
            Some(began) => began.elapsed(),
            None => machine.elapsed(),
        };
        let limit = machine.settings().watchdog;
        let progress = progress(machine);
        if progress != self.progress {
            (self.progress, self.since) = (progress, now);
        }
        let still = now.saturating_sub(self.since) > limit;
        // Where threads take turns the host's time passes for a callback while others have theirs.
        let counts = machine.turns().is_none() || self.host.is_some() && still;
        if let Some((processor, callback)) = machine
            .processors()
            .iter()
            .filter(|_| counts)
            .find_map(|p| Some((p, p.overdue(limit)?)))
        {
            let n = processor.number();
            let message =
                format!("{callback} has been running on processor {n} for more than {limit:?}");
            let check = machine.stop(rules::HANG, message);
            processor.interrupt();
            return Some(check);
        }
        still.then(|| {
            machine.stop(
                rules::HANG,
                format!("{what}: nothing has happened for {limit:?}"),
            )
        })
    }
}

fn progress(machine: &Machine) -> u64 {
    machine
        .processors()
        .iter()
        .map(|p| p.transitions())
        .fold(0, u64::wrapping_add)
}
