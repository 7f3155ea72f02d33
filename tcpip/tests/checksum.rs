//! What is asked for checksums, and what may be said of received ones.

use tcpip::{
    checksum::{ChecksumStamp, UpperLayer, check, leave_to_the_miniport, truth},
    large_send::{LargePacket, LsoVersion, tcp_head},
    outbound::Sender,
    packet::Layout,
    plan::{Plan, PlanMode, Shape},
    policy::{Keys, Offers},
    synthetic,
};

fn tcp(six: bool) -> Vec<u8> {
    let texts = if six {
        ["2001:db8::1", "2001:db8::2"]
    } else {
        ["192.0.2.1", "192.0.2.2"]
    };
    let [source, destination] = texts.map(|text| text.parse().unwrap());
    let packet = LargePacket {
        head: tcp_head(source, destination, &[], 0x10),
        payload: b"some odd bytes!".to_vec(),
        mss: 100,
        version: LsoVersion::V2,
        discard: 0,
    };
    packet.segments().unwrap().remove(0)
}

fn packets() -> Vec<Vec<u8>> {
    vec![
        tcp(false),
        tcp(true),
        synthetic::udp_v4(75).unwrap(),
        synthetic::udp_v6(75).unwrap(),
    ]
}

#[test]
fn every_bit_of_a_packet_counts() {
    for frame in packets() {
        let right = truth(&frame);
        assert_eq!(right.ip, (frame[14] >> 4 == 4).then_some(true));
        assert_eq!([right.tcp, right.udp].iter().flatten().count(), 1);
        assert!(right.tcp == Some(true) || right.udp == Some(true));
        let layout = Layout::of(&frame).unwrap();
        for at in layout.payload + 8..frame.len() {
            let mut wrong = frame.clone();
            wrong[at] ^= 0x40;
            let found = truth(&wrong);
            // TCP's data offset decides whether there is a TCP header at all.
            assert!(
                found.tcp != Some(true) && found.udp != Some(true),
                "byte {at}"
            );
            assert_eq!(found.ip, right.ip);
        }
    }
}

#[test]
fn words_of_received_packets() {
    let of = |bits| ChecksumStamp::from_info(bits);
    let none = ChecksumStamp::default();
    assert_eq!(of(0), none);
    assert_eq!(of(1).tcp, Some(false));
    assert_eq!(of(1 << 1).udp, Some(false));
    assert_eq!(of(1 << 2).ip, Some(false));
    assert_eq!(of(1 << 3).tcp, Some(true));
    assert_eq!(of(1 << 4).udp, Some(true));
    assert_eq!(of(1 << 5).ip, Some(true));
    for contradiction in [0b1001, 0b1_0010, 0b10_0100, 1 << 7, 1 << 8] {
        assert!(of(contradiction).contradiction);
        assert!(check(of(contradiction), &tcp(false), None).is_err());
    }
}

/// Nothing may be said, everything that is said must be true.
#[test]
fn only_the_truth_passes() {
    for frame in packets() {
        let layout = Layout::of(&frame).unwrap();
        let field = UpperLayer::find(&frame, &layout).unwrap().checksum_field();
        let mut wrong = frame.clone();
        wrong[field] ^= 1;
        for frame in [frame, wrong] {
            let right = truth(&frame);
            assert!(check(right, &frame, None).is_ok());
            assert!(check(ChecksumStamp::default(), &frame, None).is_ok());
            for said in [Some(true), Some(false)] {
                for (index, is) in [right.ip, right.tcp, right.udp].into_iter().enumerate() {
                    let mut stamp = right;
                    *[&mut stamp.ip, &mut stamp.tcp, &mut stamp.udp][index] = said;
                    assert_eq!(check(stamp, &frame, None).is_ok(), said == is);
                }
            }
        }
    }
}

/// Of a tunnel both IP headers count, and the transport header is that of the packet in it.
#[test]
fn tunnels_have_two_ip_headers() {
    let plain = tcp(false);
    let shape = Shape {
        mode: PlanMode::Tunnel,
        ..Shape::default()
    };
    let plan = Plan {
        shape,
        suite: "null+hmac-sha-1-96".parse().unwrap(),
        icv_length: 16,
        esn: false,
        keys: Keys::Seed(1),
    };
    let file = plan
        .make([plain.as_slice()].into_iter(), &Offers::EVERYTHING)
        .unwrap();
    let outgoing = Sender::new(&file.sas, Offers::EVERYTHING)
        .prepare(1, &plain)
        .unwrap();
    let said = ChecksumStamp {
        ip: Some(true),
        tcp: Some(true),
        ..ChecksumStamp::default()
    };
    assert!(check(said, &outgoing.frame, Some(&plain)).is_ok());
    let mut inner = plain.clone();
    inner[24] ^= 1;
    assert!(check(said, &outgoing.frame, Some(&inner)).is_err());
    let mut outer = outgoing.frame.clone();
    outer[24] ^= 1;
    assert!(check(said, &outer, Some(&plain)).is_err());
}

#[test]
fn checksums_that_are_left_to_the_miniport() {
    // (bits that ask, offset of the TCP header)
    for (frame, bits, offset) in [
        (tcp(false), 0b10101, 34),
        (tcp(true), 0b00110, 54),
        (synthetic::udp_v4(75).unwrap(), 0b11001, 0),
        (synthetic::udp_v6(75).unwrap(), 0b01010, 0),
    ] {
        let mut down = frame.clone();
        let word = leave_to_the_miniport(&mut down, &frame, None).unwrap();
        assert_eq!((word & 0xFFFF, word >> 16), (bits, offset));
        assert_ne!(down, frame);
        let layout = Layout::of(&down).unwrap();
        let upper = UpperLayer::find(&down, &layout).unwrap();
        upper.fill(&mut down, &layout);
        let end = layout.end;
        tcpip::packet::set_ip_length(&mut down, layout.version, layout.ip, end).unwrap();
        assert_eq!(down, frame);
    }
}

#[test]
fn a_tag_does_not_matter() {
    for frame in packets() {
        let mut tagged = frame.clone();
        tagged.splice(12..12, [0x81, 0, 0x20, 5]);
        assert_eq!(truth(&tagged), truth(&frame));
    }
    assert_eq!(truth(&[0x81; 13]), ChecksumStamp::default());
}

/// RFC 1122 section 4.1.3.5: the checksum of a source-routed packet is over where it ends up.
#[test]
fn a_route_leads_to_the_destination() {
    let mut frame = synthetic::udp_v4(75).unwrap();
    let right = truth(&frame);
    assert_eq!(right.udp, Some(true));
    let hop = frame[30..34].to_vec();
    // A loose source route with one address to come: the destination of now is a hop before it.
    let option = [&[131, 7, 4][..], &hop, &[0]].concat();
    frame.splice(34..34, option);
    frame[14] += 2;
    frame[30..34].copy_from_slice(&[203, 0, 113, 9]);
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    assert_eq!(truth(&frame).udp, Some(true));
    frame[38] ^= 1;
    assert_eq!(truth(&frame).udp, Some(false));
}
