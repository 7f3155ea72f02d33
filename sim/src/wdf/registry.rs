//! WDFKEY: the driver's Parameters key. Pages:
//! WdfDriverOpenParametersRegistryKey, WdfRegistryQueryULong,
//! WdfRegistryQueryValue, WdfRegistryClose.

use std::{collections::BTreeMap, sync::OnceLock};

use ndis_sys::{STATUS_BUFFER_OVERFLOW, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};

use super::{
    KMDF,
    attributes::{Parent, RawAttributes, attributes},
    loader::check_globals,
    object,
    object::{Body, create, delete, finish, values_of},
};
use crate::{
    driver::{self, UnicodeString},
    exports::Export,
    inf::{RegValue, Values, lookup},
    irql::Irql,
    processor,
};

const STATUS_OBJECT_NAME_NOT_FOUND: i32 = 0xC000_0034_u32 as i32;
const STATUS_OBJECT_TYPE_MISMATCH: i32 = 0xC000_0024_u32 as i32;
const STATUS_ACCESS_DENIED: i32 = 0xC000_0022_u32 as i32;

const REG_SZ: u32 = 1;
const REG_BINARY: u32 = 3;
const REG_DWORD: u32 = 4;
const REG_MULTI_SZ: u32 = 7;

/// An object that is not a key has no values.
pub(super) fn none() -> &'static Values {
    static NONE: OnceLock<Values> = OnceLock::new();
    NONE.get_or_init(BTreeMap::new)
}

unsafe extern "efiapi" fn wdf_driver_open_parameters_registry_key(
    globals: u64,
    driver: u64,
    access: u32,
    raw: *const RawAttributes,
    out: *mut u64,
) -> i32 {
    check_globals(globals);
    let object = object(driver, "WDFDRIVER");
    let Body::Driver {
        object: driver_object,
        ..
    } = object.body
    else {
        return STATUS_INVALID_PARAMETER;
    };
    if access == 0 {
        return STATUS_ACCESS_DENIED;
    }
    let values = driver::parameters_of(driver_object)
        .map(|(_, values)| values)
        .unwrap_or_default();
    // SAFETY: the driver's attributes.
    let made = unsafe { attributes(raw, Parent::Optional) };
    // SAFETY: the driver's variable for the handle.
    finish(
        made.and_then(|a| create(globals, "WDFKEY", &a, Body::Key(values))),
        |h| unsafe { out.write(h) },
    )
}

/// The value of a name, under the conditions that all queries share.
unsafe fn query(globals: u64, key: u64, name: *const UnicodeString) -> Result<RegValue, i32> {
    check_globals(globals);
    let object = object(key, "WDFKEY");
    if processor::current()
        .machine()
        .faults()
        .hit(processor::current().what())
    {
        return Err(ndis_sys::STATUS_INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the driver's UNICODE_STRING.
    let name = unsafe {
        if name.is_null() || (*name).buffer.is_null() || !(*name).length.is_multiple_of(2) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        (*name).to_string_lossy()
    };
    lookup(values_of(&object), &name)
        .cloned()
        .ok_or(STATUS_OBJECT_NAME_NOT_FOUND)
}

unsafe extern "efiapi" fn wdf_registry_query_ulong(
    globals: u64,
    key: u64,
    name: *const UnicodeString,
    value: *mut u32,
) -> i32 {
    // SAFETY: the driver's arguments.
    match unsafe { query(globals, key, name) } {
        Ok(RegValue::Dword(v)) => {
            // SAFETY: the driver's ULONG.
            unsafe { value.write_unaligned(v) };
            STATUS_SUCCESS
        }
        Ok(_) => STATUS_OBJECT_TYPE_MISMATCH,
        Err(status) => status,
    }
}

fn text(strings: &[String]) -> Vec<u8> {
    let units = strings.iter().flat_map(|s| s.encode_utf16().chain([0]));
    units.flat_map(u16::to_le_bytes).collect()
}

unsafe extern "efiapi" fn wdf_registry_query_value(
    globals: u64,
    key: u64,
    name: *const UnicodeString,
    len: u32,
    value: *mut u8,
    queried: *mut u32,
    kind: *mut u32,
) -> i32 {
    // SAFETY: the driver's arguments.
    let found = match unsafe { query(globals, key, name) } {
        Ok(found) => found,
        Err(status) => return status,
    };
    let (tag, bytes) = match found {
        RegValue::Sz(s) => (REG_SZ, text(&[s])),
        RegValue::MultiSz(mut all) => {
            all.push(String::new());
            (REG_MULTI_SZ, text(&all))
        }
        RegValue::Dword(v) => (REG_DWORD, v.to_le_bytes().to_vec()),
        RegValue::Binary(bytes) => (REG_BINARY, bytes),
    };
    let fits = bytes.len() <= len as usize;
    // SAFETY: the driver's optional variables, and its buffer of that length.
    unsafe {
        if !queried.is_null() {
            queried.write_unaligned(bytes.len() as u32);
        }
        if !kind.is_null() {
            kind.write_unaligned(tag);
        }
        if fits && !value.is_null() {
            value.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }
    if fits || value.is_null() {
        STATUS_SUCCESS
    } else {
        STATUS_BUFFER_OVERFLOW
    }
}

unsafe extern "efiapi" fn wdf_registry_close(globals: u64, key: u64) {
    check_globals(globals);
    object(key, "WDFKEY");
    delete(key);
}

pub(super) fn functions() -> Vec<Export> {
    let e = |name, f, arity| Export::new(KMDF, name, f, arity).exactly(Irql::PASSIVE);
    vec![
        e(
            "WdfDriverOpenParametersRegistryKey",
            wdf_driver_open_parameters_registry_key as *const (),
            5,
        ),
        e(
            "WdfRegistryQueryULong",
            wdf_registry_query_ulong as *const (),
            4,
        ),
        e(
            "WdfRegistryQueryValue",
            wdf_registry_query_value as *const (),
            7,
        ),
        e("WdfRegistryClose", wdf_registry_close as *const (), 2),
    ]
}
