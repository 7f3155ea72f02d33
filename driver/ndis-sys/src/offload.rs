//! Task offload: NDIS_OFFLOAD and what it is made of, and the OIDs that configure it.

use crate::basic::*;
use crate::ipsec_offload_v2::NDIS_IPSEC_OFFLOAD_V2;
use crate::object_header::NDIS_OBJECT_HEADER;
use crate::table::{bit_fields, constants, layouts};

bit_fields! {
    /// Checksum offload over IPv4. Values: [`NDIS_OFFLOAD_SUPPORTED`] and so on.
    NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4_FIELDS: ULONG, at
        ("NDIS_TCP_IP_CHECKSUM_OFFLOAD.IPv4Transmit", 4), ("NDIS_TCP_IP_CHECKSUM_OFFLOAD.IPv4Receive", 4) {
        IpOptionsSupported @ 0, 2;
        TcpOptionsSupported @ 2, 2;
        TcpChecksum @ 4, 2;
        UdpChecksum @ 6, 2;
        IpChecksum @ 8, 2;
    }

    /// Checksum offload over IPv6.
    NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6_FIELDS: ULONG, at
        ("NDIS_TCP_IP_CHECKSUM_OFFLOAD.IPv6Transmit", 4), ("NDIS_TCP_IP_CHECKSUM_OFFLOAD.IPv6Receive", 4) {
        IpExtensionHeadersSupported @ 0, 2;
        TcpOptionsSupported @ 2, 2;
        TcpChecksum @ 4, 2;
        UdpChecksum @ 6, 2;
    }

    /// Large send offload, version 1.
    NDIS_TCP_LARGE_SEND_OFFLOAD_V1_FIELDS: ULONG, at ("NDIS_TCP_LARGE_SEND_OFFLOAD_V1.IPv4", 12) {
        TcpOptions @ 0, 2;
        IpOptions @ 2, 2;
    }

    /// Large send offload, version 2, over IPv6.
    NDIS_TCP_LARGE_SEND_OFFLOAD_V2_IPV6_FIELDS: ULONG, at ("NDIS_TCP_LARGE_SEND_OFFLOAD_V2.IPv6", 12) {
        IpExtensionHeadersSupported @ 0, 2;
        TcpOptionsSupported @ 2, 2;
    }

    /// IPsec offload version 1: AH.
    NDIS_IPSEC_OFFLOAD_V1_IPV4_AH: ULONG, at ("NDIS_IPSEC_OFFLOAD_V1.IPv4AH", 0) {
        Md5 @ 0, 2;
        Sha_1 @ 2, 2;
        Transport @ 4, 2;
        Tunnel @ 6, 2;
        Send @ 8, 2;
        Receive @ 10, 2;
    }

    /// IPsec offload version 1: ESP.
    NDIS_IPSEC_OFFLOAD_V1_IPV4_ESP: ULONG, at ("NDIS_IPSEC_OFFLOAD_V1.IPv4ESP", 0) {
        Des @ 0, 2;
        Reserved @ 2, 2;
        TripleDes @ 4, 2;
        NullEsp @ 6, 2;
        Transport @ 8, 2;
        Tunnel @ 10, 2;
        Send @ 12, 2;
        Receive @ 14, 2;
    }

    /// Offload of encapsulated packets.
    NDIS_ENCAPSULATED_PACKET_TASK_OFFLOAD_FIELDS: ULONG, at ("NDIS_ENCAPSULATED_PACKET_TASK_OFFLOAD", 0) {
        TransmitChecksumOffloadSupported @ 0, 4;
        ReceiveChecksumOffloadSupported @ 4, 4;
        LsoV2Supported @ 8, 4;
        RssSupported @ 12, 4;
        VmqSupported @ 16, 4;
    }

    /// TCP connection (chimney) offload.
    NDIS_TCP_CONNECTION_OFFLOAD_FIELDS: ULONG, at ("NDIS_TCP_CONNECTION_OFFLOAD", 8) {
        SupportIPv4 @ 0, 2;
        SupportIPv6 @ 2, 2;
        SupportIPv6ExtensionHeaders @ 4, 2;
        SupportSack @ 6, 2;
        CongestionAlgorithm @ 8, 4;
    }
}

