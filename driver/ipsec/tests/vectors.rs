//! ESP packets by others, through the engine: of draft-mcgrew-gcm-test, and by scapy.

mod common;

use std::fs;
use std::path::Path;

use common::*;
use ipsec::{CryptoStatus, Direction, EncryptionAlgorithm, Outcome, Trailer, Verdict};

#[test]
fn draft_mcgrew_gcm_test_is_received() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let text = fs::read_to_string(path.join("draft-mcgrew-gcm-test-01.txt")).unwrap();
    let mut received = 0;
    for paragraph in text.split("\n\n").filter(|text| text.starts_with("key")) {
        let field = |name: &str| {
            let line = paragraph.lines().find(|line| line.starts_with(name));
            hex::decode(line.unwrap().split(' ').nth(1).unwrap()).unwrap()
        };
        let (key, packet, plaintext, seq) = (
            field("key"),
            field("packet"),
            field("plaintext"),
            field("seq"),
        );
        let spi = u32::from_be_bytes(packet[..4].try_into().unwrap());
        // RFC 4303 section 2.1: zero is for local use. One case has it all the same.
        if spi == 0 {
            continue;
        }
        let algorithm = match key.len() {
            16 => EncryptionAlgorithm::AesGcm128,
            24 => EncryptionAlgorithm::AesGcm192,
            _ => EncryptionAlgorithm::AesGcm256,
        };
        let mut sa = Sa::new(algorithm, 16);
        sa.key = [key, field("salt")].concat();
        sa.spi = spi;
        if let [h0, h1, h2, h3, _, _, _, _] = seq[..] {
            sa.esn = Some(u32::from_be_bytes([h0, h1, h2, h3]));
        }
        for ip in Ip::ALL {
            sa.endpoints = if ip.is_v6() { ANY_V6 } else { ANY_V4 };
            let engine = engine(1);
            sa.add_to(&engine, Direction::Inbound).unwrap();
            let mut bytes = headers(ip, 50, packet.len());
            let start = bytes.len();
            bytes.extend(&packet);
            let verdict = engine.open(&simd(), &mut bytes);
            let [.., pad_length, next_header] = plaintext[..] else {
                panic!("no trailer");
            };
            let low = u32::from_be_bytes(packet[4..8].try_into().unwrap());
            // The last sequence numbers are in use.
            let exhausted = sa.esn.map_or(low, |high| high) > 0xF000_0000;
            assert_eq!(
                verdict,
                Verdict::Processed(Outcome {
                    next_crypto_done: false,
                    status: CryptoStatus::Success,
                    sa_delete_request: exhausted,
                    trailer: Some(Trailer {
                        next_header,
                        pad_length
                    }),
                })
            );
            assert_eq!(bytes[start + 16..bytes.len() - 16], plaintext);
            assert_eq!(bytes[start..start + 16], packet[..16]);
        }
        received += 1;
    }
    assert_eq!(received, 13);
}

#[test]
fn scapy_is_received() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/scapy-esp.txt");
    let text = fs::read_to_string(path).unwrap();
    let mut received = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [
            cipher,
            key,
            authentication,
            authentication_key,
            esn,
            _,
            packet,
            opened,
        ] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let unhex = |field| hex::decode(field).unwrap();
        let (mut packet, opened) = (unhex(packet), unhex(opened));
        let mut sa = scapy::sa([cipher, key, authentication, authentication_key]);
        sa.esn = scapy::esn(esn);
        let mut header = 20;
        if packet[0] >> 4 == 6 {
            sa.endpoints = ANY_V6;
            header = 40;
        }
        let engine = legacy_engine(1);
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let sealed = packet.clone();
        let Verdict::Processed(outcome) = engine.open(&simd(), &mut packet) else {
            panic!("not processed: {line}");
        };
        assert_eq!(outcome.status, CryptoStatus::Success, "{line}");
        let [.., pad_length, next_header] = opened[..] else {
            panic!("no trailer");
        };
        let trailer = Trailer {
            next_header,
            pad_length,
        };
        assert_eq!(outcome.trailer, Some(trailer));
        let body = header + 8 + sa.iv();
        assert_eq!(packet[body..packet.len() - sa.icv as usize], opened);
        assert_eq!(packet[..body], sealed[..body]);
        received += 1;
    }
    assert_eq!(received, 288);
}
