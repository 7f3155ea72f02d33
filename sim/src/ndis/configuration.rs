//! The registry, as drivers see it through NDIS configuration handles.
//!
//! Pages: NdisOpenConfigurationEx, NdisReadConfiguration, NdisReadNetworkAddress,
//! NdisCloseConfiguration, NDIS_CONFIGURATION_PARAMETER.

use std::ptr;

use ndis_sys::{
    NDIS_CONFIGURATION_OBJECT, NDIS_CONFIGURATION_PARAMETER, NDIS_HANDLE, NDIS_PARAMETER_TYPE,
    NDIS_STATUS, NDIS_STATUS_FAILURE, NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS, NDIS_STRING,
    PVOID, UINT, UNICODE_STRING,
};
use parking_lot::Mutex;

use super::{
    driver::unicode,
    header, rules,
    state::{Owner, State, here, required, what},
};
use crate::{
    exports::{Export, NDIS},
    history::Kind,
    inf::{self, RegValue, Values},
    irql::Irql,
    report::violation_about,
};

/// An open configuration handle, with the memory that reading has handed out.
pub(super) struct Configuration {
    pub(super) handle: u64,
    pub(super) owner: Owner,
    values: Values,
    memory: Mutex<Vec<Returned>>,
}

/// Memory that stays valid until the handle is closed.
struct Returned {
    parameter: Box<NDIS_CONFIGURATION_PARAMETER>,
    /// What the parameter points to.
    _text: Vec<u16>,
    bytes: Vec<u8>,
}

// SAFETY: the pointers within lead to the object's own vectors.
unsafe impl Send for Returned {}

const INTEGER: NDIS_PARAMETER_TYPE = 0;
const HEX_INTEGER: NDIS_PARAMETER_TYPE = 1;
const STRING: NDIS_PARAMETER_TYPE = 2;
const MULTI_STRING: NDIS_PARAMETER_TYPE = 3;
const BINARY: NDIS_PARAMETER_TYPE = 4;

/// NdisProcessorAmd64 of NDIS_PROCESSOR_TYPE.
const PROCESSOR_AMD64: u32 = 4;

pub(super) fn exports() -> Vec<Export> {
    let passive = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .exactly(Irql::PASSIVE)
            .irql_rule(rules::IRQL_MISCELLANEOUS)
    };
    vec![
        passive("NdisOpenConfigurationEx", open as *const (), 2),
        passive("NdisReadConfiguration", read as *const (), 5),
        passive(
            "NdisReadNetworkAddress",
            read_network_address as *const (),
            4,
        ),
        passive("NdisCloseConfiguration", close as *const (), 1),
    ]
}

extern "efiapi" fn open(
    object: *const NDIS_CONFIGURATION_OBJECT,
    handle_out: *mut NDIS_HANDLE,
) -> NDIS_STATUS {
    required(object, "ConfigObject");
    required(handle_out, "ConfigurationHandle");
    here(|machine, state| {
        // SAFETY: checked for NULL.
        let owner = state.owner(unsafe { (*object).NdisHandle } as u64);
        let version = state.driver_of(owner).map_or((6, 0), |d| d.version);
        // SAFETY: as above.
        unsafe { header::CONFIGURATION_OBJECT.check(object, version) };
        if machine.faults().hit("NdisOpenConfigurationEx") {
            return NDIS_STATUS_RESOURCES;
        }
        let values = match owner {
            Owner::Adapter(handle) => state.adapter(handle).registry.lock().clone(),
            Owner::Driver(_) => state
                .driver_of(owner)
                .map(|d| d.install.parameters.clone())
                .unwrap_or_default(),
        };
        let handle = state.handle();
        let configuration = Configuration {
            handle,
            owner,
            values,
            memory: Mutex::default(),
        };
        state.configurations.insert(handle, configuration.into());
        machine.note(Kind::Configuration, handle, "opened", 0);
        // SAFETY: checked for NULL.
        unsafe { handle_out.write(handle as NDIS_HANDLE) };
        NDIS_STATUS_SUCCESS
    })
}

fn known(state: &State, handle: NDIS_HANDLE) -> std::sync::Arc<Configuration> {
    state.configurations.get(handle as u64).unwrap_or_else(|| {
        violation_about(
            rules::OPEN_CONFIGURATION,
            format!(
                "{} got {handle:p}, which is no open configuration handle",
                what()
            ),
            &[(Kind::Configuration, handle as u64)],
        )
    })
}

extern "efiapi" fn read(
    status_out: *mut NDIS_STATUS,
    value_out: *mut *mut NDIS_CONFIGURATION_PARAMETER,
    handle: NDIS_HANDLE,
    keyword: *const NDIS_STRING,
    wanted: NDIS_PARAMETER_TYPE,
) {
    required(status_out, "Status");
    required(value_out, "ParameterValue");
    required(keyword, "Keyword");
    let status = here(|machine, state| {
        let configuration = known(state, handle);
        if machine.faults().hit("NdisReadConfiguration") {
            return NDIS_STATUS_RESOURCES;
        }
        // SAFETY: checked for NULL; the page asks for a counted string.
        let keyword = unsafe { unicode(keyword) };
        let value = match keyword.to_ascii_lowercase().as_str() {
            // The page's two predefined names hide values of the same names.
            "processortype" => Some(RegValue::Dword(PROCESSOR_AMD64)),
            "ndisversion" => Some(RegValue::Dword(header::RUNTIME)),
            _ => inf::lookup(&configuration.values, &keyword).cloned(),
        };
        let Some(value) = value else {
            return NDIS_STATUS_FAILURE;
        };
        let mut returned = parameter(&value, wanted);
        // SAFETY: checked for NULL; the box stays where it is until the handle is closed.
        unsafe { value_out.write(&raw mut *returned.parameter) };
        configuration.memory.lock().push(returned);
        NDIS_STATUS_SUCCESS
    });
    // SAFETY: checked for NULL.
    unsafe { status_out.write(status) };
}

