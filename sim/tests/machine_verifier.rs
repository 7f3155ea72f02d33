//! What Driver Verifier's options watch beside single calls: the order of locks, the time at
//! DISPATCH_LEVEL, and what a report tells of the way there.

mod machine_support;

use std::time::{Duration, Instant};

use machine_support::*;
use ndis_sim::{
    Irql, Machine,
    history::Kind,
    report::{Frame, rules},
};

/// Acquires and releases two locks, one within the other.
extern "efiapi" fn nested(acquire: F1, release: F1, outer: u64, inner: u64) -> u64 {
    acquire(outer);
    acquire(inner);
    release(inner);
    release(outer)
}

/// Acquires one lock within the other without order: with a try.
extern "efiapi" fn nested_try(
    acquire: F1,
    attempt: F1,
    release: F1,
    outer: u64,
    inner: u64,
) -> u64 {
    acquire(outer);
    let got = attempt(inner) & 0xFF;
    if got != 0 {
        release(inner);
    }
    release(outer);
    got
}

const LOCKS: [(&str, &str); 3] = [
    (
        "KeAcquireSpinLockAtDpcLevel",
        "KeReleaseSpinLockFromDpcLevel",
    ),
    (
        "ExAcquireSpinLockSharedAtDpcLevel",
        "ExReleaseSpinLockSharedFromDpcLevel",
    ),
    (
        "ExAcquireSpinLockExclusiveAtDpcLevel",
        "ExReleaseSpinLockExclusiveFromDpcLevel",
    ),
];

#[test]
fn two_orders_of_two_locks_are_a_deadlock_that_did_not_happen_yet() {
    for (acquire, release) in LOCKS {
        let m = machine();
        let [acquire, release] = imports(&m, [acquire, release]);
        let (a, b) = (leaked(0), leaked(0));
        let f = nested as *const ();
        // The same order any number of times, and on another processor, is none.
        for _ in 0..2 {
            drive(&m, Irql::DISPATCH, f, &[acquire, release, a, b]).unwrap();
        }
        let check = stopped(
            &m,
            Irql::DISPATCH,
            f,
            &[acquire, release, b, a],
            rules::DEADLOCK,
        );
        assert!(
            check.message().contains(&format!("0x{a:x}, then 0x{b:x}")),
            "{check}"
        );
        assert!(check.to_string().contains("(0xC4, 0x1001)"), "{check}");
    }
}

#[test]
fn a_deadlock_over_three_locks_is_seen() {
    let m = machine();
    let [acquire, release] = imports(&m, [LOCKS[0].0, LOCKS[0].1]);
    let [a, b, c] = [leaked(0), leaked(0), leaked(0)];
    let f = nested as *const ();
    drive(&m, Irql::DISPATCH, f, &[acquire, release, a, b]).unwrap();
    drive(&m, Irql::DISPATCH, f, &[acquire, release, b, c]).unwrap();
    stopped(
        &m,
        Irql::DISPATCH,
        f,
        &[acquire, release, c, a],
        rules::DEADLOCK,
    );
}

#[test]
fn an_attempt_and_a_lock_that_is_initialized_anew_have_no_order() {
    let m = machine();
    let names = ["KeTryToAcquireSpinLockAtDpcLevel", "KeInitializeSpinLock"];
    let [attempt, initialize] = imports(&m, names);
    let [acquire, release] = imports(&m, [LOCKS[0].0, LOCKS[0].1]);
    let (a, b) = (leaked(0), leaked(0));
    drive(
        &m,
        Irql::DISPATCH,
        nested as *const (),
        &[acquire, release, a, b],
    )
    .unwrap();
    let args = [acquire, attempt, release, b, a];
    assert_eq!(
        drive(&m, Irql::DISPATCH, nested_try as *const (), &args).unwrap(),
        1
    );
    drive(&m, Irql::DISPATCH, forward as *const (), &[initialize, a]).unwrap();
    drive(
        &m,
        Irql::DISPATCH,
        nested as *const (),
        &[acquire, release, b, a],
    )
    .unwrap();
}

