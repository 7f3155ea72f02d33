//! The driver's own sources over loom's atomics and locks, for the models in `tests/`:
//! `RUSTFLAGS="--cfg loom" cargo test -p interleavings --release`.
//!
//! The files are those that the driver is built from. What they ask of the crate `ndis` is here.

#![cfg(loom)]
#![allow(
    missing_docs,
    dead_code,
    reason = "the sources are documented for where they belong, and a model uses a part"
)]

extern crate self as ndis;

mod kernel;

pub use kernel::{Dispatch, Event, Passive, SpinGuard, SpinLock};
pub use rundown::{Drained, Rundown};

/// The atomics that are explored.
pub mod sync {
    pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "../../ndis/src/rundown.rs"]
mod rundown;

#[path = "../../src/adapter/state.rs"]
pub mod state;

#[path = "../../src/adapter/gates.rs"]
pub mod gates;
