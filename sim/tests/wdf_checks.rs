//! The checks of the framework's functions one by one: what a wrong driver does in DriverEntry, and the rule and
//! the words of the report that say which check saw it.

#[path = "machine_support/kmdf.rs"]
mod kmdf;
mod machine_support;

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

use kmdf::*;
use machine_support::*;
use ndis_sim::{
    Driver, Irql, LoadError, Machine, Rule,
    driver::{DriverObject, UnicodeString},
    processor,
    report::rules,
};

/// What a driver does once it is bound; `flags` of WDF_DRIVER_CONFIG are those of the caller.
type Body = &'static (dyn Fn(&Stub) -> i32 + Send + Sync);

#[derive(Clone, Copy)]
struct Plan {
    stub: &'static StubCell,
    flags: u32,
    body: Body,
}

static PLANS: LazyLock<Mutex<HashMap<usize, Plan>>> = LazyLock::new(Mutex::default);

extern "efiapi" fn entry(object: *mut DriverObject, path: *const UnicodeString) -> i32 {
    let machine = std::ptr::from_ref(processor::current().machine()) as usize;
    let plan = PLANS.lock().unwrap()[&machine];
    let stub = &plan.stub.0;
    let status = stub.start(object as u64, path as u64, plan.flags);
    if status < 0 {
        return status;
    }
    (plan.body)(stub)
}

fn load(
    m: &std::sync::Arc<Machine>,
    flags: u32,
    body: impl Fn(&Stub) -> i32 + Send + Sync + 'static,
) -> Result<Driver, LoadError> {
    let plan = Plan {
        stub: Box::leak(Box::new(StubCell(Stub::new(m)))),
        flags,
        body: Box::leak(Box::new(body)),
    };
    let key = std::sync::Arc::as_ptr(m) as usize;
    PLANS.lock().unwrap().insert(key, plan);
    m.load_native("native", entry)
}

#[track_caller]
fn seen_with(
    flags: u32,
    rule: Rule,
    words: &str,
    body: impl Fn(&Stub) -> i32 + Send + Sync + 'static,
) {
    // Kept: the plan of a machine that is gone could be taken for that of another.
    let m = Box::leak(Box::new(machine()));
    let check = match load(m, flags, body) {
        Err(LoadError::BugCheck(check)) => check,
        Err(other) => panic!("{words:?} was not seen: {other}"),
        Ok(_) => panic!("{words:?} was not seen"),
    };
    assert_eq!(check.rule(), rule, "{check}");
    assert!(check.message().contains(words), "{words:?} in\n{check}");
}

/// Expects that DriverEntry is stopped by `rule` with these words.
#[track_caller]
fn seen(rule: Rule, words: &str, body: fn(&Stub) -> i32) {
    seen_with(NO_DISPATCH_OVERRIDE, rule, words, body);
}

/// Expects that DriverEntry is not stopped.
#[track_caller]
fn allowed(body: fn(&Stub) -> i32) {
    let m = Box::leak(Box::new(machine()));
    let driver = load(m, NO_DISPATCH_OVERRIDE, body).unwrap();
    assert!(m.bug_check().is_none());
    std::mem::forget(driver);
}

type F7 = extern "efiapi" fn(u64, u64, u64, u64, u64, u64, u64) -> u64;

/// A function of the table with up to seven arguments, the globals among them.
fn long_call(s: &Stub, index: usize, a: [u64; 6]) -> u64 {
    // SAFETY: the framework's table has 458 entries, all of the x64 convention; surplus words are ignored.
    let f: F7 = unsafe { std::mem::transmute(*(read(s.table) as *const F5).add(index)) };
    f(read(s.globals), a[0], a[1], a[2], a[3], a[4], a[5])
}

