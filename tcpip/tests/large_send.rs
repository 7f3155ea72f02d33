//! Large packets: how they are cut, and what goes down for them.

use std::net::IpAddr;

use tcpip::{
    algorithm::Authentication,
    checksum::{UpperLayer, truth},
    large_send::{LargePacket, LsoVersion, net_buffer_list, tcp_head},
    offload::large_send_header,
    outbound::{Sender, seal_in_software},
    packet::Layout,
    plan::{Plan, PlanMode, Protocol, Shape, UdpPlace},
    policy::{Keys, Offers},
    sas::Sa,
};

const OPTIONS: [u8; 12] = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
/// CWR, ACK, PSH and FIN.
const FLAGS: u8 = 0x80 | 0x10 | 0x08 | 0x01;

fn hosts(six: bool) -> [IpAddr; 2] {
    let texts = if six {
        ["2001:db8::1", "2001:db8::2"]
    } else {
        ["192.0.2.1", "192.0.2.2"]
    };
    texts.map(|text| text.parse().unwrap())
}

fn large(six: bool, len: usize, mss: usize, version: LsoVersion) -> LargePacket {
    let [source, destination] = hosts(six);
    LargePacket {
        head: tcp_head(source, destination, &OPTIONS, FLAGS),
        payload: (0..len).map(|at| at as u8).collect(),
        mss,
        version,
        discard: 0,
    }
}

fn sas(shape: Shape, suite: &str, packet: &LargePacket) -> Vec<Sa> {
    let plan = Plan {
        shape,
        suite: suite.parse().unwrap(),
        icv_length: 16,
        esn: false,
        keys: Keys::Seed(9),
    };
    let segments = packet.segments().unwrap();
    let frames = segments.iter().map(Vec::as_slice);
    plan.make(frames, &Offers::EVERYTHING).unwrap().sas
}

#[test]
fn segments_are_whole_packets() {
    for six in [false, true] {
        for (len, mss, count) in [
            (1000, 1000, 1),
            (1001, 1000, 2),
            (5000, 1460, 4),
            (10, 1, 10),
        ] {
            let packet = large(six, len, mss, LsoVersion::V2);
            let segments = packet.segments().unwrap();
            assert_eq!(segments.len(), count);
            let mut payload = Vec::new();
            for (index, segment) in segments.iter().enumerate() {
                let layout = Layout::of(segment).unwrap();
                let tcp = UpperLayer::find(segment, &layout).unwrap();
                assert_eq!(layout.end, segment.len());
                let right = truth(segment);
                assert_eq!(right.tcp, Some(true));
                assert_eq!(right.ip, (!six).then_some(true));
                let header = &segment[tcp.at..tcp.at + 32];
                assert_eq!(header[20..], OPTIONS);
                let sequence = u32::from_be_bytes(header[4..8].try_into().unwrap());
                // It begins just below the wrap.
                let expected = 0xFFFF_F000_u32.wrapping_add((index * mss) as u32);
                assert_eq!(sequence, expected);
                let mut flags = 0x10;
                if index == 0 {
                    flags |= 0x80;
                }
                if index + 1 == count {
                    flags |= 0x09;
                }
                assert_eq!(header[13], flags, "segment {index} of {count}");
                if !six {
                    let id = u16::from_be_bytes([segment[18], segment[19]]);
                    assert_eq!(usize::from(id), (0x7FFE + index) & 0x7FFF);
                }
                let data = &segment[tcp.at + 32..];
                assert!(data.len() == mss || index + 1 == count);
                payload.extend_from_slice(data);
            }
            assert_eq!(payload, packet.payload);
        }
    }
}

