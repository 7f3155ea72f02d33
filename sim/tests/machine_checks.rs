//! The checks of the kernel's functions one by one: the calls that a wrong driver makes, and the rule and the
//! words of the report that say which check saw it.

mod machine_support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use machine_support::*;
use ndis_sim::{BugCheck, Irql, Machine, Rule, gate, report::rules};

/// An argument of a call.
#[derive(Clone, Copy)]
enum Arg {
    /// This value.
    V(u64),
    /// What the call of this index returned.
    R(usize),
}
use Arg::{R, V};

/// A call of an import, with up to six arguments.
type Call = (&'static str, &'static [Arg]);

type F6 = extern "efiapi" fn(u64, u64, u64, u64, u64, u64) -> u64;

/// A call with its import resolved, and room for its result.
struct Step {
    f: F6,
    args: [Arg; 6],
    result: u64,
}

/// The driver: makes the calls in order and returns what the last one did.
extern "efiapi" fn script(steps: *mut Step, count: usize) -> u64 {
    // SAFETY: the test's own steps, which are never freed.
    let steps = unsafe { std::slice::from_raw_parts_mut(steps, count) };
    let mut last = 0;
    for i in 0..count {
        let a = steps[i].args.map(|a| match a {
            V(value) => value,
            R(step) => steps[step].result,
        });
        last = (steps[i].f)(a[0], a[1], a[2], a[3], a[4], a[5]);
        steps[i].result = last;
    }
    last
}

fn run(m: &Machine, irql: Irql, calls: &[Call]) -> Result<u64, BugCheck> {
    let steps: Vec<Step> = calls
        .iter()
        .map(|(name, given)| {
            let mut args = [V(0); 6];
            args[..given.len()].copy_from_slice(given);
            // SAFETY: an import of at most six words; surplus ones are ignored.
            let f = unsafe { std::mem::transmute::<*const (), F6>(import(m, name) as *const ()) };
            Step { f, args, result: 0 }
        })
        .collect();
    let steps = steps.leak();
    drive(
        m,
        irql,
        script as *const (),
        &[steps.as_mut_ptr() as u64, steps.len() as u64],
    )
}

/// Expects that the last of the calls, and no earlier one, is stopped by `rule` with these words.
#[track_caller]
fn seen(m: &Machine, irql: Irql, calls: &[Call], rule: Rule, words: &str) {
    let last = calls.last().unwrap().0;
    let check = match run(m, irql, calls) {
        Ok(value) => panic!("{words:?} was not seen; {last} returned {value:#x}"),
        Err(check) => check,
    };
    assert_eq!(check.rule(), rule, "{check}");
    assert!(check.message().contains(words), "{words:?} in\n{check}");
    let innermost = check.call_stack().first().map(ToString::to_string);
    assert!(
        innermost.as_ref().is_some_and(|call| call.contains(last)),
        "{innermost:?} is not {last}\n{check}"
    );
}

const PASSIVE: Irql = Irql::PASSIVE;
const DISPATCH: Irql = Irql::DISPATCH;
const ALLOCATE: Call = ("IoAllocateMdl", &[V(0x1000), V(100)]);
const BUILD: Call = ("MmBuildMdlForNonPagedPool", &[R(0)]);
const MAP: Call = ("MmMapLockedPagesSpecifyCache", &[R(0), V(0), V(1)]);

