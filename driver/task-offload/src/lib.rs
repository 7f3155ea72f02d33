//! TCP/IP task offload that keeps no state: checksums and the segmentation of large TCP packets.
//!
//! Bytes and offsets go in; nothing here knows NDIS, allocates, or can panic.
//!
//! ```text
//!   send     checksum::compute(packet, carried, tasks)      fills in IP, TCP, UDP checksums
//!   receive  checksum::validate(packet, carried, enabled)   says which of them are right
//!   large    LargeSend::new(head, ..) -> segment(0..segments())
//!            for each: copy the head, gather Segment::payload behind it, LargeSend::finish
//! ```
//!
//! # With IPsec
//! What ESP or AH carries is found by whoever knows the SA, and is told as [`Carried`]. A large
//! packet that is framed for ESP has its IPsec headers before the TCP header, so that they are
//! a part of the head that every segment starts with; the padding, trailer and ICV that each
//! segment gets behind its payload are the `tail` of [`LargeSend::finish`]. Lengths, IP
//! identification and TCP header are then right for the segment, and what is left to be done is
//! the ESP header, the trailer, and sealing.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

#[cfg(test)]
extern crate std;

pub mod checksum;
mod ip;
pub mod large_send;
mod sum;

pub use ip::{Carried, Ip, IpVersion, NotIp};
pub use large_send::{LargeSend, LargeSendError, LargeSendRequest, Segment};
pub use sum::Sum;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