/// Allocates a block, uses two locks in it, and frees it.
extern "efiapi" fn locks_in_pool(pool: u64, free: F1, acquire: F1, release: F1, order: u64) -> u64 {
    // SAFETY: ExAllocatePool2, which the caller passes.
    let allocate: F3 = unsafe { std::mem::transmute(pool) };
    let block = allocate(0x40, 64, u64::from(u32::from_le_bytes(*b"Lock")));
    let (first, then) = if order == 0 {
        (block, block + 8)
    } else {
        (block + 8, block)
    };
    nested(acquire, release, first, then);
    free(block)
}

#[test]
fn locks_in_memory_that_was_freed_are_other_locks() {
    let m = Machine::builder().stack_limit(None).build();
    let names = ["ExAllocatePool2", "ExFreePool", LOCKS[0].0, LOCKS[0].1];
    let [pool, free, acquire, release] = imports(&m, names);
    // The quarantine holds a block back for long; what counts is that its locks are forgotten.
    for order in [0, 1, 0, 1] {
        let args = [pool, free, acquire, release, order];
        drive(&m, Irql::DISPATCH, locks_in_pool as *const (), &args).unwrap();
    }
}

/// Uses up processor time, as much as is asked for at least.
extern "efiapi" fn busy(milliseconds: u64) -> u64 {
    let time = || {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: writes the structure.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let end = time() + Duration::from_millis(milliseconds);
    while time() < end {
        std::hint::spin_loop();
    }
    0
}

#[test]
fn a_call_at_dispatch_level_has_a_time_limit() {
    let m = Machine::builder()
        .dispatch_limit(Some(Duration::from_millis(30)))
        .build();
    // At PASSIVE_LEVEL the processor can be given to others.
    drive(&m, Irql::PASSIVE, busy as *const (), &[60]).unwrap();
    assert!(m.report().longest_at_dispatch.is_none());
    stopped(
        &m,
        Irql::DISPATCH,
        busy as *const (),
        &[60],
        rules::DPC_WATCHDOG,
    );
    let (longest, what) = m.report().longest_at_dispatch.unwrap();
    assert!(longest >= Duration::from_millis(60), "{longest:?}");
    assert_eq!(what, "TestCallback");
}

#[test]
fn a_dpc_has_a_time_limit() {
    extern "efiapi" fn too_long(_dpc: u64, _context: u64, _: u64, _: u64) -> u64 {
        busy(60)
    }
    let m = Machine::builder()
        .dispatch_limit(Some(Duration::from_millis(30)))
        .build();
    let dpc = Box::leak(Box::new([0u64; 8])).as_ptr() as u64;
    call(
        &m,
        Irql::PASSIVE,
        "KeInitializeDpc",
        &[dpc, too_long as *const () as u64, 0],
    )
    .unwrap();
    let _ = call(&m, Irql::PASSIVE, "KeInsertQueueDpc", &[dpc, 0, 0]);
    let until = Instant::now() + Duration::from_secs(20);
    while m.bug_check().is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    let check = m.bug_check().expect("the DPC was noticed");
    assert_eq!(check.rule(), rules::DPC_WATCHDOG, "{check}");
    assert!(check.message().contains("CustomDpc"), "{check}");
}

#[test]
fn stalls_are_short() {
    let m = machine();
    call(&m, Irql::DISPATCH, "KeStallExecutionProcessor", &[50]).unwrap();
    let irql = Irql::DISPATCH;
    call_stopped(
        irql,
        "KeStallExecutionProcessor",
        &[51],
        rules::STALL_EXECUTION,
    );
}

#[test]
fn a_report_says_how_the_driver_came_there() {
    let m = machine();
    let args = [0x40, 0, 1];
    let check = call(&m, Irql::PASSIVE, "ExAllocatePool2", &args).unwrap_err();
    assert_eq!(check.rule(), rules::POOL_TAG);
    let stack: Vec<String> = check.call_stack().iter().map(ToString::to_string).collect();
    assert_eq!(
        stack.first().unwrap(),
        "ExAllocatePool2 (import)",
        "{check}"
    );
    assert_eq!(stack.last().unwrap(), "TestCallback (callback)", "{check}");
    assert!(stack[1].contains("forward"), "{check}");
    let text = check.to_string();
    assert!(
        text.contains("learn.microsoft.com/windows-hardware/drivers/ddi/wdm/"),
        "{text}"
    );
}

#[test]
fn the_calls_in_progress_can_be_asked_for_and_told_apart() {
    extern "efiapi" fn from_here(f: F1) -> u64 {
        f(0)
    }
    let m = machine();
    let keys: Vec<(usize, u64)> = (0..2)
        .map(|_| {
            m.run(Some(0), Irql::PASSIVE, || {
                let stack = ndis_sim::processor::current().call_stack();
                (stack.frames().len(), stack.key())
            })
            .unwrap()
        })
        .collect();
    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[0].0, 0);
    let check = drive(
        &m,
        Irql::PASSIVE,
        from_here as *const (),
        &[import(&m, "ExFreePool")],
    );
    let check = check.unwrap_err();
    let frames = check.raw_call_stack();
    assert_eq!(frames.first(), Some(&Frame::Import("ExFreePool")));
    assert!(matches!(frames[1], Frame::Code(_)), "{frames:?}");
    assert_eq!(frames.last(), Some(&Frame::Callback("TestCallback")));
}

