//! Timer objects.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ndis_sys::{
    BOOLEAN, LONG, NDIS_HANDLE, NDIS_STATUS, NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS,
    NDIS_TIMER_CHARACTERISTICS, PVOID,
};
use parking_lot::Mutex;

use super::{
    header, rules,
    state::{Owner, State, here, required, what},
};
use crate::{
    clock::TimerId,
    exports::{Export, NDIS},
    gate,
    history::Kind,
    irql::Irql,
    machine::Machine,
    processor,
    report::{violation, violation_about},
    sync,
};

/// A timer object of a driver.
pub(super) struct Timer {
    pub(super) handle: u64,
    pub(super) owner: Owner,
    function: u64,
    context: u64,
    set: Mutex<Option<Set>>,
    running: AtomicBool,
    /// The processor on which the function runs, plus one.
    runner: AtomicU64,
}

#[derive(Clone, Copy)]
struct Set {
    timer: TimerId,
    period: Option<Duration>,
    context: u64,
}

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_TIMER)
    };
    vec![
        any("NdisAllocateTimerObject", allocate as *const (), 3),
        any("NdisFreeTimerObject", free as *const (), 1),
        any("NdisSetTimerObject", set as *const (), 4),
        any("NdisSetCoalescableTimerObject", set as *const (), 4),
        any("NdisCancelTimerObject", cancel as *const (), 1),
    ]
}

extern "efiapi" fn allocate(
    handle: NDIS_HANDLE,
    characteristics: *const NDIS_TIMER_CHARACTERISTICS,
    out: *mut NDIS_HANDLE,
) -> NDIS_STATUS {
    required(characteristics, "TimerCharacteristics");
    required(out, "pTimerObject");
    here(|machine, state| {
        let owner = state.owner(handle as u64);
        let version = state.driver_of(owner).map_or((6, 0), |d| d.version);
        // SAFETY: checked for NULL; the header is checked before the rest is read.
        let c = unsafe {
            header::TIMER_CHARACTERISTICS.check(characteristics, version);
            characteristics.read_unaligned()
        };
        if c.AllocationTag == 0 {
            violation(
                rules::ALLOCATE_MEMORY,
                "NdisAllocateTimerObject without an AllocationTag",
            );
        }
        let Some(function) = c.TimerFunction else {
            violation(
                rules::POINTER,
                "NdisAllocateTimerObject: TimerFunction is NULL",
            );
        };
        if machine.faults().hit("NdisAllocateTimerObject") {
            return NDIS_STATUS_RESOURCES;
        }
        let timer = Timer {
            handle: state.handle(),
            owner,
            function: function as usize as u64,
            context: c.FunctionContext as u64,
            set: Mutex::new(None),
            running: AtomicBool::new(false),
            runner: AtomicU64::new(0),
        };
        // SAFETY: checked for NULL.
        unsafe { out.write(timer.handle as NDIS_HANDLE) };
        machine.note(Kind::Timer, timer.handle, "allocated", 0);
        state.timers.insert(timer.handle, timer.into());
        NDIS_STATUS_SUCCESS
    })
}

fn known(state: &State, handle: NDIS_HANDLE) -> Arc<Timer> {
    state.timers.get(handle as u64).unwrap_or_else(|| {
        violation_about(
            rules::HANDLE,
            format!(
                "{} got {handle:p}, which is no timer object (any more)",
                what()
            ),
            &[(Kind::Timer, handle as u64)],
        )
    })
}

