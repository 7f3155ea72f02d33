//! Stand-in for the WDK's `WdfDriverEntry.lib`: the image's entry point `FxDriverEntry`, which binds the
//! driver to KMDF 1.31 and then calls its `DriverEntry`, and the variables through which the driver reaches
//! the framework.
//!
//! What the WDK's stub does besides (binding of KMDF class extensions, context types initialised at load
//! time) works on linker sections that only C drivers fill.

#![no_std]
#![allow(non_upper_case_globals)]

use core::{
    ffi::c_void,
    ptr::{null, null_mut},
};

type NtStatus = i32;
/// A row of the framework's function table; cast to its real type before the call.
type WdfFunc = Option<unsafe extern "system" fn()>;

const KMDF_MAJOR: u32 = 1;
const KMDF_MINOR: u32 = 31;
/// Functions and structures of KMDF 1.31.
const FUNCTION_COUNT: u32 = 458;
const STRUCTURE_COUNT: u32 = 81;
/// Row of the function table.
const WDF_DRIVER_MINIPORT_UNLOAD: usize = 201;
/// `WdfDriverInitNoDispatchOverride` of WDF_DRIVER_INIT_FLAGS.
const NO_DISPATCH_OVERRIDE: u32 = 2;

/// UNICODE_STRING.
#[repr(C)]
pub struct UnicodeString {
    length: u16,
    maximum_length: u16,
    buffer: *mut u16,
}

/// DRIVER_OBJECT as far as `DriverUnload`.
#[repr(C)]
pub struct DriverObject {
    kind: i16,
    size: i16,
    device_object: *mut c_void,
    flags: u32,
    driver_start: *mut c_void,
    driver_size: u32,
    driver_section: *mut c_void,
    driver_extension: *mut c_void,
    driver_name: UnicodeString,
    hardware_database: *mut c_void,
    fast_io_dispatch: *mut c_void,
    driver_init: *mut c_void,
    driver_start_io: *mut c_void,
    driver_unload: Option<unsafe extern "system" fn(*mut DriverObject)>,
}

/// WDF_DRIVER_GLOBALS; the framework makes it.
#[repr(C)]
pub struct DriverGlobals {
    driver: *mut c_void,
    driver_flags: u32,
    driver_tag: u32,
    driver_name: [u8; 32],
    displace_driver_unload: u8,
}

/// WDF_BIND_INFO, version 2: what the driver tells the loader about the framework it wants.
#[repr(C)]
struct BindInfo {
    size: u32,
    component: *const u16,
    major: u32,
    minor: u32,
    build: u32,
    function_count: u32,
    function_table: *mut *const WdfFunc,
    module: *mut c_void,
    minimum_version_required: *const u32,
    client_version_higher_than_framework: *mut u8,
    function_count_of_framework: *mut u32,
    structure_count_of_framework: *mut u32,
    structures: *mut *mut usize,
}

const _: () = {
    assert!(size_of::<BindInfo>() == 88);
    assert!(size_of::<DriverGlobals>() == 56);
    assert!(core::mem::offset_of!(DriverObject, driver_unload) == 104);
};

/// The framework's function table.
#[unsafe(no_mangle)]
pub static mut WdfFunctions_01031: *const WdfFunc = null();
/// What the framework keeps for this driver.
#[unsafe(no_mangle)]
pub static mut WdfDriverGlobals: *mut DriverGlobals = null_mut();
/// What `WdfDriverMiniportUnload` calls.
#[unsafe(no_mangle)]
pub static mut WdfDriverMiniportUnloadOverride: WdfFunc = None;
/// Set by the framework when it is older than the driver asked for.
#[unsafe(no_mangle)]
pub static mut WdfClientVersionHigherThanFramework: u8 = 0;
/// Length of the function table, corrected by an older framework.
#[unsafe(no_mangle)]
pub static mut WdfFunctionCount: u32 = FUNCTION_COUNT;
/// Length of the table of structure sizes, corrected by an older framework.
#[unsafe(no_mangle)]
pub static mut WdfStructureCount: u32 = STRUCTURE_COUNT;
/// The framework's structure sizes.
#[unsafe(no_mangle)]
pub static mut WdfStructures: *mut usize = null_mut();

static COMPONENT: [u16; 12] = {
    let name = *b"KmdfLibrary\0";
    let mut wide = [0; 12];
    let mut at = 0;
    while at < name.len() {
        wide[at] = name[at] as u16;
        at += 1;
    }
    wide
};

