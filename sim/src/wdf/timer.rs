//! WDFTIMER. Pages: WdfTimerCreate, WdfTimerStart, WdfTimerStop, EVT_WDF_TIMER.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    KMDF,
    attributes::{EXECUTION_LEVEL_PASSIVE, Parent, RawAttributes, attributes},
    loader::check_globals,
    object,
    object::{Body, Object, create, finish},
};
use crate::{
    clock::TimerId,
    exports::Export,
    gate,
    irql::Irql,
    machine::Machine,
    ntos::dpc,
    processor,
    report::{rules, violation},
};

const STATUS_INFO_LENGTH_MISMATCH: i32 = 0xC000_0004_u32 as i32;
const STATUS_INVALID_PARAMETER: i32 = 0xC000_000D_u32 as i32;
/// Sizes of WDF_TIMER_CONFIG up to KMDF 1.7, 1.11 and since.
const CONFIG_SIZES: [u32; 3] = [24, 32, 40];

/// The head of WDF_TIMER_CONFIG, the same in all versions.
#[repr(C)]
struct TimerConfig {
    size: u32,
    function: u64,
    period: u32,
    automatic_serialization: u8,
}

/// A timer.
pub(super) struct Timer {
    function: u64,
    period: Duration,
    set: Mutex<Option<TimerId>>,
    /// Changes with every start and stop, so that what was queued before is stale.
    generation: AtomicU64,
}

impl Timer {
    fn cancel(&self, machine: &Machine) -> bool {
        let mut set = self.set.lock();
        self.generation.fetch_add(1, Ordering::AcqRel);
        set.take().is_some_and(|id| machine.clock().cancel(id))
    }

    /// Stops a timer that is deleted, and waits for a call in progress.
    pub(super) fn dispose(&self) {
        let cpu = processor::current();
        self.cancel(cpu.machine());
        if cpu.irql() == Irql::PASSIVE {
            dpc::flush(cpu.machine());
        }
    }
}

fn timer(object: &Object) -> &Timer {
    match &object.body {
        Body::Timer(timer) => timer,
        // `object` has looked at the kind of the handle.
        _ => unreachable!("0x{:x} is {}", object.handle, object.kind),
    }
}

unsafe extern "efiapi" fn wdf_timer_create(
    globals: u64,
    config: *const TimerConfig,
    raw: *const RawAttributes,
    out: *mut u64,
) -> i32 {
    check_globals(globals);
    // SAFETY: the driver's configuration.
    let (size, function, period) =
        unsafe { ((*config).size, (*config).function, (*config).period) };
    if !CONFIG_SIZES.contains(&size) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    if function == 0 {
        return STATUS_INVALID_PARAMETER;
    }
    let body = Body::Timer(Timer {
        function,
        period: Duration::from_millis(u64::from(period)),
        set: Mutex::new(None),
        generation: AtomicU64::new(0),
    });
    // SAFETY: the driver's attributes.
    let made = unsafe { attributes(raw, Parent::Required) };
    // SAFETY: the driver's variable for the handle.
    finish(
        made.and_then(|a| create(globals, "WDFTIMER", &a, body)),
        |h| unsafe { out.write(h) },
    )
}

/// Sets the clock for the next call, unless the timer was stopped or started
/// anew since `generation`.
fn arm(machine: &Machine, object: &Arc<Object>, delay: Duration, generation: u64) {
    let Body::Timer(timer) = &object.body else {
        return;
    };
    let mut set = timer.set.lock();
    if timer.generation.load(Ordering::Acquire) == generation {
        let target = Arc::clone(object);
        *set = Some(
            machine
                .clock()
                .after(delay, move |machine| fire(machine, &target, generation)),
        );
    }
}

fn fire(machine: &Arc<Machine>, object: &Arc<Object>, generation: u64) {
    let Body::Timer(timer) = &object.body else {
        return;
    };
    {
        let mut set = timer.set.lock();
        if timer.generation.load(Ordering::Acquire) != generation {
            return;
        }
        set.take();
    }
    if !timer.period.is_zero() {
        arm(machine, object, timer.period, generation);
    }
    let (function, handle) = (timer.function, object.handle);
    let target = Arc::clone(object);
    let run = move || {
        let Body::Timer(timer) = &target.body else {
            return;
        };
        if timer.generation.load(Ordering::Acquire) == generation {
            // SAFETY: EvtTimerFunc's convention and argument.
            unsafe { gate::call("EvtTimerFunc", function as *const (), &[handle]) };
        }
    };
    if object.execution_level == EXECUTION_LEVEL_PASSIVE {
        machine.spawn(None, Irql::PASSIVE, run);
    } else {
        machine.processors()[0].queue_dpc(0, run);
    }
}

unsafe extern "efiapi" fn wdf_timer_start(globals: u64, handle: u64, due: i64) -> u8 {
    check_globals(globals);
    let object = object(handle, "WDFTIMER");
    let cpu = processor::current();
    let machine = cpu.machine();
    let was_set = timer(&object).cancel(machine);
    let generation = timer(&object).generation.load(Ordering::Acquire);
    let units = if due < 0 {
        due.unsigned_abs()
    } else {
        (due as u64).saturating_sub(machine.clock().system_time())
    };
    arm(
        machine,
        &object,
        Duration::from_nanos(units.saturating_mul(100)),
        generation,
    );
    u8::from(was_set)
}

unsafe extern "efiapi" fn wdf_timer_stop(globals: u64, handle: u64, wait: u8) -> u8 {
    check_globals(globals);
    let object = object(handle, "WDFTIMER");
    let cpu = processor::current();
    if wait != 0 && cpu.irql() > Irql::PASSIVE {
        let irql = cpu.irql();
        violation(
            rules::IRQL,
            format!("WdfTimerStop with Wait at {irql}; its page says PASSIVE_LEVEL"),
        );
    }
    let was_set = timer(&object).cancel(cpu.machine());
    if wait != 0 {
        dpc::flush(cpu.machine());
    }
    u8::from(was_set)
}

unsafe extern "efiapi" fn wdf_timer_get_parent_object(globals: u64, handle: u64) -> u64 {
    check_globals(globals);
    object(handle, "WDFTIMER").parent.unwrap_or_default()
}

pub(super) fn functions() -> Vec<Export> {
    let e = |name, f, arity| Export::new(KMDF, name, f, arity).at_most(Irql::DISPATCH);
    vec![
        e("WdfTimerCreate", wdf_timer_create as *const (), 4),
        e("WdfTimerStart", wdf_timer_start as *const (), 3),
        e("WdfTimerStop", wdf_timer_stop as *const (), 3),
        e(
            "WdfTimerGetParentObject",
            wdf_timer_get_parent_object as *const (),
            2,
        ),
    ]
}
