//! The attributes of an adapter: what MiniportInitializeEx reports with NdisMSetMiniportAttributes,
//! and what it may read of ports.

use crate::basic::*;
use crate::object_header::NDIS_OBJECT_HEADER;
use crate::offload::{NDIS_OFFLOAD, NDIS_TCP_CONNECTION_OFFLOAD};
use crate::power::{NDIS_PM_CAPABILITIES, NDIS_PNP_CAPABILITIES};
use crate::table::{constants, layouts};

layouts! {
    /// Registers the adapter context: the first attributes to set.
    struct NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES [32, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        _Padding0 @ 4: [u8; 4],
        MiniportAdapterContext @ 8: NDIS_HANDLE,
        AttributeFlags @ 16: ULONG,
        CheckForHangTimeInSeconds @ 20: UINT,
        InterfaceType @ 24: NDIS_INTERFACE_TYPE,
        _Padding1 @ 28: [u8; 4],
    }

    /// Registers a context for a driver with MiniportAddDevice.
    struct NDIS_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES [24, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        _Padding0 @ 4: [u8; 4],
        MiniportAddDeviceContext @ 8: NDIS_HANDLE,
        Flags @ 16: ULONG,
        _Padding1 @ 20: [u8; 4],
    }

    /// What the adapter is: the second attributes to set. Revision 1 ends before
    /// `PowerManagementCapabilitiesEx`.
    struct NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES [224, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        Flags @ 4: ULONG,
        MediaType @ 8: NDIS_MEDIUM,
        PhysicalMediumType @ 12: NDIS_PHYSICAL_MEDIUM,
        MtuSize @ 16: ULONG,
        _Padding0 @ 20: [u8; 4],
        MaxXmitLinkSpeed @ 24: ULONG64,
        XmitLinkSpeed @ 32: ULONG64,
        MaxRcvLinkSpeed @ 40: ULONG64,
        RcvLinkSpeed @ 48: ULONG64,
        MediaConnectState @ 56: NDIS_MEDIA_CONNECT_STATE,
        MediaDuplexState @ 60: NDIS_MEDIA_DUPLEX_STATE,
        LookaheadSize @ 64: ULONG,
        _Padding1 @ 68: [u8; 4],
        PowerManagementCapabilities @ 72: *mut NDIS_PNP_CAPABILITIES,
        MacOptions @ 80: ULONG,
        SupportedPacketFilters @ 84: ULONG,
        MaxMulticastListSize @ 88: ULONG,
        MacAddressLength @ 92: USHORT,
        PermanentMacAddress @ 94: [UCHAR; NDIS_MAX_PHYS_ADDRESS_LENGTH as usize],
        CurrentMacAddress @ 126: [UCHAR; NDIS_MAX_PHYS_ADDRESS_LENGTH as usize],
        _Padding2 @ 158: [u8; 2],
        RecvScaleCapabilities @ 160: *mut NDIS_RECEIVE_SCALE_CAPABILITIES,
        AccessType @ 168: NET_IF_ACCESS_TYPE,
        DirectionType @ 172: NET_IF_DIRECTION_TYPE,
        ConnectionType @ 176: NET_IF_CONNECTION_TYPE,
        IfType @ 180: NET_IFTYPE,
        IfConnectorPresent @ 182: BOOLEAN,
        _Padding3 @ 183: u8,
        SupportedStatistics @ 184: ULONG,
        SupportedPauseFunctions @ 188: ULONG,
        DataBackFillSize @ 192: ULONG,
        ContextBackFillSize @ 196: ULONG,
        SupportedOidList @ 200: *mut NDIS_OID,
        SupportedOidListLength @ 208: ULONG,
        AutoNegotiationFlags @ 212: ULONG,
        PowerManagementCapabilitiesEx @ 216: *mut NDIS_PM_CAPABILITIES,
    }

    /// The offloads of the adapter.
    struct NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES [40, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        _Padding @ 4: [u8; 4],
        DefaultOffloadConfiguration @ 8: *mut NDIS_OFFLOAD,
        HardwareOffloadCapabilities @ 16: *mut NDIS_OFFLOAD,
        DefaultTcpConnectionOffloadConfiguration @ 24: *mut NDIS_TCP_CONNECTION_OFFLOAD,
        TcpConnectionOffloadHardwareCapabilities @ 32: *mut NDIS_TCP_CONNECTION_OFFLOAD,
    }

    /// Header-data split, receive filters, SR-IOV and QoS: revision 3. A software adapter leaves the
    /// pointers null.
    struct NDIS_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES [80, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        _Padding @ 4: [u8; 4],
        HDSplitAttributes @ 8: PVOID,
        HardwareReceiveFilterCapabilities @ 16: PVOID,
        CurrentReceiveFilterCapabilities @ 24: PVOID,
        HardwareNicSwitchCapabilities @ 32: PVOID,
        CurrentNicSwitchCapabilities @ 40: PVOID,
        HardwareSriovCapabilities @ 48: PVOID,
        CurrentSriovCapabilities @ 56: PVOID,
        HardwareQosCapabilities @ 64: PVOID,
        CurrentQosCapabilities @ 72: PVOID,
    }

    /// Any of the above, told apart by the header's type.
    union NDIS_MINIPORT_ADAPTER_ATTRIBUTES [224, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        AddDeviceRegistrationAttributes @ 0: NDIS_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES,
        RegistrationAttributes @ 0: NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES,
        GeneralAttributes @ 0: NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES,
        OffloadAttributes @ 0: NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES,
        HardwareAssistAttributes @ 0: NDIS_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES,
    }

    /// The general attributes that a restart may change.
    struct NDIS_RESTART_GENERAL_ATTRIBUTES [88, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        MtuSize @ 4: ULONG,
        MaxXmitLinkSpeed @ 8: ULONG64,
        MaxRcvLinkSpeed @ 16: ULONG64,
        LookaheadSize @ 24: ULONG,
        MacOptions @ 28: ULONG,
        SupportedPacketFilters @ 32: ULONG,
        MaxMulticastListSize @ 36: ULONG,
        RecvScaleCapabilities @ 40: *mut NDIS_RECEIVE_SCALE_CAPABILITIES,
        AccessType @ 48: NET_IF_ACCESS_TYPE,
        Flags @ 52: ULONG,
        ConnectionType @ 56: NET_IF_CONNECTION_TYPE,
        SupportedStatistics @ 60: ULONG,
        DataBackFillSize @ 64: ULONG,
        ContextBackFillSize @ 68: ULONG,
        SupportedOidList @ 72: *mut NDIS_OID,
        SupportedOidListLength @ 80: ULONG,
        MaxLookaheadSizeAccessed @ 84: ULONG,
    }

    /// What receive side scaling can do; revision 1 ends before `NumberOfIndirectionTableEntries`.
    struct NDIS_RECEIVE_SCALE_CAPABILITIES [20, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        CapabilitiesFlags @ 4: ULONG,
        NumberOfInterruptMessages @ 8: ULONG,
        NumberOfReceiveQueues @ 12: ULONG,
        NumberOfIndirectionTableEntries @ 16: USHORT,
        _Padding @ 18: [u8; 2],
    }

    /// The authentication state of a port.
    struct NDIS_PORT_AUTHENTICATION_PARAMETERS [20, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        SendControlState @ 4: NDIS_PORT_CONTROL_STATE,
        RcvControlState @ 8: NDIS_PORT_CONTROL_STATE,
        SendAuthorizationState @ 12: NDIS_PORT_AUTHORIZATION_STATE,
        RcvAuthorizationState @ 16: NDIS_PORT_AUTHORIZATION_STATE,
    }
}

