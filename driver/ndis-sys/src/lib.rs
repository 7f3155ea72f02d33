//! Raw bindings for NDIS 6.1, 6.20 and 6.30 miniport drivers with IPsec task offload version 2.
//!
//! Names, types and layouts are those of ndis.h, ntddndis.h and wdm.h, everything at the root. The
//! structures have the layout of the newest revision that an NDIS 6.30 driver uses; an earlier
//! revision is a prefix. Every size, alignment and offset is asserted when the crate is compiled, on
//! Windows too, and compared with measured facts by `tests/facts`.
//!
//! What a header must say for a registered NDIS version is in one place, [`ObjectKind::header`].
//!
//! Conventions:
//! - Callbacks and imports are `extern "efiapi"`. That is the Microsoft x64 convention on x86-64 and
//!   AAPCS64 on ARM64, on every target: what `extern "system"` is on Windows, and what lets the
//!   simulator on Linux share the declarations.
//! - C enumerations are integers; flexible arrays have the length of the headers (0 or 1).
//! - An unnamed bit-field word is a type of its own, whose fields are [`BitField`] constants.
//! - An unnamed union of overlays that no driver uses is flattened to the usual member; any other is
//!   a named union.
//! - Padding is spelled out in members that start with `_`, so that `ZERO` defines every byte.

#![no_std]
#![allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    reason = "the names of the headers"
)]

mod adapter;
mod basic;
mod bit_field;
mod config;
mod ipsec_offload_v2;
mod kmdf;
mod miniport;
mod nbl;
mod nbl_info;
mod ndis;
mod ntoskrnl;
mod object_header;
mod offload;
mod oid;
mod oid_request;
mod plain;
mod power;
mod status;
mod table;
mod timer;
mod versions;
mod wdm;

pub use adapter::*;
pub use basic::*;
pub use bit_field::*;
pub use config::*;
pub use ipsec_offload_v2::*;
pub use kmdf::*;
pub use miniport::*;
pub use nbl::*;
pub use nbl_info::*;
pub use ndis::*;
pub use ntoskrnl::*;
pub use object_header::*;
pub use offload::*;
pub use oid::*;
pub use oid_request::*;
pub use plain::{bytes_of, read, read_prefix};
pub use power::*;
pub use status::*;
pub use table::Zero;
pub use timer::*;
pub use versions::*;
pub use wdm::*;

/// All declarations as data, for the tests that compare them with the facts.
#[doc(hidden)]
pub mod tables {
    pub use crate::table::{BitRange, Constant, Field, Function, Layout, Place};
    use crate::{
        adapter, basic, config, ipsec_offload_v2, kmdf, miniport, nbl, nbl_info, ndis, ntoskrnl,
        object_header, offload, oid, oid_request, power, status, timer, wdm,
    };

    /// The structures, unions and bit-field words.
    pub const LAYOUTS: &[&[Layout]] = &[
        adapter::LAYOUTS,
        basic::LAYOUTS,
        config::LAYOUTS,
        ipsec_offload_v2::LAYOUTS,
        ipsec_offload_v2::BIT_FIELDS,
        miniport::LAYOUTS,
        miniport::BIT_FIELDS,
        nbl::LAYOUTS,
        nbl_info::LAYOUTS,
        nbl_info::BIT_FIELDS,
        object_header::LAYOUTS,
        offload::LAYOUTS,
        offload::BIT_FIELDS,
        oid_request::LAYOUTS,
        power::LAYOUTS,
        status::LAYOUTS,
        timer::LAYOUTS,
        wdm::LAYOUTS,
    ];

    /// The constants and enumerators.
    pub const CONSTANTS: &[&[Constant]] = &[
        adapter::CONSTANTS,
        config::CONSTANTS,
        ipsec_offload_v2::CONSTANTS,
        miniport::CONSTANTS,
        nbl::CONSTANTS,
        nbl_info::CONSTANTS,
        object_header::CONSTANTS,
        offload::CONSTANTS,
        oid::CONSTANTS,
        oid_request::CONSTANTS,
        power::CONSTANTS,
        status::CONSTANTS,
        timer::CONSTANTS,
        wdm::CONSTANTS,
    ];

    /// The imports of ndis.sys.
    pub const NDIS: &[Function] = ndis::FUNCTIONS;

    /// The imports of ntoskrnl.exe.
    pub const NTOSKRNL: &[Function] = ntoskrnl::FUNCTIONS;

    /// The callbacks.
    pub const CALLBACKS: &[&[Function]] = &[
        kmdf::CALLBACKS,
        miniport::CALLBACKS,
        nbl::CALLBACKS,
        timer::CALLBACKS,
        wdm::CALLBACKS,
    ];
}
