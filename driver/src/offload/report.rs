//! NDIS_OFFLOAD: what NDIS is told of the state of the offloads.

use ipsec::{AuthenticationAlgorithm, Capabilities, EncryptionAlgorithm};
use ndis::{ObjectKind, Version, header};
use ndis_sys::*;
use oid_buffers::udp_esp_bit;
use task_offload::{
    checksum::Enabled,
    large_send::{MAX_PAYLOAD_V1, MAX_PAYLOAD_V2, MIN_SEGMENTS},
};

use super::{Current, Encapsulation, LargeSendSettings, Settings};
use crate::ethernet::Family;

/// NDIS_OFFLOAD for the hardware capabilities: everything that the adapter could do.
pub fn hardware(engine: &Capabilities, vlan: bool, version: Version) -> NDIS_OFFLOAD {
    let all = Current {
        settings: Settings::ALL,
        v4: Encapsulation::NotSet,
        v6: Encapsulation::NotSet,
    };
    report(engine, all, vlan, version)
}

/// NDIS_OFFLOAD for the configuration `current`: nothing is reported that is not done.
///
/// What is off is NDIS_OFFLOAD_NOT_SUPPORTED in every report, as NetAdapterCx has it: a value that
/// whoever looks for "on" can not take for that.
pub fn report(
    engine: &Capabilities,
    current: Current,
    vlan: bool,
    version: Version,
) -> NDIS_OFFLOAD {
    let mut offload = NDIS_OFFLOAD::ZERO;
    offload.Header = header(ObjectKind::Offload, version);
    // A tag in the frame is stepped over always; one in OOB data only when tags are on.
    let mut encapsulation = NDIS_ENCAPSULATION_IEEE_802_3 | NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q;
    if vlan {
        encapsulation |= NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q_IN_OOB;
    }
    offload.Checksum = checksum(current, encapsulation);
    offload.LsoV1 = large_send_v1(current, encapsulation);
    offload.LsoV2 = large_send_v2(current, encapsulation);
    offload.IPsecV2 = ipsec(engine, current, encapsulation);
    // The flags are of NDIS 6.30 (page of NDIS_OFFLOAD).
    if version >= Version::V6_30 && (offload.IPsecV2.Ah != 0 || offload.IPsecV2.Esp != 0) {
        let (tx, rx) = (current.computes(), current.validates_when_allowed());
        if [tx.v4, tx.v6, rx.v4, rx.v6].iter().any(|of| of.tcp) {
            offload.Flags |= IPSEC_OFFLOAD_V2_AND_TCP_CHECKSUM_COEXISTENCE;
        }
        if [tx.v4, tx.v6, rx.v4, rx.v6].iter().any(|of| of.udp) {
            offload.Flags |= IPSEC_OFFLOAD_V2_AND_UDP_CHECKSUM_COEXISTENCE;
        }
    }
    offload
}

const fn supported(on: bool) -> u32 {
    if on {
        NDIS_OFFLOAD_SUPPORTED
    } else {
        NDIS_OFFLOAD_NOT_SUPPORTED
    }
}

fn checksum(current: Current, encapsulation: u32) -> NDIS_TCP_IP_CHECKSUM_OFFLOAD {
    let (tx, rx) = (current.computes(), current.validates_when_allowed());
    let mut checksum = NDIS_TCP_IP_CHECKSUM_OFFLOAD::ZERO;
    checksum.IPv4Transmit = checksum_v4(tx, encapsulation);
    checksum.IPv4Receive = checksum_v4(rx, encapsulation);
    checksum.IPv6Transmit = checksum_v6(tx, encapsulation);
    checksum.IPv6Receive = checksum_v6(rx, encapsulation);
    checksum
}

/// Headers with options are as good as any other, wherever there is something to compute.
fn checksum_v4(enabled: Enabled, encapsulation: u32) -> NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4 {
    use NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4_FIELDS as Fields;
    let mut of = NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4::ZERO;
    let any = enabled.ip_header || enabled.v4.tcp || enabled.v4.udp;
    if any {
        of.Encapsulation = encapsulation;
    }
    of.Fields = Fields::ZERO
        .with(Fields::IpOptionsSupported, supported(any))
        .with(Fields::TcpOptionsSupported, supported(enabled.v4.tcp))
        .with(Fields::TcpChecksum, supported(enabled.v4.tcp))
        .with(Fields::UdpChecksum, supported(enabled.v4.udp))
        .with(Fields::IpChecksum, supported(enabled.ip_header));
    of
}

fn checksum_v6(enabled: Enabled, encapsulation: u32) -> NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6 {
    use NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6_FIELDS as Fields;
    let mut of = NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6::ZERO;
    let any = enabled.v6.tcp || enabled.v6.udp;
    if any {
        of.Encapsulation = encapsulation;
    }
    of.Fields = Fields::ZERO
        .with(Fields::IpExtensionHeadersSupported, supported(any))
        .with(Fields::TcpOptionsSupported, supported(enabled.v6.tcp))
        .with(Fields::TcpChecksum, supported(enabled.v6.tcp))
        .with(Fields::UdpChecksum, supported(enabled.v6.udp));
    of
}

