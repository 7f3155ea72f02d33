//! The IPsec engine: security associations, ESP, verdicts.
//!
//! Bytes and offsets go in, bytes and a verdict come out. Nothing here knows NDIS, so
//! that the whole packet path can be tested and fuzzed anywhere.
//!
//! ```text
//!   ADD_SA ----> SaParams --> Engine::add_sa --> SaHandle
//!   send   ----> Engine::outbound --> OutboundBurst::seal(request, packet)
//!                Engine::outbound --> OutboundBurst::large(request, head) --> LargeFraming
//!                  OutboundBurst::reserve --> LargeSegments --> OutboundBurst::seal_segment
//!   receive ---> Engine::inbound  --> InboundBurst::open(packet) --> Verdict
//! ```
//!
//! What the engine can do is in [`Engine::capabilities`], and is all that it does:
//! an SA that needs more is refused by [`Engine::add_sa`].
//!
//! # Concurrency
//! Every method takes `&self`, takes no lock, does not wait, and may be called on any
//! number of processors at IRQL <= DISPATCH_LEVEL. Memory is allocated by
//! [`Engine::try_new`] and [`Engine::add_sa`] only, always fallibly.
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

extern crate alloc;
#[cfg(test)]
extern crate std;

mod ah;
mod counters;
mod engine;
mod esn;
mod esp;
mod hmac;
mod inbound;
mod outbound;
mod packet;
mod sa;
mod salt;
mod sync;
mod verdict;

pub use counters::{Counters, SaCounters};
pub use engine::{Config, Engine, OutOfMemory, SaInfo};
pub use inbound::InboundBurst;
pub use ipsec_crypto::Simd;
pub use outbound::{LargeFraming, LargeSegments, OutboundBurst, SendError, SendRequest};
pub use packet::Address;
pub use sa::capabilities::Capabilities;
pub use sa::params::{
    Algorithm, AuthenticationAlgorithm, Direction, EncryptionAlgorithm, Endpoints, Operation,
    SaParams, SecurityAssociation, UdpEncapsulation, UdpEncapsulations,
};
pub use sa::{AddError, SaHandle, UpdateError};
pub use verdict::{CryptoStatus, NotProcessed, Outcome, Payload, Payloads, Trailer, Verdict};
