//! The miniport driver and its adapters: registration, the handlers and their parameters.

use crate::adapter::NDIS_PORT_AUTHENTICATION_PARAMETERS;
use crate::basic::*;
use crate::nbl::NET_BUFFER_LIST;
use crate::object_header::NDIS_OBJECT_HEADER;
use crate::oid_request::NDIS_OID_REQUEST;
use crate::table::{bit_fields, callbacks, constants, layouts};
use crate::wdm::DRIVER_OBJECT;

/// The hardware resources of an adapter; opaque, a virtual adapter has none.
#[repr(C)]
pub struct CM_PARTIAL_RESOURCE_LIST {
    opaque: [u8; 0],
}

/// The hardware resources of a device; opaque.
#[repr(C)]
pub struct CM_RESOURCE_LIST {
    opaque: [u8; 0],
}

/// What a PCI bus driver says of an adapter; opaque.
#[repr(C)]
pub struct NDIS_PCI_DEVICE_CUSTOM_PROPERTIES {
    opaque: [u8; 0],
}

callbacks! {
    /// Initializes an adapter. PASSIVE_LEVEL.
    MINIPORT_INITIALIZE, MINIPORT_INITIALIZE_HANDLER: fn(NdisMiniportHandle: NDIS_HANDLE, MiniportDriverContext: NDIS_HANDLE, MiniportInitParameters: *mut NDIS_MINIPORT_INIT_PARAMETERS) -> NDIS_STATUS;
    /// Undoes MiniportInitializeEx. PASSIVE_LEVEL.
    MINIPORT_HALT, MINIPORT_HALT_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, HaltAction: NDIS_HALT_ACTION);
    /// Unloads the driver. PASSIVE_LEVEL.
    MINIPORT_UNLOAD, MINIPORT_DRIVER_UNLOAD: fn(DriverObject: *mut DRIVER_OBJECT);
    /// Stops the flow of packets; may pend until NdisMPauseComplete. PASSIVE_LEVEL.
    MINIPORT_PAUSE, MINIPORT_PAUSE_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, PauseParameters: *mut NDIS_MINIPORT_PAUSE_PARAMETERS) -> NDIS_STATUS;
    /// Starts the flow of packets; may pend until NdisMRestartComplete. PASSIVE_LEVEL.
    MINIPORT_RESTART, MINIPORT_RESTART_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, RestartParameters: *mut NDIS_MINIPORT_RESTART_PARAMETERS) -> NDIS_STATUS;
    /// Answers an OID, one at a time; may pend until NdisMOidRequestComplete. PASSIVE_LEVEL.
    MINIPORT_OID_REQUEST, MINIPORT_OID_REQUEST_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, OidRequest: *mut NDIS_OID_REQUEST) -> NDIS_STATUS;
    /// Cancels OIDs. IRQL <= DISPATCH_LEVEL.
    MINIPORT_CANCEL_OID_REQUEST, MINIPORT_CANCEL_OID_REQUEST_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, RequestId: PVOID);
    /// Answers a direct OID, not serialized with anything; may pend until
    /// NdisMDirectOidRequestComplete. IRQL <= DISPATCH_LEVEL.
    MINIPORT_DIRECT_OID_REQUEST, MINIPORT_DIRECT_OID_REQUEST_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, OidRequest: *mut NDIS_OID_REQUEST) -> NDIS_STATUS;
    /// Cancels direct OIDs. IRQL <= DISPATCH_LEVEL.
    MINIPORT_CANCEL_DIRECT_OID_REQUEST, MINIPORT_CANCEL_DIRECT_OID_REQUEST_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, RequestId: PVOID);
    /// Sends packets. IRQL <= DISPATCH_LEVEL, at it if the flag says so.
    MINIPORT_SEND_NET_BUFFER_LISTS, MINIPORT_SEND_NET_BUFFER_LISTS_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, NetBufferList: *mut NET_BUFFER_LIST, PortNumber: NDIS_PORT_NUMBER, SendFlags: ULONG);
    /// Gives indicated packets back. IRQL <= DISPATCH_LEVEL.
    MINIPORT_RETURN_NET_BUFFER_LISTS, MINIPORT_RETURN_NET_BUFFER_LISTS_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, NetBufferLists: *mut NET_BUFFER_LIST, ReturnFlags: ULONG);
    /// Cancels queued sends. IRQL <= DISPATCH_LEVEL.
    MINIPORT_CANCEL_SEND, MINIPORT_CANCEL_SEND_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, CancelId: PVOID);
    /// Asks whether the adapter needs a reset. PASSIVE_LEVEL.
    MINIPORT_CHECK_FOR_HANG, MINIPORT_CHECK_FOR_HANG_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE) -> BOOLEAN;
    /// Resets the adapter; may pend until NdisMResetComplete. IRQL <= DISPATCH_LEVEL.
    MINIPORT_RESET, MINIPORT_RESET_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, AddressingReset: *mut BOOLEAN) -> NDIS_STATUS;
    /// Tells of a Plug and Play event. PASSIVE_LEVEL.
    MINIPORT_DEVICE_PNP_EVENT_NOTIFY, MINIPORT_DEVICE_PNP_EVENT_NOTIFY_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, NetDevicePnPEvent: *mut NET_DEVICE_PNP_EVENT);
    /// The system stops. PASSIVE_LEVEL, or HIGH_LEVEL on a bug check.
    MINIPORT_SHUTDOWN, MINIPORT_SHUTDOWN_HANDLER: fn(MiniportAdapterContext: NDIS_HANDLE, ShutdownAction: NDIS_SHUTDOWN_ACTION);
    /// Sets optional handlers during NdisMRegisterMiniportDriver. PASSIVE_LEVEL.
    SET_OPTIONS, SET_OPTIONS_HANDLER: fn(NdisDriverHandle: NDIS_HANDLE, DriverContext: NDIS_HANDLE) -> NDIS_STATUS;
}

