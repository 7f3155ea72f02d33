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
    /// UDP encapsulations.
    pub udp_esp: &'static [UdpEncapsulation],
    /// Authentication algorithms.
    pub authentication: &'static [AuthenticationAlgorithm],
    /// Encryption algorithms.
    pub encryption: &'static [EncryptionAlgorithm],
    /// How many SAs fit (`SaOffloadCapacity`).
    pub sa_capacity: u32,
}

impl Capabilities {
    pub(crate) const fn of_engine(sa_capacity: u32, legacy_algorithms: bool) -> Self {
        Self {
            ipv6: true,
            ipv4_options: true,
            ipv6_non_ipsec_extension_headers: true,
            ah: true,
            esp: true,
            ah_esp_combined: true,
            transport: true,
            tunnel: true,
            transport_tunnel_combined: true,
            lso: true,
            extended_sequence_numbers: true,
            udp_esp: &UdpEncapsulation::ALL,
            authentication: if legacy_algorithms {
                &AUTHENTICATION
            } else {
                AUTHENTICATION.split_at(LEGACY_AUTHENTICATION).1
            },
            encryption: if legacy_algorithms {
                &ENCRYPTION
            } else {
                ENCRYPTION.split_at(LEGACY_ENCRYPTION).1
            },
            sa_capacity,
        }
    }
}

/// What is legacy comes first.
const LEGACY_AUTHENTICATION: usize = 1;
static AUTHENTICATION: [AuthenticationAlgorithm; 6] = [
    AuthenticationAlgorithm::Md5,
    AuthenticationAlgorithm::Sha1,
    AuthenticationAlgorithm::Sha256,
    AuthenticationAlgorithm::AesGmac128,
    AuthenticationAlgorithm::AesGmac192,
    AuthenticationAlgorithm::AesGmac256,
];

const LEGACY_ENCRYPTION: usize = 2;
static ENCRYPTION: [EncryptionAlgorithm; 9] = [
    EncryptionAlgorithm::DesCbc,
    EncryptionAlgorithm::TripleDesCbc,
    EncryptionAlgorithm::Null,
    EncryptionAlgorithm::AesGcm128,
    EncryptionAlgorithm::AesGcm192,
    EncryptionAlgorithm::AesGcm256,
    EncryptionAlgorithm::AesCbc128,
    EncryptionAlgorithm::AesCbc192,
    EncryptionAlgorithm::AesCbc256,
];
