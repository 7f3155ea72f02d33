//! WDFDRIVER and miniport devices. Pages: WdfDriverCreate,
//! WdfDeviceMiniportCreate, WdfDriverMiniportUnload.

use ndis_sys::STATUS_INVALID_PARAMETER;

use super::{
    KMDF,
    attributes::{Parent, RawAttributes, attributes},
    loader::{DriverGlobals, check_globals},
    object,
    object::{Body, create, delete, finish},
};
use crate::{
    driver::DriverObject,
    exports::Export,
    gate,
    irql::Irql,
    processor,
    report::{rules, violation},
};

const STATUS_INFO_LENGTH_MISMATCH: i32 = 0xC000_0004_u32 as i32;
const STATUS_DRIVER_INTERNAL_ERROR: i32 = 0xC000_0183_u32 as i32;

const NON_PNP_DRIVER: u32 = 1;
const NO_DISPATCH_OVERRIDE: u32 = 2;
const KNOWN_FLAGS: u32 = 0x1F;

/// WDF_DRIVER_CONFIG.
#[repr(C)]
struct DriverConfig {
    size: u32,
    device_add: u64,
    unload: u64,
    flags: u32,
    pool_tag: u32,
}

const _: () = assert!(size_of::<DriverConfig>() == 32);

unsafe extern "efiapi" fn wdf_driver_create(
    globals: *mut DriverGlobals,
    driver: *mut DriverObject,
    path: u64,
    raw: *const RawAttributes,
    config: *const DriverConfig,
    out: *mut u64,
) -> i32 {
    check_globals(globals as u64);
    if driver.is_null() || path == 0 || config.is_null() {
        violation(
            rules::WDF_VIOLATION,
            "WdfDriverCreate with a null driver object, registry path or configuration",
        );
    }
    // SAFETY: the driver's configuration and the globals of its binding.
    let (config, already) = unsafe {
        if (*config).size as usize != size_of::<DriverConfig>() {
            return STATUS_INFO_LENGTH_MISMATCH;
        }
        (&*config, (*globals).driver != 0)
    };
    if already {
        return STATUS_DRIVER_INTERNAL_ERROR;
    }
    let non_pnp = config.flags & NON_PNP_DRIVER != 0;
    if config.flags & !KNOWN_FLAGS != 0 || (non_pnp && config.device_add != 0) {
        return STATUS_INVALID_PARAMETER;
    }
    if config.flags & NO_DISPATCH_OVERRIDE == 0 {
        violation(
            rules::MISSING_FUNCTION,
            "WdfDriverCreate without WdfDriverInitNoDispatchOverride: the framework would take the driver's \
             dispatch routines over, which NDIS needs",
        );
    }
    let body = Body::Driver {
        object: driver as u64,
        unload: config.unload,
    };
    // SAFETY: the driver's attributes.
    let made = unsafe { attributes(raw, Parent::Refused) };
    let made = made.and_then(|a| create(globals as u64, "WDFDRIVER", &a, body));
    finish(made, |handle| {
        // SAFETY: the globals of the binding, and the driver's optional variable.
        unsafe {
            (*globals).driver = handle;
            (*globals).flags |= config.flags;
            (*globals).tag = if config.pool_tag == 0 {
                u32::from_le_bytes(*b"Wdfd")
            } else {
                config.pool_tag
            };
            (*globals).displace_driver_unload = u8::from(config.unload != 0);
            if !out.is_null() {
                out.write(handle);
            }
        }
    })
}

unsafe extern "efiapi" fn wdf_driver_get_registry_path(globals: u64, driver: u64) -> *const u16 {
    check_globals(globals);
    object(driver, "WDFDRIVER");
    let cpu = processor::current();
    let inner = cpu.machine().wdf().inner.lock();
    inner
        .bindings
        .get(&globals)
        .map_or(std::ptr::null(), |b| b.registry_path.as_ptr())
}

unsafe extern "efiapi" fn wdf_driver_wdm_get_driver_object(globals: u64, driver: u64) -> u64 {
    check_globals(globals);
    match &object(driver, "WDFDRIVER").body {
        Body::Driver { object, .. } => *object,
        _ => 0,
    }
}

