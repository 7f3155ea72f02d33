//! Timers, work items, reader-writer locks and device objects of NDIS.

use crate::basic::*;
use crate::object_header::NDIS_OBJECT_HEADER;
use crate::table::{callbacks, constants, layouts};

/// A reader-writer lock of NDIS; opaque.
#[repr(C)]
pub struct NDIS_RW_LOCK_EX {
    opaque: [u8; 0],
}

callbacks! {
    /// Runs when a timer is due. DISPATCH_LEVEL.
    NDIS_TIMER_FUNCTION, PNDIS_TIMER_FUNCTION: fn(SystemSpecific1: PVOID, FunctionContext: PVOID, SystemSpecific2: PVOID, SystemSpecific3: PVOID);
    /// Runs a work item. PASSIVE_LEVEL.
    NDIS_IO_WORKITEM_FUNCTION, NDIS_IO_WORKITEM_ROUTINE: fn(WorkItemContext: PVOID, NdisIoWorkItemHandle: NDIS_HANDLE);
}

layouts! {
    /// What a timer is to do.
    struct NDIS_TIMER_CHARACTERISTICS [24, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        AllocationTag @ 4: ULONG,
        TimerFunction @ 8: PNDIS_TIMER_FUNCTION,
        FunctionContext @ 16: PVOID,
    }

    /// What a thread must remember while it holds an [`NDIS_RW_LOCK_EX`].
    struct LOCK_STATE_EX [3, 1] {
        OldIrql @ 0: KIRQL,
        LockState @ 1: UCHAR,
        Flags @ 2: UCHAR,
    }

    /// The device object that NdisRegisterDeviceEx makes.
    struct NDIS_DEVICE_OBJECT_ATTRIBUTES [56, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        _Padding0 @ 4: [u8; 4],
        DeviceName @ 8: *mut NDIS_STRING,
        SymbolicName @ 16: *mut NDIS_STRING,
        MajorFunctions @ 24: *mut PVOID,
        ExtensionSize @ 32: ULONG,
        _Padding1 @ 36: [u8; 4],
        DefaultSDDLString @ 40: *const UNICODE_STRING,
        DeviceClassGuid @ 48: *const GUID,
    }
}

constants! {
    values UCHAR {
        NDIS_TIMER_CHARACTERISTICS_REVISION_1 = 1,
        NDIS_DEVICE_OBJECT_ATTRIBUTES_REVISION_1 = 1,
        /// The caller of a reader-writer lock function is at DISPATCH_LEVEL.
        NDIS_RWL_AT_DISPATCH_LEVEL = 1,
    }
    values SIZE_T {
        NDIS_SIZEOF_TIMER_CHARACTERISTICS_REVISION_1 = 24,
        NDIS_SIZEOF_DEVICE_OBJECT_ATTRIBUTES_REVISION_1 = 56,
    }
}
