//! A fixed-capacity table of reference-counted slots, found by generation handle
//! or by a 32-bit key, without a lock anywhere.
//!
//! # Properties
//! - **No lock, no waiting.** Every operation takes `&self`, may run on any number
//!   of processors at once at IRQL <= DISPATCH_LEVEL, and is lock-free: a
//!   compare-and-swap is only repeated when another processor made progress.
//! - **Handles are never pointers.** A [`Handle`] is an index and a generation. A
//!   stale or forged one is only ever "not found". No generation is used twice: a
//!   slot whose 40-bit generation is spent is retired.
//! - **Removing never waits.** [`Table::remove`] makes the item unreachable and
//!   drops the table's reference. Whoever drops the last [`Ref`] drops the item in
//!   place (which wipes its keys) and frees the slot.
//! - **Memory is taken once**, fallibly, by [`Table::try_new`].
//!
//! ```text
//!  key ----> index: buckets of 8 entries (key | slot)      handle = generation | slot
//!                      |                                           |
//!                      v                                           v
//!            +------------------+------------------+------------------+
//!   slots    | generation|flags | generation|flags | generation|flags |
//!            | references       | references       | references       |
//!            | item             | (free) -> next   | item             |
//!            +------------------+------------------+------------------+
//! ```
#![no_std]

extern crate alloc;
#[cfg(any(test, loom))]
extern crate std;

mod free_list;
mod handle;
mod index;
mod slot;
mod sync;
mod table;

pub use handle::Handle;
pub use table::{Iter, Keyed, Lookup, OutOfMemory, Ref, Table, TableFull};

/// Most keys that one item can be found by.
pub const MAX_KEYS: usize = 2;

/// Most slots that a table can have.
pub const MAX_CAPACITY: usize = 1 << 20;
