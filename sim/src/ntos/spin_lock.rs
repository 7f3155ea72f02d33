//! Spin locks: KSPIN_LOCK and the reader/writer EX_SPIN_LOCK.
//!
//! The locks are real: other processors' threads spin on the driver's own
//! variable. Each thread keeps a list of what it holds.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::irql;
use crate::{
    exports::{Export, NTOSKRNL},
    gate::HeldLock,
    irql::Irql,
    processor::{self, Current},
    report::{rules, violation},
    turns,
};

/// Upper half of the value of a KSPIN_LOCK that is held; the lower half is the
/// processor. Tells a lock from memory that was never initialized.
const MARK: usize = 0x4B53_4C4B << 32;
/// An EX_SPIN_LOCK that is held exclusively; otherwise it counts readers.
const EXCLUSIVE: u32 = 1 << 31;
const MOST_READERS: u32 = 1 << 16;
/// Tries before the thread lets another one of the host run.
const SPINS: u32 = 200;

/// Spins until `attempt` succeeds; stops with a hang if it never does.
fn spin(cpu: &Current, address: usize, mut attempt: impl FnMut() -> bool) {
    let machine = cpu.machine();
    let limit = machine.settings().watchdog;
    let mut end = None;
    loop {
        for _ in 0..SPINS {
            if attempt() {
                return;
            }
            if turns::are_taken() {
                break; // Until others have had their turn nothing changes.
            }
            std::hint::spin_loop();
        }
        let now = machine.elapsed();
        let left = end.get_or_insert(now + limit).saturating_sub(now);
        if machine.is_stopped() {
            processor::park_forever();
        }
        if left.is_zero() {
            violation(
                rules::HANG,
                format!("spin lock 0x{address:x} has not become free for {limit:?}"),
            );
        }
        if !turns::wait(Some(address), Some(left)) {
            std::thread::yield_now();
        }
    }
}

/// Refuses to acquire what this thread already has, or what it may deadlock on.
fn check_order(cpu: &Current, address: usize) {
    let held = cpu.thread().locks.borrow().clone();
    if held.is_empty() {
        return;
    }
    if !held.iter().any(|l| l.address == address) {
        cpu.machine().kernel().locks.acquire(cpu, &held, address);
    } else {
        violation(
            rules::SPIN_LOCK_OWNED,
            format!("spin lock 0x{address:x} is already held by this processor"),
        );
    }
}

fn note(cpu: &Current, address: usize, release: &'static str) {
    let by = cpu.what();
    cpu.thread().locks.borrow_mut().push(HeldLock {
        address,
        by,
        release,
    });
}

/// Takes the lock off the list; stops when it is not there or was acquired by a
/// call that another one releases. Those who take turns and spin have theirs when it is free.
fn forget(cpu: &Current, address: usize) {
    turns::wake(address);
    let mut locks = cpu.thread().locks.borrow_mut();
    let Some(at) = locks.iter().rposition(|l| l.address == address) else {
        drop(locks);
        violation(
            rules::SPIN_LOCK_NOT_OWNED,
            format!("spin lock 0x{address:x} is not held by this processor"),
        );
    };
    let lock = locks.remove(at);
    drop(locks);
    let call = cpu.what();
    if lock.release != call {
        let HeldLock { by, release, .. } = lock;
        violation(
            rules::SPIN_LOCK_NOT_OWNED,
            format!(
                "spin lock 0x{address:x} was acquired by {by} and released by {call}, not {release}"
            ),
        );
    }
}

/// Acquires a KSPIN_LOCK for the current processor at DISPATCH_LEVEL; `release`
/// is the call that must release it.
///
/// # Safety
/// `lock` is the address of a KSPIN_LOCK.
pub(crate) unsafe fn acquire(lock: *const AtomicUsize, release: &'static str) {
    let cpu = processor::current();
    let address = lock as usize;
    check_order(&cpu, address);
    // SAFETY: the caller's promise.
    let lock = unsafe { &*lock };
    let mine = MARK | (cpu.number() as usize + 1);
    spin(&cpu, address, || {
        match lock.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => true,
            Err(value) if value & MARK == MARK => false,
            Err(value) => violation(
                rules::SPIN_LOCK_INIT,
                format!("spin lock 0x{address:x} contains 0x{value:x}"),
            ),
        }
    });
    note(&cpu, address, release);
}