/// The index of each function in the framework's table.
mod at {
    pub const DEVICE_MINIPORT_CREATE: usize = 200;
    pub const DRIVER_CREATE: usize = 116;
    pub const DRIVER_GET_REGISTRY_PATH: usize = 117;
    pub const DRIVER_OPEN_PARAMETERS_KEY: usize = 119;
    pub const OBJECT_ALLOCATE_CONTEXT: usize = 203;
    pub const OBJECT_CONTEXT_GET_OBJECT: usize = 204;
    pub const OBJECT_REFERENCE: usize = 205;
    pub const OBJECT_DEREFERENCE: usize = 206;
    pub const OBJECT_CREATE: usize = 207;
    pub const OBJECT_DELETE: usize = 208;
    pub const REGISTRY_CLOSE: usize = 231;
    pub const REGISTRY_QUERY_VALUE: usize = 235;
    pub const REGISTRY_QUERY_ULONG: usize = 240;
    pub const WAIT_LOCK_CREATE: usize = 312;
    pub const WAIT_LOCK_ACQUIRE: usize = 313;
    pub const WAIT_LOCK_RELEASE: usize = 314;
    pub const SPIN_LOCK_ACQUIRE: usize = 316;
    pub const SPIN_LOCK_RELEASE: usize = 317;
    pub const TIMER_CREATE: usize = 318;
    pub const TIMER_START: usize = 319;
    pub const TIMER_STOP: usize = 320;
    pub const TIMER_GET_PARENT: usize = 321;
    pub const WORK_ITEM_ENQUEUE: usize = 380;
    pub const WORK_ITEM_GET_PARENT: usize = 381;
    pub const WORK_ITEM_FLUSH: usize = 382;
}

fn at_irql<T>(irql: Irql, f: impl FnOnce() -> T) -> T {
    processor::current().set_irql(irql);
    let result = f();
    processor::current().set_irql(Irql::PASSIVE);
    result
}

/// A new object of the kind that the function at that index makes, with attributes as its first argument.
fn made(s: &Stub, index: usize) -> u64 {
    let handle = out();
    assert_eq!(s.call(index, 0, handle, 0, 0), 0);
    read(handle)
}

fn timer(s: &Stub) -> u64 {
    extern "efiapi" fn tick(_: u64) {}
    let config = [40_u64, tick as *const () as u64, 0, 0, 0];
    let handle = out();
    let attributes = attributes(s.handle(), 0);
    let status = s.call(
        at::TIMER_CREATE,
        config.as_ptr() as u64,
        attributes,
        handle,
        0,
    );
    assert_eq!(status, 0);
    read(handle)
}

fn device(s: &Stub) -> u64 {
    let handle = out();
    let args = [s.handle(), 0, 0x10, 0x20, 0x30, handle];
    assert_eq!(long_call(s, at::DEVICE_MINIPORT_CREATE, args), 0);
    read(handle)
}

fn key(s: &Stub) -> u64 {
    let handle = out();
    // KEY_READ
    let status = s.call(
        at::DRIVER_OPEN_PARAMETERS_KEY,
        s.handle(),
        0x2_0019,
        0,
        handle,
    );
    assert_eq!(status, 0);
    read(handle)
}

#[test]
fn null_arguments() {
    let create = "WdfDriverCreate with a null driver object, registry path or configuration";
    for missing in 0..3 {
        seen_with(
            NO_DISPATCH_OVERRIDE,
            rules::WDF_VIOLATION,
            create,
            move |s| {
                // Driver object, path, attributes, configuration.
                let mut args = [0x10, 0x20, 0, 0x30, 0, 0];
                args[[0, 1, 3][missing]] = 0;
                long_call(s, at::DRIVER_CREATE, args) as i32
            },
        );
    }
    let create = "WdfDeviceMiniportCreate with a null device object or result";
    seen(rules::WDF_VIOLATION, create, |s| {
        let args = [s.handle(), 0, 0, 0x20, 0x30, out()];
        long_call(s, at::DEVICE_MINIPORT_CREATE, args) as i32
    });
    seen(rules::WDF_VIOLATION, create, |s| {
        let args = [s.handle(), 0, 0x10, 0x20, 0x30, 0];
        long_call(s, at::DEVICE_MINIPORT_CREATE, args) as i32
    });
}

#[test]
fn the_framework_may_not_take_over_what_ndis_needs() {
    seen_with(
        0,
        rules::MISSING_FUNCTION,
        "WdfDriverCreate without WdfDriverInitNoDispatchOverride",
        |_| 0,
    );
}

#[test]
fn a_driver_unbinds_once() {
    seen(rules::WDF_VIOLATION, "which is not bound", |s| {
        unbind(s);
        unbind(s);
        0
    });
    seen(
        rules::WDF_VIOLATION,
        "WdfVersionUnbind of 0x1234, which is not bound",
        |s| (s.unbind)(s.path, s.info, 0x1234, 0, 0) as i32,
    );
}

