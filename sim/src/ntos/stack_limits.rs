//! What a driver is told of the kernel stack.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{
    exports::{Export, NTOSKRNL},
    processor,
};

/// What Windows gives a thread on x64.
const KERNEL_STACK: usize = 24 * 1024;

/// The part of each kernel stack that belongs to the drivers above.
#[derive(Default)]
pub struct Callers(AtomicUsize);

impl Callers {
    /// Drivers are told that their callers have taken so many bytes. Default 0.
    pub fn take(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

unsafe extern "efiapi" fn io_get_stack_limits(low: *mut usize, high: *mut usize) {
    let cpu = processor::current();
    let callers = cpu.machine().kernel().callers.0.load(Ordering::Relaxed);
    let top = cpu.thread().stack_top();
    // SAFETY: the driver's two variables.
    unsafe {
        low.write(top - KERNEL_STACK.saturating_sub(callers));
        high.write(top);
    }
}

pub(super) fn exports() -> Vec<Export> {
    vec![Export::new(
        NTOSKRNL,
        "IoGetStackLimits",
        io_get_stack_limits as *const (),
        2,
    )]
}
