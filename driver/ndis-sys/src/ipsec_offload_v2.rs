//! IPsec task offload version 2: the capabilities, the structures of its direct OIDs, and the three
//! words of out-of-band information (ndis.h, ntddndis.h). The IRQL of the OIDs is <= DISPATCH_LEVEL.

use crate::basic::*;
use crate::object_header::NDIS_OBJECT_HEADER;
use crate::table::{bit_fields, constants, layouts};

/// A security parameter index as the OIDs carry it.
pub type IPSEC_OFFLOAD_V2_SPI_TYPE = u32;

layouts! {
    /// One algorithm of an SA and where its key lies.
    struct IPSEC_OFFLOAD_V2_ALGORITHM_INFO [16, 4] {
        Identifier @ 0: ULONG,
        KeyLength @ 4: ULONG,
        KeyOffsetBytes @ 8: ULONG,
        AdditionalInfo @ 12: ULONG,
    }

    /// One AH or ESP association of an SA.
    struct IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION [48, 4] {
        Flags @ 0: ULONG,
        Operation @ 4: IPSEC_OFFLOAD_V2_OPERATION,
        Spi @ 8: IPSEC_OFFLOAD_V2_SPI_TYPE,
        AuthenticationAlgorithm @ 12: IPSEC_OFFLOAD_V2_ALGORITHM_INFO,
        EncryptionAlgorithm @ 28: IPSEC_OFFLOAD_V2_ALGORITHM_INFO,
        SequenceNumberHighOrder @ 44: ULONG,
    }

    /// The endpoints of an IPv4 SA, in network byte order; zero is a wildcard.
    struct IPSEC_OFFLOAD_V2_IPV4_ENDPOINTS [8, 4]
        at ("IPSEC_OFFLOAD_V2_ADD_SA.IPv4Endpoints", 0), ("IPSEC_OFFLOAD_V2_ADD_SA_EX.IPv4Endpoints", 0) {
        SrcAddr @ 0: IPAddr,
        DestAddr @ 4: IPAddr,
    }

    /// The endpoints of an IPv6 SA; zero is a wildcard.
    struct IPSEC_OFFLOAD_V2_IPV6_ENDPOINTS [32, 1]
        at ("IPSEC_OFFLOAD_V2_ADD_SA.IPv6Endpoints", 0), ("IPSEC_OFFLOAD_V2_ADD_SA_EX.IPv6Endpoints", 0) {
        SrcAddr @ 0: [UCHAR; 16],
        DestAddr @ 16: [UCHAR; 16],
    }

    /// The endpoints of an SA (an unnamed union of the headers): IPv6 if `Flags` has
    /// [`IPSEC_OFFLOAD_V2_IPv6`].
    union IPSEC_OFFLOAD_V2_ENDPOINTS [32, 4]
        at ("IPSEC_OFFLOAD_V2_ADD_SA", 24), ("IPSEC_OFFLOAD_V2_ADD_SA_EX", 12) {
        IPv4Endpoints @ 0: IPSEC_OFFLOAD_V2_IPV4_ENDPOINTS,
        IPv6Endpoints @ 0: IPSEC_OFFLOAD_V2_IPV6_ENDPOINTS,
    }

    /// OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA (NDIS 6.1 and 6.20): a list of SAs, each followed by its
    /// keys. `KeyOffsetBytes` of the algorithms count from `KeyData`.
    struct IPSEC_OFFLOAD_V2_ADD_SA [176, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        _Padding0 @ 4: [u8; 4],
        Next @ 8: *mut IPSEC_OFFLOAD_V2_ADD_SA,
        NumExtHdrs @ 16: ULONG,
        Flags @ 20: ULONG,
        Endpoints @ 24: IPSEC_OFFLOAD_V2_ENDPOINTS,
        OffloadHandle @ 56: NDIS_HANDLE,
        UdpEspEncapsulation @ 64: ULONG,
        SecAssoc @ 68: [IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION; IPSEC_OFFLOAD_V2_MAX_EXTENSION_HEADERS as usize],
        KeyLength @ 164: ULONG,
        KeyData @ 168: [UCHAR; 1],
        _Padding1 @ 169: [u8; 7],
    }

    /// OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX (NDIS 6.30): one SA, its keys `KeyOffset` bytes from
    /// the start of the structure.
    struct IPSEC_OFFLOAD_V2_ADD_SA_EX [176, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        NumExtHdrs @ 4: ULONG,
        Flags @ 8: ULONG,
        Endpoints @ 12: IPSEC_OFFLOAD_V2_ENDPOINTS,
        _Padding0 @ 44: [u8; 4],
        OffloadHandle @ 48: NDIS_HANDLE,
        UdpEspEncapsulation @ 56: ULONG,
        SecAssoc @ 60: [IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION; IPSEC_OFFLOAD_V2_MAX_EXTENSION_HEADERS as usize],
        KeyLength @ 156: ULONG,
        KeyOffset @ 160: ULONG,
        SourceSwitchPortId @ 164: ULONG,
        VlanId @ 168: USHORT,
        _Padding1 @ 170: [u8; 6],
    }

    /// OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA: a list of handles.
    struct IPSEC_OFFLOAD_V2_DELETE_SA [24, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        _Padding @ 4: [u8; 4],
        Next @ 8: *mut IPSEC_OFFLOAD_V2_DELETE_SA,
        OffloadHandle @ 16: NDIS_HANDLE,
    }

    /// OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA: one SA (the prose of the documentation speaks of a
    /// list, but there is no link).
    struct IPSEC_OFFLOAD_V2_UPDATE_SA [32, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        _Padding0 @ 4: [u8; 4],
        OffloadHandle @ 8: NDIS_HANDLE,
        Operation @ 16: IPSEC_OFFLOAD_V2_OPERATION,
        Spi @ 20: IPSEC_OFFLOAD_V2_SPI_TYPE,
        SequenceNumberHighOrder @ 24: ULONG,
        _Padding1 @ 28: [u8; 4],
    }

    /// The capabilities, a member of [`NDIS_OFFLOAD`](crate::NDIS_OFFLOAD) from its revision 2 on.
    struct NDIS_IPSEC_OFFLOAD_V2 [32, 4] {
        Encapsulation @ 0: ULONG,
        IPv6Supported @ 4: BOOLEAN,
        IPv4Options @ 5: BOOLEAN,
        IPv6NonIPsecExtensionHeaders @ 6: BOOLEAN,
        Ah @ 7: BOOLEAN,
        Esp @ 8: BOOLEAN,
        AhEspCombined @ 9: BOOLEAN,
        Transport @ 10: BOOLEAN,
        Tunnel @ 11: BOOLEAN,
        TransportTunnelCombined @ 12: BOOLEAN,
        LsoSupported @ 13: BOOLEAN,
        ExtendedSequenceNumbers @ 14: BOOLEAN,
        _Padding @ 15: u8,
        UdpEsp @ 16: ULONG,
        AuthenticationAlgorithms @ 20: ULONG,
        EncryptionAlgorithms @ 24: ULONG,
        SaOffloadCapacity @ 28: ULONG,
    }

    /// A send: the transport SA, or the only one.
    struct NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO_TRANSMIT [8, 8]
        at ("NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO.Transmit", 0) {
        OffloadHandle @ 0: PVOID,
    }

    /// The slot [`IPsecOffloadV2NetBufferListInfo`](crate::IPsecOffloadV2NetBufferListInfo).
    union NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO [8, 8] {
        Transmit @ 0: NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO_TRANSMIT,
        Receive @ 0: NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO_RECEIVE,
    }

    /// A send: the tunnel SA.
    struct NDIS_IPSEC_OFFLOAD_V2_TUNNEL_NET_BUFFER_LIST_INFO_TRANSMIT [8, 8]
        at ("NDIS_IPSEC_OFFLOAD_V2_TUNNEL_NET_BUFFER_LIST_INFO.Transmit", 0) {
        TunnelHandle @ 0: NDIS_HANDLE,
    }

    /// The slot [`IPsecOffloadV2TunnelNetBufferListInfo`](crate::IPsecOffloadV2TunnelNetBufferListInfo).
    union NDIS_IPSEC_OFFLOAD_V2_TUNNEL_NET_BUFFER_LIST_INFO [8, 8] {
        Transmit @ 0: NDIS_IPSEC_OFFLOAD_V2_TUNNEL_NET_BUFFER_LIST_INFO_TRANSMIT,
    }

    /// The low half of the slot
    /// [`IPsecOffloadV2HeaderNetBufferListInfo`](crate::IPsecOffloadV2HeaderNetBufferListInfo).
    union NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO [4, 4] {
        Transmit @ 0: NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_TRANSMIT,
        Receive @ 0: NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_RECEIVE,
    }
}

