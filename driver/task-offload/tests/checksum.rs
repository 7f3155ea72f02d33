//! Checksums to send and of received packets, against sums that are added up the slow way.

mod common;

use common::{IpHeader, ip, ipv4, slow_transport, tcp_header};
use proptest::{collection::vec, prelude::*};
use task_offload::{
    Carried,
    checksum::{
        ChecksumError, Enabled, EnabledTransports, Tasks, Transport, Validated, compute, validate,
    },
};

const ALL: Enabled = Enabled {
    ip_header: true,
    v4: BOTH,
    v6: BOTH,
};
const BOTH: EnabledTransports = EnabledTransports {
    tcp: true,
    udp: true,
};

/// A packet with right checksums, made the slow way.
#[derive(Clone, Debug)]
struct Packet {
    ip: IpHeader,
    protocol: u8,
    segment: Vec<u8>,
}

impl Packet {
    fn new(ip: IpHeader, protocol: u8, mut segment: Vec<u8>) -> Self {
        let field = if protocol == 6 { 16 } else { 6 };
        segment[field..field + 2].fill(0);
        let mut checksum = slow_transport(&ip.source, &ip.destination, protocol, &segment);
        if checksum == 0 && protocol == 17 {
            checksum = 0xffff;
        }
        segment[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        Self {
            ip,
            protocol,
            segment,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        [self.ip.sized(self.segment.len()), self.segment.clone()].concat()
    }

    fn transport_at(&self) -> usize {
        self.ip.bytes.len()
    }

    fn field(&self) -> usize {
        self.transport_at() + if self.protocol == 6 { 16 } else { 6 }
    }

    fn tasks(&self) -> Tasks {
        Tasks {
            ip_header: self.ip.is_v4(),
            transport: Some(if self.protocol == 6 {
                Transport::Tcp {
                    header_offset: self.transport_at(),
                }
            } else {
                Transport::Udp
            }),
        }
    }

    fn right(&self) -> Validated {
        Validated {
            ip_header: self.ip.is_v4().then_some(true),
            tcp: (self.protocol == 6).then_some(true),
            udp: (self.protocol == 17).then_some(true),
        }
    }

    /// What the transport hands down: garbage in the checksum fields.
    fn unfinished(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        if self.ip.is_v4() {
            bytes[10..12].fill(0x5a);
        }
        let field = self.field();
        bytes[field..field + 2].fill(0xa5);
        bytes
    }
}

fn tcp_packet() -> impl Strategy<Value = Packet> {
    (ip(6), tcp_header(), vec(any::<u8>(), 0..1500))
        .prop_map(|(ip, tcp, data)| Packet::new(ip, 6, [tcp, data].concat()))
}

fn udp_packet() -> impl Strategy<Value = Packet> {
    (ip(17), vec(any::<u8>(), 8..1500)).prop_map(|(ip, mut segment)| {
        let length = segment.len() as u16;
        segment[4..6].copy_from_slice(&length.to_be_bytes());
        Packet::new(ip, 17, segment)
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    prop_oneof![tcp_packet().boxed(), udp_packet().boxed()]
}

/// IPsec headers around what follows the IP header, and where that then is.
fn wrap(packet: &Packet, before: usize, behind: usize) -> (Vec<u8>, Carried) {
    let mut ip = packet.ip.clone();
    // The protocol of the last header becomes ESP's; extension headers before it stay.
    let extension_chain = ip.bytes.len();
    let at = if ip.is_v4() {
        9
    } else {
        last_next_header(&ip.bytes)
    };
    ip.bytes[at] = 50;
    let bytes = [
        ip.sized(before + packet.segment.len() + behind),
        vec![0xee; before],
        packet.segment.clone(),
        vec![0xdd; behind],
    ]
    .concat();
    let start = extension_chain + before;
    let carried = Carried {
        protocol: packet.protocol,
        payload: start..start + packet.segment.len(),
    };
    (bytes, carried)
}

fn last_next_header(v6: &[u8]) -> usize {
    let (mut field, mut at) = (6, 40);
    while at < v6.len() {
        field = at;
        at += (usize::from(v6[at + 1]) + 1) * 8;
    }
    field
}

proptest! {
    #[test]
    fn what_is_computed_is_what_is_added_up_slowly(packet in packet(), pad in 0_usize..50) {
        let mut bytes = packet.unfinished();
        bytes.resize(bytes.len() + pad, 0x77);
        compute(&mut bytes, None, packet.tasks()).expect("a good packet");
        let mut expected = packet.bytes();
        expected.resize(expected.len() + pad, 0x77);
        prop_assert_eq!(bytes, expected);
    }

    #[test]
    fn right_packets_are_right_and_flipped_bits_are_seen(
        packet in packet(),
        pad in 0_usize..50,
        flip: prop::sample::Index,
        bit in 0_u32..8,
    ) {
        let mut bytes = packet.bytes();
        let len = bytes.len();
        bytes.resize(len + pad, 0x77);
        prop_assert_eq!(validate(&bytes, None, ALL), packet.right());
        // A bit of the transport's payload or ports.
        let at = packet.transport_at() + flip.index(len - packet.transport_at());
        let relative = at - packet.transport_at();
        let is_field = (packet.field()..packet.field() + 2).contains(&at);
        let is_length = if packet.protocol == 6 { relative == 12 } else { (4..6).contains(&relative) };
        prop_assume!(!is_field && !is_length);
        bytes[at] ^= 1 << bit;
        let found = validate(&bytes, None, ALL);
        let wrong = |right: Option<bool>| right.map(|_| false);
        prop_assert_eq!(found, Validated {
            ip_header: packet.right().ip_header,
            tcp: wrong(packet.right().tcp),
            udp: wrong(packet.right().udp),
        });
    }

    #[test]
    fn ipv4_headers_with_a_flipped_bit_are_wrong(packet in ipv4(6), at in 12_usize..20, bit in 0_u32..8) {
        let mut bytes = packet.sized(0);
        prop_assert_eq!(validate(&bytes, None, ALL).ip_header, Some(true));
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(validate(&bytes, None, ALL).ip_header, Some(false));
    }

    #[test]
    fn behind_ipsec_headers(packet in packet(), before in 8_usize..60, behind in 0_usize..40) {
        let (expected, carried) = wrap(&packet, before, behind);
        let mut bytes = expected.clone();
        bytes[carried.payload.start + packet.field() - packet.transport_at()] ^= 0x40;
        if packet.ip.is_v4() {
            bytes[10] ^= 1;
        }
        let mut tasks = packet.tasks();
        if let Some(Transport::Tcp { header_offset }) = &mut tasks.transport {
            *header_offset = carried.payload.start;
        }
        prop_assert_eq!(
            validate(&bytes, Some(carried.clone()), ALL),
            Validated {
                ip_header: packet.right().ip_header.map(|_| false),
                // A UDP checksum that became zero says that there is none.
                ..validate(&bytes, Some(carried.clone()), Enabled { ip_header: false, ..ALL })
            }
        );
        prop_assert_eq!(compute(&mut bytes, Some(carried.clone()), tasks), Ok(()));
        prop_assert_eq!(&bytes, &expected);
        prop_assert_eq!(validate(&bytes, Some(carried), ALL), packet.right());
        // Who does not know what is in there says nothing of it.
        prop_assert_eq!(
            validate(&bytes, None, ALL),
            Validated { ip_header: packet.right().ip_header, ..Validated::default() }
        );
    }

    #[test]
    fn in_a_tunnel_and_in_transport_mode_within(
        outer in ip(50), inner in packet(), transport: bool, before in 8_usize..40, behind in 2_usize..40,
    ) {
        let (within, deeper) = if transport {
            let (bytes, carried) = wrap(&inner, 16, 18);
            (bytes, Some(carried))
        } else {
            (inner.bytes(), None)
        };
        let expected = [
            outer.sized(before + within.len() + behind),
            vec![0xcc; before],
            within.clone(),
            vec![0xbb; behind],
        ].concat();
        let start = outer.bytes.len() + before;
        let shift = |c: Carried| Carried {
            payload: c.payload.start + start..c.payload.end + start, ..c
        };
        let path: Vec<Carried> = [Carried {
            protocol: if inner.ip.is_v4() { 4 } else { 41 },
            payload: start..start + within.len(),
        }].into_iter().chain(deeper.map(shift)).collect();
        let at = if transport { path[1].payload.start } else { start + inner.transport_at() };
        let mut right = inner.right();
        if outer.is_v4() {
            right.ip_header = Some(true);
        }
        prop_assert_eq!(validate(&expected, path.clone(), ALL), right);

        let mut bytes = expected.clone();
        for (v4, at) in [(outer.is_v4(), 0), (inner.ip.is_v4(), start)] {
            if v4 {
                bytes[at + 10] ^= 0x10;
                // Either makes it wrong.
                let mut one = expected.clone();
                one[at + 10] ^= 0x10;
                prop_assert_eq!(validate(&one, path.clone(), ALL).ip_header, Some(false));
            }
        }
        let field = at + inner.field() - inner.transport_at();
        bytes[field] ^= 0x10;
        let mut tasks = inner.tasks();
        tasks.ip_header = true;
        if let Some(Transport::Tcp { header_offset }) = &mut tasks.transport {
            *header_offset = at;
        }
        prop_assert_eq!(compute(&mut bytes, path, tasks), Ok(()));
        prop_assert_eq!(bytes, expected);
    }

    #[test]
    fn anything_at_all_is_handled(
        bytes in vec(any::<u8>(), 0..200),
        start in prop_oneof![Just(0x45_u8), Just(0x4a), Just(0x60), any::<u8>()],
        protocol in any::<u8>(),
        from in 0_usize..220, to in 0_usize..220,
        header_offset in 0_usize..100,
        udp: bool,
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = start;
        }
        let transport = if udp { Transport::Udp } else { Transport::Tcp { header_offset } };
        let tasks = Tasks { ip_header: true, transport: Some(transport) };
        for path in [vec![], vec![Carried { protocol, payload: from..to }], vec![
            Carried { protocol: 4, payload: from..to },
            Carried { protocol: 41, payload: to..from },
        ]] {
            let _ = validate(&bytes, path.clone(), ALL);
            let _ = compute(&mut bytes.clone(), path, tasks);
        }
    }
}

fn v4_header(protocol: u8) -> IpHeader {
    let mut bytes = vec![0; 20];
    bytes[0] = 0x45;
    bytes[9] = protocol;
    bytes[12..20].copy_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
    IpHeader {
        source: bytes[12..16].to_vec(),
        destination: bytes[16..20].to_vec(),
        bytes,
    }
}

fn v6_header(protocol: u8) -> IpHeader {
    let mut bytes = vec![0; 40];
    bytes[0] = 0x60;
    bytes[6] = protocol;
    bytes[23] = 1;
    bytes[39] = 2;
    IpHeader {
        source: bytes[8..24].to_vec(),
        destination: bytes[24..40].to_vec(),
        bytes,
    }
}

fn datagram(length: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = [&[1, 2, 3, 4, 0, 0, 0, 0], data].concat();
    bytes[4..6].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_ones() {
    for ip in [v4_header(17), v6_header(17)] {
        // Find the payload that makes the sum all ones.
        let found = (0..=u16::MAX).find(|word| {
            let bytes = datagram(10, &word.to_be_bytes());
            slow_transport(&ip.source, &ip.destination, 17, &bytes) == 0
        });
        let segment = datagram(10, &found.expect("there is one").to_be_bytes());
        let mut bytes = [ip.sized(10), segment].concat();
        let tasks = Tasks {
            ip_header: false,
            transport: Some(Transport::Udp),
        };
        compute(&mut bytes, None, tasks).expect("good");
        let field = ip.bytes.len() + 6;
        assert_eq!(bytes[field..field + 2], [0xff, 0xff]);
        assert_eq!(validate(&bytes, None, ALL).udp, Some(true));
    }
}

#[test]
fn a_tcp_checksum_of_zero_stays() {
    let ip = v4_header(6);
    let segment = |word: u16| {
        let mut tcp = vec![0; 22];
        tcp[12] = 0x50;
        tcp[20..].copy_from_slice(&word.to_be_bytes());
        tcp
    };
    let found = (0..=u16::MAX)
        .find(|word| slow_transport(&ip.source, &ip.destination, 6, &segment(*word)) == 0);
    let mut bytes = [ip.sized(22), segment(found.expect("there is one"))].concat();
    let tasks = Tasks {
        ip_header: false,
        transport: Some(Transport::Tcp { header_offset: 20 }),
    };
    compute(&mut bytes, None, tasks).expect("good");
    assert_eq!(bytes[36..38], [0, 0]);
    assert_eq!(validate(&bytes, None, ALL).tcp, Some(true));
}

#[test]
fn of_udp_without_a_checksum_nothing_is_said() {
    for ip in [v4_header(17), v6_header(17)] {
        let bytes = [ip.sized(12), datagram(12, &[1, 2, 3, 4])].concat();
        assert_eq!(validate(&bytes, None, ALL).udp, None);
    }
}

#[test]
fn udp_lengths() {
    // Shorter than the IP payload: the checksum is over the datagram (RFC 768).
    let ip = v4_header(17);
    let packet = Packet::new(v4_header(17), 17, datagram(12, &[9; 4]));
    let mut longer = [ip.sized(20), packet.segment.clone(), vec![0x99; 8]].concat();
    assert_eq!(validate(&longer, None, ALL).udp, Some(true));
    let expected = longer.clone();
    longer[26] ^= 1;
    compute(&mut longer, None, packet.tasks()).expect("good");
    assert_eq!(longer, expected);
    // Longer, or shorter than the header.
    for length in [0, 7, 13, 0xffff] {
        let mut bytes = [ip.sized(12), datagram(length, &[9; 4])].concat();
        bytes[26] = 1;
        assert_eq!(validate(&bytes, None, ALL).udp, None, "{length}");
        assert_eq!(
            compute(&mut bytes, None, packet.tasks()),
            Err(ChecksumError::Malformed),
            "{length}"
        );
    }
}

#[test]
fn each_check_has_its_switch() {
    let tcp = {
        let mut tcp = vec![0; 24];
        tcp[12] = 0x60;
        tcp
    };
    let packets = [
        Packet::new(v4_header(6), 6, tcp.clone()),
        Packet::new(v4_header(17), 17, datagram(8, &[])),
        Packet::new(v6_header(6), 6, tcp),
        Packet::new(v6_header(17), 17, datagram(8, &[])),
    ];
    for bits in 0..32_u8 {
        let on = |bit: u8| bits & 1 << bit != 0;
        let enabled = Enabled {
            ip_header: on(0),
            v4: EnabledTransports {
                tcp: on(1),
                udp: on(2),
            },
            v6: EnabledTransports {
                tcp: on(3),
                udp: on(4),
            },
        };
        assert_eq!(enabled.any(), bits != 0);
        for (packet, bit) in packets.iter().zip(1..) {
            let mut expected = packet.right();
            expected.ip_header = expected.ip_header.filter(|_| on(0));
            expected.tcp = expected.tcp.filter(|_| on(bit));
            expected.udp = expected.udp.filter(|_| on(bit));
            assert_eq!(
                validate(&packet.bytes(), None, enabled),
                expected,
                "{bits:#x}"
            );
        }
    }
}

#[test]
fn of_fragments_only_the_header_is_looked_at() {
    let packet = Packet::new(v4_header(17), 17, datagram(8, &[]));
    for (at, value) in [(6, 0x20), (7, 1)] {
        let mut ip = packet.ip.clone();
        ip.bytes[at] = value;
        let mut bytes = [ip.sized(8), packet.segment.clone()].concat();
        assert_eq!(
            validate(&bytes, None, ALL),
            Validated {
                ip_header: Some(true),
                ..Validated::default()
            }
        );
        assert_eq!(
            compute(&mut bytes, None, packet.tasks()),
            Err(ChecksumError::Fragment)
        );
        let header_alone = Tasks {
            transport: None,
            ..packet.tasks()
        };
        assert_eq!(compute(&mut bytes, None, header_alone), Ok(()));
    }
    // A fragment header with nothing before or after it.
    let mut ip = v6_header(44);
    ip.bytes.extend([17, 0, 0, 0, 1, 2, 3, 4]);
    let mut bytes = [ip.sized(8), packet.segment].concat();
    assert_eq!(validate(&bytes, None, ALL), Validated::default());
    let tasks = Tasks {
        ip_header: false,
        transport: Some(Transport::Udp),
    };
    assert_eq!(
        compute(&mut bytes, None, tasks),
        Err(ChecksumError::Fragment)
    );
}

#[test]
fn behind_a_nat_only_right_checksums_are_told() {
    // ESP in UDP, transport mode: the addresses may not be those that the sender summed up.
    let mut ip = v4_header(17);
    let inner = Packet::new(v4_header(17), 17, datagram(12, &[9; 4]));
    let carried = Carried {
        protocol: 17,
        payload: 44..56,
    };
    let right = [ip.sized(36), vec![0; 24], inner.segment.clone()].concat();
    assert_eq!(validate(&right, Some(carried.clone()), ALL).udp, Some(true));
    ip.bytes[15] = 77;
    let translated = [ip.sized(36), vec![0; 24], inner.segment.clone()].concat();
    let found = validate(&translated, Some(carried.clone()), ALL);
    assert_eq!((found.ip_header, found.udp), (Some(true), None));
    // Without UDP in between it is wrong.
    ip.bytes[9] = 50;
    let esp = [ip.sized(36), vec![0; 24], inner.segment].concat();
    assert_eq!(validate(&esp, Some(carried), ALL).udp, Some(false));
}

#[test]
fn nonsense_is_refused() {
    use ChecksumError as Error;
    let tcp = {
        let mut tcp = vec![0; 24];
        tcp[12] = 0x60;
        tcp
    };
    let packet = Packet::new(v4_header(6), 6, tcp);
    let tcp_at = |header_offset| Tasks {
        ip_header: true,
        transport: Some(Transport::Tcp { header_offset }),
    };
    let udp = Tasks {
        ip_header: false,
        transport: Some(Transport::Udp),
    };
    type Change = fn(&mut Vec<u8>);
    let cases: &[(&str, Tasks, Error, Change)] = &[
        ("UDP", udp, Error::WrongProtocol, |_| {}),
        ("no offset", tcp_at(0), Error::WrongOffset, |_| {}),
        ("offset behind", tcp_at(24), Error::WrongOffset, |_| {}),
        ("cut off", tcp_at(20), Error::Malformed, |b| b.truncate(43)),
        ("no IP", tcp_at(20), Error::Malformed, |b| b[0] = 0x15),
        ("nothing", tcp_at(20), Error::Malformed, Vec::clear),
        ("IP header too short", tcp_at(20), Error::Malformed, |b| {
            b[0] = 0x44
        }),
        ("TCP header too short", tcp_at(20), Error::Malformed, |b| {
            b[32] = 0x40
        }),
        ("TCP header too long", tcp_at(20), Error::Malformed, |b| {
            b[32] = 0x70
        }),
    ];
    for (name, tasks, error, change) in cases {
        let mut bytes = packet.bytes();
        change(&mut bytes);
        assert_eq!(compute(&mut bytes, None, *tasks), Err(*error), "{name}");
    }
    let mut unknown = v6_header(43);
    unknown.bytes.extend([17, 0, 99, 1, 0, 0, 0, 0]);
    let mut bytes = [unknown.sized(8), datagram(8, &[])].concat();
    assert_eq!(
        compute(&mut bytes, None, udp),
        Err(Error::UnknownDestination)
    );
    assert_eq!(validate(&bytes, None, ALL), Validated::default());
}
