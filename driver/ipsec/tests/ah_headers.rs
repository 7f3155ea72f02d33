//! What AH makes of the headers before it: mutable, predictable, malformed.

mod common;

use common::ah::*;
use common::*;
use ipsec::{
    AuthenticationAlgorithm, CryptoStatus, Direction, NotProcessed, SendError, SendRequest, Verdict,
};
use proptest::prelude::*;

/// Routers change what is mutable and nothing else, in headers with options too.
#[test]
fn every_flipped_bit_but_the_mutable() {
    for algorithm in ALGORITHMS {
        for ip in Ip::ALL {
            let mut sa = AhSa::new(algorithm).over(ip);
            sa.esn = Some(3);
            let engine = legacy_engine(2);
            let out = sa.add_to(&engine, Direction::Outbound).unwrap();
            sa.add_to(&engine, Direction::Inbound).unwrap();
            let frame = sa.frame(ip, 77, &payload(20), UDP);
            let mut whole = frame.bytes.clone();
            engine
                .seal(&simd(), &frame.request(out), &mut whole)
                .unwrap();
            for bit in 0..whole.len() * 8 {
                let byte = bit / 8;
                let mutable = if ip.is_v6() {
                    // That the routing header leads once more to where it is: predictable.
                    let predicted = ip == Ip::V6Extensions && bit == 51 * 8 + 7;
                    (bit >= 4 && byte < 4) || byte == 7 || predicted
                } else {
                    // Flags and fragment offset count as zeros, but make a fragment.
                    byte == 1
                        || (8..9).contains(&byte)
                        || (10..12).contains(&byte)
                        || bit == 49
                        || bit == 48
                };
                let mut packet = whole.clone();
                packet[byte] ^= 0x80 >> (bit % 8);
                let before = packet.clone();
                let verdict = engine.open(&simd(), &mut packet);
                assert_eq!(packet, before);
                let accepted = verdict == opened(None);
                assert_eq!(
                    accepted, mutable,
                    "{algorithm:?} {ip:?} byte {byte} bit {bit}"
                );
                if byte >= frame.ah + 8 {
                    assert_eq!(verdict, failure(CryptoStatus::TransportAhAuthFailed));
                }
            }
        }
    }
}

