//! Checksum offload and large sends of an adapter: what is reported, and what is done, found out by trying.

use std::mem::offset_of;

use ndis_sim::ndis::{AdapterConfig, SendNbl};
use ndis_sys::*;

use crate::{
    packets::{Packet, nets, tcp, udp},
    switch::{Switch, SwitchPort},
};

const CHECKSUM: usize = TcpIpChecksumNetBufferListInfo as usize;
const LARGE_SEND: usize = TcpLargeSendNetBufferListInfo as usize;

/// The settings of checksums: keyword, member of the parameters, and which kind of packet it is about.
pub const CHECKSUMS: [(&str, usize, Kind); 5] = [
    (
        "*IPChecksumOffloadIPv4",
        offset_of!(NDIS_OFFLOAD_PARAMETERS, IPv4Checksum),
        Kind::Ip,
    ),
    (
        "*TCPChecksumOffloadIPv4",
        offset_of!(NDIS_OFFLOAD_PARAMETERS, TCPIPv4Checksum),
        Kind::TcpV4,
    ),
    (
        "*UDPChecksumOffloadIPv4",
        offset_of!(NDIS_OFFLOAD_PARAMETERS, UDPIPv4Checksum),
        Kind::UdpV4,
    ),
    (
        "*TCPChecksumOffloadIPv6",
        offset_of!(NDIS_OFFLOAD_PARAMETERS, TCPIPv6Checksum),
        Kind::TcpV6,
    ),
    (
        "*UDPChecksumOffloadIPv6",
        offset_of!(NDIS_OFFLOAD_PARAMETERS, UDPIPv6Checksum),
        Kind::UdpV6,
    ),
];

/// The same of large sends.
pub const LARGE_SENDS: [(&str, usize, Large); 3] = [
    (
        "*LsoV1IPv4",
        offset_of!(NDIS_OFFLOAD_PARAMETERS, LsoV1),
        Large::V1,
    ),
    (
        "*LsoV2IPv4",
        offset_of!(NDIS_OFFLOAD_PARAMETERS, LsoV2IPv4),
        Large::V2,
    ),
    (
        "*LsoV2IPv6",
        offset_of!(NDIS_OFFLOAD_PARAMETERS, LsoV2IPv6),
        Large::V2OverIpv6,
    ),
];

/// The checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the IPv4 header.
    Ip,
    /// TCP over IPv4.
    TcpV4,
    /// UDP over IPv4.
    UdpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over IPv6.
    UdpV6,
}

impl Kind {
    /// Each.
    pub const ALL: [Self; 5] = [Self::Ip, Self::TcpV4, Self::UdpV4, Self::TcpV6, Self::UdpV6];
}

/// The large sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Large {
    /// Version 1.
    V1,
    /// Version 2 over IPv4.
    V2,
    /// Version 2 over IPv6.
    V2OverIpv6,
}

impl Large {
    /// Each.
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V2OverIpv6];
}

/// What an adapter does: found out by trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// By [`Kind`]: computes the checksum, validates it.
    pub checksums: [(bool, bool); 5],
    /// By [`Large`].
    pub large: [bool; 3],
}

/// All of it.
pub const EVERYTHING: Done = Done {
    checksums: [(true, true); 5],
    large: [true; 3],
};

/// A pair: `port` is the one that is looked at, `peer` is on the other side.
pub struct Pair<'a> {
    /// That one.
    pub port: &'a SwitchPort,
    /// The other one.
    pub peer: &'a SwitchPort,
}

