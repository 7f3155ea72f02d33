//! KMDF: a native driver binds, creates objects and unbinds, well or badly.

#[path = "machine_support/kmdf.rs"]
mod kmdf;
mod machine_support;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use kmdf::*;
use machine_support::*;
use ndis_sim::{
    Driver, Finding, Irql, LoadError, Machine,
    driver::{DriverObject, UnicodeString},
    processor,
    report::rules,
};

fn unload(driver: Driver) -> Vec<Finding> {
    driver.unload().unwrap()
}

#[test]
fn a_driver_binds_creates_objects_and_leaves_nothing() {
    let m = machine();
    let driver = driver!(
        m,
        |s| {
            let (lock, device) = (out(), out());
            // WdfSpinLockCreate, acquire, release, delete.
            let status = s.call(315, attributes(s.handle(), 0), lock, 0, 0) as i32;
            s.call(316, read(lock), 0, 0, 0);
            s.call(317, read(lock), 0, 0, 0);
            s.call(208, read(lock), 0, 0, 0);
            // SAFETY: WdfDeviceMiniportCreate with its seven arguments.
            let create: extern "efiapi" fn(u64, u64, u64, u64, u64, u64, u64) -> u64 =
                unsafe { std::mem::transmute(*(read(s.table) as *const F5).add(200)) };
            create(read(s.globals), s.handle(), 0, 0x10, 0x20, 0x30, device);
            assert_eq!(s.call(31, read(device), 0, 0, 0), 0x10);
            s.call(208, read(device), 0, 0, 0);
            status
        },
        unbind
    )
    .unwrap();
    assert_eq!(
        m.wdf().objects().keys().copied().collect::<Vec<_>>(),
        ["WDFDRIVER"]
    );
    assert_eq!(unload(driver), []);
    assert!(m.report().is_clean());
    assert!(m.wdf().objects().is_empty());
}

#[test]
fn devices_left_and_a_missing_unbind_are_found() {
    let m = machine();
    let driver = driver!(
        m,
        |s| {
            // SAFETY: WdfDeviceMiniportCreate with its seven arguments.
            let create: extern "efiapi" fn(u64, u64, u64, u64, u64, u64, u64) -> u64 =
                unsafe { std::mem::transmute(*(read(s.table) as *const F5).add(200)) };
            create(read(s.globals), s.handle(), 0, 0x10, 0x20, 0x30, out()) as i32
        },
        unbind
    )
    .unwrap();
    let found = unload(driver);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].rule, rules::WDF_LEAK);
    assert!(found[0].message.contains("WDFDEVICE"));

    let m = machine();
    let driver = driver!(m, |_| 0, |_| ()).unwrap();
    let found = unload(driver);
    assert!(
        found
            .iter()
            .any(|f| f.rule == rules::WDF_LEAK && f.message.contains("WdfVersionUnbind")),
        "{found:?}"
    );
}

