//! What the engine does: `NDIS_IPSEC_OFFLOAD_V2` without NDIS.

use super::params::{AuthenticationAlgorithm, EncryptionAlgorithm, UdpEncapsulation};

/// Everything that the engine does, and nothing that it does not. The names are those of
/// the members of `NDIS_IPSEC_OFFLOAD_V2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// IPsec over IPv6 (`IPv6Supported`).
    pub ipv6: bool,
    /// IPv4 packets with options.
    pub ipv4_options: bool,
    /// IPv6 packets with extension headers other than AH and ESP.
    pub ipv6_non_ipsec_extension_headers: bool,
    /// Authentication Header.
    pub ah: bool,
    /// Encapsulating Security Payload.
    pub esp: bool,
    /// Both headers on one packet.
    pub ah_esp_combined: bool,
    /// The transport-mode portion of packets.
    pub transport: bool,
    /// The tunnel-mode portion of packets.
    pub tunnel: bool,
    /// Both portions of one packet.
    pub transport_tunnel_combined: bool,
    /// Large send offload together with IPsec.
    pub lso: bool,
    /// Sequence numbers of 64 bits.
    pub extended_sequence_numbers: bool,
    /// UDP encapsulations; `UdpEncapsulation::None` is not in the list.
    pub udp_esp: &'static [UdpEncapsulation],
    /// Authentication algorithms.
    pub authentication: &'static [AuthenticationAlgorithm],
    /// Encryption algorithms.
    pub encryption: &'static [EncryptionAlgorithm],
    /// How many SAs fit (`SaOffloadCapacity`).
    pub sa_capacity: u32,
}

impl Capabilities {
    pub(crate) const fn of_engine(sa_capacity: u32) -> Self {
        Self {
            ipv6: true,
            ipv4_options: true,
            ipv6_non_ipsec_extension_headers: true,
            ah: false,
            esp: true,
            ah_esp_combined: false,
            transport: true,
            tunnel: false,
            transport_tunnel_combined: false,
            lso: false,
            extended_sequence_numbers: true,
            udp_esp: &[],
            authentication: &[],
            encryption: &[
                EncryptionAlgorithm::AesGcm128,
                EncryptionAlgorithm::AesGcm192,
                EncryptionAlgorithm::AesGcm256,
            ],
            sa_capacity,
        }
    }
}
