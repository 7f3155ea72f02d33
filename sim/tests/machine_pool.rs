//! Pool: what is allocated, and what is done to it.

mod machine_support;

use std::sync::Arc;

use machine_support::*;
use ndis_sim::{Irql, Machine, ndis::rules as ndis_rules, report::rules};

const NON_PAGED: u64 = 0x40;
const PAGED: u64 = 0x100;
const TAG: u64 = u32::from_le_bytes(*b"tseT") as u64;

#[test]
fn pool_is_zeroed_aligned_and_counted() {
    let m = machine();
    for len in [1u64, 15, 64, 4096, 10_000] {
        let p = call(
            &m,
            Irql::DISPATCH,
            "ExAllocatePool2",
            &[NON_PAGED, len, TAG],
        )
        .unwrap();
        assert_eq!(p % if len >= 4096 { 4096 } else { 16 }, 0);
        // SAFETY: the block was just allocated with that length.
        let bytes = unsafe { std::slice::from_raw_parts(p as *const u8, len as usize) };
        assert!(bytes.iter().all(|b| *b == 0));
        assert_eq!(m.kernel().pool.usage()[&(TAG as u32)], (1, len as usize));
        call(&m, Irql::DISPATCH, "ExFreePoolWithTag", &[p, TAG]).unwrap();
    }
    assert!(m.kernel().pool.usage().is_empty());
    assert_eq!(m.kernel().pool.allocations(), 5);
}

#[test]
fn what_was_in_the_pool_can_be_looked_at() {
    let m = machine();
    let seen = |freed: bool| {
        let mut seen = Vec::new();
        m.kernel().pool.for_each_block(|block| {
            assert_eq!(block.tag, TAG as u32);
            if block.freed == freed {
                seen.push(block.bytes.to_vec());
            }
        });
        seen
    };
    let allocate = |byte: u8| {
        let p = call(&m, Irql::PASSIVE, "ExAllocatePool2", &[NON_PAGED, 24, TAG]).unwrap();
        // SAFETY: the block was just allocated with that length.
        unsafe { std::ptr::write_bytes(p as *mut u8, byte, 24) };
        p
    };
    let free = |p| call(&m, Irql::PASSIVE, "ExFreePoolWithTag", &[p, TAG]).unwrap();
    // Not kept before it is asked for.
    free(allocate(1));
    assert!(seen(false).is_empty() && seen(true).is_empty());
    m.kernel().pool.keep_freed();
    let first = allocate(2);
    let second = allocate(3);
    free(first);
    assert_eq!(seen(false), [vec![3; 24]]);
    assert_eq!(seen(true), [vec![2; 24]]);
    free(second);
    assert_eq!(seen(true), [vec![2; 24], vec![3; 24]]);
    m.kernel().pool.keep_freed();
    assert!(seen(true).is_empty());
}

#[test]
fn pool_rules_are_checked() {
    let rule = rules::POOL_TAG;
    call_stopped(Irql::PASSIVE, "ExAllocatePool2", &[NON_PAGED, 8, 0], rule);
    call_stopped(Irql::PASSIVE, "ExAllocatePool2", &[NON_PAGED, 0, TAG], rule);
    call_stopped(Irql::PASSIVE, "ExAllocatePool2", &[0, 8, TAG], rule);
    call_stopped(
        Irql::PASSIVE,
        "ExAllocatePool2",
        &[NON_PAGED | PAGED, 8, TAG],
        rule,
    );
    call_stopped(
        Irql::DISPATCH,
        "ExAllocatePool2",
        &[PAGED, 8, TAG],
        rules::IRQL,
    );
    call_stopped(Irql::PASSIVE, "ExFreePool", &[0x1000], rules::POOL_CALLER);
}

#[test]
fn pool_allocation_can_be_made_to_fail() {
    let m = machine();
    m.faults().fail_next("ExAllocatePool2");
    assert_eq!(
        call(&m, Irql::PASSIVE, "ExAllocatePool2", &[NON_PAGED, 8, TAG]).unwrap(),
        0
    );
    assert_ne!(
        call(&m, Irql::PASSIVE, "ExAllocatePool2", &[NON_PAGED, 8, TAG]).unwrap(),
        0
    );
}

/// Allocates 24 bytes, writes one byte at `offset`, frees.
extern "efiapi" fn overrun(allocate: F3, free: F1, offset: u64, twice: u64) -> u64 {
    let p = allocate(NON_PAGED, 24, TAG);
    if offset != 0 {
        // SAFETY: none: the wild write is the point.
        unsafe { (p.wrapping_add(offset) as *mut u8).write_volatile(1) };
    }
    free(p);
    if twice != 0 {
        free(p);
    }
    p
}