/// A registry value as a parameter. NDIS turns a string into an integer when
/// one is asked for; the class installer stores advanced properties as strings.
fn parameter(value: &RegValue, wanted: NDIS_PARAMETER_TYPE) -> Returned {
    let mut text = Vec::new();
    let mut bytes = Vec::new();
    // SAFETY: all-zero is a valid value.
    let mut parameter: Box<NDIS_CONFIGURATION_PARAMETER> = Box::new(unsafe { std::mem::zeroed() });
    match value {
        RegValue::Dword(n) => {
            parameter.ParameterType = if wanted == HEX_INTEGER {
                HEX_INTEGER
            } else {
                INTEGER
            };
            parameter.ParameterData.IntegerData = *n;
        }
        RegValue::Sz(s) if matches!(wanted, INTEGER | HEX_INTEGER) => {
            parameter.ParameterType = wanted;
            parameter.ParameterData.IntegerData =
                integer(s, if wanted == INTEGER { 10 } else { 16 });
        }
        RegValue::Sz(s) => {
            text = s.encode_utf16().chain([0]).collect();
            parameter.ParameterType = STRING;
            parameter.ParameterData.StringData = counted(&mut text, 1);
        }
        RegValue::MultiSz(list) => {
            text = list
                .iter()
                .flat_map(|s| s.encode_utf16().chain([0]))
                .chain([0])
                .collect();
            parameter.ParameterType = MULTI_STRING;
            parameter.ParameterData.StringData = counted(&mut text, 0);
        }
        RegValue::Binary(b) => {
            bytes.clone_from(b);
            parameter.ParameterType = BINARY;
            parameter.ParameterData.BinaryData.Length =
                u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            parameter.ParameterData.BinaryData.Buffer = bytes.as_mut_ptr().cast();
        }
    }
    Returned {
        parameter,
        _text: text,
        bytes,
    }
}

/// A counted string over `text`, without its last `uncounted` units.
fn counted(text: &mut [u16], uncounted: usize) -> UNICODE_STRING {
    let bytes = |units: usize| u16::try_from(units * 2).unwrap_or(!1);
    // SAFETY: all-zero is a valid value.
    let mut string: UNICODE_STRING = unsafe { std::mem::zeroed() };
    string.Length = bytes(text.len() - uncounted);
    string.MaximumLength = bytes(text.len());
    string.Buffer = text.as_mut_ptr();
    string
}

/// RtlUnicodeStringToInteger: leading digits count, anything else is 0; the
/// value wraps at 32 bits.
fn integer(text: &str, base: u32) -> u32 {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let value = digits
        .chars()
        .map_while(|c| c.to_digit(base))
        .fold(0u32, |n, d| n.wrapping_mul(base).wrapping_add(d));
    if negative {
        value.wrapping_neg()
    } else {
        value
    }
}

extern "efiapi" fn read_network_address(
    status_out: *mut NDIS_STATUS,
    address_out: *mut PVOID,
    length_out: *mut UINT,
    handle: NDIS_HANDLE,
) {
    required(status_out, "Status");
    required(address_out, "NetworkAddress");
    required(length_out, "NetworkAddressLength");
    let status = here(|machine, state| {
        let configuration = known(state, handle);
        if machine.faults().hit("NdisReadNetworkAddress") {
            return NDIS_STATUS_FAILURE;
        }
        let Some(RegValue::Sz(text)) = inf::lookup(&configuration.values, "NetworkAddress") else {
            return NDIS_STATUS_FAILURE;
        };
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != '-')
            .map_while(|c| c.to_digit(16))
            .map(|d| d as u8)
            .collect();
        let mut returned = parameter(&RegValue::Binary(Vec::new()), BINARY);
        returned.bytes = digits
            .chunks(2)
            .map(|d| d.iter().fold(0, |n, d| (n << 4) | d))
            .collect();
        if returned.bytes.is_empty() {
            return NDIS_STATUS_FAILURE;
        }
        // SAFETY: both were checked for NULL; the bytes stay until the handle is closed.
        unsafe {
            length_out.write(u32::try_from(returned.bytes.len()).unwrap_or(u32::MAX));
            address_out.write(returned.bytes.as_mut_ptr().cast());
        }
        configuration.memory.lock().push(returned);
        NDIS_STATUS_SUCCESS
    });
    if status != NDIS_STATUS_SUCCESS {
        // The page: the variable is no pointer then. A driver that uses it all
        // the same shall fault.
        // SAFETY: checked for NULL.
        unsafe { address_out.write(ptr::without_provenance_mut(0xDEAD)) };
    }
    // SAFETY: checked for NULL.
    unsafe { status_out.write(status) };
}

extern "efiapi" fn close(handle: NDIS_HANDLE) {
    here(|machine, state| {
        known(state, handle);
        machine.note(Kind::Configuration, handle as u64, "closed", 0);
        state.configurations.remove(handle as u64);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_become_integers_as_rtl_makes_them() {
        assert_eq!(integer("9014", 10), 9014);
        assert_eq!(integer("  42 apples", 10), 42);
        assert_eq!(integer("ff", 16), 255);
        assert_eq!(integer("-1", 10), u32::MAX);
        assert_eq!(integer("", 10), 0);
        assert_eq!(integer("junk", 10), 0);
        assert_eq!(integer("4294967297", 10), 1);
    }
}
