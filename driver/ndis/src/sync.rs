//! The atomics of what is also explored by loom, which puts its own in their place
//! (`driver/interleavings`).

pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
