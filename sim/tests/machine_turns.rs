//! Threads that take turns, in an order that a seed decides: [`ndis_sim::Builder::in_turns`].

mod machine_support;

use std::{
    collections::HashSet,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use machine_support::*;
use ndis_sim::{BugCheck, Irql, Machine, gate, report::rules};

fn in_turns(seed: u64) -> Arc<Machine> {
    Machine::builder().processors(2).in_turns(seed).build()
}

/// Calls `f` as driver code on a processor.
fn drive_on(
    m: &Machine,
    cpu: usize,
    irql: Irql,
    f: *const (),
    args: &[u64],
) -> Result<u64, BugCheck> {
    let (f, args) = (f as usize, args.to_vec());
    m.run(Some(cpu), irql, move || {
        // SAFETY: the test passes a function of the x64 convention and its arguments.
        unsafe { gate::call("TestCallback", f as *const (), &args) }
    })
}

/// Calls `f` on both processors at the same time; what each has returned.
fn on_both(m: &Machine, irql: Irql, f: *const (), args: &[u64]) -> [Result<u64, BugCheck>; 2] {
    let f = f as usize;
    m.scope(|scope| {
        [0, 1]
            .map(|cpu| scope.spawn(move || drive_on(m, cpu, irql, f as *const (), args)))
            .map(|worker| worker.join().unwrap())
    })
}

/// Ten times: reads a counter, calls the system, writes what it has read plus one. What another processor
/// writes meanwhile is lost.
extern "efiapi" fn count(system: F0, counter: u64) -> u64 {
    let counter = counter as *mut u64;
    for _ in 0..10 {
        // SAFETY: the test's counter, which lives for good.
        let read = unsafe { counter.read_volatile() };
        system();
        // SAFETY: as above.
        unsafe { counter.write_volatile(read + 1) };
    }
    0
}

/// What the counter comes to, and the order of events.
fn race(seed: u64, irql: Irql) -> (u64, Option<u64>) {
    let m = in_turns(seed);
    let counter = leaked(0);
    let args = [import(&m, "KeQueryTimeIncrement"), counter];
    let done = on_both(&m, irql, count as *const (), &args);
    assert_eq!(done.map(Result::unwrap), [0, 0]);
    // SAFETY: the test's counter.
    (unsafe { *(counter as *const u64) }, m.order())
}

#[test]
fn a_race_ends_in_the_way_of_its_seed_every_time() {
    for irql in [Irql::PASSIVE, Irql::DISPATCH] {
        let outcomes: Vec<_> = (0..40).map(|seed| race(seed, irql)).collect();
        for (seed, outcome) in outcomes.iter().enumerate() {
            for _ in 0..3 {
                assert_eq!(race(seed as u64, irql), *outcome, "seed {seed} at {irql}");
            }
        }
        let counts: HashSet<_> = outcomes.iter().map(|(count, _)| count).collect();
        let orders: HashSet<_> = outcomes.iter().map(|(_, order)| order).collect();
        assert!(
            counts.contains(&20) && counts.len() > 4,
            "no variety: {counts:?}"
        );
        assert!(orders.len() > 20, "{} orders of 40 seeds", orders.len());
    }
}

/// Frees what a pointer points to if it is there, and forgets it: too late for another processor.
extern "efiapi" fn free_once(system: F0, free: F2, place: u64) -> u64 {
    let place = place as *mut u64;
    // SAFETY: the test's pointer, which lives for good.
    let block = unsafe { place.read_volatile() };
    system();
    if block != 0 {
        free(block, 0);
        system();
        // SAFETY: as above.
        unsafe { place.write_volatile(0) };
    }
    block
}

/// The report of two processors that free something once, if it is not only once.
fn double_free(seed: u64) -> (Option<String>, Option<u64>) {
    let m = in_turns(seed);
    let names = [
        "KeQueryTimeIncrement",
        "ExFreePoolWithTag",
        "ExAllocatePool2",
    ];
    let [system, free, allocate] = imports(&m, names);
    let block = drive(
        &m,
        Irql::PASSIVE,
        forward as *const (),
        &[allocate, 0x40, 64, 0x7473_6574],
    );
    let args = [system, free, leaked(block.unwrap())];
    let done = on_both(&m, Irql::PASSIVE, free_once as *const (), &args);
    let stopped = done.into_iter().find_map(Result::err);
    // Addresses are others each time.
    let report = stopped.map(|check| without_numbers(&check.to_string()));
    (report, m.order())
}

fn without_numbers(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.starts_with("0x"));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_a_seed_finds_it_finds_again_with_the_same_report() {
    let found: Vec<_> = (0..40).map(double_free).collect();
    let stops = found.iter().filter(|(report, _)| report.is_some()).count();
    assert!((4..37).contains(&stops), "{stops} of 40");
    for (seed, outcome) in found.iter().enumerate() {
        for _ in 0..3 {
            assert_eq!(double_free(seed as u64), *outcome, "seed {seed}");
        }
    }
}

#[test]
fn time_passes_when_everybody_waits() {
    let m = in_turns(1);
    let woken = Mutex::new(Vec::new());
    m.scope(|scope| {
        for hours in [3, 1, 2] {
            let (m, woken) = (&m, &woken);
            scope.spawn(move || {
                m.sleep(Duration::from_secs(3600 * hours));
                woken.lock().unwrap().push(hours);
            });
        }
    });
    assert_eq!(woken.into_inner().unwrap(), [1, 2, 3]);
    let now = m.clock().now();
    let three = Duration::from_secs(3 * 3600);
    assert!((three..three + Duration::from_secs(1)).contains(&now));
}

#[test]
fn a_driver_that_sleeps_takes_its_time_of_the_machine() {
    let m = in_turns(2);
    let before = m.clock().now();
    let minute = leaked((-600_000_000_i64) as u64);
    let args = [0, 0, minute];
    call(&m, Irql::PASSIVE, "KeDelayExecutionThread", &args).unwrap();
    assert!(m.clock().now() - before >= Duration::from_secs(60));
}

#[test]
fn a_wait_that_nobody_can_end_is_a_hang_at_once() {
    let m = in_turns(3);
    let event = Box::leak(Box::new([0u64; 3])).as_mut_ptr() as u64;
    call(&m, Irql::PASSIVE, "KeInitializeEvent", &[event, 0, 0]).unwrap();
    let waited = call(
        &m,
        Irql::PASSIVE,
        "KeWaitForSingleObject",
        &[event, 0, 0, 0, 0],
    );
    assert_eq!(waited.unwrap_err().rule(), rules::HANG);
    // The minute of the watchdog was the machine's.
    assert!(m.clock().now() >= Duration::from_secs(60));
}

#[test]
fn a_spin_lock_that_nobody_releases_is_a_hang_at_once() {
    // As if processor 0 had it.
    let lock = leaked(0x4B53_4C4B_0000_0001);
    let hang = || {
        let m = in_turns(3);
        let acquired = call(&m, Irql::DISPATCH, "KeAcquireSpinLockAtDpcLevel", &[lock]);
        assert_eq!(acquired.unwrap_err().rule(), rules::HANG);
        m.clock().now()
    };
    // Not by the host's clock, which would not come out alike.
    assert_eq!(hang(), hang());
}

#[test]
fn a_driver_that_never_comes_back_is_seen_although_nobody_else_has_a_turn() {
    extern "efiapi" fn forever() -> u64 {
        loop {
            std::hint::spin_loop();
        }
    }
    let m = Machine::builder()
        .in_turns(4)
        .watchdog(Duration::from_millis(10))
        .build();
    let done = drive(&m, Irql::PASSIVE, forever as *const (), &[]);
    assert_eq!(done.unwrap_err().rule(), rules::HANG);
}

#[test]
fn spin_locks_and_jobs_get_their_turn() {
    /// Adds up under a lock.
    extern "efiapi" fn f(acquire: F1, release: F2, system: F0, lock: u64, counter: u64) -> u64 {
        for _ in 0..50 {
            let irql = acquire(lock) & 0xFF;
            count(system, counter);
            release(lock, irql);
        }
        0
    }
    for seed in 0..10 {
        let m = in_turns(seed);
        let names = [
            "KeAcquireSpinLockRaiseToDpc",
            "KeReleaseSpinLock",
            "KeQueryTimeIncrement",
        ];
        let [acquire, release, system] = imports(&m, names);
        let counter = leaked(0);
        let args = [acquire, release, system, leaked(0), counter];
        let both = on_both(&m, Irql::PASSIVE, f as *const (), &args);
        assert_eq!(both.map(Result::unwrap), [0, 0]);
        // SAFETY: the test's counter.
        assert_eq!(unsafe { *(counter as *const u64) }, 1000);
    }
}

#[test]
fn the_threads_of_a_scope_have_ended_and_hand_on_their_panics() {
    for m in [in_turns(5), Machine::builder().build()] {
        let ended = Mutex::new(0);
        let joined = m.scope(|scope| {
            for _ in 0..3 {
                let (m, ended) = (&m, &ended);
                scope.spawn(move || {
                    m.sleep(Duration::from_millis(5));
                    *ended.lock().unwrap() += 1;
                });
            }
            scope.spawn(|| panic!("as told")).join()
        });
        assert_eq!(*ended.lock().unwrap(), 3);
        let panic = joined.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"as told"));
    }
}

