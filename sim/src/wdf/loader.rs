//! WDFLDR.SYS: binding a driver to the framework.

use std::{cell::UnsafeCell, slice};

use ndis_sys::STATUS_SUCCESS;

use super::{names, object};
use crate::{
    driver::{self, UnicodeString},
    exports::{Export, WDFLDR},
    irql::Irql,
    processor,
    report::{Finding, rules, violation},
};

const STATUS_INVALID_PARAMETER: i32 = 0xC000_000D_u32 as i32;
const STATUS_REVISION_MISMATCH: i32 = 0xC000_0059_u32 as i32;
const STATUS_INSUFFICIENT_RESOURCES: i32 = 0xC000_009A_u32 as i32;

const COMPONENT: &str = "KmdfLibrary";
const MAJOR: u32 = 1;
const MINOR: u32 = 33;
const STRUCTURES: u32 = 81;
/// From this version on the stub's table is a pointer to the framework's.
const FIRST_WITH_POINTER: u32 = 15;

/// WDF_BIND_INFO2, which begins with WDF_BIND_INFO.
#[repr(C)]
struct BindInfo {
    size: u32,
    component: *const u16,
    major: u32,
    minor: u32,
    build: u32,
    function_count: u32,
    function_table: *mut *const usize,
    module: u64,
    minimum_minor: *const u32,
    client_is_newer: *mut u8,
    function_count_out: *mut u32,
    structure_count_out: *mut u32,
    structure_table: *mut u64,
}

const _: () = assert!(size_of::<BindInfo>() == 88);

/// WDF_DRIVER_GLOBALS.
#[repr(C)]
pub struct DriverGlobals {
    pub(super) driver: u64,
    pub(super) flags: u32,
    pub(super) tag: u32,
    pub(super) name: [u8; 32],
    pub(super) displace_driver_unload: u8,
}

const _: () = assert!(size_of::<DriverGlobals>() == 56);

/// One driver's use of the framework.
pub(super) struct Binding {
    pub(super) driver: u64,
    pub(super) unbound: bool,
    pub(super) findings: Vec<Finding>,
    pub(super) registry_path: Vec<u16>,
    globals: Box<UnsafeCell<DriverGlobals>>,
}

// SAFETY: the globals are the driver's to read and the framework's to write
// while the driver starts, on one thread.
unsafe impl Send for Binding {}

impl Binding {
    pub(super) fn globals(&self) -> *mut DriverGlobals {
        self.globals.get()
    }
}

unsafe fn component(p: *const u16) -> String {
    let length = COMPONENT.len() + 1;
    // SAFETY: a terminated string, as the stub passes it; read up to its end.
    let units: Vec<u16> = (0..length)
        .map(|i| unsafe { p.add(i).read_unaligned() })
        .take_while(|u| *u != 0)
        .collect();
    String::from_utf16_lossy(&units)
}

unsafe extern "efiapi" fn wdf_version_bind(
    driver_object: u64,
    registry_path: *const UnicodeString,
    info: *mut BindInfo,
    globals: *mut *mut DriverGlobals,
) -> i32 {
    let cpu = processor::current();
    let machine = cpu.machine();
    // SAFETY: the stub's bind information; version 2 is checked first.
    let info = unsafe {
        if (*info).size as usize != size_of::<BindInfo>() {
            return STATUS_INVALID_PARAMETER;
        }
        &mut *info
    };
    // SAFETY: as above.
    let (component, minimum) = unsafe { (component(info.component), info.minimum_minor.read()) };
    if component != COMPONENT || info.function_table.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let newer = info.minor > MINOR;
    if info.major != MAJOR || info.minor < FIRST_WITH_POINTER || (newer && minimum > MINOR) {
        return STATUS_REVISION_MISMATCH;
    }
    if !newer && info.function_count as usize > names::COUNT {
        return STATUS_REVISION_MISMATCH;
    }
    if machine.faults().hit("WdfVersionBind") {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let service = driver::parameters_of(driver_object)
        .map(|(service, _)| service)
        .unwrap_or_default();
    let mut name = [0; 32];
    for (to, from) in name.iter_mut().zip(service.bytes().take(31)) {
        *to = from;
    }
    // SAFETY: the stub's own copy of the registry path.
    let path = unsafe {
        slice::from_raw_parts(
            (*registry_path).buffer,
            usize::from((*registry_path).length / 2),
        )
    };
    let binding = Binding {
        driver: driver_object,
        unbound: false,
        findings: Vec::new(),
        registry_path: path.iter().copied().chain([0]).collect(),
        globals: Box::new(UnsafeCell::new(DriverGlobals {
            driver: 0,
            flags: 0,
            tag: 0,
            name,
            displace_driver_unload: 0,
        })),
    };
    let address = binding.globals();
    machine
        .wdf()
        .inner
        .lock()
        .bindings
        .insert(address as u64, binding);
    // SAFETY: the stub's variables, at the places that the bind information names.
    unsafe {
        info.function_table.write(machine.wdf().table(machine));
        globals.write(address);
        if newer {
            info.client_is_newer.write(1);
            info.function_count_out.write(names::COUNT as u32);
            info.structure_count_out.write(STRUCTURES);
        }
    }
    STATUS_SUCCESS
}

unsafe extern "efiapi" fn wdf_version_unbind(_path: u64, _info: u64, globals: u64) -> i32 {
    let cpu = processor::current();
    let wdf = cpu.machine().wdf();
    let state = wdf
        .inner
        .lock()
        .bindings
        .get_mut(&globals)
        .map(|b| std::mem::replace(&mut b.unbound, true));
    if state != Some(false) {
        violation(
            rules::WDF_VIOLATION,
            format!("WdfVersionUnbind of 0x{globals:x}, which is not bound"),
        );
    }
    object::remove_driver(globals);
    STATUS_SUCCESS
}

/// The table's entry for what the simulator does not have.
pub(super) unsafe extern "efiapi" fn missing() {
    let name = processor::current().what();
    let index = names::NAMES
        .iter()
        .position(|n| *n == name)
        .unwrap_or_default();
    violation(
        rules::MISSING_FUNCTION,
        format!("{name}, function {index} of the KMDF table"),
    )
}

/// The globals that a framework call passes must be those of a bound driver.
pub(super) fn check_globals(globals: u64) {
    let cpu = processor::current();
    let bound = cpu
        .machine()
        .wdf()
        .inner
        .lock()
        .bindings
        .get(&globals)
        .is_some_and(|b| !b.unbound);
    if !bound {
        let what = cpu.what();
        violation(
            rules::WDF_VIOLATION,
            format!("{what}: 0x{globals:x} is not the globals of a bound driver"),
        );
    }
}

pub(super) fn exports() -> Vec<Export> {
    let e = |name, f, arity| Export::new(WDFLDR, name, f, arity).exactly(Irql::PASSIVE);
    vec![
        e("WdfVersionBind", wdf_version_bind as *const (), 4),
        e("WdfVersionUnbind", wdf_version_unbind as *const (), 3),
    ]
}
