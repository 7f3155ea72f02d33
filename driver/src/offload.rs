//! Which offloads are on. One place builds NDIS_OFFLOAD, from what the engine does and what is
//! configured; the data path asks the same state, so that report and behaviour cannot differ.

use core::sync::atomic::{AtomicU32, Ordering};

use ipsec::{AuthenticationAlgorithm, Capabilities, EncryptionAlgorithm, UdpEncapsulation};
use ndis::{ObjectKind, Version, header};
use ndis_sys::*;

use crate::ethernet::Family;

/// *IPsecOffloadV2: which protocols may be offloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpsecSetting {
    /// Authentication Header.
    pub ah: bool,
    /// Encapsulating Security Payload.
    pub esp: bool,
}

impl IpsecSetting {
    /// The default of the keyword.
    pub const AH_AND_ESP: Self = Self {
        ah: true,
        esp: true,
    };

    /// The value of the keyword: 0 none, 1 AH, 2 ESP, 3 both.
    pub const fn from_keyword(value: u32) -> Self {
        Self {
            ah: value & 1 != 0,
            esp: value & 2 != 0,
        }
    }
}

/// What OID_OFFLOAD_ENCAPSULATION has said of an IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// Nothing yet: sends are offloaded, receives are not ("the miniport driver must not start
    /// checksum or IPsec offload services until after it receives an OID set request of
    /// OID_OFFLOAD_ENCAPSULATION").
    NotSet,
    /// NDIS_OFFLOAD_SET_ON.
    On,
    /// NDIS_OFFLOAD_SET_OFF.
    Off,
}

/// A snapshot of the state, taken once per burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// The protocols.
    pub ipsec: IpsecSetting,
    /// IPv4.
    pub v4: Encapsulation,
    /// IPv6.
    pub v6: Encapsulation,
}

impl Current {
    const fn enabled(self) -> bool {
        self.ipsec.ah || self.ipsec.esp
    }

    const fn of(self, family: Family) -> Encapsulation {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Whether IPsec is offloaded for this IP version at all. NDIS_IPSEC_OFFLOAD_V2 can say "without
    /// IPv6" but not "without IPv4", so IPv4 switched off means IPsec offload switched off.
    fn offered(self, family: Family) -> bool {
        self.enabled()
            && self.v4 != Encapsulation::Off
            && (family == Family::V4 || self.v6 != Encapsulation::Off)
    }

    /// Whether packets of this IP version with an SA are sealed when sent.
    pub fn sends(self, family: Family) -> bool {
        self.offered(family)
    }

    /// Whether received packets of this IP version are opened.
    pub fn receives(self, family: Family) -> bool {
        self.offered(family) && self.of(family) == Encapsulation::On
    }

    /// Whether any packet is sealed when sent.
    pub fn any_sends(self) -> bool {
        self.sends(Family::V4) || self.sends(Family::V6)
    }

    /// Whether any received packet is opened.
    pub fn any_receives(self) -> bool {
        self.receives(Family::V4) || self.receives(Family::V6)
    }

    const fn pack(self) -> u32 {
        (self.ipsec.ah as u32)
            | (self.ipsec.esp as u32) << 1
            | (self.v4 as u32) << 2
            | (self.v6 as u32) << 4
    }

    const fn unpack(bits: u32) -> Self {
        const fn encapsulation(bits: u32) -> Encapsulation {
            match bits & 3 {
                0 => Encapsulation::NotSet,
                1 => Encapsulation::On,
                _ => Encapsulation::Off,
            }
        }
        Self {
            ipsec: IpsecSetting::from_keyword(bits & 3),
            v4: encapsulation(bits >> 2),
            v6: encapsulation(bits >> 4),
        }
    }
}

/// The state of the offloads of an adapter.
#[derive(Debug)]
pub struct Offload(AtomicU32);

impl Offload {
    /// As the adapter is configured when it initializes.
    pub const fn new(ipsec: IpsecSetting) -> Self {
        let start = Current {
            ipsec,
            v4: Encapsulation::NotSet,
            v6: Encapsulation::NotSet,
        };
        Self(AtomicU32::new(start.pack()))
    }

    /// The state now.
    pub fn current(&self) -> Current {
        Current::unpack(self.0.load(Ordering::Acquire))
    }

    /// Changes the state. OIDs, which do this, are serialized by NDIS.
    pub fn set(&self, current: Current) {
        self.0.store(current.pack(), Ordering::Release);
    }
}

/// NDIS_OFFLOAD for the hardware capabilities: everything that the adapter could do.
pub fn hardware(engine: &Capabilities, vlan: bool, version: Version) -> NDIS_OFFLOAD {
    let all = Current {
        ipsec: IpsecSetting::AH_AND_ESP,
        v4: Encapsulation::NotSet,
        v6: Encapsulation::NotSet,
    };
    report(engine, all, vlan, version)
}

/// NDIS_OFFLOAD for the configuration `current`.
///
/// Nothing is reported that is not done: the members follow the engine.
/// Checksums, LSO and IPsec version 1 are not done, and their members stay zero.
pub fn report(
    engine: &Capabilities,
    current: Current,
    vlan: bool,
    version: Version,
) -> NDIS_OFFLOAD {
    let mut offload = NDIS_OFFLOAD::ZERO;
    offload.Header = header(ObjectKind::Offload, version);
    let ah = engine.ah && current.ipsec.ah;
    let esp = engine.esp && current.ipsec.esp;
    if !current.offered(Family::V4) || !(ah || esp) {
        return offload;
    }
    let v2 = &mut offload.IPsecV2;
    // A tag in the frame is stepped over always; one in OOB data only when tags are on.
    v2.Encapsulation = NDIS_ENCAPSULATION_IEEE_802_3 | NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q;
    if vlan {
        v2.Encapsulation |= NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q_IN_OOB;
    }
    let ipv6 = engine.ipv6 && current.offered(Family::V6);
    v2.IPv6Supported = ipv6.into();
    v2.IPv4Options = engine.ipv4_options.into();
    v2.IPv6NonIPsecExtensionHeaders = (ipv6 && engine.ipv6_non_ipsec_extension_headers).into();
    v2.Ah = ah.into();
    v2.Esp = esp.into();
    v2.AhEspCombined = (ah && esp && engine.ah_esp_combined).into();
    v2.Transport = engine.transport.into();
    v2.Tunnel = engine.tunnel.into();
    v2.TransportTunnelCombined = engine.transport_tunnel_combined.into();
    v2.LsoSupported = engine.lso.into();
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
    offload
}

/// The Size of NDIS_OFFLOAD in bytes, for `version`.
pub const fn report_size(version: Version) -> u16 {
    header(ObjectKind::Offload, version).Size
}

/// IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_*.
pub const fn udp_esp_bit(kind: UdpEncapsulation) -> u32 {
    match kind {
        UdpEncapsulation::Transport => IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
        UdpEncapsulation::Tunnel => IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL,
        UdpEncapsulation::TransportOverUdpTunnel => {
            IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL
        }
        UdpEncapsulation::UdpTransportOverTunnel => {
            IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL
        }
    }
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