/// A machine whose pool has guard bytes only.
fn without_special_pool() -> Arc<Machine> {
    Machine::builder().special_pool(false).build()
}

#[test]
fn writes_around_a_block_are_seen_when_it_is_freed() {
    for (offset, text) in [
        (24u64, "byte 1 after"),
        (87, "byte 64 after"),
        (-1i64 as u64, "byte 1 before"),
    ] {
        let m = without_special_pool();
        let [a, f] = imports(&m, ["ExAllocatePool2", "ExFreePool"]);
        let check = stopped(
            &m,
            Irql::PASSIVE,
            overrun as *const (),
            &[a, f, offset, 0],
            rules::POOL_CORRUPTION,
        );
        assert!(check.message().contains(text), "{check}");
        assert!(check.message().contains("tag 'tseT'"), "{check}");
    }
}

#[test]
fn special_pool_faults_on_the_first_byte_beyond() {
    // A block of 24 bytes begins at a multiple of 16: eight guard bytes are behind it.
    for (offset, rule, text) in [
        (
            32u64,
            rules::POOL_OVERRUN,
            "byte 9 after the pool block of 24",
        ),
        (24, rules::POOL_CORRUPTION, "byte 1 after a block of 24"),
        (
            -1i64 as u64,
            rules::POOL_CORRUPTION,
            "byte 1 before a block",
        ),
    ] {
        let m = machine();
        let [a, f] = imports(&m, ["ExAllocatePool2", "ExFreePool"]);
        let args = [a, f, offset, 0];
        let check = stopped(&m, Irql::PASSIVE, overrun as *const (), &args, rule);
        assert!(check.message().contains(text), "{check}");
        assert!(check.histories()[0].events[0].contains("allocated"));
    }
}

#[test]
fn special_pool_can_verify_the_start() {
    for (offset, rule) in [
        (-1i64 as u64, rules::POOL_OVERRUN),
        (24, rules::POOL_CORRUPTION),
        (4096, rules::POOL_OVERRUN),
    ] {
        let m = Machine::builder().verify_start().build();
        let [a, f] = imports(&m, ["ExAllocatePool2", "ExFreePool"]);
        let args = [a, f, offset, 0];
        let check = stopped(&m, Irql::PASSIVE, overrun as *const (), &args, rule);
        assert!(check.histories()[0].events[0].contains("allocated"));
    }
}

/// Allocates blocks, and frees those that it wrote the address of the one before into.
extern "efiapi" fn many(allocate: F3, free: F1, count: u64) -> u64 {
    let mut last = 0;
    for _ in 0..count {
        let block = allocate(NON_PAGED, 24, TAG);
        // SAFETY: within the block.
        unsafe { (block as *mut u64).write(last) };
        last = block;
    }
    while last != 0 {
        // SAFETY: as above.
        let next = unsafe { (last as *const u64).read() };
        free(last);
        last = next;
    }
    0
}

/// The host limits the mappings of a process; Windows' special pool has a limit as well.
#[test]
fn what_is_too_much_for_special_pool_comes_from_elsewhere() {
    const COUNT: u64 = 40_000;
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    let limit: u64 = limit.trim().parse().unwrap();
    let m = machine();
    let [a, f] = imports(&m, ["ExAllocatePool2", "ExFreePool"]);
    drive(&m, Irql::PASSIVE, many as *const (), &[a, f, COUNT]).unwrap();
    assert_eq!(m.kernel().pool.allocations(), COUNT);
    let elsewhere = m.kernel().pool.not_special();
    assert!(elsewhere >= COUNT.saturating_sub(limit / 2), "{elsewhere}");
    assert!(COUNT - elsewhere >= (limit / 4).min(COUNT), "{elsewhere}");
    // All of that was given back.
    let p = call(&m, Irql::PASSIVE, "ExAllocatePool2", &[NON_PAGED, 8, TAG]).unwrap();
    assert_eq!(m.kernel().pool.not_special(), elsewhere);
    call(&m, Irql::PASSIVE, "ExFreePoolWithTag", &[p, TAG]).unwrap();
    assert_eq!(m.kernel().pool.damage(), None);
}

