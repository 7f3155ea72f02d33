//! OID requests, and the parameters of the general OIDs.

use crate::adapter::{
    NDIS_MEDIA_CONNECT_STATE, NDIS_MEDIA_DUPLEX_STATE, NDIS_SUPPORTED_PAUSE_FUNCTIONS,
};
use crate::basic::*;
use crate::object_header::NDIS_OBJECT_HEADER;
use crate::table::{constants, layouts};

layouts! {
    /// A query.
    struct NDIS_OID_REQUEST_QUERY [32, 8] at ("NDIS_OID_REQUEST.DATA.QUERY_INFORMATION", 0) {
        Oid @ 0: NDIS_OID,
        _Padding0 @ 4: [u8; 4],
        InformationBuffer @ 8: PVOID,
        InformationBufferLength @ 16: UINT,
        BytesWritten @ 20: UINT,
        BytesNeeded @ 24: UINT,
        _Padding1 @ 28: [u8; 4],
    }

    /// A set request.
    struct NDIS_OID_REQUEST_SET [32, 8] at ("NDIS_OID_REQUEST.DATA.SET_INFORMATION", 0) {
        Oid @ 0: NDIS_OID,
        _Padding0 @ 4: [u8; 4],
        InformationBuffer @ 8: PVOID,
        InformationBufferLength @ 16: UINT,
        BytesRead @ 20: UINT,
        BytesNeeded @ 24: UINT,
        _Padding1 @ 28: [u8; 4],
    }

    /// A method request.
    struct NDIS_OID_REQUEST_METHOD [40, 8] at ("NDIS_OID_REQUEST.DATA.METHOD_INFORMATION", 0) {
        Oid @ 0: NDIS_OID,
        _Padding @ 4: [u8; 4],
        InformationBuffer @ 8: PVOID,
        InputBufferLength @ 16: ULONG,
        OutputBufferLength @ 20: ULONG,
        MethodId @ 24: ULONG,
        BytesWritten @ 28: UINT,
        BytesRead @ 32: UINT,
        BytesNeeded @ 36: UINT,
    }

    /// The request proper; which member, `RequestType` tells.
    union NDIS_OID_REQUEST_DATA [40, 8] at ("NDIS_OID_REQUEST.DATA", 0) {
        Oid @ 0: NDIS_OID,
        QUERY_INFORMATION @ 0: NDIS_OID_REQUEST_QUERY,
        SET_INFORMATION @ 0: NDIS_OID_REQUEST_SET,
        METHOD_INFORMATION @ 0: NDIS_OID_REQUEST_METHOD,
    }

    /// A request. Headers of Windows Vista SP1 put its `Size` at 233, later ones at 236: accept both.
    struct NDIS_OID_REQUEST [240, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        RequestType @ 4: NDIS_REQUEST_TYPE,
        PortNumber @ 8: NDIS_PORT_NUMBER,
        Timeout @ 12: UINT,
        RequestId @ 16: PVOID,
        RequestHandle @ 24: NDIS_HANDLE,
        DATA @ 32: NDIS_OID_REQUEST_DATA,
        NdisReserved @ 72: [UCHAR; NDIS_OID_REQUEST_NDIS_RESERVED_SIZE as usize * 8],
        MiniportReserved @ 200: [UCHAR; 16],
        SourceReserved @ 216: [UCHAR; 16],
        SupportedRevision @ 232: UCHAR,
        Reserved1 @ 233: UCHAR,
        Reserved2 @ 234: USHORT,
        _Padding @ 236: [u8; 4],
    }

    /// OID_GEN_STATISTICS.
    struct NDIS_STATISTICS_INFO [152, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        SupportedStatistics @ 4: ULONG,
        ifInDiscards @ 8: ULONG64,
        ifInErrors @ 16: ULONG64,
        ifHCInOctets @ 24: ULONG64,
        ifHCInUcastPkts @ 32: ULONG64,
        ifHCInMulticastPkts @ 40: ULONG64,
        ifHCInBroadcastPkts @ 48: ULONG64,
        ifHCOutOctets @ 56: ULONG64,
        ifHCOutUcastPkts @ 64: ULONG64,
        ifHCOutMulticastPkts @ 72: ULONG64,
        ifHCOutBroadcastPkts @ 80: ULONG64,
        ifOutErrors @ 88: ULONG64,
        ifOutDiscards @ 96: ULONG64,
        ifHCInUcastOctets @ 104: ULONG64,
        ifHCInMulticastOctets @ 112: ULONG64,
        ifHCInBroadcastOctets @ 120: ULONG64,
        ifHCOutUcastOctets @ 128: ULONG64,
        ifHCOutMulticastOctets @ 136: ULONG64,
        ifHCOutBroadcastOctets @ 144: ULONG64,
    }

    /// The link, as NDIS_STATUS_LINK_STATE indicates it.
    struct NDIS_LINK_STATE [40, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        MediaConnectState @ 4: NDIS_MEDIA_CONNECT_STATE,
        MediaDuplexState @ 8: NDIS_MEDIA_DUPLEX_STATE,
        _Padding @ 12: [u8; 4],
        XmitLinkSpeed @ 16: ULONG64,
        RcvLinkSpeed @ 24: ULONG64,
        PauseFunctions @ 32: NDIS_SUPPORTED_PAUSE_FUNCTIONS,
        AutoNegotiationFlags @ 36: ULONG,
    }

    /// OID_GEN_LINK_PARAMETERS.
    struct NDIS_LINK_PARAMETERS [32, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        MediaDuplexState @ 4: NDIS_MEDIA_DUPLEX_STATE,
        XmitLinkSpeed @ 8: ULONG64,
        RcvLinkSpeed @ 16: ULONG64,
        PauseFunctions @ 24: NDIS_SUPPORTED_PAUSE_FUNCTIONS,
        AutoNegotiationFlags @ 28: ULONG,
    }

    /// OID_GEN_LINK_SPEED_EX.
    struct NDIS_LINK_SPEED [16, 8] {
        XmitLinkSpeed @ 0: ULONG64,
        RcvLinkSpeed @ 8: ULONG64,
    }

    /// OID_GEN_INTERRUPT_MODERATION.
    struct NDIS_INTERRUPT_MODERATION_PARAMETERS [12, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        Flags @ 4: ULONG,
        InterruptModeration @ 8: NDIS_INTERRUPT_MODERATION,
    }
}

