//! What a driver leaves behind, and buffers that were written beyond.

mod machine_support;

use std::sync::atomic::{AtomicU64, Ordering};

use machine_support::*;
use ndis_sim::{
    GuardedBuf, Irql, Machine,
    driver::{DriverObject, UnicodeString},
    guarded::Fence,
    report::rules,
};

const TAG: u64 = u32::from_le_bytes(*b"kaeL") as u64;

extern "efiapi" fn no_unload(_object: u64) {}

#[test]
fn pool_and_tracked_objects_are_reported_by_tag_at_unload() {
    static ALLOCATE: AtomicU64 = AtomicU64::new(0);
    extern "efiapi" fn entry(object: *mut DriverObject, _path: *const UnicodeString) -> i32 {
        // SAFETY: ExAllocatePool2, as resolved; the object is the driver's.
        unsafe {
            let allocate: F3 = std::mem::transmute(ALLOCATE.load(Ordering::SeqCst));
            allocate(0x40, 100, TAG);
            allocate(0x40, 28, TAG);
            (*object).driver_unload = no_unload as *const ();
        }
        0
    }
    let m = machine();
    ALLOCATE.store(import(&m, "ExAllocatePool2"), Ordering::SeqCst);
    let driver = m.load_native("leaky", entry).unwrap();
    m.track("NdisAllocateNetBufferListPool", 0x1234, "tag 'lobN'");
    let found = driver.unload().unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].rule, rules::POOL_LEAK);
    assert!(
        found[0].message.contains("2 blocks, 128 bytes, tag 'kaeL'"),
        "{found:?}"
    );
    assert_eq!(found[1].rule, rules::RESOURCE_LEAK);
    assert!(
        found[1]
            .message
            .contains("NdisAllocateNetBufferListPool 0x1234 (tag 'lobN')"),
        "{found:?}"
    );
    assert_eq!(m.report().findings, found);
    // Reported once: the next driver starts with a clean machine.
    let driver = m.load_native("clean", clean_entry).unwrap();
    assert_eq!(driver.unload().unwrap(), []);
}

extern "efiapi" fn clean_entry(object: *mut DriverObject, _path: *const UnicodeString) -> i32 {
    // SAFETY: the object is the driver's.
    unsafe { (*object).driver_unload = no_unload as *const () };
    0
}

#[test]
fn a_queued_dpc_at_unload_is_found() {
    extern "efiapi" fn dpc(_dpc: u64) -> u64 {
        0
    }
    let m = Machine::builder().processors(2).build();
    let driver = m.load_native("late", clean_entry).unwrap();
    let memory = Box::leak(Box::new([0u64; 8])).as_mut_ptr() as u64;
    call(
        &m,
        Irql::PASSIVE,
        "KeInitializeDpc",
        &[memory, dpc as *const () as u64, 0],
    )
    .unwrap();
    // Processor 1 is at DISPATCH_LEVEL, so that the DPC stays queued.
    let target = Box::leak(Box::new([0u8, 0, 1, 0])).as_ptr() as u64;
    call(
        &m,
        Irql::PASSIVE,
        "KeSetTargetProcessorDpcEx",
        &[memory, target],
    )
    .unwrap();
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let (ready, is_ready) = std::sync::mpsc::channel();
    m.spawn(Some(1), Irql::DISPATCH, move || {
        ready.send(()).unwrap();
        let _ = told.recv();
    });
    is_ready.recv().unwrap();
    call(&m, Irql::PASSIVE, "KeInsertQueueDpc", &[memory, 0, 0]).unwrap();
    let found = driver.unload().unwrap();
    tell.send(()).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].rule, rules::PENDING_AT_UNLOAD);
}

extern "efiapi" fn write_at(address: u64) -> u64 {
    // SAFETY: none: the wild write is the point.
    unsafe { (address as *mut u8).write_volatile(7) };
    0
}

fn write(m: &Machine, address: u64) -> Result<u64, ndis_sim::BugCheck> {
    drive(m, Irql::DISPATCH, write_at as *const (), &[address])
}

#[test]
fn a_guarded_buffer_may_be_used_within_its_length() {
    let m = machine();
    for len in [1usize, 7, 8, 100, 4096, 5000] {
        for (align, fence) in [(1, Fence::End), (8, Fence::End), (64, Fence::Start)] {
            let buffer = GuardedBuf::with(m.arc(), len, align, fence);
            assert_eq!(buffer.as_ptr() as usize % align, 0);
            assert_eq!(buffer.to_vec(), vec![0; len]);
            write(&m, buffer.as_ptr() as u64 + len as u64 - 1).unwrap();
            assert_eq!(buffer.read(len - 1, 1), [7]);
            buffer.release().unwrap();
        }
    }
}

#[test]
fn writes_beyond_a_guarded_buffer_are_seen() {
    // The byte after the end is inaccessible, or a guard byte where alignment
    // leaves room; before the start likewise.
    for (align, fence, offset, faults) in [
        (1, Fence::End, 13i64, true),
        (8, Fence::End, 13, false),
        (8, Fence::End, 16, true),
        (8, Fence::End, -1, false),
        (8, Fence::Start, -1, true),
        (8, Fence::Start, 13, false),
    ] {
        let m = machine();
        let buffer = GuardedBuf::with(m.arc(), 13, align, fence);
        let outcome = write(&m, (buffer.as_ptr() as u64).wrapping_add_signed(offset));
        if faults {
            assert_eq!(outcome.unwrap_err().rule(), rules::BUFFER_OVERRUN);
            continue;
        }
        outcome.unwrap();
        let check = buffer.release().unwrap_err();
        assert_eq!(check.rule(), rules::BUFFER_OVERRUN, "{check}");
        assert_eq!(
            m.run(None, Irql::PASSIVE, || ()).unwrap_err().rule(),
            rules::BUFFER_OVERRUN
        );
    }
}

#[test]
fn a_dropped_buffer_is_checked_too() {
    let m = machine();
    let buffer = m.guarded(13);
    write(&m, buffer.as_ptr() as u64 + 13).unwrap();
    drop(buffer);
    assert_eq!(m.bug_check().unwrap().rule(), rules::BUFFER_OVERRUN);
}