impl Pair<'_> {
    fn packet(&self, kind: Kind, from: &SwitchPort, to: &SwitchPort) -> (Packet, usize) {
        let (net, transport, word) = match kind {
            Kind::Ip => (1, udp(), 1 | 1 << 4),
            Kind::TcpV4 => (1, tcp(12), 1 | 1 << 2),
            Kind::UdpV4 => (1, udp(), 1 | 1 << 3),
            Kind::TcpV6 => (5, tcp(12), 2 | 1 << 2),
            Kind::UdpV6 => (5, udp(), 2 | 1 << 3),
        };
        let packet = Packet::new(
            nets()[net].clone(),
            transport,
            99,
            to.adapter.mac(),
            from.adapter.mac(),
        );
        let offset = if packet.is_tcp() {
            packet.transport_offset() << 16
        } else {
            0
        };
        (packet, word | offset)
    }

    /// Whether the adapter computes it; if not, it must refuse to send.
    fn computes(&self, kind: Kind) -> bool {
        let (packet, word) = self.packet(kind, self.port, self.peer);
        let at = match kind {
            Kind::Ip => packet.ip_offset() + 10,
            Kind::TcpV4 | Kind::TcpV6 => packet.transport_offset() + 16,
            Kind::UdpV4 | Kind::UdpV6 => packet.transport_offset() + 6,
        };
        let list = SendNbl::new(packet.unfinished()).info(CHECKSUM, word);
        match self.port.send(vec![list])[..] {
            [NDIS_STATUS_SUCCESS] => {
                let [bytes] = self.peer.received_bytes().try_into().unwrap();
                assert_eq!(bytes[at..at + 2], packet.frame()[at..at + 2], "{kind:?}");
                true
            }
            [NDIS_STATUS_FAILURE] => {
                assert!(self.peer.received().is_empty(), "{kind:?}");
                false
            }
            ref other => panic!("{kind:?}: {other:x?}"),
        }
    }

    /// Whether the adapter validates it.
    fn validates(&self, kind: Kind) -> bool {
        let (failed, succeeded) = match kind {
            Kind::Ip => (1 << 2, 1 << 5),
            Kind::TcpV4 | Kind::TcpV6 => (1, 1 << 3),
            Kind::UdpV4 | Kind::UdpV6 => (1 << 1, 1 << 4),
        };
        let (packet, _) = self.packet(kind, self.peer, self.port);
        let mut wrong = packet.frame();
        let at = match kind {
            Kind::Ip => packet.ip_offset() + 8,
            _ => wrong.len() - 1,
        };
        wrong[at] ^= 1;
        let words = [packet.frame(), wrong].map(|bytes| {
            self.peer.send_frame(&bytes);
            self.port.received()[0].info[CHECKSUM] & (failed | succeeded)
        });
        assert!(
            [[succeeded, failed], [0, 0]].contains(&words),
            "{kind:?}: {words:x?}"
        );
        words != [0, 0]
    }

    /// Whether the adapter cuts; if not, it must drop the packet.
    fn cuts(&self, large: Large) -> bool {
        let (net, version) = match large {
            Large::V1 => (1, 1),
            Large::V2 => (1, 2),
            Large::V2OverIpv6 => (5, 2),
        };
        let packet = Packet::new(
            nets()[net].clone(),
            tcp(12),
            3000,
            self.peer.adapter.mac(),
            self.port.adapter.mac(),
        );
        let kind = match large {
            Large::V1 => 0,
            Large::V2 => 1 << 30,
            Large::V2OverIpv6 => 3 << 30,
        };
        let word = 1000 | packet.transport_offset() << 20 | kind;
        let list = SendNbl::new(packet.large(version)).info(LARGE_SEND, word);
        match self.port.send(vec![list])[..] {
            [NDIS_STATUS_SUCCESS] => {
                assert_eq!(
                    self.peer.received_bytes(),
                    packet.segments(1000),
                    "{large:?}"
                );
                true
            }
            [NDIS_STATUS_FAILURE] => {
                assert!(self.peer.received().is_empty(), "{large:?}");
                false
            }
            ref other => panic!("{large:?}: {other:x?}"),
        }
    }

    /// What the adapter does.
    ///
    /// # Panics
    /// If it does something by half.
    #[must_use]
    pub fn done(&self) -> Done {
        Done {
            checksums: Kind::ALL.map(|kind| (self.computes(kind), self.validates(kind))),
            large: Large::ALL.map(|large| self.cuts(large)),
        }
    }
}

/// What a report says, with every member looked at.
///
/// # Panics
/// If its members contradict each other.
#[must_use]
pub fn reported(offload: &NDIS_OFFLOAD) -> Done {
    reported_with(offload, true)
}

