//! Which offloads are on. [`report`] builds NDIS_OFFLOAD from this state, and the data path asks the
//! same, so that report and behaviour cannot differ.

pub mod report;

use core::sync::atomic::{AtomicU32, Ordering};

use ipsec::Payloads;
use task_offload::{
    Carried,
    checksum::{Enabled, EnabledTransports},
};

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

    const fn pack(self) -> u32 {
        self.ah as u32 | (self.esp as u32) << 1
    }
}

/// A checksum: for which direction it is offloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumSetting {
    /// Computed for packets to send.
    pub tx: bool,
    /// Validated of received packets.
    pub rx: bool,
}

impl ChecksumSetting {
    const BOTH: Self = Self { tx: true, rx: true };

    /// The value of a keyword: 0 none, 1 transmit, 2 receive, 3 both.
    pub const fn from_keyword(value: u32) -> Self {
        Self {
            tx: value & 1 != 0,
            rx: value & 2 != 0,
        }
    }

    const fn pack(self) -> u32 {
        self.tx as u32 | (self.rx as u32) << 1
    }
}

/// The checksums: *IPChecksumOffloadIPv4, *TCPChecksumOffloadIPv4 and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumSettings {
    pub ip_v4: ChecksumSetting,
    pub tcp_v4: ChecksumSetting,
    pub udp_v4: ChecksumSetting,
    pub tcp_v6: ChecksumSetting,
    pub udp_v6: ChecksumSetting,
}

/// *LsoV1IPv4, *LsoV2IPv4, *LsoV2IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeSendSettings {
    pub v1_ipv4: bool,
    pub v2_ipv4: bool,
    pub v2_ipv6: bool,
}

/// What is configured: by keywords at first, by OID_TCP_OFFLOAD_PARAMETERS from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub ipsec: IpsecSetting,
    pub checksum: ChecksumSettings,
    pub large_send: LargeSendSettings,
}

impl Settings {
    /// Everything: the defaults of the keywords, and what the adapter could do.
    pub const ALL: Self = Self {
        ipsec: IpsecSetting::AH_AND_ESP,
        checksum: ChecksumSettings {
            ip_v4: ChecksumSetting::BOTH,
            tcp_v4: ChecksumSetting::BOTH,
            udp_v4: ChecksumSetting::BOTH,
            tcp_v6: ChecksumSetting::BOTH,
            udp_v6: ChecksumSetting::BOTH,
        },
        large_send: LargeSendSettings {
            v1_ipv4: true,
            v2_ipv4: true,
            v2_ipv6: true,
        },
    };

    /// In 15 bits.
    const fn pack(self) -> u32 {
        let Self {
            ipsec,
            checksum,
            large_send,
        } = self;
        ipsec.pack()
            | checksum.ip_v4.pack() << 2
            | checksum.tcp_v4.pack() << 4
            | checksum.udp_v4.pack() << 6
            | checksum.tcp_v6.pack() << 8
            | checksum.udp_v6.pack() << 10
            | (large_send.v1_ipv4 as u32) << 12
            | (large_send.v2_ipv4 as u32) << 13
            | (large_send.v2_ipv6 as u32) << 14
    }