/// Changes the packet on its way as its routers do, and signs what arrives.
fn predicted(ip: Ip, front: &[u8], arrived: &[u8], counted: &[u8]) {
    for algorithm in ALGORITHMS {
        let sa = AhSa::new(algorithm).over(ip);
        let engine = legacy_engine(2);
        let out = sa.add_to(&engine, Direction::Outbound).unwrap();
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let plain = sa.frame(
            if ip.is_v6() { Ip::V6 } else { Ip::V4 },
            5,
            &payload(33),
            UDP,
        );
        let behind = &plain.bytes[plain.ah..];
        let total = front.len() + behind.len();
        let with = |front: &[u8]| {
            let mut packet = [front, behind].concat();
            if ip.is_v6() {
                packet[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
            } else {
                packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
            }
            packet
        };
        let frame = AhFrame {
            bytes: with(front),
            ah: front.len(),
        };
        let mut packet = frame.bytes.clone();
        engine
            .seal(&simd(), &frame.request(out), &mut packet)
            .unwrap();
        let mut expected = frame.bytes.clone();
        sa.sign(&mut expected, with(counted), frame.ah, 5);
        assert_eq!(packet, expected);
        // As it arrives.
        packet[..front.len()].copy_from_slice(&with(arrived)[..front.len()]);
        assert_eq!(engine.open(&simd(), &mut packet), opened(None));
    }
}

/// The destination is the last address of a source route; routes, time stamps and what is
/// not known count as zeros, router alert and security as they are.
#[test]
fn ipv4_options_on_their_way() {
    let fixed = |destination: [u8; 4], tos, flags, ttl, checksum| {
        let mut header = vec![0x4F, tos, 0, 0, 7, 7, flags, 0, ttl, 51, checksum, 0];
        header.extend(SOURCE_V4);
        header.extend(destination);
        header
    };
    let (first, second) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    for kind in [131, 137] {
        let route = |pointer, addresses: [[u8; 4]; 2]| {
            [vec![kind, 11, pointer], addresses.concat()].concat()
        };
        let rest = [
            &[1, 148, 4, 0, 0][..],
            &[68, 8, 5, 0, 1, 2, 3, 4],
            &[130, 4, 5, 6, 222, 4, 7, 7, 0, 9, 9, 9],
        ]
        .concat();
        let zeroed = [
            &[0; 11][..],
            &[1, 148, 4, 0, 0],
            &[0; 8],
            &[130, 4, 5, 6, 0, 0, 0, 0, 0, 9, 9, 9],
        ]
        .concat();
        let padding = [0; 4];
        let whole = |fixed: Vec<u8>, options: &[u8]| [&fixed[..], options, &padding].concat();
        predicted(
            Ip::V4,
            &whole(
                fixed(first, 0xB8, 0x40, 64, 1),
                &[route(4, [second, DESTINATION_V4]), rest.clone()].concat(),
            ),
            &whole(
                fixed(DESTINATION_V4, 0, 0, 61, 9),
                &[route(12, [first, second]), rest.clone()].concat(),
            ),
            &whole(fixed(DESTINATION_V4, 0, 0, 0, 0), &zeroed),
        );
    }
}

/// A routing header's addresses move by one with every hop; two types do that.
#[test]
fn ipv6_routing_on_its_way() {
    let hop = |byte| [byte; 16];
    for kind in [0, 2] {
        let packet = |destination: [u8; 16], left, hops: [[u8; 16]; 3], traffic: u8, limit: u8| {
            let mut packet = vec![
                0x60u8 | traffic >> 4,
                traffic << 4,
                traffic,
                traffic,
                0,
                0,
                0,
                limit,
            ];
            packet.extend(SOURCE_V6);
            packet.extend(destination);
            // An option that may change and one that may not.
            let changes = if limit == 0 { 0 } else { limit };
            packet.extend([43, 0, 0x3E, 1, changes, 0x1E, 1, 7]);
            packet.extend([51, 6, kind, left, 1, 2, 3, 4]);
            packet.extend(hops.concat());
            packet
        };
        let end = packet(hop(4), 0, [hop(1), hop(2), hop(3)], 0, 0);
        let arrived = packet(hop(4), 0, [hop(1), hop(2), hop(3)], 0x45, 60);
        predicted(
            Ip::V6,
            &packet(hop(1), 3, [hop(2), hop(3), hop(4)], 0xAB, 64),
            &arrived,
            &end,
        );
        predicted(
            Ip::V6,
            &packet(hop(3), 1, [hop(1), hop(2), hop(4)], 0xAB, 62),
            &arrived,
            &end,
        );
    }
}

/// Of two routing headers the one that is used up stays as it is, before the other or behind it.
#[test]
fn ipv6_routing_that_is_used_up() {
    let used_up = |next: u8| [&[next, 2, 0, 0, 9, 8, 7, 6][..], &[5; 16]].concat();
    let route =
        |next: u8, left, hop: [u8; 16]| [&[next, 2, 0, left, 1, 2, 3, 4][..], &hop].concat();
    for used_up_first in [true, false] {
        let packet = |destination: [u8; 16], left, hop| {
            let extensions = if used_up_first {
                [used_up(43), route(51, left, hop)]
            } else {
                [route(43, left, hop), used_up(51)]
            };
            let mut packet = vec![0x60, 0, 0, 0, 0, 0, 43, 0];
            packet.extend(SOURCE_V6);
            packet.extend(destination);
            packet.extend(extensions.concat());
            packet
        };
        let (on_its_way, end) = (packet([1; 16], 1, [2; 16]), packet([2; 16], 0, [1; 16]));
        predicted(Ip::V6, &on_its_way, &end, &end);
    }
}

/// Options that end nowhere, a routing header that nobody knows: the packet is not sent, and a
/// received one is the transport's to judge.
#[test]
fn headers_that_cannot_be_predicted() {
    let sa = AhSa::new(AuthenticationAlgorithm::Sha256);
    let engine = engine(4);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let out_v6 = sa
        .clone()
        .over(Ip::V6)
        .add_to(&engine, Direction::Outbound)
        .unwrap();
    sa.clone()
        .over(Ip::V6)
        .add_to(&engine, Direction::Inbound)
        .unwrap();
    let check = |frame: AhFrame, out| {
        let mut packet = frame.bytes.clone();
        assert_eq!(
            engine.seal(&simd(), &frame.request(out), &mut packet),
            Err(SendError::Malformed)
        );
        assert_eq!(
            engine.open(&simd(), &mut packet),
            Verdict::NotProcessed(NotProcessed::UnsupportedHeader)
        );
        assert_eq!(packet, frame.bytes);
    };
    for length in [0, 1, 9, 255] {
        let mut frame = sa.frame(Ip::V4Options, 1, b"data", UDP);
        frame.bytes[21] = length;
        check(frame, out);
    }
    // Source routes without a pointer, without a whole address, and more than one.
    let routes: [&[u8]; 4] = [
        &[131, 2, 0, 0],
        &[137, 4, 4, 0],
        &[131, 6, 4, 9, 9, 9, 0, 0],
        &[131, 7, 4, 9, 9, 9, 9, 137, 7, 4, 8, 8, 8, 8, 0, 0],
    ];
    for route in routes {
        let mut frame = sa.frame(Ip::V4, 1, b"data", UDP);
        frame.bytes.splice(20..20, route.iter().copied());
        frame.bytes[0] += (route.len() / 4) as u8;
        frame.bytes[3] += route.len() as u8;
        frame.ah += route.len();
        check(frame, out);
    }
    let mut frame = sa.frame(Ip::V6Extensions, 1, b"data", UDP);
    // Segments left of a type that is not known; of type 0, more than there are.
    frame.bytes[50..52].copy_from_slice(&[4, 1]);
    check(frame.clone(), out_v6);
    frame.bytes[50..52].copy_from_slice(&[0, 2]);
    check(frame, out_v6);
    // A Home Address, which the receiver exchanges with the source.
    let mut frame = sa.frame(Ip::V6Extensions, 1, b"data", UDP);
    frame.bytes[42..44].copy_from_slice(&[201, 4]);
    check(frame, out_v6);
    assert_eq!(engine.counters().unsupported_headers, 11);
    assert!(
        engine
            .sas()
            .all(|sa| sa.counters == ipsec::SaCounters::default())
    );
}

proptest! {
    /// Noise in front of AH, and within: nothing panics, is accepted or changed.
    #[test]
    fn noise_is_refused(
        version in prop_oneof![Just(0x45u8), Just(0x46), Just(0x4F), Just(0x60)],
        protocol in prop_oneof![Just(51u8), Just(0), Just(43), Just(60), any::<u8>()],
        mut packet in proptest::collection::vec(any::<u8>(), 60..300),
        at in 20..200usize,
    ) {
        let engine = legacy_engine(4);
        let mut handles = Vec::new();
        for ip in [Ip::V4, Ip::V6] {
            for direction in [Direction::Inbound, Direction::Outbound] {
                let sa = AhSa::new(AuthenticationAlgorithm::Sha1).over(ip);
                handles.push(sa.add_to(&engine, direction).unwrap());
            }
        }
        let at = at & !3;
        packet[0] = version;
        packet[6..8].copy_from_slice(&[protocol, 0]);
        packet[9] = 51;
        let length = (packet.len() as u16).to_be_bytes();
        if version == 0x60 {
            packet[4..6].copy_from_slice(&[0, (length[1]).saturating_sub(40)]);
        } else {
            packet[2..4].copy_from_slice(&length);
            packet[6] = 0;
        }
        if let Some(place) = packet.get_mut(at..at + 12) {
            place[1] = 4;
            place[4..8].copy_from_slice(&AH_SPI.to_be_bytes());
        }
        let before = packet.clone();
        let verdict = engine.open(&simd(), &mut packet);
        prop_assert_ne!(verdict, opened(None));
        prop_assert_eq!(&packet, &before);
        for handle in handles {
            let request = SendRequest {
                transport: Some(handle),
                tunnel: None,
                next_header: 0,
                pad_length: 0,
                ah_header_offset: (at / 4) as u8,
                esp_header_offset: 0,
            };
            let mut packet = before.clone();
            if engine.seal(&simd(), &request, &mut packet).is_err() {
                prop_assert_eq!(&packet, &before);
            }
        }
    }
}
