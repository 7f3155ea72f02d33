//! Processors: DPCs, events, waits, jobs.

mod machine_support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use machine_support::*;
use ndis_sim::{Irql, Machine, processor, report::rules};

/// An event and a DPC that sets it, in memory that outlives the test.
struct Objects {
    event: u64,
    dpc: u64,
}

fn objects(m: &Machine, auto_reset: bool) -> Objects {
    let event = Box::leak(Box::new([0u64; 3])).as_mut_ptr() as u64;
    let dpc = Box::leak(Box::new([0u64; 8])).as_mut_ptr() as u64;
    call(
        m,
        Irql::PASSIVE,
        "KeInitializeEvent",
        &[event, u64::from(auto_reset), 0],
    )
    .unwrap();
    Objects { event, dpc }
}

static IRQL_OF_DPC: AtomicU64 = AtomicU64::new(99);

/// A DPC: context is KeSetEvent, the arguments are the event and KeGetCurrentIrql.
extern "efiapi" fn set_event_dpc(_dpc: u64, set: F3, event: u64, get_irql: F0) -> u64 {
    IRQL_OF_DPC.store(get_irql() & 0xFF, Ordering::SeqCst);
    set(event, 0, 0)
}

#[test]
fn a_wait_lets_the_dpc_that_ends_it_run_on_the_same_processor() {
    extern "efiapi" fn f(insert: F3, wait: F5, dpc: u64, event: u64, get_irql: u64) -> u64 {
        insert(dpc, event, get_irql);
        wait(event, 0, 0, 0, 0)
    }
    let m = Machine::builder().processors(1).build();
    let o = objects(&m, true);
    let names = [
        "KeInitializeDpc",
        "KeInsertQueueDpc",
        "KeWaitForSingleObject",
        "KeSetEvent",
        "KeGetCurrentIrql",
    ];
    let [_, insert, wait, set, irql] = imports(&m, names);
    call(
        &m,
        Irql::PASSIVE,
        "KeInitializeDpc",
        &[o.dpc, set_event_dpc as *const () as u64, set],
    )
    .unwrap();
    assert_eq!(
        drive(
            &m,
            Irql::PASSIVE,
            f as *const (),
            &[insert, wait, o.dpc, o.event, irql]
        )
        .unwrap(),
        0
    );
    assert_eq!(IRQL_OF_DPC.load(Ordering::SeqCst), 2);
    // A synchronization event lets one wait through: it is not set any more.
    let timeout = Box::leak(Box::new(0i64)) as *mut i64 as u64;
    let status = call(
        &m,
        Irql::DISPATCH,
        "KeWaitForSingleObject",
        &[o.event, 0, 0, 0, timeout],
    )
    .unwrap();
    assert_eq!(status, 0x102);
}

#[test]
fn a_dpc_waits_for_the_irql_to_fall_and_is_queued_once() {
    extern "efiapi" fn f(insert: F3, raise: F1, lower: F1, dpc: u64, counter: u64) -> u64 {
        let old = raise(2) & 0xFF;
        let first = insert(dpc, counter, 0) & 0xFF;
        let second = insert(dpc, counter, 0) & 0xFF;
        // SAFETY: the test's counter.
        let before = unsafe { (counter as *const u64).read_volatile() };
        lower(old);
        // SAFETY: as above.
        let after = unsafe { (counter as *const u64).read_volatile() };
        first << 12 | second << 8 | before << 4 | after
    }
    extern "efiapi" fn count(_dpc: u64, _context: u64, counter: u64) -> u64 {
        // SAFETY: the test's counter.
        unsafe { *(counter as *mut u64) += 1 };
        0
    }
    let m = machine();
    let o = objects(&m, true);
    call(
        &m,
        Irql::PASSIVE,
        "KeInitializeDpc",
        &[o.dpc, count as *const () as u64, 0],
    )
    .unwrap();
    let [i, r, l] = imports(&m, ["KeInsertQueueDpc", "KfRaiseIrql", "KeLowerIrql"]);
    let result = drive(
        &m,
        Irql::PASSIVE,
        f as *const (),
        &[i, r, l, o.dpc, leaked(0)],
    )
    .unwrap();
    assert_eq!(result, 0x1001);
}

