//! AH in transport and tunnel mode.

mod common;

use std::fs;
use std::path::Path;

use common::ah::*;
use common::*;
use ipsec::{
    AddError, Algorithm, AuthenticationAlgorithm, CryptoStatus, Direction, EncryptionAlgorithm,
    Engine, SaParams, SecurityAssociation, UdpEncapsulations,
};

/// Every algorithm, kind of header and size, with and without ESN, in both modes.
#[test]
fn what_is_signed_is_what_others_sign() {
    for algorithm in ALGORITHMS {
        for ip in Ip::ALL {
            for esn in [None, Some(0x8000_0001)] {
                let mut sa = AhSa::new(algorithm).over(ip);
                sa.esn = esn;
                let engine = legacy_engine(2);
                let out = sa.add_to(&engine, Direction::Outbound).unwrap();
                sa.add_to(&engine, Direction::Inbound).unwrap();
                for (sequence, size) in (1..).zip([0, 1, 15, 16, 17, 63, 64, 1420, 9000]) {
                    let inner = [headers(ip, UDP, size), payload(size)].concat();
                    let tunnel = if ip.is_v6() { 41 } else { 4 };
                    for (next_header, payload) in [(UDP, payload(size)), (tunnel, inner)] {
                        let frame = sa.frame(ip, sequence, &payload, next_header);
                        let mut packet = frame.bytes.clone();
                        engine
                            .seal(&simd(), &frame.request(out), &mut packet)
                            .unwrap();
                        let number = u64::from(esn.unwrap_or(0)) << 32 | u64::from(sequence);
                        let mut expected = frame.bytes.clone();
                        sa.sign(&mut expected, canonical(ip, &frame.bytes), frame.ah, number);
                        assert_eq!(packet, expected, "{sa:?} {ip:?} {size}");
                        assert_eq!(engine.open(&simd(), &mut packet), opened(None));
                        assert_eq!(packet, expected);
                    }
                }
            }
        }
    }
}

#[test]
fn scapy_is_received_and_signed_alike() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/scapy-ah.txt");
    let text = fs::read_to_string(path).unwrap();
    let mut received = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [_, algorithm, key, esn, sequence, mode, packet] =
            line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let algorithm = match algorithm {
            "HMAC-MD5-96" => AuthenticationAlgorithm::Md5,
            "HMAC-SHA1-96" => AuthenticationAlgorithm::Sha1,
            _ => AuthenticationAlgorithm::Sha256,
        };
        let mut sa = AhSa::new(algorithm);
        sa.key = hex::decode(key).unwrap();
        sa.esn = (esn != "-").then(|| u32::from_str_radix(esn, 16).unwrap());
        let packet = hex::decode(packet).unwrap();
        if packet[0] >> 4 == 6 {
            sa.endpoints = ANY_V6;
        }
        let sequence = u32::from_str_radix(sequence, 16).unwrap();
        let start = [0x0102_0304u32.to_be_bytes(), sequence.to_be_bytes()].concat();
        let at = packet.windows(8).position(|bytes| bytes == start).unwrap() - 4;
        let engine = legacy_engine(2);
        let mut association = sa.association();
        association.spi = 0x0102_0304;
        let add = |direction| {
            let params = SaParams {
                direction,
                endpoints: sa.endpoints,
                udp_encapsulation: UdpEncapsulations::NONE,
                associations: &[association],
            };
            engine.add_sa(&simd(), &params).unwrap()
        };
        add(Direction::Inbound);
        let out = add(Direction::Outbound);
        let mut open = packet.clone();
        assert_eq!(engine.open(&simd(), &mut open), opened(None), "{line}");
        assert_eq!(open, packet);

        let mut ours = packet.clone();
        ours[at + 12..at + 12 + sa.icv()].fill(0xEE);
        let frame = AhFrame {
            bytes: ours.clone(),
            ah: at,
        };
        engine
            .seal(&simd(), &frame.request(out), &mut ours)
            .unwrap();
        assert_eq!(ours, packet, "{line}");

        let mut damaged = packet.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let status = match mode {
            "tunnel" => CryptoStatus::TunnelAhAuthFailed,
            _ => CryptoStatus::TransportAhAuthFailed,
        };
        assert_eq!(engine.open(&simd(), &mut damaged), failure(status));
        received += 1;
    }
    assert_eq!(received, 66);
}

/// Lengths of AH that are not the SA's.
#[test]
fn received_lengths() {
    for ip in [Ip::V4, Ip::V6] {
        let sa = AhSa::new(AuthenticationAlgorithm::Sha1).over(ip);
        let engine = engine(1);
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = sa.frame(ip, 1, &payload(40), UDP);
        for length in 0..=255 {
            let mut packet = frame.bytes.clone();
            packet[frame.ah + 1] = length;
            let expected = match length {
                4 => CryptoStatus::TransportAhAuthFailed,
                // Padded as over IPv6.
                5 if ip == Ip::V4 => CryptoStatus::TransportAhAuthFailed,
                _ => CryptoStatus::InvalidPacketSyntax,
            };
            assert_eq!(
                engine.open(&simd(), &mut packet),
                failure(expected),
                "{length}"
            );
        }
        for length in frame.ah + 8..frame.ah + 24 {
            let mut packet = frame.bytes[..length].to_vec();
            assert_eq!(
                engine.open(&simd(), &mut packet),
                failure(CryptoStatus::InvalidPacketSyntax)
            );
        }
    }
}

/// What is advertised is taken, and keys have one length.
#[test]
fn what_sas_are_taken() {
    let take = |engine: &Engine, association: SecurityAssociation<'_>| {
        engine.add_sa(
            &simd(),
            &SaParams {
                direction: Direction::Inbound,
                endpoints: ANY_V4,
                udp_encapsulation: UdpEncapsulations::NONE,
                associations: &[association],
            },
        )
    };
    for engine in [engine(4), legacy_engine(4)] {
        let capabilities = engine.capabilities();
        assert!(capabilities.ah && capabilities.ah_esp_combined);
        for algorithm in ALGORITHMS {
            for length in 0..64 {
                let mut sa = AhSa::new(algorithm);
                let right = sa.key.len() == length;
                sa.key = vec![1; length];
                let added = sa.add_to(&engine, Direction::Inbound);
                let expected = match capabilities.authentication.contains(&algorithm) {
                    false => Some(AddError::NotSupported),
                    true if right => None,
                    true => Some(AddError::InvalidParameter),
                };
                assert_eq!(added.err(), expected, "{algorithm:?} {length}");
                engine.delete_all();
            }
        }
        let sa = AhSa::new(AuthenticationAlgorithm::Sha1);
        let mut association = sa.association();
        association.encryption = Some(Algorithm {
            identifier: EncryptionAlgorithm::Null,
            key: &[],
            additional_info: 0,
        });
        // Null encryption is none. A cipher is not AH's.
        for (key, expected) in [(&[][..], None), (&[1], Some(AddError::InvalidParameter))] {
            association.encryption.as_mut().unwrap().key = key;
            assert_eq!(take(&engine, association).err(), expected);
        }
        association.encryption = Some(Algorithm {
            identifier: EncryptionAlgorithm::AesCbc128,
            key: &[1; 16],
            additional_info: 0,
        });
        assert_eq!(take(&engine, association), Err(AddError::InvalidParameter));
    }
}