#[test]
fn objects_are_deleted_once() {
    seen(
        rules::WDF_VIOLATION,
        "is not a handle of a WDFOBJECT",
        |s| {
            let object = made(s, at::OBJECT_CREATE);
            s.call(at::OBJECT_DELETE, object, 0, 0, 0);
            s.call(at::OBJECT_DELETE, object, 0, 0, 0) as i32
        },
    );
    // A reference keeps the handle, not the object.
    seen(rules::WDF_VIOLATION, "which is being deleted", |s| {
        let object = made(s, at::OBJECT_CREATE);
        s.call(at::OBJECT_REFERENCE, object, 0, 0, 0);
        s.call(at::OBJECT_DELETE, object, 0, 0, 0);
        s.call(at::OBJECT_DELETE, object, 0, 0, 0) as i32
    });
    seen(
        rules::WDF_VIOLATION,
        "was dereferenced more often than referenced",
        |s| {
            let object = made(s, at::OBJECT_CREATE);
            s.call(at::OBJECT_REFERENCE, object, 0, 0, 0);
            s.call(at::OBJECT_DEREFERENCE, object, 0, 0, 0);
            s.call(at::OBJECT_DEREFERENCE, object, 0, 0, 0) as i32
        },
    );
    allowed(|s| {
        let object = made(s, at::OBJECT_CREATE);
        s.call(at::OBJECT_REFERENCE, object, 0, 0, 0);
        s.call(at::OBJECT_DELETE, object, 0, 0, 0);
        s.call(at::OBJECT_DEREFERENCE, object, 0, 0, 0);
        0
    });
}

#[test]
fn devices_and_keys_are_deleted_at_passive_level() {
    seen(rules::IRQL, "WdfObjectDelete of a WDFDEVICE at", |s| {
        let device = device(s);
        at_irql(Irql::DISPATCH, || {
            s.call(at::OBJECT_DELETE, device, 0, 0, 0) as i32
        })
    });
    seen(rules::IRQL, "WdfObjectDelete of a WDFKEY at", |s| {
        let key = key(s);
        at_irql(Irql::DISPATCH, || {
            s.call(at::OBJECT_DELETE, key, 0, 0, 0) as i32
        })
    });
    allowed(|s| {
        let object = made(s, at::OBJECT_CREATE);
        at_irql(Irql::DISPATCH, || {
            s.call(at::OBJECT_DELETE, object, 0, 0, 0)
        });
        0
    });
}

#[test]
fn an_address_that_is_no_context() {
    seen(
        rules::WDF_VIOLATION,
        "0x1234 is not an object's context",
        |s| s.call(at::OBJECT_CONTEXT_GET_OBJECT, 0x1234, 0, 0, 0) as i32,
    );
}

/// "If Timeout is NULL or not zero, IRQL = PASSIVE_LEVEL; if it is zero, IRQL < DISPATCH_LEVEL."
#[test]
fn wait_locks() {
    let cases: [(Irql, Option<i64>, bool); 8] = [
        (Irql::PASSIVE, None, true),
        (Irql::PASSIVE, Some(-10_000), true),
        (Irql::PASSIVE, Some(0), true),
        (Irql::APC, None, false),
        (Irql::APC, Some(-10_000), false),
        (Irql::APC, Some(0), true),
        (Irql::DISPATCH, None, false),
        (Irql::DISPATCH, Some(0), false),
    ];
    for (irql, timeout, right) in cases {
        let body = move |s: &Stub| {
            let lock = made(s, at::WAIT_LOCK_CREATE);
            let timeout = timeout.map_or(0, |t| leaked(t as u64));
            at_irql(irql, || s.call(at::WAIT_LOCK_ACQUIRE, lock, timeout, 0, 0)) as i32
        };
        if right {
            let m = Box::leak(Box::new(machine()));
            let driver = load(m, NO_DISPATCH_OVERRIDE, body).unwrap();
            std::mem::forget(driver);
        } else {
            let words = "WdfWaitLockAcquire at";
            seen_with(NO_DISPATCH_OVERRIDE, rules::WAIT_IRQL, words, body);
        }
    }
    seen(rules::WDF_VIOLATION, "WdfWaitLockRelease of", |s| {
        let lock = made(s, at::WAIT_LOCK_CREATE);
        s.call(at::WAIT_LOCK_RELEASE, lock, 0, 0, 0) as i32
    });
    seen(rules::WDF_VIOLATION, "which is not held", |s| {
        let lock = made(s, at::WAIT_LOCK_CREATE);
        s.call(at::WAIT_LOCK_ACQUIRE, lock, 0, 0, 0);
        s.call(at::WAIT_LOCK_RELEASE, lock, 0, 0, 0);
        s.call(at::WAIT_LOCK_RELEASE, lock, 0, 0, 0) as i32
    });
}