#[test]
fn dpcs_run_on_their_target_and_are_flushed() {
    extern "efiapi" fn where_am_i(_dpc: u64, get: F1, out: u64) -> u64 {
        let n = get(0) & 0xFFFF_FFFF;
        // SAFETY: the test's variable.
        unsafe { (out as *mut u64).write_volatile(n + 1) };
        0
    }
    extern "efiapi" fn f(insert: F3, flush: F0, dpc: u64, out: u64) -> u64 {
        insert(dpc, out, 0);
        flush();
        // SAFETY: the test's variable.
        unsafe { (out as *const u64).read_volatile() }
    }
    let m = Machine::builder().processors(70).build();
    let o = objects(&m, true);
    let number = import(&m, "KeGetCurrentProcessorNumberEx");
    call(
        &m,
        Irql::PASSIVE,
        "KeInitializeDpc",
        &[o.dpc, where_am_i as *const () as u64, number],
    )
    .unwrap();
    // Processor 67 is number 3 of group 1.
    let target = Box::leak(Box::new([1u8, 0, 3, 0])).as_ptr() as u64;
    call(
        &m,
        Irql::PASSIVE,
        "KeSetTargetProcessorDpcEx",
        &[o.dpc, target],
    )
    .unwrap();
    let [insert, flush] = imports(&m, ["KeInsertQueueDpc", "KeFlushQueuedDpcs"]);
    let seen = drive(
        &m,
        Irql::PASSIVE,
        f as *const (),
        &[insert, flush, o.dpc, leaked(0)],
    )
    .unwrap();
    assert_eq!(seen, 68);
    let bad = Box::leak(Box::new([1u8, 0, 40, 0])).as_ptr() as u64;
    let status = call(
        &m,
        Irql::PASSIVE,
        "KeSetTargetProcessorDpcEx",
        &[o.dpc, bad],
    )
    .unwrap();
    assert_eq!(status as u32, 0xC000_000D);
    assert_eq!(
        call(&m, Irql::PASSIVE, "KeQueryActiveProcessorCountEx", &[1]).unwrap() as u32,
        6
    );
    assert_eq!(
        call(
            &m,
            Irql::PASSIVE,
            "KeQueryMaximumProcessorCountEx",
            &[0xFFFF]
        )
        .unwrap() as u32,
        70
    );
}

#[test]
fn a_dpc_that_returns_at_another_irql_is_seen() {
    extern "efiapi" fn lower(_dpc: u64, lower: F1) -> u64 {
        lower(0)
    }
    let m = machine();
    let o = objects(&m, true);
    let l = import(&m, "KeLowerIrql");
    call(
        &m,
        Irql::PASSIVE,
        "KeInitializeDpc",
        &[o.dpc, lower as *const () as u64, l],
    )
    .unwrap();
    let check = call(&m, Irql::PASSIVE, "KeInsertQueueDpc", &[o.dpc, 0, 0]).unwrap_err();
    assert_eq!(check.rule(), rules::IRQL_AT_RETURN, "{check}");
}

#[test]
fn waits_at_dispatch_level_are_seen() {
    let m = machine();
    let o = objects(&m, false);
    let check = call(
        &m,
        Irql::DISPATCH,
        "KeWaitForSingleObject",
        &[o.event, 0, 0, 0, 0],
    )
    .unwrap_err();
    assert_eq!(check.rule(), rules::WAIT_IRQL, "{check}");
}

#[test]
fn uninitialized_objects_are_seen() {
    let memory = Box::leak(Box::new([0u64; 8])).as_mut_ptr() as u64;
    call_stopped(
        Irql::PASSIVE,
        "KeSetEvent",
        &[memory, 0, 0],
        rules::OBJECT_STATE,
    );
    call_stopped(
        Irql::PASSIVE,
        "KeInsertQueueDpc",
        &[memory, 0, 0],
        rules::OBJECT_STATE,
    );
}

#[test]
fn waits_time_out_by_the_simulated_clock() {
    let m = Machine::builder().manual_clock(true).build();
    let o = objects(&m, false);
    let timeout = Box::leak(Box::new(-10_000_000i64)) as *mut i64 as u64; // one second
    let waiting = {
        let m = Arc::clone(&m);
        std::thread::spawn(move || {
            call(
                &m,
                Irql::PASSIVE,
                "KeWaitForSingleObject",
                &[o.event, 0, 0, 0, timeout],
            )
        })
    };
    while m.clock().pending() == 0 {
        std::thread::yield_now();
    }
    m.clock().advance(Duration::from_millis(999));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished());
    m.clock().advance(Duration::from_millis(1));
    assert_eq!(waiting.join().unwrap().unwrap(), 0x102);
}