constants! {
    /// The medium that the adapter presents.
    enumeration NDIS_MEDIUM {
        NdisMedium802_3 = 0,
        NdisMedium802_5 = 1,
        NdisMediumFddi = 2,
        NdisMediumWan = 3,
        NdisMediumLocalTalk = 4,
        NdisMediumDix = 5,
        NdisMediumArcnetRaw = 6,
        NdisMediumArcnet878_2 = 7,
        NdisMediumAtm = 8,
        NdisMediumWirelessWan = 9,
        NdisMediumIrda = 10,
        NdisMediumBpc = 11,
        NdisMediumCoWan = 12,
        NdisMedium1394 = 13,
        NdisMediumInfiniBand = 14,
        NdisMediumTunnel = 15,
        NdisMediumNative802_11 = 16,
        NdisMediumLoopback = 17,
        NdisMediumWiMAX = 18,
        NdisMediumIP = 19,
    }
    /// The physical medium.
    enumeration NDIS_PHYSICAL_MEDIUM {
        NdisPhysicalMediumUnspecified = 0,
        NdisPhysicalMediumWirelessLan = 1,
        NdisPhysicalMediumCableModem = 2,
        NdisPhysicalMediumPhoneLine = 3,
        NdisPhysicalMediumPowerLine = 4,
        NdisPhysicalMediumDSL = 5,
        NdisPhysicalMediumFibreChannel = 6,
        NdisPhysicalMedium1394 = 7,
        NdisPhysicalMediumWirelessWan = 8,
        NdisPhysicalMediumNative802_11 = 9,
        NdisPhysicalMediumBluetooth = 10,
        NdisPhysicalMediumInfiniband = 11,
        NdisPhysicalMediumWiMax = 12,
        NdisPhysicalMediumUWB = 13,
        NdisPhysicalMedium802_3 = 14,
        NdisPhysicalMedium802_5 = 15,
        NdisPhysicalMediumIrda = 16,
        NdisPhysicalMediumWiredWAN = 17,
        NdisPhysicalMediumWiredCoWan = 18,
        NdisPhysicalMediumOther = 19,
        NdisPhysicalMediumNative802_15_4 = 20,
    }
    /// The bus of the adapter.
    enumeration NDIS_INTERFACE_TYPE {
        NdisInterfaceInternal = 0,
        NdisInterfaceIsa = 1,
        NdisInterfaceEisa = 2,
        NdisInterfaceMca = 3,
        NdisInterfaceTurboChannel = 4,
        NdisInterfacePci = 5,
        NdisInterfacePcMcia = 8,
        NdisInterfaceCBus = 9,
        NdisInterfaceMPIBus = 10,
        NdisInterfaceMPSABus = 11,
        NdisInterfaceProcessorInternal = 12,
        NdisInterfaceInternalPowerBus = 13,
        NdisInterfacePNPISABus = 14,
        NdisInterfacePNPBus = 15,
        NdisInterfaceUSB = 16,
        NdisInterfaceIrda = 17,
        NdisInterface1394 = 18,
        NdisMaximumInterfaceType = 19,
    }
    /// Whether there is a link.
    enumeration NDIS_MEDIA_CONNECT_STATE {
        MediaConnectStateUnknown = 0,
        MediaConnectStateConnected = 1,
        MediaConnectStateDisconnected = 2,
    }
    /// Half or full duplex.
    enumeration NDIS_MEDIA_DUPLEX_STATE {
        MediaDuplexStateUnknown = 0,
        MediaDuplexStateHalf = 1,
        MediaDuplexStateFull = 2,
    }
    /// Flow control by PAUSE frames.
    enumeration NDIS_SUPPORTED_PAUSE_FUNCTIONS {
        NdisPauseFunctionsUnsupported = 0,
        NdisPauseFunctionsSendOnly = 1,
        NdisPauseFunctionsReceiveOnly = 2,
        NdisPauseFunctionsSendAndReceive = 3,
        NdisPauseFunctionsUnknown = 4,
    }
    /// How the medium is shared.
    enumeration NET_IF_ACCESS_TYPE {
        NET_IF_ACCESS_LOOPBACK = 1,
        NET_IF_ACCESS_BROADCAST = 2,
        NET_IF_ACCESS_POINT_TO_POINT = 3,
        NET_IF_ACCESS_POINT_TO_MULTI_POINT = 4,
        NET_IF_ACCESS_MAXIMUM = 5,
    }
    /// Which ways packets go.
    enumeration NET_IF_DIRECTION_TYPE {
        NET_IF_DIRECTION_SENDRECEIVE = 0,
        NET_IF_DIRECTION_SENDONLY = 1,
        NET_IF_DIRECTION_RECEIVEONLY = 2,
        NET_IF_DIRECTION_MAXIMUM = 3,
    }
    /// How the connection is made.
    enumeration NET_IF_CONNECTION_TYPE {
        NET_IF_CONNECTION_DEDICATED = 1,
        NET_IF_CONNECTION_PASSIVE = 2,
        NET_IF_CONNECTION_DEMAND = 3,
        NET_IF_CONNECTION_MAXIMUM = 4,
    }
    /// Whether a port is controlled.
    enumeration NDIS_PORT_CONTROL_STATE {
        NdisPortControlStateUnknown = 0,
        NdisPortControlStateControlled = 1,
        NdisPortControlStateUncontrolled = 2,
    }
    /// Whether a port is authorized.
    enumeration NDIS_PORT_AUTHORIZATION_STATE {
        NdisPortAuthorizationUnknown = 0,
        NdisPortAuthorized = 1,
        NdisPortUnauthorized = 2,
        NdisPortReauthorizing = 3,
    }
    values UCHAR {
        NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES_REVISION_1 = 1,
        NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES_REVISION_2 = 2,
        NDIS_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_1 = 1,
        NDIS_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_2 = 2,
        NDIS_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_3 = 3,
        NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES_REVISION_1 = 1,
        NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES_REVISION_1 = 1,
        NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES_REVISION_2 = 2,
        NDIS_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES_REVISION_1 = 1,
        NDIS_PORT_AUTHENTICATION_PARAMETERS_REVISION_1 = 1,
        NDIS_RECEIVE_SCALE_CAPABILITIES_REVISION_1 = 1,
        NDIS_RECEIVE_SCALE_CAPABILITIES_REVISION_2 = 2,
        NDIS_RESTART_GENERAL_ATTRIBUTES_REVISION_1 = 1,
        NDIS_RESTART_GENERAL_ATTRIBUTES_REVISION_2 = 2,
    }
    values SIZE_T {
        NDIS_SIZEOF_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES_REVISION_1 = 216,
        NDIS_SIZEOF_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES_REVISION_2 = 224,
        NDIS_SIZEOF_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_1 = 16,
        NDIS_SIZEOF_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_2 = 48,
        NDIS_SIZEOF_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_3 = 80,
        NDIS_SIZEOF_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES_REVISION_1 = 40,
        NDIS_SIZEOF_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES_REVISION_1 = 28,
        NDIS_SIZEOF_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES_REVISION_2 = 28,
        NDIS_SIZEOF_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES_REVISION_1 = 20,
        NDIS_SIZEOF_PORT_AUTHENTICATION_PARAMETERS_REVISION_1 = 20,
        NDIS_SIZEOF_RECEIVE_SCALE_CAPABILITIES_REVISION_1 = 16,
        NDIS_SIZEOF_RECEIVE_SCALE_CAPABILITIES_REVISION_2 = 18,
        NDIS_SIZEOF_RESTART_GENERAL_ATTRIBUTES_REVISION_1 = 84,
        NDIS_SIZEOF_RESTART_GENERAL_ATTRIBUTES_REVISION_2 = 88,
    }
    values NET_IFTYPE {
        IF_TYPE_ETHERNET_CSMACD = 6,
    }
    values ULONG64 {
        NDIS_LINK_SPEED_UNKNOWN = u64::MAX,
    }
    values ULONG {
        NDIS_MAX_PHYS_ADDRESS_LENGTH = 32,

        // `AttributeFlags`
        NDIS_MINIPORT_ATTRIBUTES_HARDWARE_DEVICE = 1,
        NDIS_MINIPORT_ATTRIBUTES_NDIS_WDM = 2,
        NDIS_MINIPORT_ATTRIBUTES_SURPRISE_REMOVE_OK = 4,
        NDIS_MINIPORT_ATTRIBUTES_NOT_CO_NDIS = 8,
        NDIS_MINIPORT_ATTRIBUTES_DO_NOT_BIND_TO_ALL_CO = 0x0010,
        NDIS_MINIPORT_ATTRIBUTES_NO_HALT_ON_SUSPEND = 0x0020,
        NDIS_MINIPORT_ATTRIBUTES_BUS_MASTER = 0x0040,
        NDIS_MINIPORT_ATTRIBUTES_CONTROLS_DEFAULT_PORT = 0x0080,
        NDIS_MINIPORT_ATTRIBUTES_NO_PAUSE_ON_SUSPEND = 0x0100,
        NDIS_MINIPORT_ATTRIBUTES_NO_OID_INTERCEPT_ON_NONDEFAULT_PORTS = 0x0200,
        NDIS_MINIPORT_ATTRIBUTES_REGISTER_BUGCHECK_CALLBACK = 0x0400,

        // `MacOptions`
        NDIS_MAC_OPTION_COPY_LOOKAHEAD_DATA = 1,
        NDIS_MAC_OPTION_RECEIVE_SERIALIZED = 2,
        NDIS_MAC_OPTION_TRANSFERS_NOT_PEND = 4,
        NDIS_MAC_OPTION_NO_LOOPBACK = 8,
        NDIS_MAC_OPTION_FULL_DUPLEX = 0x0010,
        NDIS_MAC_OPTION_EOTX_INDICATION = 0x0020,
        NDIS_MAC_OPTION_8021P_PRIORITY = 0x0040,
        NDIS_MAC_OPTION_SUPPORTS_MAC_ADDRESS_OVERWRITE = 0x0080,
        NDIS_MAC_OPTION_RECEIVE_AT_DPC = 0x0100,
        NDIS_MAC_OPTION_8021Q_VLAN = 0x0200,
        NDIS_MAC_OPTION_RESERVED = 0x8000_0000,

        // Packet filters
        NDIS_PACKET_TYPE_DIRECTED = 1,
        NDIS_PACKET_TYPE_MULTICAST = 2,
        NDIS_PACKET_TYPE_ALL_MULTICAST = 4,
        NDIS_PACKET_TYPE_BROADCAST = 8,
        NDIS_PACKET_TYPE_SOURCE_ROUTING = 0x0010,
        NDIS_PACKET_TYPE_PROMISCUOUS = 0x0020,
        NDIS_PACKET_TYPE_SMT = 0x0040,
        NDIS_PACKET_TYPE_ALL_LOCAL = 0x0080,
        NDIS_PACKET_TYPE_GROUP = 0x1000,
        NDIS_PACKET_TYPE_ALL_FUNCTIONAL = 0x2000,
        NDIS_PACKET_TYPE_FUNCTIONAL = 0x4000,
        NDIS_PACKET_TYPE_MAC_FRAME = 0x8000,
        NDIS_PACKET_TYPE_NO_LOCAL = 0x0001_0000,

        // `SupportedStatistics`
        NDIS_STATISTICS_XMIT_OK_SUPPORTED = 1,
        NDIS_STATISTICS_RCV_OK_SUPPORTED = 2,
        NDIS_STATISTICS_XMIT_ERROR_SUPPORTED = 4,
        NDIS_STATISTICS_RCV_ERROR_SUPPORTED = 8,
        NDIS_STATISTICS_RCV_NO_BUFFER_SUPPORTED = 0x0010,
        NDIS_STATISTICS_DIRECTED_BYTES_XMIT_SUPPORTED = 0x0020,
        NDIS_STATISTICS_DIRECTED_FRAMES_XMIT_SUPPORTED = 0x0040,
        NDIS_STATISTICS_MULTICAST_BYTES_XMIT_SUPPORTED = 0x0080,
        NDIS_STATISTICS_MULTICAST_FRAMES_XMIT_SUPPORTED = 0x0100,
        NDIS_STATISTICS_BROADCAST_BYTES_XMIT_SUPPORTED = 0x0200,
        NDIS_STATISTICS_BROADCAST_FRAMES_XMIT_SUPPORTED = 0x0400,
        NDIS_STATISTICS_DIRECTED_BYTES_RCV_SUPPORTED = 0x0800,
        NDIS_STATISTICS_DIRECTED_FRAMES_RCV_SUPPORTED = 0x1000,
        NDIS_STATISTICS_MULTICAST_BYTES_RCV_SUPPORTED = 0x2000,
        NDIS_STATISTICS_MULTICAST_FRAMES_RCV_SUPPORTED = 0x4000,
        NDIS_STATISTICS_BROADCAST_BYTES_RCV_SUPPORTED = 0x8000,
        NDIS_STATISTICS_BROADCAST_FRAMES_RCV_SUPPORTED = 0x0001_0000,
        NDIS_STATISTICS_RCV_CRC_ERROR_SUPPORTED = 0x0002_0000,
        NDIS_STATISTICS_TRANSMIT_QUEUE_LENGTH_SUPPORTED = 0x0004_0000,
        NDIS_STATISTICS_BYTES_RCV_SUPPORTED = 0x0008_0000,
        NDIS_STATISTICS_BYTES_XMIT_SUPPORTED = 0x0010_0000,
        NDIS_STATISTICS_RCV_DISCARDS_SUPPORTED = 0x0020_0000,
        NDIS_STATISTICS_GEN_STATISTICS_SUPPORTED = 0x0040_0000,
        NDIS_STATISTICS_XMIT_DISCARDS_SUPPORTED = 0x0800_0000,

        // `AutoNegotiationFlags`
        NDIS_LINK_STATE_XMIT_LINK_SPEED_AUTO_NEGOTIATED = 1,
        NDIS_LINK_STATE_RCV_LINK_SPEED_AUTO_NEGOTIATED = 2,
        NDIS_LINK_STATE_DUPLEX_AUTO_NEGOTIATED = 4,
        NDIS_LINK_STATE_PAUSE_FUNCTIONS_AUTO_NEGOTIATED = 8,

        // `Flags` of the restart attributes
        NDIS_RESTART_GENERAL_ATTRIBUTES_MAX_LOOKAHEAD_ACCESSED_DEFINED = 1,

        // `MaxLookaheadSizeAccessed`
        NDIS_MAX_LOOKAHEAD_SIZE_ACCESSED_UNDEFINED = 0xFFFF_FFFF,
    }
}