#[test]
fn memory_descriptor_lists() {
    let cases: [(&[Call], Rule, &str); 8] = [
        (
            &[
                ALLOCATE,
                BUILD,
                ("MmMapLockedPagesSpecifyCache", &[R(0), V(1), V(1)]),
            ],
            rules::INVALID_ARGUMENT,
            "for user mode",
        ),
        (
            &[ALLOCATE, MAP],
            rules::INVALID_ARGUMENT,
            "an MDL of 100 bytes that is not locked",
        ),
        // Built, but not mapped; mapped, but elsewhere; no longer mapped.
        (
            &[ALLOCATE, BUILD, ("MmUnmapLockedPages", &[V(0x1000), R(0)])],
            rules::INVALID_ARGUMENT,
            "which is not mapped",
        ),
        (
            &[
                ALLOCATE,
                BUILD,
                MAP,
                ("MmUnmapLockedPages", &[V(0x2000), R(0)]),
            ],
            rules::INVALID_ARGUMENT,
            "MmUnmapLockedPages of 0x2000, which is not mapped",
        ),
        (
            &[
                ALLOCATE,
                BUILD,
                MAP,
                ("MmUnmapLockedPages", &[R(2), R(0)]),
                ("MmUnmapLockedPages", &[R(2), R(0)]),
            ],
            rules::INVALID_ARGUMENT,
            "which is not mapped",
        ),
        (
            &[("IoAllocateMdl", &[V(0x1000), V(100), V(0), V(0), V(0x1234)])],
            rules::MISSING_FUNCTION,
            "IoAllocateMdl for an IRP",
        ),
        (
            &[ALLOCATE, ("IoFreeMdl", &[R(0)]), ("IoFreeMdl", &[R(0)])],
            rules::INVALID_ARGUMENT,
            "which IoAllocateMdl did not return or which was freed",
        ),
        (
            &[("IoFreeMdl", &[V(0x5678)])],
            rules::INVALID_ARGUMENT,
            "IoFreeMdl of 0x5678",
        ),
    ];
    for (calls, rule, words) in cases {
        seen(&machine(), DISPATCH, calls, rule, words);
    }
}

#[test]
fn a_mapping_that_asks_for_a_bug_check_gets_it_when_it_fails() {
    let calls: [Call; 3] = [
        ALLOCATE,
        BUILD,
        (
            "MmMapLockedPagesSpecifyCache",
            &[R(0), V(0), V(1), V(0), V(1)],
        ),
    ];
    let m = machine();
    assert_ne!(run(&m, DISPATCH, &calls).unwrap(), 0);
    m.faults().fail_next("MmMapLockedPagesSpecifyCache");
    let words = "the driver asked for a bug check in that case";
    seen(&m, DISPATCH, &calls, rules::INVALID_ARGUMENT, words);
}

#[test]
fn saves_and_restores_of_the_extended_state() {
    let [one, two] = [(), ()].map(|()| Box::leak(Box::new([0_u64; 16])).as_mut_ptr() as u64);
    let [one, two] = [one, two].map(V);
    let save = |room: Arg| -> Call { ("KeSaveExtendedProcessorState", vec![V(3), room].leak()) };
    let restore = |room: Arg| -> Call { ("KeRestoreExtendedProcessorState", vec![room].leak()) };
    let balance = rules::EXTENDED_STATE_BALANCE;
    let lower: Call = ("KeLowerIrql", &[V(0)]);
    let raise: Call = ("KeRaiseIrqlToDpcLevel", &[]);
    let cases: [(Irql, Vec<Call>, Rule, &str); 7] = [
        (
            PASSIVE,
            vec![("KeSaveExtendedProcessorState", &[V(1 << 62), V(0x1000)])],
            rules::EXTENDED_STATE_MASK,
            "mask 0x4000000000000000 has features that are not enabled",
        ),
        (
            DISPATCH,
            vec![save(one), lower, save(two)],
            balance,
            "nested save at",
        ),
        (
            PASSIVE,
            vec![restore(one)],
            balance,
            "restore without a save by the same callback",
        ),
        (
            PASSIVE,
            vec![save(one), restore(two)],
            balance,
            "but the innermost save is",
        ),
        (
            PASSIVE,
            vec![save(one), save(two), restore(one)],
            balance,
            "but the innermost save is",
        ),
        (
            PASSIVE,
            vec![save(one), restore(one), restore(one)],
            balance,
            "restore without a save by the same callback",
        ),
        (
            PASSIVE,
            vec![save(one), raise, restore(one)],
            balance,
            "restore at",
        ),
    ];
    for (irql, calls, rule, words) in cases {
        seen(&machine(), irql, &calls, rule, words);
    }
}

