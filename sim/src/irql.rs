//! Interrupt request levels, as wdm.h numbers them on x64.

use std::fmt;

/// An interrupt request level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Irql(pub u8);

impl Irql {
    /// Threads; may wait and touch pageable memory.
    pub const PASSIVE: Self = Self(0);
    /// Asynchronous procedure calls are held off.
    pub const APC: Self = Self(1);
    /// DPCs and spin lock holders; no waiting.
    pub const DISPATCH: Self = Self(2);
    /// First level that belongs to devices' interrupts.
    pub const DIRQL: Self = Self(3);
    /// Nothing interrupts.
    pub const HIGH: Self = Self(15);
}

impl fmt::Display for Irql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PASSIVE => f.write_str("PASSIVE_LEVEL"),
            Self::APC => f.write_str("APC_LEVEL"),
            Self::DISPATCH => f.write_str("DISPATCH_LEVEL"),
            Self::HIGH => f.write_str("HIGH_LEVEL"),
            Self(n) => write!(f, "IRQL {n}"),
        }
    }
}

/// The levels at which a documented routine may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrqlRange {
    /// Lowest level allowed.
    pub min: Irql,
    /// Highest level allowed.
    pub max: Irql,
}

impl IrqlRange {
    /// Any level.
    pub const ANY: Self = Self {
        min: Irql::PASSIVE,
        max: Irql::HIGH,
    };

    /// "IRQL: PASSIVE_LEVEL" or "IRQL: DISPATCH_LEVEL" of a page.
    #[must_use]
    pub const fn exactly(level: Irql) -> Self {
        Self {
            min: level,
            max: level,
        }
    }

    /// "IRQL: <= level" of a page.
    #[must_use]
    pub const fn at_most(level: Irql) -> Self {
        Self {
            min: Irql::PASSIVE,
            max: level,
        }
    }

    /// "IRQL: >= level" of a page.
    #[must_use]
    pub const fn at_least(level: Irql) -> Self {
        Self {
            min: level,
            max: Irql::HIGH,
        }
    }

    /// Whether `level` is allowed.
    #[must_use]
    pub fn contains(self, level: Irql) -> bool {
        self.min <= level && level <= self.max
    }
}

impl fmt::Display for IrqlRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (min, max) if min == max => write!(f, "{max}"),
            (Irql::PASSIVE, max) => write!(f, "<= {max}"),
            (min, Irql::HIGH) => write!(f, ">= {min}"),
            (min, max) => write!(f, "{min} to {max}"),
        }
    }
}
