//! The atomics of what is also explored by loom, which puts its own in their place
//! (`driver/interleavings`).

pub(crate) use core::sync::atomic::{AtomicU64, Ordering};