unsafe extern "efiapi" fn wdf_wdm_driver_get_wdf_driver_handle(
    globals: *const DriverGlobals,
    driver: u64,
) -> u64 {
    check_globals(globals as u64);
    // SAFETY: the globals of a bound driver, as checked.
    let handle = unsafe { (*globals).driver };
    match &object(handle, "WDFDRIVER").body {
        Body::Driver { object, .. } if *object == driver => handle,
        _ => 0,
    }
}

unsafe extern "efiapi" fn wdf_device_miniport_create(
    globals: u64,
    driver: u64,
    raw: *const RawAttributes,
    device: u64,
    attached: u64,
    pdo: u64,
    out: *mut u64,
) -> i32 {
    check_globals(globals);
    object(driver, "WDFDRIVER");
    if device == 0 || out.is_null() {
        violation(
            rules::WDF_VIOLATION,
            "WdfDeviceMiniportCreate with a null device object or result",
        );
    }
    let body = Body::Device {
        objects: [device, attached, pdo],
    };
    // SAFETY: the driver's attributes.
    let made = unsafe { attributes(raw, Parent::Refused) };
    // SAFETY: the driver's variable for the handle.
    finish(
        made.and_then(|a| create(globals, "WDFDEVICE", &a, body)),
        |h| unsafe { out.write(h) },
    )
}

fn device_object(handle: u64, which: usize) -> u64 {
    match &object(handle, "WDFDEVICE").body {
        Body::Device { objects } => objects[which],
        _ => 0,
    }
}

unsafe extern "efiapi" fn wdf_device_wdm_get_device_object(globals: u64, device: u64) -> u64 {
    check_globals(globals);
    device_object(device, 0)
}

unsafe extern "efiapi" fn wdf_device_wdm_get_attached_device(globals: u64, device: u64) -> u64 {
    check_globals(globals);
    device_object(device, 1)
}

unsafe extern "efiapi" fn wdf_device_wdm_get_physical_device(globals: u64, device: u64) -> u64 {
    check_globals(globals);
    device_object(device, 2)
}

unsafe extern "efiapi" fn wdf_device_get_driver(globals: *const DriverGlobals, device: u64) -> u64 {
    check_globals(globals as u64);
    object(device, "WDFDEVICE");
    // SAFETY: the globals of a bound driver, as checked.
    unsafe { (*globals).driver }
}

/// "Calls the driver's EvtDriverUnload and deletes the driver object."
unsafe extern "efiapi" fn wdf_driver_miniport_unload(globals: u64, driver: u64) {
    check_globals(globals);
    let unload = match &object(driver, "WDFDRIVER").body {
        Body::Driver { unload, .. } => *unload,
        _ => 0,
    };
    if unload != 0 {
        // SAFETY: EvtDriverUnload's convention and argument.
        unsafe { gate::call("EvtDriverUnload", unload as *const (), &[driver]) };
    }
    delete(driver);
}

pub(super) fn functions() -> Vec<Export> {
    let passive = |name, f, arity| Export::new(KMDF, name, f, arity).exactly(Irql::PASSIVE);
    let low = |name, f, arity| Export::new(KMDF, name, f, arity).at_most(Irql::DISPATCH);
    let any = |name, f, arity| Export::new(KMDF, name, f, arity);
    vec![
        passive("WdfDriverCreate", wdf_driver_create as *const (), 6),
        passive(
            "WdfDriverGetRegistryPath",
            wdf_driver_get_registry_path as *const (),
            2,
        ),
        low(
            "WdfDriverWdmGetDriverObject",
            wdf_driver_wdm_get_driver_object as *const (),
            2,
        ),
        any(
            "WdfWdmDriverGetWdfDriverHandle",
            wdf_wdm_driver_get_wdf_driver_handle as *const (),
            2,
        ),
        passive(
            "WdfDeviceMiniportCreate",
            wdf_device_miniport_create as *const (),
            7,
        ),
        low(
            "WdfDeviceWdmGetDeviceObject",
            wdf_device_wdm_get_device_object as *const (),
            2,
        ),
        low(
            "WdfDeviceWdmGetAttachedDevice",
            wdf_device_wdm_get_attached_device as *const (),
            2,
        ),
        low(
            "WdfDeviceWdmGetPhysicalDevice",
            wdf_device_wdm_get_physical_device as *const (),
            2,
        ),
        low("WdfDeviceGetDriver", wdf_device_get_driver as *const (), 2),
        low(
            "WdfDriverMiniportUnload",
            wdf_driver_miniport_unload as *const (),
            2,
        ),
    ]
}
