//! The framework: the driver object without dispatch override, a device object per adapter, and the
//! registry key of the driver. NDIS owns the dispatch table, so the framework is here for what it
//! offers beside it.

use core::{mem::transmute, ptr::null_mut};

use ndis::{Keyword, Passive};
use ndis_sys::{
    NDIS_STATUS, NdisMGetDeviceProperty, PFN_WDFDEVICEMINIPORTCREATE, PFN_WDFDRIVERMINIPORTUNLOAD,
    WdfDeviceMiniportCreateTableIndex,
};
use wdk_sys::{
    _WDF_DRIVER_INIT_FLAGS, KEY_READ, NT_SUCCESS, NTSTATUS, PCUNICODE_STRING, PDRIVER_OBJECT,
    STATUS_UNSUCCESSFUL, WDF_DRIVER_CONFIG, WDF_NO_OBJECT_ATTRIBUTES, WDFDEVICE, WDFDRIVER, WDFKEY,
    call_unsafe_wdf_function_binding,
};

/// Makes the framework's driver object. NDIS keeps the dispatch routines and AddDevice:
/// WdfDriverInitNoDispatchOverride.
///
/// # Safety
/// The parameters are DriverEntry's.
pub unsafe fn create_driver(
    driver: PDRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
    _at: Passive<'_>,
) -> Result<WDFDRIVER, NTSTATUS> {
    let mut config = WDF_DRIVER_CONFIG {
        Size: size_of::<WDF_DRIVER_CONFIG>() as u32,
        DriverInitFlags: _WDF_DRIVER_INIT_FLAGS::WdfDriverInitNoDispatchOverride as u32,
        DriverPoolTag: crate::POOL_TAG,
        ..WDF_DRIVER_CONFIG::default()
    };
    let mut wdf: WDFDRIVER = null_mut();
    // SAFETY: DriverEntry's parameters by the caller's promise; PASSIVE_LEVEL by the token; the
    // configuration is complete.
    let status = unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDriverCreate,
            driver,
            registry_path,
            WDF_NO_OBJECT_ATTRIBUTES,
            &raw mut config,
            &raw mut wdf,
        )
    };
    if NT_SUCCESS(status) {
        Ok(wdf)
    } else {
        Err(status)
    }
}

/// Releases the framework's driver object, and with it the binding to the framework. From
/// MiniportDriverUnload after NdisMDeregisterMiniportDriver, or from a DriverEntry that fails after
/// [`create_driver`].
///
/// # Safety
/// `driver` came from [`create_driver`], is released once, and no framework object of the driver is
/// left.
pub unsafe fn release_driver(driver: WDFDRIVER, _at: Passive<'_>) {
    // From KMDF 1.15 on, the entry stub publishes its unbind thunk here.
    // SAFETY: written by the stub before DriverEntry, and not after.
    let unload = unsafe { wdk_sys::WdfDriverMiniportUnloadOverride };
    // SAFETY: the global holds a PFN_WDFDRIVERMINIPORTUNLOAD behind an untyped function pointer; both
    // are optional pointers to functions of the same convention.
    let unload: PFN_WDFDRIVERMINIPORTUNLOAD = unsafe { transmute(unload) };
    if let Some(unload) = unload {
        // SAFETY: by the caller's promise; the globals are those of this driver.
        unsafe { unload(wdk_sys::WdfDriverGlobals.cast(), driver.cast()) }
    }
}

/// A number under the driver's Parameters key; None when there is none.
///
/// # Safety
/// `driver` came from [`create_driver`] and is not released.
pub unsafe fn read_parameter(driver: WDFDRIVER, name: Keyword, _at: Passive<'_>) -> Option<u32> {
    let mut key: WDFKEY = null_mut();
    // SAFETY: a live driver object; PASSIVE_LEVEL by the token.
    let status = unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDriverOpenParametersRegistryKey,
            driver,
            KEY_READ,
            WDF_NO_OBJECT_ATTRIBUTES,
            &raw mut key,
        )
    };
    if !NT_SUCCESS(status) {
        return None;
    }
    let name = name.as_string();
    let mut value = 0;
    // SAFETY: the key is open; the name is counted.
    let status = unsafe {
        call_unsafe_wdf_function_binding!(
            WdfRegistryQueryULong,
            key,
            (&raw const name).cast(),
            &raw mut value
        )
    };
    // SAFETY: opened above, closed once.
    unsafe { call_unsafe_wdf_function_binding!(WdfRegistryClose, key) };
    NT_SUCCESS(status).then_some(value)
}

/// The framework's device object of an adapter. Deleted when dropped.
pub struct Device(WDFDEVICE);

// SAFETY: a handle of the framework, which takes it on any processor.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// Makes the object over the device objects that NDIS has for the adapter
    /// (NdisMGetDeviceProperty).
    ///
    /// # Errors
    /// NDIS_STATUS_RESOURCES or what the framework says.
    ///
    /// # Safety
    /// `driver` is the live driver object; `adapter` is the handle of MiniportInitializeEx.
    pub unsafe fn create(
        driver: WDFDRIVER,
        adapter: ndis::MiniportHandle,
        _at: Passive<'_>,
    ) -> Result<Self, NDIS_STATUS> {
        let (mut pdo, mut fdo, mut next) = (null_mut(), null_mut(), null_mut());
        // SAFETY: MiniportInitializeEx's handle; the last two results are not wanted.
        unsafe {
            NdisMGetDeviceProperty(
                adapter.raw(),
                &raw mut pdo,
                &raw mut fdo,
                &raw mut next,
                null_mut(),
                null_mut(),
            );
        }
        // `wdfminiport.h` is not part of wdf.h, so wdk-sys has no binding: the entry is taken from
        // the function table by its index, which has not moved since KMDF 1.7.
        // SAFETY: the table of KMDF 1.7, the first with this entry, reaches to it, and later ones only
        // grow.
        let entry = unsafe { *wdk_sys::WdfFunctions.add(WdfDeviceMiniportCreateTableIndex) };
        // SAFETY: this entry of the table has that type.
        let create: PFN_WDFDEVICEMINIPORTCREATE = unsafe { transmute(entry) };
        let Some(create) = create else {
            return Err(STATUS_UNSUCCESSFUL);
        };
        let mut device = null_mut();
        // SAFETY: the driver object is live, the device objects are NDIS' own.
        let status = unsafe {
            create(
                wdk_sys::WdfDriverGlobals.cast(),
                driver.cast(),
                null_mut(),
                fdo,
                next,
                pdo,
                &raw mut device,
            )
        };
        if NT_SUCCESS(status) {
            Ok(Self(device.cast()))
        } else {
            Err(status)
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: made by `create`, deleted once, at PASSIVE_LEVEL: in MiniportHaltEx or a failing
        // MiniportInitializeEx.
        unsafe { call_unsafe_wdf_function_binding!(WdfObjectDelete, self.0.cast()) }
    }
}
