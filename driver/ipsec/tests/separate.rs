//! ESP with separate algorithms, and with AES-GMAC, in transport mode.

mod common;

use std::collections::HashSet;

use common::suites::every_pair;
use common::*;
use ipsec::{AuthenticationAlgorithm, CryptoStatus, Direction, EncryptionAlgorithm, SendError};

/// Every algorithm, kind of header and size, with and without ESN.
#[test]
fn what_is_sealed_is_what_others_seal() {
    let sizes = [
        0, 1, 2, 3, 4, 5, 6, 13, 14, 15, 16, 17, 30, 63, 64, 576, 1420, 9000,
    ];
    for pair in every_pair() {
        for ip in Ip::ALL {
            for esn in [None, Some(0), Some(0x8000_0001)] {
                let mut sa = if ip.is_v6() {
                    pair.clone().v6()
                } else {
                    pair.clone()
                };
                sa.esn = esn;
                let engine = legacy_engine(4);
                let out = sa.add_to(&engine, Direction::Outbound).unwrap();
                sa.add_to(&engine, Direction::Inbound).unwrap();
                let simd = simd();
                let (mut outbound, mut inbound) = (engine.outbound(&simd), engine.inbound(&simd));
                for (sequence, size) in (1..).zip(sizes) {
                    let frame = Frame::new(ip, &sa, sequence, &payload(size));
                    let mut packet = frame.bytes.clone();
                    outbound.seal(&frame.request(out), &mut packet).unwrap();
                    let number = u64::from(esn.unwrap_or(0)) << 32 | u64::from(sequence);
                    let iv = packet[frame.esp + 8..][..sa.iv()].to_vec();
                    assert_eq!(packet, sa.seal_as_engine(&frame, number, &iv), "{sa:?}");

                    let expected = frame.opened(&packet, &sa);
                    assert_eq!(inbound.open(&mut packet), success(frame.pad_length));
                    assert_eq!(packet, expected);
                }
            }
        }
    }
}

/// No IV comes twice, also over the wrap of the low half, and those of CBC do not look like
/// numbers.
#[test]
fn ivs_are_fresh() {
    for sa in every_pair() {
        let sa = sa.esn(0);
        if sa.iv() == 0 {
            continue;
        }
        let engine = legacy_engine(1);
        let out = sa.add_to(&engine, Direction::Outbound).unwrap();
        let mut seen = HashSet::new();
        for number in (1..200)
            .chain((1 << 31) - 5..(1 << 31) + 5)
            .chain((1 << 32) - 20..(1 << 32) + 20)
        {
            let number: u64 = number;
            let frame = Frame::new(Ip::V4, &sa, number as u32, b"");
            let mut packet = frame.bytes.clone();
            engine
                .seal(&simd(), &frame.request(out), &mut packet)
                .unwrap();
            let iv = packet[frame.esp + 8..][..sa.iv()].to_vec();
            let plain = iv.ends_with(&number.to_be_bytes());
            assert_eq!(plain, sa.algorithm == EncryptionAlgorithm::Null);
            assert!(seen.insert(iv), "{sa:?} {number:#x}");
        }
    }
}

/// Header, IV, body, ICV and the high half that is not in the packet.
#[test]
fn every_flipped_bit_is_noticed() {
    for sa in every_pair() {
        let sa = sa.esn(3);
        let engine = legacy_engine(2);
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = Frame::new(Ip::V4, &sa, 77, &payload(21));
        let iv = vec![0x1F; sa.iv()];
        let whole = sa.seal_as_engine(&frame, 3 << 32 | 77, &iv);
        for bit in (frame.esp + 4) * 8..whole.len() * 8 {
            let mut packet = whole.clone();
            packet[bit / 8] ^= 0x80 >> (bit % 8);
            let before = packet.clone();
            let verdict = engine.open(&simd(), &mut packet);
            assert_eq!(verdict, failure(CryptoStatus::TransportEspAuthFailed));
            assert_eq!(packet, before);
        }
        let mut packet = sa.seal_as_engine(&frame, 4 << 32 | 77, &iv);
        assert_eq!(
            engine.open(&simd(), &mut packet),
            failure(CryptoStatus::TransportEspAuthFailed)
        );
        let mut packet = whole;
        assert_eq!(engine.open(&simd(), &mut packet), success(frame.pad_length));
    }
}

/// A body that is not whole blocks, or has no room for its trailer.
#[test]
fn lengths_that_do_not_fit() {
    for sa in every_pair() {
        let engine = legacy_engine(2);
        let out = sa.add_to(&engine, Direction::Outbound).unwrap();
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = Frame::new(Ip::V4, &sa, 1, &payload(40));
        let body = frame.end - frame.esp - 8 - sa.iv() - sa.icv as usize;
        for cut in 1..=frame.end - frame.esp {
            let length = frame.end - cut;
            let mut packet = frame.bytes[..length].to_vec();
            packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            let before = packet.clone();
            let fits = cut < body && (body - cut).is_multiple_of(sa.alignment());
            let sealed = engine.seal(&simd(), &frame.request(out), &mut packet);
            if !fits {
                assert_eq!(sealed, Err(SendError::LengthMismatch), "{sa:?} {cut}");
            } else {
                assert_eq!(sealed, Err(SendError::TrailerMismatch), "{sa:?} {cut}");
            }
            assert_eq!(packet, before);
            if length < frame.esp + 4 {
                continue;
            }
            let expected = if fits {
                CryptoStatus::TransportEspAuthFailed
            } else {
                CryptoStatus::InvalidPacketSyntax
            };
            assert_eq!(engine.open(&simd(), &mut packet), failure(expected));
            assert_eq!(packet, before);
        }
    }
}

/// A key of 64-bit blocks lives for 2^20 of them.
#[test]
fn small_blocks_wear_out() {
    let sa = Sa::separate(
        EncryptionAlgorithm::TripleDesCbc,
        AuthenticationAlgorithm::Sha1,
    );
    let engine = legacy_engine(1);
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let mut bytes = 0;
    for sequence in 1..=140 {
        let frame = Frame::new(Ip::V4, &sa, sequence, &payload(60_000));
        bytes += frame.end - frame.esp - 8 - 8 - 12;
        let mut packet = sa.seal_as_engine(&frame, u64::from(sequence), &[sequence as u8; 8]);
        let ipsec::Verdict::Processed(outcome) = engine.open(&simd(), &mut packet) else {
            panic!("not processed");
        };
        assert_eq!(outcome.sa_delete_request, bytes >= 1 << 23, "{bytes}");
    }
}