layouts! {
    /// Checksum offload over IPv4, in one direction.
    struct NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4 [8, 4]
        at ("NDIS_TCP_IP_CHECKSUM_OFFLOAD.IPv4Transmit", 0), ("NDIS_TCP_IP_CHECKSUM_OFFLOAD.IPv4Receive", 0) {
        Encapsulation @ 0: ULONG,
        Fields @ 4: NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4_FIELDS,
    }

    /// Checksum offload over IPv6, in one direction.
    struct NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6 [8, 4]
        at ("NDIS_TCP_IP_CHECKSUM_OFFLOAD.IPv6Transmit", 0), ("NDIS_TCP_IP_CHECKSUM_OFFLOAD.IPv6Receive", 0) {
        Encapsulation @ 0: ULONG,
        Fields @ 4: NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6_FIELDS,
    }

    /// Checksum offload.
    struct NDIS_TCP_IP_CHECKSUM_OFFLOAD [32, 4] {
        IPv4Transmit @ 0: NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4,
        IPv4Receive @ 8: NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4,
        IPv6Transmit @ 16: NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6,
        IPv6Receive @ 24: NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6,
    }

    /// Large send offload version 1, over IPv4.
    struct NDIS_TCP_LARGE_SEND_OFFLOAD_V1_IPV4 [16, 4] at ("NDIS_TCP_LARGE_SEND_OFFLOAD_V1.IPv4", 0) {
        Encapsulation @ 0: ULONG,
        MaxOffLoadSize @ 4: ULONG,
        MinSegmentCount @ 8: ULONG,
        Fields @ 12: NDIS_TCP_LARGE_SEND_OFFLOAD_V1_FIELDS,
    }

    /// Large send offload version 1.
    struct NDIS_TCP_LARGE_SEND_OFFLOAD_V1 [16, 4] {
        IPv4 @ 0: NDIS_TCP_LARGE_SEND_OFFLOAD_V1_IPV4,
    }

    /// Large send offload version 2, over IPv4.
    struct NDIS_TCP_LARGE_SEND_OFFLOAD_V2_IPV4 [12, 4] at ("NDIS_TCP_LARGE_SEND_OFFLOAD_V2.IPv4", 0) {
        Encapsulation @ 0: ULONG,
        MaxOffLoadSize @ 4: ULONG,
        MinSegmentCount @ 8: ULONG,
    }

    /// Large send offload version 2, over IPv6.
    struct NDIS_TCP_LARGE_SEND_OFFLOAD_V2_IPV6 [16, 4] at ("NDIS_TCP_LARGE_SEND_OFFLOAD_V2.IPv6", 0) {
        Encapsulation @ 0: ULONG,
        MaxOffLoadSize @ 4: ULONG,
        MinSegmentCount @ 8: ULONG,
        Fields @ 12: NDIS_TCP_LARGE_SEND_OFFLOAD_V2_IPV6_FIELDS,
    }

    /// Large send offload version 2.
    struct NDIS_TCP_LARGE_SEND_OFFLOAD_V2 [28, 4] {
        IPv4 @ 0: NDIS_TCP_LARGE_SEND_OFFLOAD_V2_IPV4,
        IPv6 @ 12: NDIS_TCP_LARGE_SEND_OFFLOAD_V2_IPV6,
    }

    /// IPsec offload version 1: what is supported at all.
    struct NDIS_IPSEC_OFFLOAD_V1_SUPPORTED [20, 4] at ("NDIS_IPSEC_OFFLOAD_V1.Supported", 0) {
        Encapsulation @ 0: ULONG,
        AhEspCombined @ 4: ULONG,
        TransportTunnelCombined @ 8: ULONG,
        IPv4Options @ 12: ULONG,
        Flags @ 16: ULONG,
    }

    /// IPsec offload version 1; all zero here, for a driver of version 2.
    struct NDIS_IPSEC_OFFLOAD_V1 [28, 4] {
        Supported @ 0: NDIS_IPSEC_OFFLOAD_V1_SUPPORTED,
        IPv4AH @ 20: NDIS_IPSEC_OFFLOAD_V1_IPV4_AH,
        IPv4ESP @ 24: NDIS_IPSEC_OFFLOAD_V1_IPV4_ESP,
    }

    /// Receive segment coalescing for one IP version.
    struct NDIS_TCP_RECV_SEG_COALESCE_OFFLOAD_IP [1, 1]
        at ("NDIS_TCP_RECV_SEG_COALESCE_OFFLOAD.IPv4", 0), ("NDIS_TCP_RECV_SEG_COALESCE_OFFLOAD.IPv6", 0) {
        Enabled @ 0: BOOLEAN,
    }

    /// Receive segment coalescing.
    struct NDIS_TCP_RECV_SEG_COALESCE_OFFLOAD [2, 1] {
        IPv4 @ 0: NDIS_TCP_RECV_SEG_COALESCE_OFFLOAD_IP,
        IPv6 @ 1: NDIS_TCP_RECV_SEG_COALESCE_OFFLOAD_IP,
    }

    /// Offload of encapsulated packets.
    struct NDIS_ENCAPSULATED_PACKET_TASK_OFFLOAD [8, 4] {
        Fields @ 0: NDIS_ENCAPSULATED_PACKET_TASK_OFFLOAD_FIELDS,
        MaxHeaderSizeSupported @ 4: ULONG,
    }

    /// The offloads, as capabilities or as configuration: revision 3 (NDIS 6.30). Revision 1 ends
    /// before `IPsecV2`, revision 2 (NDIS 6.1) before `Rsc`.
    struct NDIS_OFFLOAD [156, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        Checksum @ 4: NDIS_TCP_IP_CHECKSUM_OFFLOAD,
        LsoV1 @ 36: NDIS_TCP_LARGE_SEND_OFFLOAD_V1,
        IPsecV1 @ 52: NDIS_IPSEC_OFFLOAD_V1,
        LsoV2 @ 80: NDIS_TCP_LARGE_SEND_OFFLOAD_V2,
        Flags @ 108: ULONG,
        IPsecV2 @ 112: NDIS_IPSEC_OFFLOAD_V2,
        Rsc @ 144: NDIS_TCP_RECV_SEG_COALESCE_OFFLOAD,
        _Padding @ 146: [u8; 2],
        EncapsulatedPacketTaskOffloadGre @ 148: NDIS_ENCAPSULATED_PACKET_TASK_OFFLOAD,
    }

    /// OID_TCP_OFFLOAD_PARAMETERS: revision 3 (NDIS 6.30). Revision 1 ends before `IPsecV2`,
    /// revision 2 (NDIS 6.1) before `RscIPv4`.
    struct NDIS_OFFLOAD_PARAMETERS [28, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        IPv4Checksum @ 4: UCHAR,
        TCPIPv4Checksum @ 5: UCHAR,
        UDPIPv4Checksum @ 6: UCHAR,
        TCPIPv6Checksum @ 7: UCHAR,
        UDPIPv6Checksum @ 8: UCHAR,
        LsoV1 @ 9: UCHAR,
        IPsecV1 @ 10: UCHAR,
        LsoV2IPv4 @ 11: UCHAR,
        LsoV2IPv6 @ 12: UCHAR,
        TcpConnectionIPv4 @ 13: UCHAR,
        TcpConnectionIPv6 @ 14: UCHAR,
        _Padding0 @ 15: u8,
        Flags @ 16: ULONG,
        IPsecV2 @ 20: UCHAR,
        IPsecV2IPv4 @ 21: UCHAR,
        RscIPv4 @ 22: UCHAR,
        RscIPv6 @ 23: UCHAR,
        EncapsulatedPacketTaskOffload @ 24: UCHAR,
        EncapsulationTypes @ 25: UCHAR,
        _Padding1 @ 26: [u8; 2],
    }

    /// OID_OFFLOAD_ENCAPSULATION, for one IP version. `Enabled` is a `NDIS_OFFLOAD_SET_` value.
    struct NDIS_OFFLOAD_ENCAPSULATION_IP [12, 4]
        at ("NDIS_OFFLOAD_ENCAPSULATION.IPv4", 0), ("NDIS_OFFLOAD_ENCAPSULATION.IPv6", 0) {
        Enabled @ 0: ULONG,
        EncapsulationType @ 4: ULONG,
        HeaderSize @ 8: ULONG,
    }

    /// OID_OFFLOAD_ENCAPSULATION: makes the offloads active.
    struct NDIS_OFFLOAD_ENCAPSULATION [28, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        IPv4 @ 4: NDIS_OFFLOAD_ENCAPSULATION_IP,
        IPv6 @ 16: NDIS_OFFLOAD_ENCAPSULATION_IP,
    }

    /// TCP connection (chimney) offload; no longer in Windows.
    struct NDIS_TCP_CONNECTION_OFFLOAD [20, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        Encapsulation @ 4: ULONG,
        Fields @ 8: NDIS_TCP_CONNECTION_OFFLOAD_FIELDS,
        TcpConnectionOffloadCapacity @ 12: ULONG,
        Flags @ 16: ULONG,
    }
}

