//! The simulated clock: interrupt time since boot, system time, and timers.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use crate::{
    machine::Machine,
    sync::Signal,
    turns::{Ticket, Turns},
};

type Callback = Box<dyn FnOnce(&Arc<Machine>) + Send>;

/// System time of machines whose threads take turns, since 1970.
const BOOTED_IN_TURNS: Duration = Duration::from_secs(1_600_000_000);
/// 100 ns units between 1601 and 1970.
const UNIX_EPOCH_IN_FILETIME: u64 = 116_444_736_000_000_000;

/// A timer that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    due: Duration,
    serial: u64,
}

/// A machine's clock. It runs with the host's monotonic clock; with [`crate::Builder::in_turns`], with the
/// calls into and out of drivers; with [`crate::Builder::manual_clock`], only by [`Clock::advance`].
pub struct Clock(Arc<Shared>);

struct Shared {
    machine: Weak<Machine>,
    boot: Instant,
    booted: SystemTime,
    manual: bool,
    state: Mutex<State>,
    changed: Signal,
    turns: Option<Arc<Turns>>,
    thread: OnceLock<()>,
}

#[derive(Default)]
struct State {
    /// Time that [`Clock::advance`] added.
    advanced: Duration,
    serial: u64,
    timers: BTreeMap<TimerId, Callback>,
    closed: bool,
}

impl Shared {
    fn now(&self, state: &State) -> Duration {
        let passed = match &self.turns {
            _ if self.manual => Duration::ZERO,
            Some(turns) => turns.now(),
            None => self.boot.elapsed(),
        };
        passed + state.advanced
    }

    /// Calls the timers that are due, in order, without the lock.
    fn fire(&self) {
        loop {
            let mut state = self.state.lock();
            let now = self.now(&state);
            let due = state
                .timers
                .first_entry()
                .filter(|e| e.key().due <= now)
                .map(|e| e.remove());
            drop(state);
            let (Some(callback), Some(machine)) = (due, self.machine.upgrade()) else {
                return;
            };
            if !machine.is_stopped() {
                callback(&machine);
            }
        }
    }

    fn run(&self) {
        loop {
            self.fire();
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            let now = self.now(&state);
            match state
                .timers
                .first_key_value()
                .map(|(id, _)| id.due.saturating_sub(now))
            {
                Some(Duration::ZERO) => {}
                left => self.changed.wait(&mut state, left),
            }
        }
    }
}

impl Clock {
    pub(crate) fn new(machine: Weak<Machine>, manual: bool, turns: Option<Arc<Turns>>) -> Self {
        // That of the host would be another one each time.
        let booted = match turns {
            Some(_) => UNIX_EPOCH + BOOTED_IN_TURNS,
            None => SystemTime::now(),
        };
        Self(Arc::new(Shared {
            machine,
            boot: Instant::now(),
            booted,
            manual,
            state: Mutex::default(),
            changed: Signal::new(),
            turns,
            thread: OnceLock::new(),
        }))
    }

    /// Time since the machine was built: Windows' interrupt time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.now(&self.0.state.lock())
    }

    /// System time in 100 ns units since 1601.
    #[must_use]
    pub fn system_time(&self) -> u64 {
        let since_1970 = self.0.booted.duration_since(UNIX_EPOCH).unwrap_or_default() + self.now();
        UNIX_EPOCH_IN_FILETIME + in_100ns(since_1970)
    }

    /// Whether time passes only by [`Clock::advance`].
    #[must_use]
    pub fn is_manual(&self) -> bool {
        self.0.manual
    }

    /// Calls `f` after `delay`, on a thread of the clock's or of the caller of
    /// [`Clock::advance`]: `f` queues a DPC or a job and returns.
    pub fn after(
        &self,
        delay: Duration,
        f: impl FnOnce(&Arc<Machine>) + Send + 'static,
    ) -> TimerId {
        let shared = &self.0;
        let mut state = shared.state.lock();
        state.serial += 1;
        let id = TimerId {
            due: shared.now(&state) + delay,
            serial: state.serial,
        };
        state.timers.insert(id, Box::new(f));
        drop(state);
        if !shared.manual {
            shared.thread.get_or_init(|| {
                let shared = Arc::clone(shared);
                let ticket = shared.turns.as_ref().map(Turns::ticket);
                std::thread::Builder::new()
                    .name("clock".into())
                    .spawn(move || {
                        let _seat = ticket.map(Ticket::take);
                        shared.run();
                    })
                    .expect("the host can start a thread");
            });
            shared.changed.notify_all();
        }
        id
    }

    /// Takes a timer back; false if it has fired or was taken back before.
    pub fn cancel(&self, id: TimerId) -> bool {
        self.0.state.lock().timers.remove(&id).is_some()
    }

    /// Lets `by` pass at once: the timers that come due are called, each at its own
    /// time, before this returns.
    pub fn advance(&self, by: Duration) {
        let shared = &self.0;
        let mut state = shared.state.lock();
        let end = shared.now(&state) + by;
        while let Some((id, _)) = state
            .timers
            .first_key_value()
            .filter(|(id, _)| id.due <= end)
        {
            let now = shared.now(&state);
            let step = id.due.saturating_sub(now);
            state.advanced += step;
            drop(state);
            shared.fire();
            state = shared.state.lock();
        }
        let now = shared.now(&state);
        state.advanced += end.saturating_sub(now);
        drop(state);
        shared.changed.notify_all();
    }

    /// Number of timers that are set.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.0.state.lock().timers.len()
    }

    pub(crate) fn close(&self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        let timers = std::mem::take(&mut state.timers);
        drop(state);
        drop(timers);
        self.0.changed.notify_all();
    }
}

/// A duration in Windows' 100 ns units, saturating.
#[must_use]
pub fn in_100ns(d: Duration) -> u64 {
    u64::try_from(d.as_nanos() / 100).unwrap_or(u64::MAX)
}
