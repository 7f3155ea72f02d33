//! Safe wrappers over [`ndis_sys`] for a miniport driver.
//!
//! What the documentation of NDIS demands in prose is in the types here:
//! - **IRQL**: [`Passive`] and [`Dispatch`] are tokens; a call that needs a level takes its token.
//! - **Ownership**: a list to send is a [`SendNbl`], which can be completed once and is completed
//!   even when it is forgotten in a corner; a receive buffer is a [`Frame`], which goes home when it
//!   is dropped; a request becomes [`Answered`] once.
//! - **Extended processor state**: [`ExtendedFeatures::with_state`] is the only bracket.
//! - **Lifetime**: [`Rundown`] counts what is under way, what is [`Deferred`] is retired before its
//!   context goes.
//!
//! All memory is non-paged: the driver's global allocator is.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

extern crate alloc;

pub mod config;
pub mod deferred;
mod dpc;
mod event;
#[cfg(test)]
mod fake_kernel;
mod frame;
mod header;
mod irql;
#[cfg(test)]
mod large_send_tests;
mod lock;
mod memory;
mod miniport;
mod net_buffer;
mod net_buffer_list;
mod oid;
mod oob;
mod pool;
mod rundown;
mod stack;
pub mod sync;
#[cfg(test)]
mod tests;
mod wiping;
mod work_item;
mod xstate;

pub use config::{Configuration, Keyword};
pub use deferred::Deferred;
pub use event::Event;
pub use frame::{Frame, FramePool, FrameQueue};
pub use header::header;
pub use irql::{Dispatch, Passive, RaisedIrql, at_dispatch, current_processor};
pub use lock::{ReadGuard, RwSpinLock, SpinGuard, SpinLock, WriteGuard};
pub use memory::{OutOfMemory, try_box, try_with_capacity, try_zeroed};
pub use miniport::MiniportHandle;
pub use ndis_sys::{NdisVersion as Version, ObjectKind, bytes_of, read, read_prefix};
pub use net_buffer::{Cursor, GatherError, NetBuffer};
pub use net_buffer_list::{Completions, SendChain, SendNbl};
pub use oid::{Answered, OidRequest, Verb};
pub use oob::InfoSlot;
pub use pool::NblPool;
pub use rundown::{Drained, Rundown};
pub use stack::remaining_stack;
pub use wiping::Wiping;
pub use work_item::WorkItem;
pub use xstate::{ExtendedFeatures, ExtendedState, SaveFailed};