    const fn unpack(bits: u32) -> Self {
        Self {
            ipsec: IpsecSetting::from_keyword(bits),
            checksum: ChecksumSettings {
                ip_v4: ChecksumSetting::from_keyword(bits >> 2),
                tcp_v4: ChecksumSetting::from_keyword(bits >> 4),
                udp_v4: ChecksumSetting::from_keyword(bits >> 6),
                tcp_v6: ChecksumSetting::from_keyword(bits >> 8),
                udp_v6: ChecksumSetting::from_keyword(bits >> 10),
            },
            large_send: LargeSendSettings {
                v1_ipv4: bits >> 12 & 1 != 0,
                v2_ipv4: bits >> 13 & 1 != 0,
                v2_ipv6: bits >> 14 & 1 != 0,
            },
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
    /// What is configured.
    pub settings: Settings,
    /// IPv4.
    pub v4: Encapsulation,
    /// IPv6.
    pub v6: Encapsulation,
}

impl Current {
    const fn of(self, family: Family) -> Encapsulation {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Whether IPsec is offloaded for this IP version at all. NDIS_IPSEC_OFFLOAD_V2 can say "without
    /// IPv6" but not "without IPv4", so IPv4 switched off means IPsec offload switched off.
    fn ipsec_offered(self, family: Family) -> bool {
        let ipsec = self.settings.ipsec;
        (ipsec.ah || ipsec.esp)
            && self.v4 != Encapsulation::Off
            && (family == Family::V4 || self.v6 != Encapsulation::Off)
    }

    /// Whether packets of this IP version with an SA are sealed when sent.
    pub fn sends(self, family: Family) -> bool {
        self.ipsec_offered(family)
    }

    /// Whether received packets of this IP version are opened.
    pub fn receives(self, family: Family) -> bool {
        self.ipsec_offered(family) && self.of(family) == Encapsulation::On
    }

    /// Whether any packet is sealed when sent.
    pub fn any_sends(self) -> bool {
        self.sends(Family::V4) || self.sends(Family::V6)
    }

    /// Whether any received packet is opened.
    pub fn any_receives(self) -> bool {
        self.receives(Family::V4) || self.receives(Family::V6)
    }

    /// The checksums that are computed for packets to send.
    pub fn computes(self) -> Enabled {
        self.checksums(|setting| setting.tx, |state| state != Encapsulation::Off)
    }

    /// The checksums of received packets that are validated.
    pub fn validates(self) -> Enabled {
        self.checksums(|setting| setting.rx, |state| state == Encapsulation::On)
    }

    /// The checksums that are offered for received packets, once OID_OFFLOAD_ENCAPSULATION allows it.
    fn validates_when_allowed(self) -> Enabled {
        self.checksums(|setting| setting.rx, |state| state != Encapsulation::Off)
    }

    fn checksums(
        self,
        direction: impl Fn(ChecksumSetting) -> bool,
        active: impl Fn(Encapsulation) -> bool,
    ) -> Enabled {
        let checksum = self.settings.checksum;
        let (v4, v6) = (active(self.v4), active(self.v6));
        Enabled {
            ip_header: v4 && direction(checksum.ip_v4),
            v4: EnabledTransports {
                tcp: v4 && direction(checksum.tcp_v4),
                udp: v4 && direction(checksum.udp_v4),
            },
            v6: EnabledTransports {
                tcp: v6 && direction(checksum.tcp_v6),
                udp: v6 && direction(checksum.udp_v6),
            },
        }
    }

    /// The large sends that are taken.
    pub fn large_sends(self) -> LargeSendSettings {
        let LargeSendSettings {
            v1_ipv4,
            v2_ipv4,
            v2_ipv6,
        } = self.settings.large_send;
        let (v4, v6) = (self.v4 != Encapsulation::Off, self.v6 != Encapsulation::Off);
        LargeSendSettings {
            v1_ipv4: v1_ipv4 && v4,
            v2_ipv4: v2_ipv4 && v4,
            v2_ipv6: v2_ipv6 && v6,
        }
    }

    const fn pack(self) -> u32 {
        self.settings.pack() | (self.v4 as u32) << 15 | (self.v6 as u32) << 17
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
            settings: Settings::unpack(bits),
            v4: encapsulation(bits >> 15),
            v6: encapsulation(bits >> 17),
        }
    }
}

/// The state of the offloads of an adapter.
#[derive(Debug)]
pub struct Offload(AtomicU32);

impl Offload {
    /// As the adapter is configured when it initializes.
    pub const fn new(settings: Settings) -> Self {
        let start = Current {
            settings,
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

/// The payloads that IPsec knows, for the offloads that know nothing of IPsec.
pub fn carried(payloads: Payloads) -> impl Iterator<Item = Carried> {
    [payloads.outer, payloads.inner]
        .into_iter()
        .flatten()
        .map(|payload| Carried {
            protocol: payload.protocol,
            payload: payload.range,
        })
}
