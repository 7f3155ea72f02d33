//! The two KMDF functions of miniport drivers. `wdfminiport.h` is not part of wdf.h, so wdk-sys has
//! neither: call them through its function table by index. The indices are the same in every KMDF
//! from 1.7 to 1.33.

use crate::basic::*;
use crate::table::callbacks;
use crate::wdm::DEVICE_OBJECT;

/// Index of `WdfDeviceMiniportCreate` in `WdfFunctions`.
pub const WdfDeviceMiniportCreateTableIndex: usize = 200;
/// Index of `WdfDriverMiniportUnload` in `WdfFunctions`. From KMDF 1.15 on the unload must go through
/// the entry stub's global `WdfDriverMiniportUnloadOverride`, of this type: the slot of the table
/// does not unbind the driver from the framework.
pub const WdfDriverMiniportUnloadTableIndex: usize = 201;

callbacks! {
    /// Makes a framework device object for a miniport adapter. PASSIVE_LEVEL. `Attributes` is a
    /// `WDF_OBJECT_ATTRIBUTES`, `Device` receives a `WDFDEVICE`.
    WdfDeviceMiniportCreate, PFN_WDFDEVICEMINIPORTCREATE: fn(DriverGlobals: PVOID, Driver: PVOID, Attributes: PVOID, DeviceObject: *mut DEVICE_OBJECT, AttachedDeviceObject: *mut DEVICE_OBJECT, Pdo: *mut DEVICE_OBJECT, Device: *mut PVOID) -> NTSTATUS;
    /// Releases the framework driver object; from MiniportDriverUnload. PASSIVE_LEVEL.
    WdfDriverMiniportUnload, PFN_WDFDRIVERMINIPORTUNLOAD: fn(DriverGlobals: PVOID, Driver: PVOID);
}