#[test]
fn what_goes_down_without_an_sa() {
    for (six, version) in [
        (false, LsoVersion::V1),
        (false, LsoVersion::V2),
        (true, LsoVersion::V2),
    ] {
        let packet = large(six, 40_000, 1460, version);
        let outgoing = Sender::new(&[], Offers::EVERYTHING)
            .prepare_large(1, &packet)
            .unwrap();
        let frame = &outgoing.frame;
        assert_eq!(frame.len(), packet.head.len() + 40_000);
        let at = if six { 18 } else { 16 };
        let length = u16::from_be_bytes([frame[at], frame[at + 1]]);
        let expected = match version {
            LsoVersion::V1 => frame.len() - 14,
            LsoVersion::V2 => 0,
        };
        assert_eq!(usize::from(length), expected);
        // The sum of the pseudo header without the length: 192.0.2.1, 192.0.2.2 and 6.
        if !six {
            let sum = u32::from(u16::from_be_bytes([frame[50], frame[51]]));
            assert_eq!(sum, (0xC000 + 0x0201 + 0xC000 + 0x0202 + 6) % 0xFFFF);
        }
        net_buffer_list(&outgoing, &[], 1000).unwrap();
    }
    let six = large(true, 40_000, 1460, LsoVersion::V1);
    let mut sender = Sender::new(&[], Offers::EVERYTHING);
    assert!(
        sender.prepare_large(1, &six).is_err(),
        "version 1 is for IPv4"
    );
    let mut padded = large(false, 4000, 1460, LsoVersion::V2);
    padded.discard = 4;
    assert!(sender.prepare_large(1, &padded).is_err());
}

#[test]
fn what_goes_down_with_an_sa() {
    let shapes = [
        (Shape::default(), "aes-gcm-256", 16, [6, 9, 0, 5]),
        (
            Shape::default(),
            "aes-cbc-128+hmac-sha-1-96",
            24,
            [6, 9, 0, 5],
        ),
        (
            Shape {
                udp_esp: Some(UdpPlace::Outer),
                ..Shape::default()
            },
            "aes-gcm-128",
            24,
            [6, 9, 0, 7],
        ),
        (
            Shape {
                protocol: Protocol::AhEsp,
                ah: Authentication::HmacSha1,
                ..Shape::default()
            },
            "aes-gcm-128",
            40,
            [6, 9, 5, 11],
        ),
    ];
    for (shape, suite, headers, word) in shapes {
        let mut packet = large(false, 10_000, 1300, LsoVersion::V2);
        packet.discard = 9;
        let sas = sas(shape, suite, &packet);
        let mut sender = Sender::new(&sas, Offers::EVERYTHING);
        let outgoing = sender.prepare_large(1, &packet).unwrap();
        let frame = &outgoing.frame;
        assert_eq!(frame.len(), packet.head.len() + headers + 10_000 + 9);
        let tcp = 34 + headers;
        assert_eq!(frame[tcp..tcp + 16], packet.head[34..50]);
        assert_eq!(frame[tcp + 20..tcp + 32], OPTIONS);
        assert_eq!(frame[tcp + 32..][..10_000], packet.payload);
        let protection = outgoing.segments[0].protection.unwrap();
        let header = large_send_header(&protection, 9).unwrap();
        assert_eq!(header.to_le_bytes()[..4], word);

        // Each segment is a packet of the SA, the numbers in a row.
        assert_eq!(outgoing.segments.len(), 8);
        for (index, segment) in outgoing.segments.iter().enumerate() {
            let esp = segment.protection.unwrap().esp().unwrap();
            assert_eq!((esp.sequence, esp.next_header), (index as u64 + 1, 6));
            seal_in_software(segment, &sas).unwrap();
        }
        let next = sender.prepare_large(2, &packet).unwrap();
        let esp = next.segments[0].protection.unwrap().esp().unwrap();
        assert_eq!(esp.sequence, 9);
        net_buffer_list(&outgoing, &[1], 1000).unwrap();
    }
    // "The packet won't be sent through a tunnel".
    let packet = large(false, 10_000, 1300, LsoVersion::V2);
    for mode in [PlanMode::Tunnel, PlanMode::TransportOverTunnel] {
        let shape = Shape {
            mode,
            ..Shape::default()
        };
        let sas = sas(shape, "aes-gcm-256", &packet);
        let mut sender = Sender::new(&sas, Offers::EVERYTHING);
        assert!(sender.prepare_large(1, &packet).is_err());
    }
}
