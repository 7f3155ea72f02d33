//! Another order of events with every seed: at each crossing between machine and driver a processor may
//! be held up, be given to another thread, or leave its DPCs for later, as far as its IRQL allows.
//!
//! What one processor draws depends on the seed and its own crossings alone. The processors are threads
//! of the host all the same, so a seed makes a schedule likely to come again, and no more than that.

use std::{cell::RefCell, time::Duration};

use crate::{irql::Irql, processor::Current};

/// The choices of one thread of a processor.
pub(crate) struct Schedule(RefCell<fastrand::Rng>);

/// What becomes of a processor at a crossing.
enum Turn {
    /// Nothing.
    GoOn,
    /// As if an interrupt took a few microseconds.
    Spin(u32),
    /// As if the hypervisor took the processor away.
    Lose,
    /// The same for longer than most calls take.
    LoseForLong(Duration),
    /// The thread's time slice is over.
    Preempt,
}

impl Schedule {
    /// The choices of a thread of processor `number`.
    pub(crate) fn new(seed: u64, number: u32) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // Neighbouring seeds of this generator begin alike.
        let own = random.u64(..) ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(RefCell::new(fastrand::Rng::with_seed(own)))
    }

    fn draw(&self) -> Turn {
        let mut random = self.0.borrow_mut();
        match random.u16(..1000) {
            0..3 => Turn::LoseForLong(Duration::from_micros(random.u64(20..200))),
            3..23 => Turn::Lose,
            23..83 => Turn::Spin(random.u32(1..600)),
            83..123 => Turn::Preempt,
            _ => Turn::GoOn,
        }
    }

    /// Takes a turn. Other threads of the processor may run meanwhile below DISPATCH_LEVEL only.
    pub(crate) fn cross(&self, cpu: &Current) {
        match self.draw() {
            Turn::GoOn => {}
            Turn::Spin(times) => (0..times).for_each(|_| std::hint::spin_loop()),
            Turn::Lose => std::thread::yield_now(),
            Turn::LoseForLong(time) => std::thread::sleep(time),
            Turn::Preempt if cpu.irql() < Irql::DISPATCH => cpu.preempt(),
            Turn::Preempt => std::thread::yield_now(),
        }
    }

    /// Whether the DPCs before have left no time, as those of other drivers may.
    pub(crate) fn starves_dpcs(&self) -> bool {
        self.0.borrow_mut().u8(..16) == 0
    }

    /// Whether DPCs that could run now come a little later, as those do that another processor has
    /// queued. They run at the next crossing, or when the IRQL is lowered.
    pub(crate) fn delays_dpcs(&self) -> bool {
        self.0.borrow_mut().u8(..8) == 0
    }
}
