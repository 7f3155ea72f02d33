//! Compares everything that the crate declares with `ndis-facts.json`, which was measured from the
//! WDK's headers (see `extract-facts.py`). The tables compared are made by the macros that make the
//! declarations, so nothing can be declared and left out; what the facts do not know is listed.

mod completeness;
mod headers;
mod layouts;
mod signatures;
mod types;
mod values;

use ndis_sys::tables::{LAYOUTS, Layout};
use serde_json::Value;

/// Structures that are declared without a layout: opaque, or not of the headers at all.
pub const WITHOUT_LAYOUT: &[&str] = &[
    "CM_PARTIAL_RESOURCE_LIST",
    "CM_RESOURCE_LIST",
    "DEVICE_OBJECT",
    "IRP",
    "KDPC_WATCHDOG_INFORMATION",
    "NDIS_PCI_DEVICE_CUSTOM_PROPERTIES",
    "NDIS_RW_LOCK_EX",
    "NET_BUFFER_SHARED_MEMORY",
    "XSTATE_SAVE",
    "BitField",
    "Constant",
    "Function",
    "Layout",
    "Revision",
];

/// The facts, as extracted.
pub fn facts() -> Value {
    serde_json::from_str(include_str!("../ndis-facts.json")).expect("the facts are JSON")
}

/// Every structure, union and bit-field word of the crate.
pub fn layouts() -> impl Iterator<Item = &'static Layout> {
    LAYOUTS.iter().copied().flatten()
}