bit_fields! {
    /// A locally unique identifier of a network interface, as bits.
    NET_LUID_INFO: ULONG64, at ("NET_LUID.Info", 0) {
        Reserved @ 0, 24;
        NetLuidIndex @ 24, 24;
        IfType @ 48, 16;
    }
}

layouts! {
    /// The driver's handlers, revision 2 (the direct OID handlers are what revision 1 lacks).
    struct NDIS_MINIPORT_DRIVER_CHARACTERISTICS [152, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        MajorNdisVersion @ 4: UCHAR,
        MinorNdisVersion @ 5: UCHAR,
        MajorDriverVersion @ 6: UCHAR,
        MinorDriverVersion @ 7: UCHAR,
        Flags @ 8: ULONG,
        _Padding @ 12: [u8; 4],
        SetOptionsHandler @ 16: SET_OPTIONS_HANDLER,
        InitializeHandlerEx @ 24: MINIPORT_INITIALIZE_HANDLER,
        HaltHandlerEx @ 32: MINIPORT_HALT_HANDLER,
        UnloadHandler @ 40: MINIPORT_DRIVER_UNLOAD,
        PauseHandler @ 48: MINIPORT_PAUSE_HANDLER,
        RestartHandler @ 56: MINIPORT_RESTART_HANDLER,
        OidRequestHandler @ 64: MINIPORT_OID_REQUEST_HANDLER,
        SendNetBufferListsHandler @ 72: MINIPORT_SEND_NET_BUFFER_LISTS_HANDLER,
        ReturnNetBufferListsHandler @ 80: MINIPORT_RETURN_NET_BUFFER_LISTS_HANDLER,
        CancelSendHandler @ 88: MINIPORT_CANCEL_SEND_HANDLER,
        CheckForHangHandlerEx @ 96: MINIPORT_CHECK_FOR_HANG_HANDLER,
        ResetHandlerEx @ 104: MINIPORT_RESET_HANDLER,
        DevicePnPEventNotifyHandler @ 112: MINIPORT_DEVICE_PNP_EVENT_NOTIFY_HANDLER,
        ShutdownHandlerEx @ 120: MINIPORT_SHUTDOWN_HANDLER,
        CancelOidRequestHandler @ 128: MINIPORT_CANCEL_OID_REQUEST_HANDLER,
        DirectOidRequestHandler @ 136: MINIPORT_DIRECT_OID_REQUEST_HANDLER,
        CancelDirectOidRequestHandler @ 144: MINIPORT_CANCEL_DIRECT_OID_REQUEST_HANDLER,
    }

    /// A locally unique identifier of a network interface.
    union NET_LUID [8, 8] {
        Value @ 0: ULONG64,
        Info @ 0: NET_LUID_INFO,
    }

    /// What MiniportInitializeEx is told.
    struct NDIS_MINIPORT_INIT_PARAMETERS [64, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        Flags @ 4: ULONG,
        AllocatedResources @ 8: *mut CM_PARTIAL_RESOURCE_LIST,
        IMDeviceInstanceContext @ 16: NDIS_HANDLE,
        MiniportAddDeviceContext @ 24: NDIS_HANDLE,
        IfIndex @ 32: NET_IFINDEX,
        _Padding @ 36: [u8; 4],
        NetLuid @ 40: NET_LUID,
        DefaultPortAuthStates @ 48: *mut NDIS_PORT_AUTHENTICATION_PARAMETERS,
        PciDeviceCustomProperties @ 56: *mut NDIS_PCI_DEVICE_CUSTOM_PROPERTIES,
    }

    /// What MiniportPause is told. The oldest headers end it before `PauseReason`: look at the header's size.
    struct NDIS_MINIPORT_PAUSE_PARAMETERS [12, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        Flags @ 4: ULONG,
        PauseReason @ 8: ULONG,
    }

    /// What MiniportRestart is told.
    struct NDIS_MINIPORT_RESTART_PARAMETERS [24, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        _Padding0 @ 4: [u8; 4],
        RestartAttributes @ 8: *mut NDIS_RESTART_ATTRIBUTES,
        Flags @ 16: ULONG,
        _Padding1 @ 20: [u8; 4],
    }

    /// A list of attributes; `DataLength` bytes from `Data`, of the structure that `Oid` names.
    #[repr(align(16))]
    struct NDIS_RESTART_ATTRIBUTES [32, 16] {
        Next @ 0: *mut NDIS_RESTART_ATTRIBUTES,
        Oid @ 8: NDIS_OID,
        DataLength @ 12: ULONG,
        Data @ 16: [UCHAR; 1],
        _Padding @ 17: [u8; 15],
    }

    /// What MiniportDevicePnPEventNotify is told.
    struct NET_DEVICE_PNP_EVENT [48, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        PortNumber @ 4: NDIS_PORT_NUMBER,
        DevicePnPEvent @ 8: NDIS_DEVICE_PNP_EVENT,
        _Padding0 @ 12: [u8; 4],
        InformationBuffer @ 16: PVOID,
        InformationBufferLength @ 24: ULONG,
        NdisReserved @ 28: [UCHAR; 16],
        _Padding1 @ 44: [u8; 4],
    }
}

