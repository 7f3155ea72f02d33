//! Spin locks and the IRQL.

mod machine_support;

use std::sync::Arc;

use machine_support::*;
use ndis_sim::{Irql, Machine, gate, report::rules};

extern "efiapi" fn lock_and_leave(acquire: F1, lock: u64) -> u64 {
    acquire(lock)
}

extern "efiapi" fn lock_twice(acquire: F1, lock: u64) -> u64 {
    acquire(lock);
    acquire(lock)
}

extern "efiapi" fn lock_and_release(acquire: F1, release: F2, lock: u64) -> u64 {
    let irql = acquire(lock) & 0xFF;
    release(lock, irql);
    irql
}

#[test]
fn spin_locks_raise_and_restore() {
    let m = machine();
    let [a, r] = imports(&m, ["KeAcquireSpinLockRaiseToDpc", "KeReleaseSpinLock"]);
    for irql in [Irql::PASSIVE, Irql::APC, Irql::DISPATCH] {
        let args = [a, r, leaked(0)];
        assert_eq!(
            drive(&m, irql, lock_and_release as *const (), &args).unwrap(),
            u64::from(irql.0)
        );
    }
}

#[test]
fn spin_lock_violations_are_seen() {
    let one = |acquire: &str, f: *const (), value: u64, irql, rule| {
        let m = machine();
        stopped(&m, irql, f, &[import(&m, acquire), leaked(value)], rule);
    };
    let (leave, twice) = (lock_and_leave as *const (), lock_twice as *const ());
    let dpc = Irql::DISPATCH;
    one(
        "KeAcquireSpinLockAtDpcLevel",
        leave,
        0,
        dpc,
        rules::SPIN_LOCK_HELD,
    );
    one(
        "KeAcquireSpinLockRaiseToDpc",
        leave,
        0,
        dpc,
        rules::SPIN_LOCK_HELD,
    );
    one(
        "KeAcquireSpinLockRaiseToDpc",
        leave,
        0,
        Irql::PASSIVE,
        rules::IRQL_AT_RETURN,
    );
    one(
        "ExAcquireSpinLockSharedAtDpcLevel",
        leave,
        0,
        dpc,
        rules::SPIN_LOCK_HELD,
    );
    one(
        "KeAcquireSpinLockAtDpcLevel",
        twice,
        0,
        dpc,
        rules::SPIN_LOCK_OWNED,
    );
    one(
        "ExAcquireSpinLockSharedAtDpcLevel",
        twice,
        0,
        dpc,
        rules::SPIN_LOCK_OWNED,
    );
    one(
        "ExAcquireSpinLockExclusiveAtDpcLevel",
        twice,
        0,
        dpc,
        rules::SPIN_LOCK_OWNED,
    );
    one(
        "KeAcquireSpinLockAtDpcLevel",
        leave,
        0xDEAD_BEEF,
        dpc,
        rules::SPIN_LOCK_INIT,
    );
    one(
        "ExAcquireSpinLockSharedAtDpcLevel",
        leave,
        0x7EAD_BEEF,
        dpc,
        rules::SPIN_LOCK_INIT,
    );
    let not_owned = rules::SPIN_LOCK_NOT_OWNED;
    call_stopped(
        dpc,
        "KeReleaseSpinLockFromDpcLevel",
        &[leaked(0)],
        not_owned,
    );
    // Acquired by one family, released by the other.
    let m = machine();
    let [a, r] = imports(&m, ["KeAcquireSpinLockAtDpcLevel", "KeReleaseSpinLock"]);
    stopped(
        &m,
        dpc,
        lock_and_release as *const (),
        &[a, r, leaked(0)],
        not_owned,
    );
}

#[test]
fn lowering_the_irql_with_a_lock_held_is_seen() {
    extern "efiapi" fn f(acquire: F1, lower: F1, lock: u64) -> u64 {
        acquire(lock);
        lower(0)
    }
    let m = machine();
    let [a, l] = imports(&m, ["KeAcquireSpinLockRaiseToDpc", "KeLowerIrql"]);
    stopped(
        &m,
        Irql::PASSIVE,
        f as *const (),
        &[a, l, leaked(0)],
        rules::SPIN_LOCK_HELD,
    );
}

#[test]
fn the_irql_must_be_the_same_at_return() {
    extern "efiapi" fn f(raise: F1) -> u64 {
        raise(2)
    }
    let m = machine();
    let args = imports(&m, ["KfRaiseIrql"]);
    stopped(
        &m,
        Irql::PASSIVE,
        f as *const (),
        &args,
        rules::IRQL_AT_RETURN,
    );
    call_stopped(Irql::DISPATCH, "KfRaiseIrql", &[1], rules::IRQL_RAISE);
    call_stopped(Irql::PASSIVE, "KeLowerIrql", &[2], rules::IRQL_RAISE);
}

#[test]
fn locks_exclude_processors_from_each_other() {
    extern "efiapi" fn f(acquire: F1, release: F2, lock: u64, counter: u64, rounds: u64) -> u64 {
        for _ in 0..rounds {
            let irql = acquire(lock) & 0xFF;
            // SAFETY: the test's counter, under the lock.
            unsafe { *(counter as *mut u64) += 1 };
            release(lock, irql);
        }
        0
    }
    let m = Machine::builder().processors(3).build();
    let [a, r] = imports(&m, ["KeAcquireSpinLockRaiseToDpc", "KeReleaseSpinLock"]);
    let (lock, counter) = (leaked(0), leaked(0));
    let runs: Vec<_> = (0..3)
        .map(|cpu| {
            let m = Arc::clone(&m);
            std::thread::spawn(move || {
                m.run(Some(cpu), Irql::PASSIVE, move || {
                    // SAFETY: the convention and arguments of `f`.
                    unsafe { gate::call("Count", f as *const (), &[a, r, lock, counter, 2000]) }
                })
            })
        })
        .collect();
    for run in runs {
        run.join().unwrap().unwrap();
    }
    // SAFETY: nobody writes any more.
    assert_eq!(unsafe { *(counter as *const u64) }, 6000);
}
