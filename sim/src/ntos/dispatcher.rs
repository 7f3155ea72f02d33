//! Events and waits. Pages: KeInitializeEvent, KeSetEvent, KeWaitForSingleObject,
//! KeDelayExecutionThread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ndis_sys::{KEVENT, STATUS_SUCCESS, STATUS_TIMEOUT};
use parking_lot::Mutex;

use crate::{
    exports::{Export, NTOSKRNL},
    irql::Irql,
    processor,
    report::{rules, violation},
    sync::{self, Signal},
};

const NOTIFICATION_EVENT: u8 = 0;
const SYNCHRONIZATION_EVENT: u8 = 1;
/// Size of a KEVENT in longs, as the header of a real one has it.
const EVENT_LONGS: u8 = 6;

/// The lock of all dispatcher objects of a machine.
#[derive(Default)]
pub(crate) struct Dispatcher {
    lock: Mutex<()>,
    changed: Signal,
}

/// The header of an event, with the lists' end pointing at itself as the sign
/// that it was initialized.
struct Header(*mut KEVENT);

impl Header {
    fn wait_list(&self) -> u64 {
        // SAFETY: the driver's event; only addresses are computed.
        unsafe { &raw mut (*self.0).Header.WaitListHead as u64 }
    }

    fn check(&self) {
        // SAFETY: the driver's event, which it passed to this call.
        let (kind, size, list) = unsafe {
            let header = &(*self.0).Header;
            (header.Type, header.Size, header.WaitListHead.Flink as u64)
        };
        let known =
            matches!(kind, NOTIFICATION_EVENT | SYNCHRONIZATION_EVENT) && size == EVENT_LONGS;
        if !known || list != self.wait_list() {
            let what = processor::current().what();
            violation(
                rules::OBJECT_STATE,
                format!("{what}: {:p} is not an initialized event", self.0),
            );
        }
    }

    fn state(&self) -> i32 {
        // SAFETY: as above; under the dispatcher lock.
        unsafe { (*self.0).Header.SignalState }
    }

    fn set_state(&self, state: i32) {
        // SAFETY: as above; under the dispatcher lock.
        unsafe { (*self.0).Header.SignalState = state };
    }

    fn consume(&self) -> bool {
        if self.state() == 0 {
            return false;
        }
        // SAFETY: as above.
        if unsafe { (*self.0).Header.Type } == SYNCHRONIZATION_EVENT {
            self.set_state(0);
        }
        true
    }
}

/// Makes a notification event that is not set.
///
/// # Safety
/// `event` is the driver's memory for a KEVENT.
pub(crate) unsafe fn initialize_notification(event: *mut KEVENT) {
    // SAFETY: as the caller says.
    unsafe { initialize(event, 0, 0) };
}

unsafe extern "efiapi" fn ke_initialize_event(event: *mut KEVENT, kind: u32, state: u8) {
    if kind > u32::from(SYNCHRONIZATION_EVENT) {
        violation(
            rules::INVALID_ARGUMENT,
            format!("KeInitializeEvent with type {kind}"),
        );
    }
    // SAFETY: memory that the driver gives for an event.
    unsafe { initialize(event, kind, state) };
}

unsafe fn initialize(event: *mut KEVENT, kind: u32, state: u8) {
    let header = Header(event);
    let list = header.wait_list();
    // SAFETY: memory that the driver gives for an event.
    unsafe {
        let h = &mut (*event).Header;
        (h.Type, h.Signalling, h.Size, h.Reserved1) = (kind as u8, 0, EVENT_LONGS, 0);
        h.SignalState = i32::from(state != 0);
        h.WaitListHead.Flink = list as *mut _;
        h.WaitListHead.Blink = list as *mut _;
    }
}

/// Changes an event's state under the lock; the former one.
pub(crate) fn change(event: *mut KEVENT, state: i32) -> i32 {
    let cpu = processor::current();
    let dispatcher = &cpu.machine().kernel().dispatcher;
    let header = Header(event);
    header.check();
    let guard = dispatcher.lock.lock();
    let before = header.state();
    header.set_state(state);
    drop(guard);
    if state != 0 {
        dispatcher.changed.notify_all();
    }
    before
}

unsafe extern "efiapi" fn ke_set_event(event: *mut KEVENT, _increment: i32, wait: u8) -> i32 {
    let irql = processor::current().irql();
    // "If Wait is set to TRUE, KeSetEvent must be called at IRQL <= APC_LEVEL",
    // otherwise at <= DISPATCH_LEVEL.
    if wait != 0 && irql > Irql::APC {
        violation(rules::IRQL, format!("KeSetEvent with Wait at {irql}"));
    }
    change(event, 1)
}

