//! The last transitions into and out of the driver.

use std::fmt;

use crate::irql::Irql;

/// Way of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The machine calls the driver.
    Enter,
    /// The driver returns from a callback.
    Leave,
    /// The driver calls an import.
    Import,
    /// The import returns to the driver.
    Return,
}

/// One transition.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Which way.
    pub direction: Direction,
    /// The callback or the import.
    pub name: &'static str,
    /// First argument on the way in, result on the way out.
    pub value: u64,
    /// IRQL at that moment.
    pub irql: Irql,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            direction,
            name,
            value,
            irql,
        } = self;
        match direction {
            Direction::Enter => write!(f, "-> {name}(0x{value:x}, ...) at {irql}"),
            Direction::Leave => write!(f, "<- {name} = 0x{value:x} at {irql}"),
            Direction::Import => write!(f, "   driver calls {name}(0x{value:x}, ...) at {irql}"),
            Direction::Return => write!(f, "   {name} returns 0x{value:x} at {irql}"),
        }
    }
}

const LENGTH: usize = 32;

/// A ring of the last steps. Written at every transition, hence no allocation.
pub(crate) struct Trail {
    steps: [Option<Step>; LENGTH],
    next: usize,
}

impl Trail {
    pub(crate) const fn new() -> Self {
        Self {
            steps: [None; LENGTH],
            next: 0,
        }
    }

    pub(crate) fn push(&mut self, step: Step) {
        self.steps[self.next % LENGTH] = Some(step);
        self.next = self.next.wrapping_add(1);
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        (0..LENGTH)
            .filter_map(|i| self.steps[(self.next.wrapping_add(i)) % LENGTH])
            .collect()
    }
}