/// Locks that another processor holds and never releases. Nothing waits for the processor that spins, so only
/// the lock's own limit can see it.
#[test]
fn a_spin_lock_that_never_becomes_free() {
    extern "efiapi" fn hold(acquire: F1, lock: u64, held: u64) -> u64 {
        acquire(lock);
        // SAFETY: the test's own word, which is never freed.
        unsafe { &*(held as *const AtomicU64) }.store(1, Ordering::Release);
        loop {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    for name in [
        "KeAcquireSpinLockRaiseToDpc",
        "ExAcquireSpinLockExclusive",
        "ExAcquireSpinLockShared",
    ] {
        let m = Machine::builder()
            .processors(2)
            .watchdog(Duration::from_millis(100))
            .build();
        let (lock, held) = (leaked(0), Box::leak(Box::new(AtomicU64::new(0))));
        let acquire = import(&m, name);
        let flag = &raw const *held as u64;
        m.spawn(Some(1), PASSIVE, move || {
            // SAFETY: a function of the x64 convention and its arguments.
            unsafe { gate::call("Holder", hold as *const (), &[acquire, lock, flag]) };
        });
        let patience = Instant::now() + Duration::from_secs(30);
        let wait = |done: &dyn Fn() -> bool| {
            while !done() && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        wait(&|| held.load(Ordering::Acquire) == 1);
        let acquire = import(
            &m,
            if name.starts_with("Ke") {
                name
            } else {
                "ExAcquireSpinLockExclusive"
            },
        );
        m.spawn(Some(0), PASSIVE, move || {
            // SAFETY: as above.
            unsafe { gate::call("Waiter", forward as *const (), &[acquire, lock, 0, 0, 0, 0]) };
        });
        wait(&|| m.bug_check().is_some());
        let check = m.bug_check().unwrap_or_else(|| panic!("{name}: not seen"));
        assert_eq!(check.rule(), rules::HANG, "{check}");
        let words = format!("spin lock 0x{lock:x} has not become free for 100ms");
        assert!(check.message().contains(&words), "{check}");
    }
}

#[test]
fn pool() {
    const NON_PAGED: Arg = V(0x40);
    const PAGED: Arg = V(0x100);
    const TAG: Arg = V(0x6773_6554);
    const MADE: Call = ("ExAllocatePool2", &[PAGED, V(32), TAG]);
    const RAISE: Call = ("KeRaiseIrqlToDpcLevel", &[]);
    let cases: [(&[Call], Rule, &str); 6] = [
        (&[RAISE, MADE], rules::IRQL, "paged pool allocated at"),
        (
            &[MADE, RAISE, ("ExFreePool", &[R(0)])],
            rules::IRQL,
            "paged pool freed at",
        ),
        (
            &[MADE, RAISE, ("ExFreePoolWithTag", &[R(0), TAG])],
            rules::IRQL,
            "paged pool freed at",
        ),
        (
            &[("ExAllocatePool2", &[V(0x140), V(32), TAG])],
            rules::POOL_TAG,
            "flags 0x140",
        ),
        (
            &[("ExAllocatePool2", &[NON_PAGED, V(0), TAG])],
            rules::POOL_TAG,
            "0 bytes",
        ),
        (
            &[("ExFreePool", &[V(0x1234)])],
            rules::POOL_CALLER,
            "is not an allocated block",
        ),
    ];
    for (calls, rule, words) in cases {
        seen(&machine(), PASSIVE, calls, rule, words);
    }
}

#[test]
fn a_bug_check_without_parameters() {
    seen(
        &machine(),
        DISPATCH,
        &[("KeBugCheck", &[V(0xE2)])],
        rules::MANUALLY_INITIATED,
        "bug check 0xE2 from",
    );
}

/// Found when the routine is called: KeInitializeDpc does not look at it.
#[test]
fn a_null_routine() {
    let dpc = V(Box::leak(Box::new([0_u64; 8])).as_mut_ptr() as u64);
    let m = machine();
    let calls: [Call; 3] = [
        ("KeInitializeDpc", vec![dpc].leak()),
        ("KeInsertQueueDpc", vec![dpc].leak()),
        ("KeFlushQueuedDpcs", &[]),
    ];
    let check = run(&m, PASSIVE, &calls).unwrap_err();
    assert_eq!(check.rule(), rules::PAGE_FAULT, "{check}");
    let words = "CustomDpc: the driver gave a null function pointer";
    assert!(check.message().contains(words), "{check}");
}

/// What is allowed next to what is not.
#[test]
fn the_same_calls_made_rightly_are_not_stopped() {
    let m: Arc<Machine> = machine();
    let calls: [Call; 6] = [
        ALLOCATE,
        BUILD,
        MAP,
        ("MmUnmapLockedPages", &[R(2), R(0)]),
        ("IoFreeMdl", &[R(0)]),
        ("KeGetCurrentIrql", &[]),
    ];
    assert_eq!(run(&m, DISPATCH, &calls).unwrap(), 2);
    assert!(m.report().is_clean());
    assert_eq!(m.tracker().count("IoAllocateMdl"), 0);
}
