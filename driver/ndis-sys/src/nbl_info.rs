//! Out-of-band information of NET_BUFFER_LISTs: the slots, and the words of those that carry
//! checksum offload, large send offload and 802.1Q. Those of IPsec are in `ipsec_offload_v2`.

use crate::basic::*;
use crate::table::{bit_fields, constants, layouts};

constants! {
    /// Which slot of `NetBufferListInfo`.
    enumeration NDIS_NET_BUFFER_LIST_INFO {
        TcpIpChecksumNetBufferListInfo = 0,
        TcpOffloadBytesTransferred = TcpIpChecksumNetBufferListInfo,
        IPsecOffloadV1NetBufferListInfo = 1,
        /// From NDIS 6.1 on.
        IPsecOffloadV2NetBufferListInfo = IPsecOffloadV1NetBufferListInfo,
        TcpLargeSendNetBufferListInfo = 2,
        TcpReceiveNoPush = TcpLargeSendNetBufferListInfo,
        ClassificationHandleNetBufferListInfo = 3,
        Ieee8021QNetBufferListInfo = 4,
        NetBufferListCancelId = 5,
        MediaSpecificInformation = 6,
        NetBufferListFrameType = 7,
        NetBufferListProtocolId = NetBufferListFrameType,
        NetBufferListHashValue = 8,
        NetBufferListHashInfo = 9,
        WfpNetBufferListInfo = 10,
        /// From NDIS 6.1 on.
        IPsecOffloadV2TunnelNetBufferListInfo = 11,
        /// From NDIS 6.1 on.
        IPsecOffloadV2HeaderNetBufferListInfo = 12,
        /// From NDIS 6.20 on, as the next four.
        NetBufferListCorrelationId = 13,
        NetBufferListFilteringInfo = 14,
        MediaSpecificInformationEx = 15,
        NblOriginalInterfaceIfIndex = 16,
        NblReAuthWfpFlowContext = NblOriginalInterfaceIfIndex,
        TcpReceiveBytesTransferred = 17,
        /// From NDIS 6.30 on, as all that follow.
        SwitchForwardingReserved = 18,
        SwitchForwardingDetail = 19,
        VirtualSubnetInfo = 20,
        IMReserved = 21,
        TcpRecvSegCoalesceInfo = 22,
        RscTcpTimestampDelta = 23,
        TcpSendOffloadsSupplementalNetBufferListInfo = RscTcpTimestampDelta,
    }
    values ULONG {
        NDIS_TCP_LARGE_SEND_OFFLOAD_V1_TYPE = 0,
        NDIS_TCP_LARGE_SEND_OFFLOAD_V2_TYPE = 1,
        NDIS_TCP_LARGE_SEND_OFFLOAD_IPv4 = 0,
        NDIS_TCP_LARGE_SEND_OFFLOAD_IPv6 = 1,
        NDIS_LARGE_SEND_OFFLOAD_MAX_HEADER_LENGTH = 128,
    }
}

bit_fields! {
    /// What the miniport is to compute for a send.
    NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO_TRANSMIT: ULONG, at ("NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO.Transmit", 0) {
        IsIPv4 @ 0, 1;
        IsIPv6 @ 1, 1;
        TcpChecksum @ 2, 1;
        UdpChecksum @ 3, 1;
        IpHeaderChecksum @ 4, 1;
        Reserved @ 5, 11;
        TcpHeaderOffset @ 16, 10;
    }

    /// What the miniport found about a received packet.
    NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO_RECEIVE: ULONG, at ("NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO.Receive", 0) {
        TcpChecksumFailed @ 0, 1;
        UdpChecksumFailed @ 1, 1;
        IpChecksumFailed @ 2, 1;
        TcpChecksumSucceeded @ 3, 1;
        UdpChecksumSucceeded @ 4, 1;
        IpChecksumSucceeded @ 5, 1;
        Loopback @ 6, 1;
        TcpChecksumValueInvalid @ 7, 1;
        IpChecksumValueInvalid @ 8, 1;
    }

    /// A large send of either version: which one.
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_TRANSMIT: ULONG, at ("NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO.Transmit", 0) {
        Unused @ 0, 30;
        Type @ 30, 1;
        Reserved2 @ 31, 1;
    }

    /// A version 1 large send.
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V1: ULONG, at ("NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO.LsoV1Transmit", 0) {
        MSS @ 0, 20;
        TcpHeaderOffset @ 20, 10;
        Type @ 30, 1;
        Reserved2 @ 31, 1;
    }

    /// A completed version 1 large send.
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V1_COMPLETE: ULONG, at ("NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO.LsoV1TransmitComplete", 0) {
        TcpPayload @ 0, 30;
        Type @ 30, 1;
        Reserved2 @ 31, 1;
    }

    /// A version 2 large send.
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V2: ULONG, at ("NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO.LsoV2Transmit", 0) {
        MSS @ 0, 20;
        TcpHeaderOffset @ 20, 10;
        Type @ 30, 1;
        IPVersion @ 31, 1;
    }

    /// A completed version 2 large send.
    NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V2_COMPLETE: ULONG, at ("NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO.LsoV2TransmitComplete", 0) {
        Reserved @ 0, 30;
        Type @ 30, 1;
        Reserved2 @ 31, 1;
    }

    /// An 802.1Q tag.
    NDIS_NET_BUFFER_LIST_8021Q_INFO_TAG_HEADER: ULONG, at ("NDIS_NET_BUFFER_LIST_8021Q_INFO.TagHeader", 0) {
        UserPriority @ 0, 3;
        CanonicalFormatId @ 3, 1;
        VlanId @ 4, 12;
        Reserved @ 16, 16;
    }
}

layouts! {
    /// The slot [`TcpIpChecksumNetBufferListInfo`].
    union NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO [8, 8] {
        Transmit @ 0: NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO_TRANSMIT,
        Receive @ 0: NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO_RECEIVE,
        Value @ 0: PVOID,
    }

    /// The slot [`TcpLargeSendNetBufferListInfo`].
    union NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO [8, 8] {
        Transmit @ 0: NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_TRANSMIT,
        LsoV1Transmit @ 0: NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V1,
        LsoV1TransmitComplete @ 0: NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V1_COMPLETE,
        LsoV2Transmit @ 0: NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V2,
        LsoV2TransmitComplete @ 0: NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO_V2_COMPLETE,
        Value @ 0: PVOID,
    }

    /// The slot [`Ieee8021QNetBufferListInfo`].
    union NDIS_NET_BUFFER_LIST_8021Q_INFO [8, 8] {
        TagHeader @ 0: NDIS_NET_BUFFER_LIST_8021Q_INFO_TAG_HEADER,
        Value @ 0: PVOID,
    }
}