extern "efiapi" fn set(handle: NDIS_HANDLE, due: i64, period: LONG, context: PVOID) -> BOOLEAN {
    here(|machine, state| {
        let timer = known(state, handle);
        // Negative: from now; positive: system time. In units of 100 ns.
        let ticks = if due < 0 {
            due.unsigned_abs()
        } else {
            due.unsigned_abs()
                .saturating_sub(machine.clock().system_time())
        };
        let delay = Duration::from_nanos(ticks.saturating_mul(100));
        let period = u64::try_from(period)
            .ok()
            .filter(|p| *p != 0)
            .map(Duration::from_millis);
        machine.note(
            Kind::Timer,
            timer.handle,
            "set, milliseconds:",
            delay.as_millis() as u64,
        );
        let was_set = arm(machine, &timer, delay, period, context as u64);
        BOOLEAN::from(was_set)
    })
}

fn arm(
    machine: &Machine,
    timer: &Arc<Timer>,
    delay: Duration,
    period: Option<Duration>,
    context: u64,
) -> bool {
    let cpu = processor::try_current().map_or(0, |c| c.number()) as usize;
    let mut set = timer.set.lock();
    let before = set.take();
    let was_set = before.is_some_and(|b| machine.clock().cancel(b.timer));
    let due = Arc::clone(timer);
    let id = machine
        .clock()
        .after(delay, move |machine| fire(machine, cpu, due));
    *set = Some(Set {
        timer: id,
        period,
        context,
    });
    was_set
}

fn fire(machine: &Arc<Machine>, cpu: usize, timer: Arc<Timer>) {
    let Some(set) = *timer.set.lock() else {
        return;
    };
    match set.period {
        Some(period) => {
            arm(machine, &timer, period, set.period, set.context);
        }
        None => *timer.set.lock() = None,
    }
    let processors = machine.processors();
    let processor = &processors[cpu % processors.len()];
    timer.running.store(true, Ordering::Release);
    let queued = Arc::clone(&timer);
    processor.queue_dpc(timer.handle as usize, move || {
        let current = processor::current();
        if current.machine().ndis().timers.get(queued.handle).is_none() {
            return;
        }
        current
            .machine()
            .note(Kind::Timer, queued.handle, "fires", 0);
        queued
            .runner
            .store(u64::from(current.number()) + 1, Ordering::Release);
        let context = if set.context == 0 {
            queued.context
        } else {
            set.context
        };
        // SAFETY: the driver's NetTimerCallback, with its arguments.
        unsafe {
            gate::call(
                "NetTimerCallback",
                queued.function as *const (),
                &[0, context, 0, 0],
            )
        };
        queued.runner.store(0, Ordering::Release);
        queued.running.store(false, Ordering::Release);
    });
}

extern "efiapi" fn cancel(handle: NDIS_HANDLE) -> BOOLEAN {
    here(|machine, state| {
        let timer = known(state, handle);
        let set = timer.set.lock().take();
        machine.note(Kind::Timer, timer.handle, "cancelled", 0);
        let irql = processor::current().irql();
        if set.is_some_and(|s| s.period.is_some()) && irql != Irql::PASSIVE {
            violation_about(
                rules::PERIODIC_TIMER,
                format!("a periodic timer object is cancelled at {irql}"),
                &[(Kind::Timer, timer.handle)],
            );
        }
        let cancelled = set.is_some_and(|s| machine.clock().cancel(s.timer));
        BOOLEAN::from(cancelled)
    })
}

extern "efiapi" fn free(handle: NDIS_HANDLE) {
    here(|machine, state| {
        let timer = known(state, handle);
        if timer.set.lock().is_some() {
            violation_about(
                rules::CANCEL_TIMER,
                "a timer object is freed while it is set",
                &[(Kind::Timer, timer.handle)],
            );
        }
        for processor in machine.processors() {
            if processor.remove_dpc(timer.handle as usize) {
                timer.running.store(false, Ordering::Release);
            }
        }
        // "NdisFreeTimerObject waits for the timer function": other processors'.
        let here = u64::from(processor::current().number()) + 1;
        while ![0, here].contains(&timer.runner.load(Ordering::Acquire)) {
            sync::relax();
        }
        machine.note(Kind::Timer, timer.handle, "freed", 0);
        state.timers.remove(timer.handle);
    });
}
