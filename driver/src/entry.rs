//! DriverEntry and unload.

use core::{
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

use ndis::{ObjectKind, Passive, Version, header, keyword};
use ndis_sys::{
    DRIVER_OBJECT, NDIS_HANDLE, NDIS_MINIPORT_DRIVER_CHARACTERISTICS, NDIS_STATUS_SUCCESS,
    NdisMDeregisterMiniportDriver, NdisMRegisterMiniportDriver, Zero as _,
};
use wdk_sys::{NTSTATUS, PCUNICODE_STRING, PDRIVER_OBJECT, STATUS_SUCCESS, WDFDRIVER, WDFDRIVER__};

use crate::{handlers, trace::trace, version, wdf};

/// The version of the driver, as OID_GEN_VENDOR_DRIVER_VERSION and the characteristics report it.
pub const DRIVER_VERSION: (u8, u8) = (0, 1);

/// The two driver objects, for the unload.
struct DriverHandles {
    ndis: AtomicPtr<core::ffi::c_void>,
    wdf: AtomicPtr<WDFDRIVER__>,
}

static HANDLES: DriverHandles = DriverHandles {
    ndis: AtomicPtr::new(null_mut()),
    wdf: AtomicPtr::new(null_mut()),
};

/// The framework's driver object.
pub fn wdf_driver() -> WDFDRIVER {
    HANDLES.wdf.load(Ordering::Acquire)
}

/// The driver's entry point: binds to the framework, then registers with NDIS.
///
/// # Safety
/// Called by the framework's entry stub, at PASSIVE_LEVEL, with the parameters of DriverEntry.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(
    driver: PDRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: DriverEntry runs at PASSIVE_LEVEL.
    let at = unsafe { Passive::assume() };
    // SAFETY: the parameters are DriverEntry's.
    let wdf = match unsafe { wdf::create_driver(driver, registry_path, at) } {
        Ok(wdf) => wdf,
        Err(status) => {
            trace!("WdfDriverCreate failed: {status:#010x}");
            return status;
        }
    };
    HANDLES.wdf.store(wdf, Ordering::Release);
    // SAFETY: `wdf` was made above.
    let version =
        version::from_registry(unsafe { wdf::read_parameter(wdf, keyword!("NdisVersion"), at) });
    version::set(version);

    let mut characteristics = characteristics(version);
    let mut handle: NDIS_HANDLE = null_mut();
    // SAFETY: DriverEntry's parameters; the characteristics are complete. NDIS copies them.
    let status = unsafe {
        NdisMRegisterMiniportDriver(
            driver.cast(),
            registry_path.cast_mut().cast(),
            null_mut(),
            &raw mut characteristics,
            &raw mut handle,
        )
    };
    if status != NDIS_STATUS_SUCCESS {
        trace!("NdisMRegisterMiniportDriver failed: {status:#010x}");
        // The stub unbinds from the framework when DriverEntry fails; the driver object goes with
        // that, for nothing was made under it.
        HANDLES.wdf.store(null_mut(), Ordering::Release);
        return status;
    }
    HANDLES.ndis.store(handle, Ordering::Release);
    trace!(
        "registered with NDIS {}.{}",
        version.major(),
        version.minor()
    );
    STATUS_SUCCESS
}

/// The handlers. Virtual miniports "must set" CheckForHangHandlerEx "to NULL", for they "are not
/// physical devices that can hang" (NDIS_MINIPORT_DRIVER_CHARACTERISTICS); a reset can be asked for
/// all the same.
fn characteristics(version: Version) -> NDIS_MINIPORT_DRIVER_CHARACTERISTICS {
    let mut of = NDIS_MINIPORT_DRIVER_CHARACTERISTICS::ZERO;
    of.Header = header(ObjectKind::MiniportDriverCharacteristics, version);
    of.MajorNdisVersion = version.major();
    of.MinorNdisVersion = version.minor();
    (of.MajorDriverVersion, of.MinorDriverVersion) = DRIVER_VERSION;
    of.InitializeHandlerEx = Some(handlers::initialize);
    of.HaltHandlerEx = Some(handlers::halt);
    of.UnloadHandler = Some(unload);
    of.PauseHandler = Some(handlers::pause);
    of.RestartHandler = Some(handlers::restart);
    of.OidRequestHandler = Some(handlers::oid_request);
    of.SendNetBufferListsHandler = Some(handlers::send_net_buffer_lists);
    of.ReturnNetBufferListsHandler = Some(handlers::return_net_buffer_lists);
    of.CancelSendHandler = Some(handlers::cancel_send);
    of.ResetHandlerEx = Some(handlers::reset);
    of.DevicePnPEventNotifyHandler = Some(handlers::device_pnp_event_notify);
    of.ShutdownHandlerEx = Some(handlers::shutdown);
    of.CancelOidRequestHandler = Some(handlers::cancel_oid_request);
    of.DirectOidRequestHandler = Some(handlers::direct_oid_request);
    of.CancelDirectOidRequestHandler = Some(handlers::cancel_direct_oid_request);
    of
}

/// MiniportDriverUnload: undoes DriverEntry in reverse order. The framework goes last, for NDIS may
/// still halt adapters, whose device objects are the framework's, until the deregistration returns.
unsafe extern "efiapi" fn unload(_driver: *mut DRIVER_OBJECT) {
    // SAFETY: MiniportDriverUnload runs at PASSIVE_LEVEL.
    let at = unsafe { Passive::assume() };
    let handle = HANDLES.ndis.swap(null_mut(), Ordering::AcqRel);
    if !handle.is_null() {
        // SAFETY: registered by DriverEntry, deregistered once.
        unsafe { NdisMDeregisterMiniportDriver(handle) };
    }
    let wdf = HANDLES.wdf.swap(null_mut(), Ordering::AcqRel);
    if !wdf.is_null() {
        // SAFETY: made by DriverEntry, released once; all adapters are halted, so that no device
        // object is left.
        unsafe { wdf::release_driver(wdf, at) };
    }
    trace!("unloaded");
}