#[test]
fn a_wait_that_never_ends_is_a_hang() {
    let m = Machine::builder()
        .watchdog(Duration::from_millis(300))
        .build();
    let o = objects(&m, false);
    let check = call(
        &m,
        Irql::PASSIVE,
        "KeWaitForSingleObject",
        &[o.event, 0, 0, 0, 0],
    )
    .unwrap_err();
    assert_eq!(check.rule(), rules::HANG, "{check}");
    let words = "nothing has happened for 300ms";
    assert!(check.message().contains(words), "{check}");
}

#[test]
fn jobs_of_one_processor_go_on_while_one_waits() {
    let m = Machine::builder().processors(1).build();
    let o = objects(&m, false);
    let waiting = {
        let m = Arc::clone(&m);
        std::thread::spawn(move || {
            call(
                &m,
                Irql::PASSIVE,
                "KeWaitForSingleObject",
                &[o.event, 0, 0, 0, 0],
            )
        })
    };
    std::thread::sleep(Duration::from_millis(20));
    call(&m, Irql::PASSIVE, "KeSetEvent", &[o.event, 0, 0]).unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), 0);
}

#[test]
fn nested_jobs_and_raised_irql() {
    let m = Machine::builder().processors(2).build();
    let inner = Arc::clone(&m);
    let seen = m
        .run(Some(0), Irql::PASSIVE, move || {
            let other = inner
                .run(Some(1), Irql::DISPATCH, || processor::current().number())
                .unwrap();
            let here = inner
                .run(Some(0), Irql::DISPATCH, || processor::current().irql())
                .unwrap();
            (other, here, processor::current().irql())
        })
        .unwrap();
    assert_eq!(seen, (1, Irql::DISPATCH, Irql::PASSIVE));
    m.settle().unwrap();
}

#[test]
fn a_panic_in_a_work_item_stops_the_machine() {
    let m = Machine::builder().processors(1).build();
    m.spawn(Some(0), Irql::PASSIVE, || panic!("on purpose"));
    let check = loop {
        if let Some(check) = m.bug_check() {
            break check;
        }
        std::thread::yield_now();
    };
    assert_eq!(check.rule(), rules::SIMULATOR_PANIC);
    assert_eq!(check.message(), "on purpose");
}

#[test]
fn a_panic_in_a_job_reaches_the_caller() {
    let m = Machine::builder().build();
    let run =
        std::panic::AssertUnwindSafe(|| m.run(None, Irql::PASSIVE, || panic!("to the caller")));
    let payload = std::panic::catch_unwind(run).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"to the caller"));
    assert_eq!(m.run(None, Irql::PASSIVE, || 5).unwrap(), 5);
}

#[test]
fn many_queued_jobs_need_few_threads() {
    let m = Machine::builder().processors(1).build();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    for _ in 0..5_000 {
        m.spawn(Some(0), Irql::PASSIVE, || ());
    }
    m.settle().unwrap();
    // Other tests of this process start some meanwhile (one has 70 processors).
    assert!(threads() < before + 100, "{} threads", threads());
}

/// A call that hands over to a shared job or to another processor is never seen as the end: of what is done
/// in turns, `settle` waits for the last.
#[test]
fn settle_waits_for_what_is_handed_on() {
    for processors in [1, 2, 3] {
        let machine = Machine::builder().processors(processors).build();
        for round in 0..400 {
            let left = Arc::new(AtomicUsize::new(20));
            hand_on(&machine, Arc::clone(&left), round);
            machine.settle().unwrap();
            assert_eq!(left.load(Ordering::SeqCst), 0, "{processors} processors");
        }
    }
}

fn hand_on(machine: &Arc<Machine>, left: Arc<AtomicUsize>, number: usize) {
    let next = Arc::clone(machine);
    let work = move || {
        if left.fetch_sub(1, Ordering::SeqCst) > 1 {
            hand_on(&next, left, number + 1);
        }
    };
    let count = machine.processors().len();
    match number % 3 {
        0 => machine.spawn(None, Irql::PASSIVE, work),
        1 => machine.spawn(Some(number % count), Irql::PASSIVE, work),
        _ => {
            machine.processors()[number % count].queue_dpc(0, work);
        }
    }
}