unsafe extern "efiapi" fn ke_clear_event(event: *mut KEVENT) {
    change(event, 0);
}

unsafe extern "efiapi" fn ke_reset_event(event: *mut KEVENT) -> i32 {
    change(event, 0)
}

unsafe extern "efiapi" fn ke_read_state_event(event: *mut KEVENT) -> i32 {
    let header = Header(event);
    header.check();
    header.state()
}

/// The time that is left until a time-out of the kernel's form: 100 ns units,
/// negative for relative, otherwise a system time.
fn interval(timeout: i64) -> Duration {
    let units = if timeout < 0 {
        timeout.unsigned_abs()
    } else {
        timeout
            .unsigned_abs()
            .saturating_sub(processor::current().machine().clock().system_time())
    };
    Duration::from_micros(units / 10) + Duration::from_nanos(units % 10 * 100)
}

/// Waits on the dispatcher until `done`, at most for `timeout` of simulated
/// time; false on time-out.
fn wait(what: &str, timeout: Option<Duration>, mut done: impl FnMut() -> bool) -> bool {
    let cpu = processor::current();
    let machine = cpu.machine();
    let dispatcher = &machine.kernel().dispatcher;
    let expired = Arc::new(AtomicBool::new(false));
    let timer = timeout.map(|t| {
        let expired = Arc::clone(&expired);
        machine.clock().after(t, move |machine| {
            expired.store(true, Ordering::Release);
            let dispatcher = &machine.kernel().dispatcher;
            drop(dispatcher.lock.lock());
            dispatcher.changed.notify_all();
        })
    });
    let outcome = sync::wait(
        machine,
        what,
        &dispatcher.lock,
        &dispatcher.changed,
        None,
        |()| {
            if done() {
                Some(true)
            } else {
                expired.load(Ordering::Acquire).then_some(false)
            }
        },
    );
    if let Some(timer) = timer {
        machine.clock().cancel(timer);
    }
    // An error cannot come back to a processor thread.
    matches!(outcome, Ok(Some(true)))
}

unsafe extern "efiapi" fn ke_wait_for_single_object(
    object: *mut KEVENT,
    _reason: u32,
    _mode: i8,
    _alertable: u8,
    timeout: *const i64,
) -> i32 {
    // SAFETY: the driver's optional LARGE_INTEGER.
    let timeout = (!timeout.is_null()).then(|| unsafe { timeout.read_unaligned() });
    // SAFETY: the driver's event.
    if unsafe { wait_for(object, timeout) } {
        STATUS_SUCCESS
    } else {
        STATUS_TIMEOUT
    }
}

/// Waits until an event is set; false on time-out.
///
/// # Safety
/// `object` is the driver's event.
pub(crate) unsafe fn wait_for(object: *mut KEVENT, timeout: Option<i64>) -> bool {
    let cpu = processor::current();
    if timeout != Some(0) && cpu.irql() > Irql::APC {
        let irql = cpu.irql();
        violation(
            rules::WAIT_IRQL,
            format!("{} with a time-out other than zero at {irql}", cpu.what()),
        );
    }
    let header = Header(object);
    header.check();
    if timeout == Some(0) {
        let _guard = cpu.machine().kernel().dispatcher.lock.lock();
        return header.consume();
    }
    let what = format!("{}({object:p}) in {}", cpu.what(), cpu.thread().callback());
    let limit = timeout.map(interval);
    wait(&what, limit, || header.consume())
}

unsafe extern "efiapi" fn ke_delay_execution_thread(
    _mode: i8,
    _alertable: u8,
    time: *const i64,
) -> i32 {
    // SAFETY: the driver's LARGE_INTEGER.
    let time = unsafe { time.read_unaligned() };
    wait("KeDelayExecutionThread", Some(interval(time)), || false);
    STATUS_SUCCESS
}

pub(super) fn exports() -> Vec<Export> {
    let e = |name, f, arity| Export::new(NTOSKRNL, name, f, arity).at_most(Irql::DISPATCH);
    vec![
        e("KeInitializeEvent", ke_initialize_event as *const (), 3).at_most(Irql::HIGH),
        e("KeSetEvent", ke_set_event as *const (), 3),
        e("KeClearEvent", ke_clear_event as *const (), 1),
        e("KeResetEvent", ke_reset_event as *const (), 1),
        e("KeReadStateEvent", ke_read_state_event as *const (), 1),
        e(
            "KeWaitForSingleObject",
            ke_wait_for_single_object as *const (),
            5,
        )
        .irql_rule(rules::WAIT_IRQL),
        e(
            "KeDelayExecutionThread",
            ke_delay_execution_thread as *const (),
            3,
        )
        .at_most(Irql::APC),
    ]
}