/// Releases a KSPIN_LOCK.
///
/// # Safety
/// As for [`acquire`].
pub(crate) unsafe fn release(lock: *const AtomicUsize) {
    let cpu = processor::current();
    forget(&cpu, lock as usize);
    // SAFETY: the caller's promise.
    unsafe { &*lock }.store(0, Ordering::Release);
}

unsafe extern "efiapi" fn ke_initialize_spin_lock(lock: *const AtomicUsize) {
    // SAFETY: the driver's lock.
    unsafe { initialize(lock) };
}

/// Makes a free lock, of which nothing is known.
///
/// # Safety
/// As for [`acquire`].
pub(crate) unsafe fn initialize(lock: *const AtomicUsize) {
    let cpu = processor::current();
    cpu.machine()
        .kernel()
        .locks
        .forget(lock as usize, size_of::<AtomicUsize>());
    // SAFETY: the driver's lock.
    unsafe { &*lock }.store(0, Ordering::Release);
}

unsafe extern "efiapi" fn ke_acquire_spin_lock_raise_to_dpc(lock: *const AtomicUsize) -> u8 {
    let before = irql::raise(Irql::DISPATCH);
    // SAFETY: the driver's lock.
    unsafe { acquire(lock, "KeReleaseSpinLock") };
    before.0
}

unsafe extern "efiapi" fn ke_release_spin_lock(lock: *const AtomicUsize, level: u8) {
    // SAFETY: the driver's lock.
    unsafe { release(lock) };
    irql::lower(Irql(level));
}

unsafe extern "efiapi" fn ke_acquire_spin_lock_at_dpc_level(lock: *const AtomicUsize) {
    // SAFETY: the driver's lock.
    unsafe { acquire(lock, "KeReleaseSpinLockFromDpcLevel") };
}

unsafe extern "efiapi" fn ke_release_spin_lock_from_dpc_level(lock: *const AtomicUsize) {
    // SAFETY: the driver's lock.
    unsafe { release(lock) };
}

unsafe extern "efiapi" fn ke_try_to_acquire_spin_lock_at_dpc_level(lock: *const AtomicUsize) -> u8 {
    let cpu = processor::current();
    let mine = MARK | (cpu.number() as usize + 1);
    // SAFETY: the driver's lock.
    let got = unsafe { &*lock }
        .compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed)
        .is_ok();
    if got {
        note(&cpu, lock as usize, "KeReleaseSpinLockFromDpcLevel");
    }
    u8::from(got)
}

unsafe extern "efiapi" fn ke_test_spin_lock(lock: *const AtomicUsize) -> u8 {
    // SAFETY: the driver's lock.
    u8::from(unsafe { &*lock }.load(Ordering::Relaxed) == 0)
}

