//! Another order of events with every seed: at each crossing between machine and driver a processor may
//! be held up, be given to another thread, or leave its DPCs for later, as far as its IRQL allows.
//!
//! What one processor draws depends on the seed and its own crossings alone. Where the machine's threads take
//! turns the seed decides everything by that; otherwise they are threads of the host all the same, and a
//! seed makes a schedule likely to come again, and no more than that.

use std::{cell::RefCell, time::Duration};

use crate::{irql::Irql, processor::Current, sync, turns};

/// Of 1,000 crossings, at how many the turn is handed over: schedules of few changes and of many.
const CHANGES: [u16; 4] = [10, 40, 150, 400];
/// Of 1,000 crossings, at how many a thread is held up.
const HELD_UP: [u16; 3] = [1, 3, 10];

/// The choices of one thread of a processor.
pub(crate) struct Schedule {
    random: RefCell<fastrand::Rng>,
    /// Of 1,000 crossings, at how many others go on.
    changes: u16,
    /// Of 1,000 crossings, at how many it is held up.
    held_up: u16,
    /// Threads take turns.
    in_turns: bool,
}

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
        let changes = CHANGES[random.usize(..CHANGES.len())];
        let held_up = HELD_UP[random.usize(..HELD_UP.len())];
        // Neighbouring seeds of this generator begin alike.
        let own = random.u64(..) ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // A processor has other threads by and by; that each of them does the same would be less.
        let own = own ^ turns::draw().unwrap_or(0);
        let in_turns = turns::are_taken();
        Self {
            random: RefCell::new(fastrand::Rng::with_seed(own)),
            changes: if in_turns { changes } else { 20 },
            held_up: if in_turns { held_up } else { 3 },
            in_turns,
        }
    }

    fn draw(&self) -> Turn {
        let mut random = self.random.borrow_mut();
        let lost = self.held_up + self.changes;
        match random.u16(..1000) {
            n if n < self.held_up => Turn::LoseForLong(self.long(&mut random)),
            n if n < lost => Turn::Lose,
            n if n < lost + 60 => Turn::Spin(random.u32(1..600)),
            n if n < lost + 100 => Turn::Preempt,
            _ => Turn::GoOn,
        }
    }

    /// A thread is held up at one place, while others do all of what they are at. Where threads take turns that
    /// costs the host no time.
    fn long(&self, random: &mut fastrand::Rng) -> Duration {
        let time = random.u64(20..200);
        Duration::from_micros(if self.in_turns {
            time << random.u32(..5)
        } else {
            time
        })
    }

    /// Takes a turn. Other threads of the processor may run meanwhile below DISPATCH_LEVEL only.
    pub(crate) fn cross(&self, cpu: &Current) {
        match self.draw() {
            Turn::GoOn => {}
            Turn::Spin(_) if turns::are_taken() => {}
            Turn::Spin(times) => (0..times).for_each(|_| std::hint::spin_loop()),
            Turn::Lose => sync::relax(),
            Turn::LoseForLong(time) => sync::sleep(time),
            Turn::Preempt if cpu.irql() < Irql::DISPATCH => cpu.preempt(),
            Turn::Preempt => sync::relax(),
        }
    }

    /// Whether the DPCs before have left no time, as those of other drivers may.
    pub(crate) fn starves_dpcs(&self) -> bool {
        self.random.borrow_mut().u8(..16) == 0
    }

    /// Whether NDIS pauses an adapter while calls into it are under way, and does not let them end before.
    pub(crate) fn pauses_over_calls(&self) -> bool {
        self.random.borrow_mut().bool()
    }

    /// Whether DPCs that could run now come a little later, as those do that another processor has
    /// queued. They run at the next crossing, or when the IRQL is lowered.
    pub(crate) fn delays_dpcs(&self) -> bool {
        self.random.borrow_mut().u8(..8) == 0
    }
}
