//! The information buffers of the IPsecOV2 requests: bytes in, the engine's parameters or a status out.
//!
//! ```text
//!   ADD_SA       [SA 1 | keys]  [SA 2 | keys] ...    AddSaList::new -> offload(each)
//!                    Next ------^
//!   ADD_SA_EX    [SA | ... keys]                     AddSaEx::new   -> offload(the one)
//!   DELETE_SA    [handle 1] [handle 2] ...           delete_sa(each)
//!   UPDATE_SA    [handle, SPI, high half]            UpdateSa::parse
//! ```
//!
//! Buffers are not to be trusted. Structures are copied out before they are looked at, every offset and
//! length is checked against the length of the buffer with no arithmetic that can wrap, and no pointer
//! is followed: `Next` is only ever compared with where the buffer is, which makes an offset of it.
//!
//! What a request does is the caller's: nothing here knows an adapter or an engine, so that all of it
//! runs, and is fuzzed, anywhere.
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

mod add_sa;
mod algorithm;
mod association;
mod delete_sa;
mod list;
mod update_sa;

pub use add_sa::{AddSaEx, AddSaList};
pub use association::{AddSa, udp_esp_bit};
pub use delete_sa::delete_sa;
pub use update_sa::UpdateSa;

use ipsec::Operation;
use ndis_sys::{
    IPSEC_OFFLOAD_V2_OPERATION, IPsecOffloadV2Ah, IPsecOffloadV2Esp, NDIS_OBJECT_HEADER,
    NDIS_OBJECT_TYPE_DEFAULT, NDIS_STATUS, NDIS_STATUS_INVALID_PARAMETER,
};

/// A request that cannot be done, whatever the state of the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The buffer would need so many bytes: NDIS_STATUS_INVALID_LENGTH with BytesNeeded.
    TooShort(usize),
    /// The status to complete with.
    Status(NDIS_STATUS),
}

const INVALID: NDIS_STATUS = NDIS_STATUS_INVALID_PARAMETER;

/// Whether this is a structure of at least this revision and size. Later revisions only add to the end.
fn is_structure(header: &NDIS_OBJECT_HEADER, revision: u8, size: usize) -> bool {
    header.Type == NDIS_OBJECT_TYPE_DEFAULT
        && header.Revision >= revision
        && usize::from(header.Size) >= size
}

/// IPSEC_OFFLOAD_V2_OPERATION.
fn operation(value: IPSEC_OFFLOAD_V2_OPERATION) -> Result<Operation, NDIS_STATUS> {
    if value == IPsecOffloadV2Ah {
        Ok(Operation::Ah)
    } else if value == IPsecOffloadV2Esp {
        Ok(Operation::Esp)
    } else {
        Err(INVALID)
    }
}