unsafe fn acquire_shared(lock: *const AtomicU32, release: &'static str) {
    let cpu = processor::current();
    let address = lock as usize;
    check_order(&cpu, address);
    // SAFETY: the driver's lock.
    let lock = unsafe { &*lock };
    spin(&cpu, address, || {
        let value = lock.load(Ordering::Relaxed);
        check_value(address, value);
        value & EXCLUSIVE == 0
            && lock
                .compare_exchange(value, value + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    });
    note(&cpu, address, release);
}

unsafe fn acquire_exclusive(lock: *const AtomicU32, release: &'static str) {
    let cpu = processor::current();
    let address = lock as usize;
    check_order(&cpu, address);
    // SAFETY: the driver's lock.
    let lock = unsafe { &*lock };
    spin(&cpu, address, || {
        check_value(address, lock.load(Ordering::Relaxed));
        lock.compare_exchange(0, EXCLUSIVE, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    });
    note(&cpu, address, release);
}

fn check_value(address: usize, value: u32) {
    if value != EXCLUSIVE && value > MOST_READERS {
        violation(
            rules::SPIN_LOCK_INIT,
            format!("reader/writer spin lock 0x{address:x} contains 0x{value:x}"),
        );
    }
}

unsafe fn release_shared(lock: *const AtomicU32) {
    forget(&processor::current(), lock as usize);
    // SAFETY: the driver's lock, which the thread held shared.
    unsafe { &*lock }.fetch_sub(1, Ordering::Release);
}

unsafe fn release_exclusive(lock: *const AtomicU32) {
    forget(&processor::current(), lock as usize);
    // SAFETY: the driver's lock, which the thread held exclusively.
    unsafe { &*lock }.store(0, Ordering::Release);
}

unsafe extern "efiapi" fn ex_acquire_spin_lock_shared(lock: *const AtomicU32) -> u8 {
    let before = irql::raise(Irql::DISPATCH);
    // SAFETY: the driver's lock.
    unsafe { acquire_shared(lock, "ExReleaseSpinLockShared") };
    before.0
}

unsafe extern "efiapi" fn ex_release_spin_lock_shared(lock: *const AtomicU32, level: u8) {
    // SAFETY: the driver's lock.
    unsafe { release_shared(lock) };
    irql::lower(Irql(level));
}

unsafe extern "efiapi" fn ex_acquire_spin_lock_exclusive(lock: *const AtomicU32) -> u8 {
    let before = irql::raise(Irql::DISPATCH);
    // SAFETY: the driver's lock.
    unsafe { acquire_exclusive(lock, "ExReleaseSpinLockExclusive") };
    before.0
}

unsafe extern "efiapi" fn ex_release_spin_lock_exclusive(lock: *const AtomicU32, level: u8) {
    // SAFETY: the driver's lock.
    unsafe { release_exclusive(lock) };
    irql::lower(Irql(level));
}

unsafe extern "efiapi" fn ex_acquire_spin_lock_shared_at_dpc_level(lock: *const AtomicU32) {
    // SAFETY: the driver's lock.
    unsafe { acquire_shared(lock, "ExReleaseSpinLockSharedFromDpcLevel") };
}

unsafe extern "efiapi" fn ex_release_spin_lock_shared_from_dpc_level(lock: *const AtomicU32) {
    // SAFETY: the driver's lock.
    unsafe { release_shared(lock) };
}

unsafe extern "efiapi" fn ex_acquire_spin_lock_exclusive_at_dpc_level(lock: *const AtomicU32) {
    // SAFETY: the driver's lock.
    unsafe { acquire_exclusive(lock, "ExReleaseSpinLockExclusiveFromDpcLevel") };
}

unsafe extern "efiapi" fn ex_release_spin_lock_exclusive_from_dpc_level(lock: *const AtomicU32) {
    // SAFETY: the driver's lock.
    unsafe { release_exclusive(lock) };
}

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| Export::new(NTOSKRNL, name, f, arity);
    let low = |name, f| any(name, f, 1).at_most(Irql::DISPATCH);
    let exact = |name, f, arity| any(name, f, arity).exactly(Irql::DISPATCH);
    let high = |name, f| any(name, f, 1).at_least(Irql::DISPATCH);
    vec![
        any(
            "KeInitializeSpinLock",
            ke_initialize_spin_lock as *const (),
            1,
        ),
        any("KeTestSpinLock", ke_test_spin_lock as *const (), 1),
        low(
            "KeAcquireSpinLockRaiseToDpc",
            ke_acquire_spin_lock_raise_to_dpc as *const (),
        ),
        exact("KeReleaseSpinLock", ke_release_spin_lock as *const (), 2),
        high(
            "KeAcquireSpinLockAtDpcLevel",
            ke_acquire_spin_lock_at_dpc_level as *const (),
        ),
        high(
            "KeReleaseSpinLockFromDpcLevel",
            ke_release_spin_lock_from_dpc_level as *const (),
        ),
        high(
            "KeTryToAcquireSpinLockAtDpcLevel",
            ke_try_to_acquire_spin_lock_at_dpc_level as *const (),
        ),
        low(
            "ExAcquireSpinLockShared",
            ex_acquire_spin_lock_shared as *const (),
        ),
        exact(
            "ExReleaseSpinLockShared",
            ex_release_spin_lock_shared as *const (),
            2,
        ),
        low(
            "ExAcquireSpinLockExclusive",
            ex_acquire_spin_lock_exclusive as *const (),
        ),
        exact(
            "ExReleaseSpinLockExclusive",
            ex_release_spin_lock_exclusive as *const (),
            2,
        ),
        high(
            "ExAcquireSpinLockSharedAtDpcLevel",
            ex_acquire_spin_lock_shared_at_dpc_level as *const (),
        ),
        high(
            "ExReleaseSpinLockSharedFromDpcLevel",
            ex_release_spin_lock_shared_from_dpc_level as *const (),
        ),
        high(
            "ExAcquireSpinLockExclusiveAtDpcLevel",
            ex_acquire_spin_lock_exclusive_at_dpc_level as *const (),
        ),
        high(
            "ExReleaseSpinLockExclusiveFromDpcLevel",
            ex_release_spin_lock_exclusive_from_dpc_level as *const (),
        ),
    ]
}
