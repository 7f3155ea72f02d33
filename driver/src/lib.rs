//! `ipsecov2.sys`: an NDIS miniport with IPsec Task Offload Version 2.
//!
//! This crate is the shell: it translates between NDIS and the engine (`ipsec`), and decides
//! nothing about IPsec. One file per concern; `docs/driver.md` has the overview.
//!
//! - [`entry`]: DriverEntry and unload; [`version`]: which NDIS the driver registers with
//! - [`handlers`]: the entry points that NDIS calls, all of `unsafe` in one place
//! - [`adapter`]: the state of an adapter and its life: initialize, pause, restart, power, reset, halt
//! - [`config`]: keywords; [`attributes`]: what NDIS is told of the adapter; [`offload`]: which
//!   offloads are on
//! - [`oid`] and [`direct_oid`]: requests
//! - [`send`], [`wire`], [`receive`]: the data path; [`ethernet`]: the frames on it
//! - [`stats`], [`trace`]

#![no_std]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

extern crate alloc;
extern crate wdk_panic;

mod adapter;
mod attributes;
mod config;
mod direct_oid;
mod entry;
mod ethernet;
mod handlers;
mod offload;
mod oid;
mod receive;
mod send;
mod simd;
mod stack;
mod stats;
mod trace;
mod version;
mod wdf;
mod wire;

/// Non-paged pool, tag "rust": everything may be touched at DISPATCH_LEVEL. What goes back to it is zero.
#[global_allocator]
static ALLOCATOR: ndis::Wiping<wdk_alloc::WdkAllocator> = ndis::Wiping(wdk_alloc::WdkAllocator);

/// The tag of what NDIS allocates for the driver: "ov2I" in memory dumps.
const POOL_TAG: u32 = u32::from_le_bytes(*b"I2vo");