constants! {
    /// Why an adapter is halted.
    enumeration NDIS_HALT_ACTION {
        NdisHaltDeviceDisabled = 0,
        NdisHaltDeviceInstanceDeInitialized = 1,
        NdisHaltDevicePoweredDown = 2,
        NdisHaltDeviceSurpriseRemoved = 3,
        NdisHaltDeviceFailed = 4,
        NdisHaltDeviceInitializationFailed = 5,
        NdisHaltDeviceStopped = 6,
    }
    /// Why the system stops.
    enumeration NDIS_SHUTDOWN_ACTION {
        NdisShutdownPowerOff = 0,
        NdisShutdownBugCheck = 1,
    }
    /// A Plug and Play event.
    enumeration NDIS_DEVICE_PNP_EVENT {
        NdisDevicePnPEventQueryRemoved = 0,
        NdisDevicePnPEventRemoved = 1,
        NdisDevicePnPEventSurpriseRemoved = 2,
        NdisDevicePnPEventQueryStopped = 3,
        NdisDevicePnPEventStopped = 4,
        NdisDevicePnPEventPowerProfileChanged = 5,
        NdisDevicePnPEventFilterListChanged = 6,
    }
    /// Where the power comes from; the information of [`NdisDevicePnPEventPowerProfileChanged`].
    enumeration NDIS_POWER_PROFILE {
        NdisPowerProfileBattery = 0,
        NdisPowerProfileAcOnLine = 1,
    }
    values UCHAR {
        NDIS_MINIPORT_DRIVER_CHARACTERISTICS_REVISION_1 = 1,
        NDIS_MINIPORT_DRIVER_CHARACTERISTICS_REVISION_2 = 2,
        NDIS_MINIPORT_INIT_PARAMETERS_REVISION_1 = 1,
        NDIS_MINIPORT_PAUSE_PARAMETERS_REVISION_1 = 1,
        NDIS_MINIPORT_RESTART_PARAMETERS_REVISION_1 = 1,
        NET_DEVICE_PNP_EVENT_REVISION_1 = 1,
    }
    values SIZE_T {
        NDIS_SIZEOF_MINIPORT_DRIVER_CHARACTERISTICS_REVISION_1 = 136,
        NDIS_SIZEOF_MINIPORT_DRIVER_CHARACTERISTICS_REVISION_2 = 152,
        NDIS_SIZEOF_MINIPORT_INIT_PARAMETER_REVISION_1 = 64,
        /// 8 in the headers of Windows Vista SP1.
        NDIS_SIZEOF_MINIPORT_PAUSE_PARAMETERS_REVISION_1 = 12,
        NDIS_SIZEOF_MINIPORT_RESTART_PARAMETERS_REVISION_1 = 20,
        NDIS_SIZEOF_NET_DEVICE_PNP_EVENT_REVISION_1 = 44,
    }
    values ULONG {
        // What NdisGetVersion returns
        NDIS_RUNTIME_VERSION_61 = 0x0006_0001,
        NDIS_RUNTIME_VERSION_620 = 0x0006_0014,
        NDIS_RUNTIME_VERSION_630 = 0x0006_001E,

        NDIS_DEFAULT_PORT_NUMBER = 0,

        // `Flags` of the driver
        NDIS_INTERMEDIATE_DRIVER = 0x0000_0001,
        NDIS_WDM_DRIVER = 0x0000_0002,

        // `PauseReason`
        NDIS_PAUSE_NDIS_INTERNAL = 0x0001,
        NDIS_PAUSE_LOW_POWER = 0x0002,
        NDIS_PAUSE_BIND_PROTOCOL = 0x0004,
        NDIS_PAUSE_UNBIND_PROTOCOL = 0x0008,
        NDIS_PAUSE_ATTACH_FILTER = 0x0010,
        NDIS_PAUSE_DETACH_FILTER = 0x0020,
        NDIS_PAUSE_FILTER_RESTART_STACK = 0x0040,
        NDIS_PAUSE_MINIPORT_DEVICE_REMOVE = 0x0080,
    }
}