static mut BIND_INFO: BindInfo = BindInfo {
    size: size_of::<BindInfo>() as u32,
    component: COMPONENT.as_ptr(),
    major: KMDF_MAJOR,
    minor: KMDF_MINOR,
    build: 0,
    function_count: FUNCTION_COUNT,
    function_table: &raw mut WdfFunctions_01031,
    module: null_mut(),
    minimum_version_required: &raw const WdfMinimumVersionRequired,
    client_version_higher_than_framework: &raw mut WdfClientVersionHigherThanFramework,
    function_count_of_framework: &raw mut WdfFunctionCount,
    structure_count_of_framework: &raw mut WdfStructureCount,
    structures: &raw mut WdfStructures,
};

const PATH_LENGTH: usize = 260;
static mut PATH_BUFFER: [u16; PATH_LENGTH] = [0; PATH_LENGTH];
static mut REGISTRY_PATH: UnicodeString = UnicodeString {
    length: 0,
    maximum_length: (PATH_LENGTH * 2) as u16,
    buffer: (&raw mut PATH_BUFFER).cast(),
};

static mut DISPLACED_UNLOAD: Option<unsafe extern "system" fn(*mut DriverObject)> = None;

unsafe extern "system" {
    /// From wdf.h, compiled by wdk-sys: the oldest minor version that the driver accepts.
    static WdfMinimumVersionRequired: u32;

    fn DriverEntry(driver: *mut DriverObject, registry_path: *mut UnicodeString) -> NtStatus;
    fn WdfVersionBind(
        driver: *mut DriverObject,
        registry_path: *mut UnicodeString,
        info: *mut BindInfo,
        globals: *mut *mut DriverGlobals,
    ) -> NtStatus;
    fn WdfVersionUnbind(
        registry_path: *mut UnicodeString,
        info: *mut BindInfo,
        globals: *mut DriverGlobals,
    ) -> NtStatus;
}

/// The entry point of the image.
///
/// # Safety
/// Called once by the system when it loads the driver, at PASSIVE_LEVEL.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn FxDriverEntry(
    driver: *mut DriverObject,
    registry_path: *mut UnicodeString,
) -> NtStatus {
    // SAFETY: the system passes valid objects; nothing else runs in this image before DriverEntry, so the
    // statics are not shared yet; the framework fills the table and the globals when the bind succeeds.
    unsafe {
        keep_path(registry_path);
        let status = WdfVersionBind(
            driver,
            &raw mut REGISTRY_PATH,
            &raw mut BIND_INFO,
            &raw mut WdfDriverGlobals,
        );
        if status < 0 {
            return status;
        }
        WdfDriverMiniportUnloadOverride = *WdfFunctions_01031.add(WDF_DRIVER_MINIPORT_UNLOAD);
        let status = DriverEntry(driver, registry_path);
        if status < 0 {
            unbind();
            return status;
        }
        if (*WdfDriverGlobals).displace_driver_unload != 0 {
            DISPLACED_UNLOAD = (*driver).driver_unload;
            (*driver).driver_unload = Some(unload);
        } else if (*WdfDriverGlobals).driver_flags & NO_DISPATCH_OVERRIDE != 0 {
            type Unload = unsafe extern "system" fn(*mut DriverGlobals, *mut c_void);
            WdfDriverMiniportUnloadOverride =
                core::mem::transmute::<Option<Unload>, WdfFunc>(Some(miniport_unload));
        }
        status
    }
}

/// The system's copy of the path ends with DriverEntry, the framework wants it at unload too.
unsafe fn keep_path(path: *const UnicodeString) {
    // SAFETY: the caller passes the system's path; the buffer is written here only, before it is shared,
    // and the count is at most its length.
    unsafe {
        let units = ((*path).length as usize / 2).min(PATH_LENGTH);
        let to: *mut u16 = (&raw mut PATH_BUFFER).cast();
        let mut at = 0;
        while at < units {
            to.add(at).write((*path).buffer.add(at).read());
            at += 1;
        }
        REGISTRY_PATH.length = (units * 2) as u16;
    }
}

unsafe fn unbind() {
    // SAFETY: called once, after a successful bind and when the driver is done with the framework.
    unsafe {
        WdfVersionUnbind(&raw mut REGISTRY_PATH, &raw mut BIND_INFO, WdfDriverGlobals);
    }
}

/// DriverUnload of a driver whose framework handles the unload.
unsafe extern "system" fn unload(driver: *mut DriverObject) {
    // SAFETY: called once by the system as the driver's last; the displaced routine is the driver's own.
    unsafe {
        if let Some(displaced) = DISPLACED_UNLOAD {
            displaced(driver);
        }
        unbind();
    }
}

/// What a miniport's own unload reaches through `WdfDriverMiniportUnload`.
unsafe extern "system" fn miniport_unload(_globals: *mut DriverGlobals, _driver: *mut c_void) {
    // SAFETY: the driver calls it once, at the end of its unload routine.
    unsafe { unbind() }
}