#[test]
fn a_failing_driver_entry_is_reported_with_its_leaks() {
    let m = machine();
    let error = driver!(m, |_| -1, |_| ()).unwrap_err();
    let LoadError::Entry { status, findings } = error else {
        panic!("{error}")
    };
    assert_eq!(status, u32::MAX);
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn framework_violations_are_seen() {
    stopped_by!(
        rules::MISSING_FUNCTION,
        "WdfDeviceCreate, function 75",
        |s| s.call(75, 0, 0, 0, 0) as i32
    );
    stopped_by!(
        rules::WDF_VIOLATION,
        "not a handle",
        |s| s.call(208, 0x1234, 0, 0, 0) as i32
    );
    stopped_by!(
        rules::WDF_VIOLATION,
        "driver object",
        |s| s.call(208, s.handle(), 0, 0, 0) as i32
    );
    stopped_by!(
        rules::WDF_VIOLATION,
        "is a WDFDRIVER, not a WDFSPINLOCK",
        |s| s.call(316, s.handle(), 0, 0, 0) as i32
    );
    stopped_by!(rules::SPIN_LOCK_OWNED, "already held", |s| {
        let lock = out();
        s.call(315, 0, lock, 0, 0);
        s.call(316, read(lock), 0, 0, 0);
        s.call(316, read(lock), 0, 0, 0) as i32
    });
    stopped_by!(rules::WDF_VIOLATION, "globals", |s| {
        // SAFETY: WdfObjectDelete.
        let delete = unsafe { *(read(s.table) as *const F5).add(208) };
        delete(0x77, s.handle(), 0, 0, 0) as i32
    });
    stopped_by!(rules::SPIN_LOCK_HELD, "WdfSpinLockAcquire", |s| {
        let lock = out();
        // At DISPATCH_LEVEL already: the IRQL is the same at return.
        s.call(315, 0, lock, 0, 0);
        s.call(316, read(lock), 0, 0, 0);
        processor::current().set_irql(Irql::PASSIVE);
        0
    });
}

#[test]
fn contexts_are_zeroed_typed_and_guarded() {
    let m = machine();
    let driver = driver!(
        m,
        |s| {
            let size = 24u64;
            let kind = Box::leak(Box::new([40u64, c"Kind".as_ptr() as u64, size, 0, 0]));
            kind[3] = kind.as_ptr() as u64;
            let other = Box::leak(Box::new([40u64, c"Other".as_ptr() as u64, size, 0, 0]));
            let (object, kind) = (out(), kind.as_ptr() as u64);
            assert_eq!(s.call(207, attributes(0, kind), object, 0, 0), 0);
            let context = s.call(202, read(object), kind, 0, 0);
            assert_ne!(context, 0);
            assert_eq!(s.call(202, read(object), other.as_ptr() as u64, 0, 0), 0);
            assert_eq!(read(context), 0);
            assert_eq!(s.call(204, context, 0, 0, 0), read(object));
            0
        },
        unbind
    )
    .unwrap();
    assert_eq!(unload(driver), []);
}

static FIRED: AtomicU64 = AtomicU64::new(0);

extern "efiapi" fn on_timer(_timer: u64) {
    FIRED.fetch_add(1, Ordering::SeqCst);
}

static WORKED: AtomicU64 = AtomicU64::new(0);

extern "efiapi" fn on_work(_item: u64) {
    WORKED.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn timers_follow_the_clock_and_work_items_run() {
    let m = Machine::builder().manual_clock(true).build();
    static TIMER: AtomicU64 = AtomicU64::new(0);
    let driver = driver!(
        m,
        |s| {
            let config = [40u64, on_timer as *const () as u64, 10 /* ms */, 0, 0];
            let (timer, item) = (out(), out());
            // Without a parent it is refused: STATUS_WDF_PARENT_NOT_SPECIFIED.
            assert_eq!(
                s.call(318, config.as_ptr() as u64, 0, timer, 0) as u32,
                0xC020_0212
            );
            assert_eq!(
                s.call(
                    318,
                    config.as_ptr() as u64,
                    attributes(s.handle(), 0),
                    timer,
                    0
                ),
                0
            );
            // WdfTimerStart, relative 5 ms.
            assert_eq!(s.call(319, read(timer), -50_000i64 as u64, 0, 0) & 0xFF, 0);
            TIMER.store(read(timer), Ordering::SeqCst);
            let config = [24u64, on_work as *const () as u64, 0];
            assert_eq!(
                s.call(
                    379,
                    config.as_ptr() as u64,
                    attributes(s.handle(), 0),
                    item,
                    0
                ),
                0
            );
            s.call(380, read(item), 0, 0, 0);
            // WdfWorkItemFlush.
            s.call(382, read(item), 0, 0, 0);
            assert_eq!(WORKED.load(Ordering::SeqCst), 1);
            0
        },
        |s| {
            // WdfTimerStop, with wait: it was set.
            assert_eq!(s.call(320, TIMER.load(Ordering::SeqCst), 1, 0, 0) & 0xFF, 1);
            unbind(s);
        }
    )
    .unwrap();
    let advance = |ms| {
        m.clock().advance(std::time::Duration::from_millis(ms));
        m.settle().unwrap();
    };
    advance(4);
    assert_eq!(FIRED.load(Ordering::SeqCst), 0);
    advance(1);
    assert_eq!(FIRED.load(Ordering::SeqCst), 1);
    advance(30);
    assert_eq!(FIRED.load(Ordering::SeqCst), 4);
    let m = Arc::clone(&m);
    assert_eq!(unload(driver), []);
    m.clock().advance(std::time::Duration::from_secs(1));
    m.settle().unwrap();
    assert_eq!(FIRED.load(Ordering::SeqCst), 4);
}

#[test]
fn a_newer_framework_than_ours_is_refused() {
    let m = machine();
    static STUB: OnceLock<StubCell> = OnceLock::new();
    extern "efiapi" fn entry(object: *mut DriverObject, path: *const UnicodeString) -> i32 {
        STUB.get()
            .unwrap()
            .0
            .start(object as u64, path as u64, NO_DISPATCH_OVERRIDE)
    }
    STUB.get_or_init(|| {
        let stub = Stub::new(&m);
        // SAFETY: the bind information that the stub just made.
        unsafe {
            let info = &mut *(stub.info as *mut BindInfo);
            info.version[1] = 35;
            info.minimum = Box::leak(Box::new(35));
        }
        StubCell(stub)
    });
    let error = m.load_native("native", entry).unwrap_err();
    // STATUS_REVISION_MISMATCH
    assert!(
        matches!(
            error,
            LoadError::Entry {
                status: 0xC000_0059,
                ..
            }
        ),
        "{error}"
    );
}