#[test]
fn a_second_free_comes_with_the_life_of_the_block() {
    extern "efiapi" fn twice(allocate: F3, free: F1) -> u64 {
        let block = allocate(0x40, 96, u64::from(u32::from_le_bytes(*b"Hist")));
        free(block);
        free(block)
    }
    let m = machine();
    let args = imports(&m, ["ExAllocatePool2", "ExFreePool"]);
    let check = stopped(
        &m,
        Irql::PASSIVE,
        twice as *const (),
        &args,
        rules::POOL_CALLER,
    );
    let [history] = check.histories() else {
        panic!("{check}");
    };
    assert_eq!(history.kind, Kind::Pool);
    let [allocated, freed] = history.events.as_slice() else {
        panic!("{check}");
    };
    assert!(allocated.contains("allocated, bytes: 0x60"), "{allocated}");
    assert!(
        allocated.contains("PASSIVE_LEVEL, in TestCallback, called by"),
        "{allocated}"
    );
    assert!(freed.contains("freed"), "{freed}");
}

#[test]
fn leaks_are_listed_by_tag_with_where_they_came_from() {
    extern "efiapi" fn leak(allocate: F3, tag: u64, count: u64) -> u64 {
        (0..count).for_each(|_| _ = allocate(0x40, 32, tag));
        count
    }
    let m = machine();
    let entry = m.load_native("leaky", leaky_entry).unwrap();
    let allocate = import(&m, "ExAllocatePool2");
    for (tag, count) in [(*b"Aaaa", 2), (*b"Bbbb", 5)] {
        let tag = u64::from(u32::from_le_bytes(tag));
        drive(
            &m,
            Irql::PASSIVE,
            leak as *const (),
            &[allocate, tag, count],
        )
        .unwrap();
    }
    let findings = entry.unload().unwrap();
    let leaks: Vec<_> = findings
        .iter()
        .filter(|f| f.rule == rules::POOL_LEAK)
        .collect();
    assert_eq!(leaks.len(), 2, "{findings:?}");
    assert!(
        leaks[0]
            .message
            .starts_with("2 blocks, 64 bytes, tag 'Aaaa'"),
        "{}",
        leaks[0]
    );
    assert!(
        leaks[1]
            .message
            .starts_with("5 blocks, 160 bytes, tag 'Bbbb'"),
        "{}",
        leaks[1]
    );
    assert_eq!((leaks[0].histories.len(), leaks[1].histories.len()), (2, 3));
    assert!(
        leaks[0].to_string().contains("allocated, bytes: 0x20"),
        "{}",
        leaks[0]
    );
}

unsafe extern "efiapi" fn leaky_entry(
    object: *mut ndis_sim::driver::DriverObject,
    _: *const ndis_sim::driver::UnicodeString,
) -> i32 {
    extern "efiapi" fn unload(_: u64) {}
    // SAFETY: the driver's own object.
    unsafe { (*object).driver_unload = unload as *const () };
    0
}
