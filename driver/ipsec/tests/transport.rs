//! ESP with AES-GCM in transport mode, byte for byte against another implementation.

mod common;

use common::*;
use ipsec::{Direction, EncryptionAlgorithm, Verdict};

const ALGORITHMS: [EncryptionAlgorithm; 3] = [
    EncryptionAlgorithm::AesGcm128,
    EncryptionAlgorithm::AesGcm192,
    EncryptionAlgorithm::AesGcm256,
];

fn sa(algorithm: EncryptionAlgorithm, icv: u32, ip: Ip, esn: Option<u32>) -> Sa {
    let mut sa = Sa::new(algorithm, icv);
    if ip.is_v6() {
        sa = sa.v6();
    }
    sa.esn = esn;
    sa
}

/// Every algorithm, ICV length, kind of header, and with and without ESN.
#[test]
fn what_is_sealed_is_what_others_seal() {
    let sizes = [0, 1, 2, 3, 4, 15, 16, 17, 63, 64, 576, 1000, 1420, 9000];
    for algorithm in ALGORITHMS {
        for icv in [8, 12, 16] {
            for ip in Ip::ALL {
                for esn in [None, Some(0), Some(0x8000_0001)] {
                    let sa = sa(algorithm, icv, ip, esn);
                    let engine = engine(4);
                    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
                    sa.add_to(&engine, Direction::Inbound).unwrap();
                    let simd = simd();
                    let mut outbound = engine.outbound(&simd);
                    let mut inbound = engine.inbound(&simd);
                    for (sequence, size) in (1..).zip(sizes) {
                        let frame = Frame::new(ip, &sa, sequence, &payload(size));
                        let mut packet = frame.bytes.clone();
                        outbound.seal(&frame.request(out), &mut packet).unwrap();
                        let number = u64::from(esn.unwrap_or(0)) << 32 | u64::from(sequence);
                        assert_eq!(packet, sa.seal_elsewhere(&frame, number));

                        let expected = frame.opened(&packet, &sa);
                        assert_eq!(inbound.open(&mut packet), success(frame.pad_length));
                        assert_eq!(packet, expected);
                    }
                }
            }
        }
    }
}

/// Every payload length, so every padding and every residue of the block.
#[test]
fn every_payload_length() {
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    let engine = engine(4);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let simd = simd();
    for length in 0..1500 {
        let frame = Frame::new(Ip::V4, &sa, length + 1, &payload(length as usize));
        let mut packet = frame.bytes.clone();
        engine
            .seal(&simd, &frame.request(out), &mut packet)
            .unwrap();
        assert_eq!(packet, sa.seal_elsewhere(&frame, u64::from(length + 1)));
        assert_eq!(engine.open(&simd, &mut packet), success(frame.pad_length));
        assert_eq!(
            packet[frame.esp + 16..][..length as usize],
            payload(length as usize)
        );
    }
    let counters = engine.counters();
    assert_eq!((counters.sealed, counters.opened), (1500, 1500));
    assert_eq!(counters.sealed_bytes, counters.opened_bytes);
    let totals: Vec<_> = engine.sas().map(|sa| sa.counters).collect();
    assert!(
        totals
            .iter()
            .all(|sa| sa.packets == 1500 && sa.bytes == counters.sealed_bytes)
    );
}

/// A sender may choose any IV (RFC 4106 section 3.1).
#[test]
fn foreign_ivs_are_taken() {
    let sa = Sa::new(EncryptionAlgorithm::AesGcm256, 12);
    let engine = engine(1);
    sa.add_to(&engine, Direction::Inbound).unwrap();
    for iv in [0, 1, u64::MAX, 0x0123_4567_89AB_CDEF] {
        let frame = Frame::new(Ip::V4, &sa, 5, b"payload!");
        let mut packet = sa.seal_with_iv(&frame, 5, iv);
        assert_eq!(engine.open(&simd(), &mut packet), success(frame.pad_length));
        assert_eq!(packet[frame.esp + 16..][..8], *b"payload!");
    }
}

/// Runts are padded to 60 bytes on Ethernet, after the IP packet's end.
#[test]
fn ethernet_padding_is_not_part_of_the_packet() {
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 8);
    let engine = engine(2);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let frame = Frame::new(Ip::V4, &sa, 1, b"");
    let mut packet = frame.bytes.clone();
    packet.extend([0xA5; 9]);
    engine
        .seal(&simd(), &frame.request(out), &mut packet)
        .unwrap();
    assert_eq!(packet[..frame.end], sa.seal_elsewhere(&frame, 1));
    assert_eq!(engine.open(&simd(), &mut packet), success(frame.pad_length));
    assert_eq!(packet[frame.end..], [0xA5; 9]);
}

/// A transport may pad by up to 255 bytes, to hide a length.
#[test]
fn long_padding() {
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    let engine = engine(2);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let mut body = payload(3);
    body.extend(1..=255);
    body.extend([255, 6]);
    let mut frame = Frame::new(Ip::V4, &sa, 1, &body[..body.len() - 2]);
    frame.pad_length = 255;
    frame.next_header = 6;
    let trailer = frame.end - 16 - 2;
    frame.bytes[trailer..trailer + 2].copy_from_slice(&[255, 6]);
    let mut packet = frame.bytes.clone();
    engine
        .seal(&simd(), &frame.request(out), &mut packet)
        .unwrap();
    let Verdict::Processed(outcome) = engine.open(&simd(), &mut packet) else {
        panic!("not processed");
    };
    let trailer = outcome.trailer.unwrap();
    assert_eq!((trailer.next_header, trailer.pad_length), (6, 255));
}