/// The same of an adapter that takes VLANs from out-of-band data or does not.
///
/// # Panics
/// As [`reported`].
#[must_use]
pub fn reported_with(offload: &NDIS_OFFLOAD, vlan: bool) -> Done {
    use NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4_FIELDS as V4;
    use NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6_FIELDS as V6;
    const IN_FRAME: u32 = NDIS_ENCAPSULATION_IEEE_802_3 | NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q;
    const BOTH: u32 = IN_FRAME | NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q_IN_OOB;
    let encapsulated = |encapsulation: u32, any: bool| {
        let expected = if vlan { BOTH } else { IN_FRAME };
        assert_eq!(encapsulation, if any { expected } else { 0 });
    };
    let on = |value: u32| match value {
        NDIS_OFFLOAD_SUPPORTED => true,
        NDIS_OFFLOAD_NOT_SUPPORTED => false,
        other => panic!("{other}"),
    };
    let of = &offload.Checksum;
    let v4 = [of.IPv4Transmit, of.IPv4Receive].map(|of| {
        let get = |field| on(of.Fields.get(field));
        let all = [V4::IpChecksum, V4::TcpChecksum, V4::UdpChecksum].map(get);
        encapsulated(of.Encapsulation, all.contains(&true));
        assert_eq!(get(V4::IpOptionsSupported), all.contains(&true));
        assert_eq!(get(V4::TcpOptionsSupported), all[1]);
        all
    });
    let v6 = [of.IPv6Transmit, of.IPv6Receive].map(|of| {
        let get = |field| on(of.Fields.get(field));
        let all = [V6::TcpChecksum, V6::UdpChecksum].map(get);
        encapsulated(of.Encapsulation, all.contains(&true));
        assert_eq!(get(V6::IpExtensionHeadersSupported), all.contains(&true));
        assert_eq!(get(V6::TcpOptionsSupported), all[0]);
        all
    });
    let v1 = offload.LsoV1.IPv4;
    let large = [
        (v1.Encapsulation, v1.MaxOffLoadSize, v1.MinSegmentCount),
        {
            let of = offload.LsoV2.IPv4;
            (of.Encapsulation, of.MaxOffLoadSize, of.MinSegmentCount)
        },
        {
            let of = offload.LsoV2.IPv6;
            (of.Encapsulation, of.MaxOffLoadSize, of.MinSegmentCount)
        },
    ]
    .map(|(encapsulation, most, least)| {
        let any = encapsulation != 0;
        encapsulated(encapsulation, any);
        assert_eq!((most != 0, least), (any, if any { 2 } else { 0 }));
        any
    });
    let v1 = v1.Fields;
    assert_eq!(
        [
            NDIS_TCP_LARGE_SEND_OFFLOAD_V1_FIELDS::TcpOptions,
            NDIS_TCP_LARGE_SEND_OFFLOAD_V1_FIELDS::IpOptions
        ]
        .map(|field| on(v1.get(field))),
        [large[0]; 2]
    );
    let v2 = offload.LsoV2.IPv6.Fields;
    assert_eq!(
        [
            NDIS_TCP_LARGE_SEND_OFFLOAD_V2_IPV6_FIELDS::IpExtensionHeadersSupported,
            NDIS_TCP_LARGE_SEND_OFFLOAD_V2_IPV6_FIELDS::TcpOptionsSupported
        ]
        .map(|field| on(v2.get(field))),
        [large[2]; 2]
    );
    Done {
        checksums: [
            (v4[0][0], v4[1][0]),
            (v4[0][1], v4[1][1]),
            (v4[0][2], v4[1][2]),
            (v6[0][0], v6[1][0]),
            (v6[0][1], v6[1][1]),
        ],
        large,
    }
}

/// Has the offloads begin.
///
/// # Panics
/// If that is refused.
pub fn activate(port: &SwitchPort) {
    let words = [NDIS_OFFLOAD_SET_ON, NDIS_ENCAPSULATION_IEEE_802_3, 14];
    let header = [NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, 28, 0];
    let words = words.into_iter().chain(words).flat_map(u32::to_le_bytes);
    let bytes: Vec<u8> = header.into_iter().chain(words).collect();
    assert_eq!(
        port.set(OID_OFFLOAD_ENCAPSULATION, &bytes).status,
        NDIS_STATUS_SUCCESS
    );
}

/// An adapter whose offloads have begun.
#[must_use]
pub fn start(switch: &Switch, config: AdapterConfig) -> SwitchPort {
    let port = switch.port_with(config);
    port.filter(NDIS_PACKET_TYPE_DIRECTED);
    activate(&port);
    port
}

/// NDIS_OFFLOAD_PARAMETERS, revision 2, with some members.
#[must_use]
pub fn parameters(members: &[(usize, u8)]) -> Vec<u8> {
    let size = NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_2;
    let mut bytes = vec![0; size];
    bytes[..4].copy_from_slice(&[NDIS_OBJECT_TYPE_DEFAULT, 2, size as u8, 0]);
    for &(at, value) in members {
        bytes[at] = value;
    }
    bytes
}

/// The configuration that NDIS tracks is what is done, and `expected`.
///
/// # Panics
/// If it is not.
pub fn assert_state(port: &SwitchPort, peer: &SwitchPort, expected: &Done, about: &str) {
    let offloads = port.adapter.offloads();
    let current = offloads.current().unwrap().get();
    assert_eq!(reported(&current), *expected, "{about}: report");
    assert_eq!(Pair { port, peer }.done(), *expected, "{about}: behaviour");
    // The hardware could do it all the same.
    assert_eq!(
        reported(&offloads.hardware().unwrap().get()),
        EVERYTHING,
        "{about}"
    );
}

/// The settings of a checksum by the value of its keyword.
#[must_use]
pub const fn tx_rx(value: u8) -> (bool, bool) {
    (value & 1 != 0, value & 2 != 0)
}