#[test]
fn a_timer_is_waited_for_at_passive_level() {
    seen(rules::IRQL, "WdfTimerStop with Wait at", |s| {
        let timer = timer(s);
        at_irql(Irql::DISPATCH, || {
            s.call(at::TIMER_STOP, timer, 1, 0, 0) as i32
        })
    });
    allowed(|s| {
        let timer = timer(s);
        at_irql(Irql::DISPATCH, || s.call(at::TIMER_STOP, timer, 0, 0, 0));
        s.call(at::TIMER_STOP, timer, 1, 0, 0);
        0
    });
}

/// Every function that takes a handle, with one of another kind and with none at all.
#[test]
fn handles_of_another_kind() {
    let functions = [
        (at::DEVICE_MINIPORT_CREATE, "WDFDRIVER", Irql::PASSIVE),
        (at::DRIVER_GET_REGISTRY_PATH, "WDFDRIVER", Irql::PASSIVE),
        (at::DRIVER_OPEN_PARAMETERS_KEY, "WDFDRIVER", Irql::PASSIVE),
        (at::REGISTRY_CLOSE, "WDFKEY", Irql::PASSIVE),
        (at::REGISTRY_QUERY_VALUE, "WDFKEY", Irql::PASSIVE),
        (at::REGISTRY_QUERY_ULONG, "WDFKEY", Irql::PASSIVE),
        (at::WAIT_LOCK_ACQUIRE, "WDFWAITLOCK", Irql::PASSIVE),
        (at::WAIT_LOCK_RELEASE, "WDFWAITLOCK", Irql::PASSIVE),
        (at::SPIN_LOCK_ACQUIRE, "WDFSPINLOCK", Irql::PASSIVE),
        (at::SPIN_LOCK_RELEASE, "WDFSPINLOCK", Irql::DISPATCH),
        (at::TIMER_START, "WDFTIMER", Irql::PASSIVE),
        (at::TIMER_STOP, "WDFTIMER", Irql::PASSIVE),
        (at::TIMER_GET_PARENT, "WDFTIMER", Irql::PASSIVE),
        (at::WORK_ITEM_ENQUEUE, "WDFWORKITEM", Irql::PASSIVE),
        (at::WORK_ITEM_GET_PARENT, "WDFWORKITEM", Irql::PASSIVE),
        (at::WORK_ITEM_FLUSH, "WDFWORKITEM", Irql::PASSIVE),
        // Any kind will do, but it must be one.
        (at::OBJECT_ALLOCATE_CONTEXT, "WDFOBJECT", Irql::PASSIVE),
        (at::OBJECT_REFERENCE, "WDFOBJECT", Irql::PASSIVE),
        (at::OBJECT_DEREFERENCE, "WDFOBJECT", Irql::PASSIVE),
        (at::OBJECT_DELETE, "WDFOBJECT", Irql::PASSIVE),
    ];
    for (index, kind, irql) in functions {
        let call = move |handle: fn(&Stub) -> u64| {
            move |s: &Stub| {
                let handle = handle(s);
                at_irql(irql, || s.call(index, handle, 0, 0, 0)) as i32
            }
        };
        let words = format!("0x1234 is not a handle of a {kind}");
        let none = call(|_| 0x1234);
        seen_with(NO_DISPATCH_OVERRIDE, rules::WDF_VIOLATION, &words, none);
        if kind != "WDFOBJECT" {
            let words = format!("is a WDFOBJECT, not a {kind}");
            let other = call(|s| made(s, at::OBJECT_CREATE));
            seen_with(NO_DISPATCH_OVERRIDE, rules::WDF_VIOLATION, &words, other);
        }
    }
}