bit_fields! {
    /// A received packet: what was done to it. `CryptoStatus` is one of the `CRYPTO_` values.
    NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO_RECEIVE: ULONG, at ("NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO.Receive", 0) {
        SaDeleteReq @ 0, 1;
        CryptoDone @ 1, 1;
        NextCryptoDone @ 2, 1;
        Reserved @ 3, 13;
        CryptoStatus @ 16, 16;
    }

    /// A send: what the transport framed. Offsets in units of 4 bytes from the start of the IP header.
    NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_TRANSMIT: ULONG, at ("NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO.Transmit", 0) {
        NextHeader @ 0, 8;
        PadLength @ 8, 8;
        AhHeaderOffset @ 16, 8;
        EspHeaderOffset @ 24, 8;
    }

    /// A received packet: what its ESP trailer says, if `HeaderInfoSet`.
    NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_RECEIVE: ULONG, at ("NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO.Receive", 0) {
        NextHeader @ 0, 8;
        PadLength @ 8, 8;
        HeaderInfoSet @ 16, 1;
    }
}

constants! {
    /// AH or ESP.
    enumeration IPSEC_OFFLOAD_V2_OPERATION {
        IPsecOffloadV2Ah = 1,
        IPsecOffloadV2Esp = 2,
        IPsecOffloadV2Max = 3,
    }
    values UCHAR {
        NDIS_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1 = 1,
        NDIS_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1 = 1,
        NDIS_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1 = 1,
        NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1 = 1,
    }
    values SIZE_T {
        NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1 = 169,
        NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1 = 170,
        NDIS_SIZEOF_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1 = 24,
        NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1 = 28,
    }
    values ULONG {
        IPSEC_OFFLOAD_V2_MAX_EXTENSION_HEADERS = 2,

        // `Flags` of ADD_SA and ADD_SA_EX
        /// Packets are received on this SA; otherwise they are sent.
        IPSEC_OFFLOAD_V2_INBOUND = 0x1,
        IPSEC_OFFLOAD_V2_IPv6 = 0x10,

        // `Flags` of an association
        IPSEC_OFFLOAD_V2_ESN_SA = 0x1,

        // `Identifier` of an authentication algorithm, and `AuthenticationAlgorithms`
        IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5 = 0x1,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1 = 0x2,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256 = 0x4,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128 = 0x8,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_192 = 0x10,
        IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_256 = 0x20,

        // `Identifier` of an encryption algorithm, and `EncryptionAlgorithms`
        IPSEC_OFFLOAD_V2_ENCRYPTION_NONE = 0x1,
        IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC = 0x2,
        IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC = 0x4,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128 = 0x8,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192 = 0x10,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256 = 0x20,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128 = 0x40,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192 = 0x80,
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256 = 0x100,

        // `UdpEspEncapsulation`, and `UdpEsp`
        IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE = 0x0,
        IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT = 0x1,
        IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL = 0x2,
        IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL = 0x4,
        IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL = 0x8,

        // `Flags` of NDIS_OFFLOAD, from NDIS 6.30 on
        IPSEC_OFFLOAD_V2_AND_TCP_CHECKSUM_COEXISTENCE = 0x2,
        IPSEC_OFFLOAD_V2_AND_UDP_CHECKSUM_COEXISTENCE = 0x4,

        // `CryptoStatus`
        CRYPTO_SUCCESS = 0,
        CRYPTO_GENERIC_ERROR = 1,
        CRYPTO_TRANSPORT_AH_AUTH_FAILED = 2,
        CRYPTO_TRANSPORT_ESP_AUTH_FAILED = 3,
        CRYPTO_TUNNEL_AH_AUTH_FAILED = 4,
        CRYPTO_TUNNEL_ESP_AUTH_FAILED = 5,
        CRYPTO_INVALID_PACKET_SYNTAX = 6,
        CRYPTO_INVALID_PROTOCOL = 7,
    }
}
