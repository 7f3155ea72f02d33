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

pub use kernel::{
    Dispatch, Event, MiniportHandle, OutOfMemory, Passive, SpinGuard, SpinLock, at_dispatch,
};
pub use rundown::{Drained, Rundown};
pub use work_item::WorkItem;

// Where the sources of `ndis` look for it.
use kernel as event;
use kernel as irql;
use kernel as lock;
use kernel as memory;
use kernel as miniport;

/// The atomics that are explored.
pub mod sync {
    pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "../../ndis/src/rundown.rs"]
mod rundown;

#[path = "../../ndis/src/work_item.rs"]
mod work_item;

#[path = "../../src/adapter/link/following.rs"]
pub mod following;

#[path = "../../src/adapter/state.rs"]
pub mod state;

#[path = "../../src/adapter/gates.rs"]
pub mod gates;