constants! {
    values UCHAR {
        NDIS_OFFLOAD_ENCAPSULATION_REVISION_1 = 1,
        NDIS_OFFLOAD_PARAMETERS_REVISION_1 = 1,
        NDIS_OFFLOAD_PARAMETERS_REVISION_2 = 2,
        NDIS_OFFLOAD_PARAMETERS_REVISION_3 = 3,
        NDIS_OFFLOAD_REVISION_1 = 1,
        NDIS_OFFLOAD_REVISION_2 = 2,
        NDIS_OFFLOAD_REVISION_3 = 3,
        NDIS_TCP_CONNECTION_OFFLOAD_REVISION_1 = 1,
        NDIS_TCP_CONNECTION_OFFLOAD_REVISION_2 = 2,

        // Members of NDIS_OFFLOAD_PARAMETERS
        NDIS_OFFLOAD_PARAMETERS_NO_CHANGE = 0,
        NDIS_OFFLOAD_PARAMETERS_CONNECTION_OFFLOAD_DISABLED = 1,
        NDIS_OFFLOAD_PARAMETERS_LSOV1_DISABLED = 1,
        NDIS_OFFLOAD_PARAMETERS_LSOV2_DISABLED = 1,
        NDIS_OFFLOAD_PARAMETERS_RSC_DISABLED = 1,
        NDIS_OFFLOAD_PARAMETERS_TX_RX_DISABLED = 1,
        NDIS_OFFLOAD_PARAMETERS_CONNECTION_OFFLOAD_ENABLED = 2,
        NDIS_OFFLOAD_PARAMETERS_LSOV1_ENABLED = 2,
        NDIS_OFFLOAD_PARAMETERS_LSOV2_ENABLED = 2,
        NDIS_OFFLOAD_PARAMETERS_RSC_ENABLED = 2,
        NDIS_OFFLOAD_PARAMETERS_TX_ENABLED_RX_DISABLED = 2,
        NDIS_OFFLOAD_PARAMETERS_RX_ENABLED_TX_DISABLED = 3,
        NDIS_OFFLOAD_PARAMETERS_TX_RX_ENABLED = 4,
        NDIS_OFFLOAD_PARAMETERS_IPSECV1_DISABLED = 1,
        NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_ENABLED = 2,
        NDIS_OFFLOAD_PARAMETERS_IPSECV1_ESP_ENABLED = 3,
        NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_AND_ESP_ENABLED = 4,
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED = 1,
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED = 2,
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED = 3,
        NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED = 4,
    }
    values SIZE_T {
        NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_1 = 112,
        NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_2 = 144,
        NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_3 = 156,
        NDIS_SIZEOF_OFFLOAD_ENCAPSULATION_REVISION_1 = 28,
        NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_1 = 20,
        NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_2 = 22,
        NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_3 = 26,
        NDIS_SIZEOF_TCP_CONNECTION_OFFLOAD_REVISION_1 = 20,
        NDIS_SIZEOF_TCP_CONNECTION_OFFLOAD_REVISION_2 = 20,
    }
    values ULONG {
        NDIS_OFFLOAD_NOT_SUPPORTED = 0,
        NDIS_OFFLOAD_SUPPORTED = 1,

        // `Flags` of NDIS_OFFLOAD
        NDIS_OFFLOAD_FLAGS_GROUP_CHECKSUM_CAPABILITIES = 1,

        // `Flags` of NDIS_OFFLOAD_PARAMETERS
        NDIS_OFFLOAD_PARAMETERS_SKIP_REGISTRY_UPDATE = 1,

        // `Enabled` of NDIS_OFFLOAD_ENCAPSULATION
        NDIS_OFFLOAD_SET_NO_CHANGE = 0,
        NDIS_OFFLOAD_SET_ON = 1,
        NDIS_OFFLOAD_SET_OFF = 2,

        // `Encapsulation` and `EncapsulationType`
        NDIS_ENCAPSULATION_NOT_SUPPORTED = 0,
        NDIS_ENCAPSULATION_NULL = 1,
        NDIS_ENCAPSULATION_IEEE_802_3 = 2,
        NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q = 4,
        NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q_IN_OOB = 8,
        NDIS_ENCAPSULATION_IEEE_LLC_SNAP_ROUTED = 0x0010,
    }
}