fn large_send_v1(current: Current, encapsulation: u32) -> NDIS_TCP_LARGE_SEND_OFFLOAD_V1 {
    use NDIS_TCP_LARGE_SEND_OFFLOAD_V1_FIELDS as Fields;
    let mut v1 = NDIS_TCP_LARGE_SEND_OFFLOAD_V1::ZERO;
    if current.large_sends().v1_ipv4 {
        v1.IPv4.Encapsulation = encapsulation;
        v1.IPv4.MaxOffLoadSize = MAX_PAYLOAD_V1 as u32;
        v1.IPv4.MinSegmentCount = MIN_SEGMENTS as u32;
        v1.IPv4.Fields = Fields::ZERO
            .with(Fields::TcpOptions, NDIS_OFFLOAD_SUPPORTED)
            .with(Fields::IpOptions, NDIS_OFFLOAD_SUPPORTED);
    }
    v1
}

fn large_send_v2(current: Current, encapsulation: u32) -> NDIS_TCP_LARGE_SEND_OFFLOAD_V2 {
    use NDIS_TCP_LARGE_SEND_OFFLOAD_V2_IPV6_FIELDS as Fields;
    let mut v2 = NDIS_TCP_LARGE_SEND_OFFLOAD_V2::ZERO;
    let on = current.large_sends();
    if on.v2_ipv4 {
        v2.IPv4.Encapsulation = encapsulation;
        v2.IPv4.MaxOffLoadSize = MAX_PAYLOAD_V2 as u32;
        v2.IPv4.MinSegmentCount = MIN_SEGMENTS as u32;
    }
    if on.v2_ipv6 {
        v2.IPv6.Encapsulation = encapsulation;
        v2.IPv6.MaxOffLoadSize = MAX_PAYLOAD_V2 as u32;
        v2.IPv6.MinSegmentCount = MIN_SEGMENTS as u32;
        v2.IPv6.Fields = Fields::ZERO
            .with(Fields::IpExtensionHeadersSupported, NDIS_OFFLOAD_SUPPORTED)
            .with(Fields::TcpOptionsSupported, NDIS_OFFLOAD_SUPPORTED);
    }
    v2
}

/// The members follow the engine.
fn ipsec(engine: &Capabilities, current: Current, encapsulation: u32) -> NDIS_IPSEC_OFFLOAD_V2 {
    let mut v2 = NDIS_IPSEC_OFFLOAD_V2::ZERO;
    let ah = engine.ah && current.settings.ipsec.ah;
    let esp = engine.esp && current.settings.ipsec.esp;
    if !current.ipsec_offered(Family::V4) || !(ah || esp) {
        return v2;
    }
    v2.Encapsulation = encapsulation;
    let ipv6 = engine.ipv6 && current.ipsec_offered(Family::V6);
    v2.IPv6Supported = ipv6.into();
    v2.IPv4Options = engine.ipv4_options.into();
    v2.IPv6NonIPsecExtensionHeaders = (ipv6 && engine.ipv6_non_ipsec_extension_headers).into();
    v2.Ah = ah.into();
    v2.Esp = esp.into();
    v2.AhEspCombined = (ah && esp && engine.ah_esp_combined).into();
    v2.Transport = engine.transport.into();
    v2.Tunnel = engine.tunnel.into();
    v2.TransportTunnelCombined = engine.transport_tunnel_combined.into();
    let LargeSendSettings {
        v1_ipv4,
        v2_ipv4,
        v2_ipv6,
    } = current.large_sends();
    v2.LsoSupported = (engine.lso && (v1_ipv4 || v2_ipv4 || v2_ipv6)).into();
    v2.ExtendedSequenceNumbers = engine.extended_sequence_numbers.into();
    if esp {
        for &kind in engine.udp_esp {
            v2.UdpEsp |= udp_esp_bit(kind);
        }
    }
    for &algorithm in engine.authentication {
        v2.AuthenticationAlgorithms |= authentication_bit(algorithm);
    }
    if esp {
        for &algorithm in engine.encryption {
            v2.EncryptionAlgorithms |= encryption_bit(algorithm);
        }
    }
    v2.SaOffloadCapacity = engine.sa_capacity;
    v2
}

/// The Size of NDIS_OFFLOAD in bytes, for `version`.
pub const fn report_size(version: Version) -> u16 {
    header(ObjectKind::Offload, version).Size
}

const fn authentication_bit(algorithm: AuthenticationAlgorithm) -> u32 {
    match algorithm {
        AuthenticationAlgorithm::Md5 => IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5,
        AuthenticationAlgorithm::Sha1 => IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1,
        AuthenticationAlgorithm::Sha256 => IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256,
        AuthenticationAlgorithm::AesGmac128 => IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128,
        AuthenticationAlgorithm::AesGmac192 => IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_192,
        AuthenticationAlgorithm::AesGmac256 => IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_256,
    }
}

const fn encryption_bit(algorithm: EncryptionAlgorithm) -> u32 {
    match algorithm {
        EncryptionAlgorithm::Null => IPSEC_OFFLOAD_V2_ENCRYPTION_NONE,
        EncryptionAlgorithm::DesCbc => IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC,
        EncryptionAlgorithm::TripleDesCbc => IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC,
        EncryptionAlgorithm::AesGcm128 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128,
        EncryptionAlgorithm::AesGcm192 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192,
        EncryptionAlgorithm::AesGcm256 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256,
        EncryptionAlgorithm::AesCbc128 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128,
        EncryptionAlgorithm::AesCbc192 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192,
        EncryptionAlgorithm::AesCbc256 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256,
    }
}