constants! {
    /// What a request asks for.
    enumeration NDIS_REQUEST_TYPE {
        NdisRequestQueryInformation = 0,
        NdisRequestSetInformation = 1,
        NdisRequestQueryStatistics = 2,
        NdisRequestOpen = 3,
        NdisRequestClose = 4,
        NdisRequestSend = 5,
        NdisRequestTransferData = 6,
        NdisRequestReset = 7,
        NdisRequestGeneric1 = 8,
        NdisRequestGeneric2 = 9,
        NdisRequestGeneric3 = 10,
        NdisRequestGeneric4 = 11,
        NdisRequestMethod = 12,
    }
    /// The state of interrupt moderation.
    enumeration NDIS_INTERRUPT_MODERATION {
        NdisInterruptModerationUnknown = 0,
        NdisInterruptModerationNotSupported = 1,
        NdisInterruptModerationEnabled = 2,
        NdisInterruptModerationDisabled = 3,
    }
    /// OID_GEN_HARDWARE_STATUS.
    enumeration NDIS_HARDWARE_STATUS {
        NdisHardwareStatusReady = 0,
        NdisHardwareStatusInitializing = 1,
        NdisHardwareStatusReset = 2,
        NdisHardwareStatusClosing = 3,
        NdisHardwareStatusNotReady = 4,
    }
    /// OID_GEN_MEDIA_CONNECT_STATUS.
    enumeration NDIS_MEDIA_STATE {
        NdisMediaStateConnected = 0,
        NdisMediaStateDisconnected = 1,
    }
    values UCHAR {
        NDIS_INTERRUPT_MODERATION_PARAMETERS_REVISION_1 = 1,
        NDIS_LINK_PARAMETERS_REVISION_1 = 1,
        NDIS_LINK_STATE_REVISION_1 = 1,
        NDIS_OID_REQUEST_REVISION_1 = 1,
        NDIS_STATISTICS_INFO_REVISION_1 = 1,
    }
    values SIZE_T {
        NDIS_SIZEOF_INTERRUPT_MODERATION_PARAMETERS_REVISION_1 = 12,
        NDIS_SIZEOF_LINK_PARAMETERS_REVISION_1 = 32,
        NDIS_SIZEOF_LINK_STATE_REVISION_1 = 40,
        NDIS_SIZEOF_OID_REQUEST_REVISION_1 = 236,
        NDIS_SIZEOF_STATISTICS_INFO_REVISION_1 = 152,
    }
    values ULONG {
        // In pointers
        NDIS_OID_REQUEST_NDIS_RESERVED_SIZE = 16,
        NDIS_OID_REQUEST_TIMEOUT_INFINITE = 0,

        // `Flags` of NDIS_INTERRUPT_MODERATION_PARAMETERS
        NDIS_INTERRUPT_MODERATION_CHANGE_NEEDS_RESET = 1,
        NDIS_INTERRUPT_MODERATION_CHANGE_NEEDS_REINITIALIZE = 2,

        // `SupportedStatistics` of NDIS_STATISTICS_INFO
        NDIS_STATISTICS_FLAGS_VALID_DIRECTED_FRAMES_RCV = 1,
        NDIS_STATISTICS_FLAGS_VALID_MULTICAST_FRAMES_RCV = 2,
        NDIS_STATISTICS_FLAGS_VALID_BROADCAST_FRAMES_RCV = 4,
        NDIS_STATISTICS_FLAGS_VALID_BYTES_RCV = 8,
        NDIS_STATISTICS_FLAGS_VALID_RCV_DISCARDS = 0x0010,
        NDIS_STATISTICS_FLAGS_VALID_RCV_ERROR = 0x0020,
        NDIS_STATISTICS_FLAGS_VALID_DIRECTED_FRAMES_XMIT = 0x0040,
        NDIS_STATISTICS_FLAGS_VALID_MULTICAST_FRAMES_XMIT = 0x0080,
        NDIS_STATISTICS_FLAGS_VALID_BROADCAST_FRAMES_XMIT = 0x0100,
        NDIS_STATISTICS_FLAGS_VALID_BYTES_XMIT = 0x0200,
        NDIS_STATISTICS_FLAGS_VALID_XMIT_ERROR = 0x0400,
        NDIS_STATISTICS_FLAGS_VALID_XMIT_DISCARDS = 0x8000,
        NDIS_STATISTICS_FLAGS_VALID_DIRECTED_BYTES_RCV = 0x0001_0000,
        NDIS_STATISTICS_FLAGS_VALID_MULTICAST_BYTES_RCV = 0x0002_0000,
        NDIS_STATISTICS_FLAGS_VALID_BROADCAST_BYTES_RCV = 0x0004_0000,
        NDIS_STATISTICS_FLAGS_VALID_DIRECTED_BYTES_XMIT = 0x0008_0000,
        NDIS_STATISTICS_FLAGS_VALID_MULTICAST_BYTES_XMIT = 0x0010_0000,
        NDIS_STATISTICS_FLAGS_VALID_BROADCAST_BYTES_XMIT = 0x0020_0000,
    }
}
