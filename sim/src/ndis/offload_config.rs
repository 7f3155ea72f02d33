//! What a reported offload configuration must be: within the hardware capabilities, and without what
//! OID_TCP_OFFLOAD_PARAMETERS has switched off.

use std::mem::offset_of;

use ndis_sys::{
    NDIS_OBJECT_HEADER, NDIS_OFFLOAD, NDIS_OFFLOAD_PARAMETERS,
    NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED, NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED,
    NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED, NDIS_OFFLOAD_PARAMETERS_LSOV1_DISABLED,
    NDIS_OFFLOAD_PARAMETERS_LSOV2_DISABLED, NDIS_OFFLOAD_PARAMETERS_REVISION_2,
    NDIS_OFFLOAD_PARAMETERS_RX_ENABLED_TX_DISABLED, NDIS_OFFLOAD_PARAMETERS_TX_ENABLED_RX_DISABLED,
    NDIS_OFFLOAD_PARAMETERS_TX_RX_DISABLED, NDIS_OFFLOAD_SUPPORTED,
    NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4_FIELDS as V4, NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6_FIELDS as V6,
};

/// How a member says how much there is.
enum Measure {
    /// Bits, each of which is one thing more.
    Mask(u32, u32),
    /// Fields of two bits, NDIS_OFFLOAD_SUPPORTED (NDIS_OFFLOAD_SET_ON) or not.
    Fields(u32, u32),
    /// Zero, or another value for "yes".
    Flag(u8, u8),
    /// More is more.
    Most(u32, u32),
    /// Less is more; zero is none at all.
    Least(u32, u32),
}

impl Measure {
    /// Whether the first is more than the second.
    fn is_exceeded(&self) -> bool {
        match *self {
            Self::Mask(now, can) => now & !can != 0,
            Self::Fields(now, can) => is_on(now) & !is_on(can) != 0,
            Self::Flag(now, can) => now != 0 && can == 0,
            Self::Most(now, can) => now > can,
            Self::Least(now, can) => now != 0 && (can == 0 || now < can),
        }
    }
}

/// One bit for each field of two bits that is NDIS_OFFLOAD_SUPPORTED.
fn is_on(fields: u32) -> u32 {
    (0..16)
        .filter(|i| fields >> (2 * i) & 3 == NDIS_OFFLOAD_SUPPORTED)
        .fold(0, |on, i| on | 1 << i)
}

/// The first member of a configuration that is more than the hardware capabilities have.
pub(super) fn excess(hardware: &NDIS_OFFLOAD, current: &NDIS_OFFLOAD) -> Option<&'static str> {
    macro_rules! all {
        ($($measure:ident: $($member:ident).+;)+) => {
            [$((
                stringify!($($member).+),
                Measure::$measure(current.$($member).+, hardware.$($member).+),
            )),+]
        };
    }
    let members = all! {
        Mask: Checksum.IPv4Transmit.Encapsulation;
        Mask: Checksum.IPv4Receive.Encapsulation;
        Mask: Checksum.IPv6Transmit.Encapsulation;
        Mask: Checksum.IPv6Receive.Encapsulation;
        Fields: Checksum.IPv4Transmit.Fields.Bits;
        Fields: Checksum.IPv4Receive.Fields.Bits;
        Fields: Checksum.IPv6Transmit.Fields.Bits;
        Fields: Checksum.IPv6Receive.Fields.Bits;
        Mask: LsoV1.IPv4.Encapsulation;
        Mask: LsoV2.IPv4.Encapsulation;
        Mask: LsoV2.IPv6.Encapsulation;
        Most: LsoV1.IPv4.MaxOffLoadSize;
        Most: LsoV2.IPv4.MaxOffLoadSize;
        Most: LsoV2.IPv6.MaxOffLoadSize;
        Least: LsoV1.IPv4.MinSegmentCount;
        Least: LsoV2.IPv4.MinSegmentCount;
        Least: LsoV2.IPv6.MinSegmentCount;
        Fields: LsoV1.IPv4.Fields.Bits;
        Fields: LsoV2.IPv6.Fields.Bits;
        Mask: IPsecV2.Encapsulation;
        Mask: IPsecV2.UdpEsp;
        Mask: IPsecV2.AuthenticationAlgorithms;
        Mask: IPsecV2.EncryptionAlgorithms;
        Flag: IPsecV2.IPv6Supported;
        Flag: IPsecV2.IPv4Options;
        Flag: IPsecV2.IPv6NonIPsecExtensionHeaders;
        Flag: IPsecV2.Ah;
        Flag: IPsecV2.Esp;
        Flag: IPsecV2.AhEspCombined;
        Flag: IPsecV2.Transport;
        Flag: IPsecV2.Tunnel;
        Flag: IPsecV2.TransportTunnelCombined;
        Flag: IPsecV2.LsoSupported;
        Flag: IPsecV2.ExtendedSequenceNumbers;
        Most: IPsecV2.SaOffloadCapacity;
    };
    let exceeded = members.into_iter().find(|(_, m)| m.is_exceeded());
    exceeded.map(|(name, _)| name)
}

