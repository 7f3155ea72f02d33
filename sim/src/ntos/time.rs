//! Clocks and short delays.

use std::time::{Duration, Instant};

use crate::{
    clock::in_100ns,
    exports::{Export, NDIS, NTOSKRNL},
    processor,
    report::{rules, violation},
    turns,
};

/// Of the performance counter, in Hz; what Windows 10 reports.
const FREQUENCY: u64 = 10_000_000;
/// Clock interrupt, in 100 ns units.
const INCREMENT: u32 = 156_250;

/// "Do not specify more than 50 microseconds" (NdisStallExecution, KeStallExecutionProcessor).
const LONGEST_STALL: u32 = 50;

fn interrupt_time() -> u64 {
    in_100ns(processor::current().machine().clock().now())
}

unsafe extern "efiapi" fn ke_query_performance_counter(frequency: *mut u64) -> u64 {
    if !frequency.is_null() {
        // SAFETY: the driver's optional LARGE_INTEGER.
        unsafe { frequency.write_unaligned(FREQUENCY) };
    }
    interrupt_time()
}

unsafe extern "efiapi" fn ke_query_interrupt_time_precise(counter: *mut u64) -> u64 {
    let now = interrupt_time();
    // SAFETY: the driver's ULONG64.
    unsafe { counter.write_unaligned(now) };
    now
}

unsafe extern "efiapi" fn ke_query_interrupt_time() -> u64 {
    // Updated by the clock interrupt only.
    interrupt_time() / u64::from(INCREMENT) * u64::from(INCREMENT)
}

unsafe extern "efiapi" fn ke_query_system_time_precise(time: *mut u64) {
    let now = processor::current().machine().clock().system_time();
    // SAFETY: the driver's LARGE_INTEGER.
    unsafe { time.write_unaligned(now) };
}

unsafe extern "efiapi" fn ke_query_time_increment() -> u32 {
    INCREMENT
}

unsafe extern "efiapi" fn ke_stall_execution_processor(microseconds: u32) {
    if microseconds > LONGEST_STALL {
        violation(
            rules::STALL_EXECUTION,
            format!(
                "{} for {microseconds} microseconds",
                processor::current().what()
            ),
        );
    }
    let time = Duration::from_micros(u64::from(microseconds));
    if turns::wait(None, Some(time)) {
        return;
    }
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

pub(super) fn exports() -> Vec<Export> {
    let e = |name, f, arity| Export::new(NTOSKRNL, name, f, arity);
    vec![
        e(
            "KeQueryPerformanceCounter",
            ke_query_performance_counter as *const (),
            1,
        ),
        e(
            "KeQueryInterruptTimePrecise",
            ke_query_interrupt_time_precise as *const (),
            1,
        ),
        e(
            "KeQueryInterruptTime",
            ke_query_interrupt_time as *const (),
            0,
        ),
        e(
            "KeQuerySystemTimePrecise",
            ke_query_system_time_precise as *const (),
            1,
        ),
        e(
            "KeQueryTimeIncrement",
            ke_query_time_increment as *const (),
            0,
        ),
        e(
            "KeStallExecutionProcessor",
            ke_stall_execution_processor as *const (),
            1,
        ),
        Export::new(
            NDIS,
            "NdisStallExecution",
            ke_stall_execution_processor as *const (),
            1,
        ),
    ]
}