#[test]
fn a_thread_that_takes_no_turns_may_not_use_the_machine() {
    type Use = fn(&Machine);
    let uses: [Use; 3] = [
        |m| drop(m.run(None, Irql::PASSIVE, || ())),
        |m| m.spawn(None, Irql::PASSIVE, || ()),
        |m| drop(m.settle()),
    ];
    for used in uses {
        let m = in_turns(6);
        thread::spawn(move || is_refused(|| used(&m)))
            .join()
            .unwrap();
    }
}

fn is_refused(used: impl FnOnce()) {
    let panic = panic::catch_unwind(AssertUnwindSafe(used)).unwrap_err();
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or(panic.downcast_ref::<&str>().map(ToString::to_string));
    assert!(text.unwrap().contains("Machine::scope"));
}

#[test]
fn a_thread_takes_its_turns_in_one_machine_and_uses_no_other() {
    let ordinary = Machine::builder().build();
    let first = in_turns(7);
    let (told, done) = mpsc::channel();
    first.spawn(None, Irql::PASSIVE, move || told.send(()).unwrap());
    let second = in_turns(8);
    // It has left the first, where the others go on.
    done.recv_timeout(Duration::from_secs(60)).unwrap();
    for machine in [&ordinary, &first] {
        is_refused(|| drop(machine.run(None, Irql::PASSIVE, || ())));
        is_refused(|| drop(machine.settle()));
    }
    is_refused(|| first.scope(|scope| drop(scope.spawn(|| ()))));
    assert_eq!(second.run(None, Irql::PASSIVE, || 1).unwrap(), 1);
    drop(second);
    assert_eq!(ordinary.run(None, Irql::PASSIVE, || 2).unwrap(), 2);
}

/// The processors' threads run as the host lets them once the machine is gone: they end.
#[test]
fn machines_come_and_go_on_one_thread() {
    for seed in 0..50 {
        let m = in_turns(seed);
        assert_eq!(m.run(None, Irql::DISPATCH, || 7).unwrap(), 7);
        m.spawn(None, Irql::PASSIVE, || ());
        m.settle().unwrap();
    }
}