/// What is on in a configuration although OID_TCP_OFFLOAD_PARAMETERS has switched it off.
pub(super) fn left_on(parameters: &[u8], current: &NDIS_OFFLOAD) -> Option<&'static str> {
    let member = |at: usize| parameters.get(at).copied().unwrap_or_default();
    let checksum = |at: usize, transmit: u32, receive: u32| {
        let (no_transmit, no_receive) = match member(at) {
            NDIS_OFFLOAD_PARAMETERS_TX_RX_DISABLED => (true, true),
            NDIS_OFFLOAD_PARAMETERS_TX_ENABLED_RX_DISABLED => (false, true),
            NDIS_OFFLOAD_PARAMETERS_RX_ENABLED_TX_DISABLED => (true, false),
            _ => (false, false),
        };
        let on = |off: bool, field: u32| off && field == NDIS_OFFLOAD_SUPPORTED;
        on(no_transmit, transmit) || on(no_receive, receive)
    };
    let (t4, r4) = (
        current.Checksum.IPv4Transmit.Fields,
        current.Checksum.IPv4Receive.Fields,
    );
    let (t6, r6) = (
        current.Checksum.IPv6Transmit.Fields,
        current.Checksum.IPv6Receive.Fields,
    );
    let large_send =
        |at: usize, disabled: u8, encapsulation: u32| member(at) == disabled && encapsulation != 0;
    // Revision 1 ends before IPsecV2.
    let revision = member(offset_of!(NDIS_OBJECT_HEADER, Revision));
    let ipsec = if revision >= NDIS_OFFLOAD_PARAMETERS_REVISION_2 {
        member(offset_of!(NDIS_OFFLOAD_PARAMETERS, IPsecV2))
    } else {
        0
    };
    let protocol = |on: u8, other: u8| {
        on != 0 && [NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED, other].contains(&ipsec)
    };
    macro_rules! members {
        ($($member:ident: $check:ident($($with:expr),+);)+) => {
            [$((
                stringify!($member),
                $check(offset_of!(NDIS_OFFLOAD_PARAMETERS, $member), $($with),+),
            )),+]
        };
    }
    let (v1, v2) = (
        NDIS_OFFLOAD_PARAMETERS_LSOV1_DISABLED,
        NDIS_OFFLOAD_PARAMETERS_LSOV2_DISABLED,
    );
    let members = members! {
        IPv4Checksum: checksum(t4.get(V4::IpChecksum), r4.get(V4::IpChecksum));
        TCPIPv4Checksum: checksum(t4.get(V4::TcpChecksum), r4.get(V4::TcpChecksum));
        UDPIPv4Checksum: checksum(t4.get(V4::UdpChecksum), r4.get(V4::UdpChecksum));
        TCPIPv6Checksum: checksum(t6.get(V6::TcpChecksum), r6.get(V6::TcpChecksum));
        UDPIPv6Checksum: checksum(t6.get(V6::UdpChecksum), r6.get(V6::UdpChecksum));
        LsoV1: large_send(v1, current.LsoV1.IPv4.Encapsulation);
        LsoV2IPv4: large_send(v2, current.LsoV2.IPv4.Encapsulation);
        LsoV2IPv6: large_send(v2, current.LsoV2.IPv6.Encapsulation);
    };
    let ah_only = NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED;
    let esp_only = NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED;
    let ipsec = [
        ("IPsecV2 (AH)", protocol(current.IPsecV2.Ah, esp_only)),
        ("IPsecV2 (ESP)", protocol(current.IPsecV2.Esp, ah_only)),
    ];
    let mut all = members.into_iter().chain(ipsec);
    all.find(|(_, on)| *on).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offload(change: impl FnOnce(&mut NDIS_OFFLOAD)) -> NDIS_OFFLOAD {
        // SAFETY: the structure consists of integers.
        let mut offload: NDIS_OFFLOAD = unsafe { std::mem::zeroed() };
        change(&mut offload);
        offload
    }

    #[test]
    fn nothing_is_within_anything_and_anything_exceeds_nothing() {
        type Change = fn(&mut NDIS_OFFLOAD);
        let changes: [(&str, Change); 11] = [
            ("Checksum.IPv4Receive.Encapsulation", |o| {
                o.Checksum.IPv4Receive.Encapsulation = 4
            }),
            ("Checksum.IPv4Transmit.Fields.Bits", |o| {
                o.Checksum.IPv4Transmit.Fields.Bits = 1 << 4
            }),
            ("Checksum.IPv4Receive.Fields.Bits", |o| {
                o.Checksum.IPv4Receive.Fields.Bits = 1 << 8
            }),
            ("Checksum.IPv6Transmit.Fields.Bits", |o| {
                o.Checksum.IPv6Transmit.Fields.Bits = 1
            }),
            ("Checksum.IPv6Receive.Fields.Bits", |o| {
                o.Checksum.IPv6Receive.Fields.Bits = 1 << 6
            }),
            ("LsoV1.IPv4.MaxOffLoadSize", |o| {
                o.LsoV1.IPv4.MaxOffLoadSize = 1
            }),
            ("LsoV2.IPv4.Encapsulation", |o| {
                o.LsoV2.IPv4.Encapsulation = 2
            }),
            ("LsoV2.IPv6.Fields.Bits", |o| {
                o.LsoV2.IPv6.Fields.Bits = 1 << 2
            }),
            ("IPsecV2.Tunnel", |o| o.IPsecV2.Tunnel = 1),
            ("IPsecV2.UdpEsp", |o| o.IPsecV2.UdpEsp = 8),
            ("IPsecV2.SaOffloadCapacity", |o| {
                o.IPsecV2.SaOffloadCapacity = 1
            }),
        ];
        let none = offload(|_| ());
        for (name, change) in changes {
            let some = offload(change);
            assert_eq!(excess(&none, &some), Some(name));
            assert_eq!(excess(&some, &none), None, "{name}");
            assert_eq!(excess(&some, &some), None, "{name}");
        }
    }

    #[test]
    fn fewer_segments_are_more() {
        let can = offload(|o| (o.LsoV2.IPv6.Encapsulation, o.LsoV2.IPv6.MinSegmentCount) = (2, 4));
        for (count, exceeds) in [(0, false), (3, true), (4, false), (5, false)] {
            let now = offload(|o| {
                (o.LsoV2.IPv6.Encapsulation, o.LsoV2.IPv6.MinSegmentCount) = (2, count);
            });
            let expected = exceeds.then_some("LsoV2.IPv6.MinSegmentCount");
            assert_eq!(excess(&can, &now), expected);
        }
    }

    #[test]
    fn a_set_off_field_is_off() {
        // NDIS_OFFLOAD_SET_OFF.
        let off = offload(|o| o.Checksum.IPv4Transmit.Fields.Bits = 2 << 4);
        assert_eq!(excess(&offload(|_| ()), &off), None);
    }

    #[test]
    fn what_was_switched_off_is_not_on() {
        let all = offload(|o| {
            for fields in [
                &mut o.Checksum.IPv4Transmit.Fields.Bits,
                &mut o.Checksum.IPv4Receive.Fields.Bits,
            ] {
                *fields = 0b01_0101_0101;
            }
            for fields in [
                &mut o.Checksum.IPv6Transmit.Fields.Bits,
                &mut o.Checksum.IPv6Receive.Fields.Bits,
            ] {
                *fields = 0b0101_0101;
            }
            o.LsoV1.IPv4.Encapsulation = 2;
            o.LsoV2.IPv4.Encapsulation = 2;
            o.LsoV2.IPv6.Encapsulation = 2;
            (o.IPsecV2.Ah, o.IPsecV2.Esp) = (1, 1);
        });
        let none = offload(|_| ());
        // Where each member is, how large its values are, and which of them switch something off.
        let members: [(usize, u8, &[u8]); 9] = [
            (4, 4, &[1, 2, 3]),
            (5, 4, &[1, 2, 3]),
            (6, 4, &[1, 2, 3]),
            (7, 4, &[1, 2, 3]),
            (8, 4, &[1, 2, 3]),
            (9, 2, &[1]),
            (11, 2, &[1]),
            (12, 2, &[1]),
            (20, 4, &[1, 2, 3]),
        ];
        for (at, largest, off) in members {
            for value in 0..=largest {
                let mut parameters = [0; size_of::<NDIS_OFFLOAD_PARAMETERS>()];
                parameters[1] = NDIS_OFFLOAD_PARAMETERS_REVISION_2;
                parameters[at] = value;
                let found = left_on(&parameters, &all);
                assert_eq!(
                    found.is_some(),
                    off.contains(&value),
                    "{at}: {value}: {found:?}"
                );
                assert_eq!(left_on(&parameters, &none), None);
            }
        }
        // The member is not there in revision 1.
        let mut parameters = [0; size_of::<NDIS_OFFLOAD_PARAMETERS>()];
        (parameters[1], parameters[20]) = (1, 1);
        assert_eq!(left_on(&parameters, &all), None);
    }
}