#[test]
fn double_frees_and_wrong_tags_are_seen() {
    let m = machine();
    let [a, f] = imports(&m, ["ExAllocatePool2", "ExFreePool"]);
    let check = stopped(
        &m,
        Irql::PASSIVE,
        overrun as *const (),
        &[a, f, 0, 1],
        rules::POOL_CALLER,
    );
    assert!(check.message().contains("already freed"), "{check}");
    let m = machine();
    let p = call(&m, Irql::PASSIVE, "ExAllocatePool2", &[NON_PAGED, 8, TAG]).unwrap();
    let check = call(&m, Irql::PASSIVE, "ExFreePoolWithTag", &[p, TAG + 1]).unwrap_err();
    assert_eq!(check.rule(), rules::POOL_CALLER);
}

#[test]
fn late_writes_are_seen() {
    let m = without_special_pool();
    let [a, f] = imports(&m, ["ExAllocatePool2", "ExFreePool"]);
    let p = drive(&m, Irql::PASSIVE, overrun as *const (), &[a, f, 0, 0]).unwrap();
    assert_eq!(m.kernel().pool.damage(), None);
    // SAFETY: the block is in quarantine, so still mapped.
    unsafe { (p as *mut u8).write(1) };
    assert!(
        m.kernel()
            .pool
            .damage()
            .unwrap()
            .contains("after it was freed")
    );
}

/// Writes eight bytes into a block and frees it, wiped or not.
extern "efiapi" fn keep_a_secret(allocate: F3, free: F1, secret: u64, wipe: u64) -> u64 {
    let block = allocate(NON_PAGED, 64, TAG);
    // SAFETY: within the block.
    unsafe { (block as *mut u64).add(3).write(secret) };
    if wipe != 0 {
        // SAFETY: as above.
        unsafe { (block as *mut u64).add(3).write(0) };
    }
    free(block)
}

#[test]
fn a_secret_that_is_left_in_freed_memory_is_seen() {
    const SECRET: u64 = 0x0123_4567_89AB_CDEF;
    let m = machine();
    m.kernel().pool.check_freed(|bytes| {
        let at = bytes.windows(8).position(|b| b == SECRET.to_le_bytes())?;
        Some(format!("a key is left at byte {at}"))
    });
    let [allocate, free] = imports(&m, ["ExAllocatePool2", "ExFreePool"]);
    let f = keep_a_secret as *const ();
    drive(&m, Irql::DISPATCH, f, &[allocate, free, SECRET, 1]).unwrap();
    let args = [allocate, free, SECRET, 0];
    let check = stopped(&m, Irql::DISPATCH, f, &args, ndis_rules::FREED_SECRET);
    assert_eq!(check.message(), "a key is left at byte 24");
}

/// Allocates a block, frees it, and reads or writes it.
extern "efiapi" fn use_after_free(allocate: F3, free: F1, write: u64) -> u64 {
    let block = allocate(NON_PAGED, 200, TAG) as *mut u64;
    free(block as u64);
    // SAFETY: none: this is the error of the test's driver. The memory stays mapped in one kind of
    // pool, and faults in the other.
    unsafe {
        if write != 0 {
            block.add(2).write_volatile(7);
        }
        block.add(2).read_volatile()
    }
}

#[test]
fn freed_special_pool_can_be_neither_read_nor_written() {
    for write in [0, 1] {
        let m = machine();
        let [allocate, free] = imports(&m, ["ExAllocatePool2", "ExFreePool"]);
        let args = [allocate, free, write];
        let f = use_after_free as *const ();
        let check = stopped(&m, Irql::DISPATCH, f, &args, rules::POOL_USE_AFTER_FREE);
        let life = &check.histories()[0].events;
        assert!(life[1].contains("freed"), "{check}");
    }
}

#[test]
fn a_write_to_freed_memory_is_seen_when_the_memory_is_used_again() {
    extern "efiapi" fn churn(allocate: F3, free: F1) -> u64 {
        (0..2000).for_each(|_| _ = free(allocate(NON_PAGED, 32, TAG)));
        0
    }
    let m = without_special_pool();
    let [allocate, free] = imports(&m, ["ExAllocatePool2", "ExFreePool"]);
    let f = use_after_free as *const ();
    drive(&m, Irql::DISPATCH, f, &[allocate, free, 1]).unwrap();
    let check = stopped(
        &m,
        Irql::DISPATCH,
        churn as *const (),
        &[allocate, free],
        rules::POOL_USE_AFTER_FREE,
    );
    // The history is that of the block that was written, not of the one that was freed when it was seen.
    let life = &check.histories()[0].events;
    assert!(life[0].contains("0xc8"), "{check}");
}
