//! AH with ESP: bundles of both in one SA, and one as the tunnel of the other.

mod common;

use common::ah::*;
use common::*;
use ipsec::{
    AuthenticationAlgorithm, CryptoStatus, Direction, EncryptionAlgorithm, Outcome, SaParams,
    SecurityAssociation, SendError, SendRequest, Trailer, UdpEncapsulations, Verdict,
};

/// AH over ESP: all algorithms of AH with some of ESP, ESP without an ICV of its own among
/// them.
#[test]
fn bundles() {
    let mut alone = Sa::separate(
        EncryptionAlgorithm::AesCbc128,
        AuthenticationAlgorithm::Sha1,
    );
    (alone.icv, alone.authentication) = (0, None);
    let within = [
        Sa::new(EncryptionAlgorithm::AesGcm128, 16),
        Sa::separate(EncryptionAlgorithm::AesCbc256, AuthenticationAlgorithm::Md5),
        Sa::separate(EncryptionAlgorithm::Null, AuthenticationAlgorithm::Sha1),
        Sa::separate(
            EncryptionAlgorithm::TripleDesCbc,
            AuthenticationAlgorithm::Sha1,
        ),
        alone,
    ];
    for algorithm in ALGORITHMS {
        for esp in &within {
            for ip in Ip::ALL {
                let mut sa = AhSa::new(algorithm).over(ip);
                sa.esp = Some(esp.clone());
                let engine = legacy_engine(2);
                let out = sa.add_to(&engine, Direction::Outbound).unwrap();
                sa.add_to(&engine, Direction::Inbound).unwrap();
                let inside = Frame::new(Ip::V4, esp, 9, &payload(50));
                let frame = sa.frame(ip, 7, &inside.bytes[inside.esp..], 50);
                let start = frame.bytes.len() - (inside.end - inside.esp);
                let request = SendRequest {
                    next_header: UDP,
                    pad_length: inside.pad_length,
                    esp_header_offset: (start / 4) as u8,
                    ..frame.request(out)
                };
                let mut packet = frame.bytes.clone();
                engine.seal(&simd(), &request, &mut packet).unwrap();

                // ESP is what it would be alone, and AH is over it.
                let iv = packet[start + 8..][..esp.iv()].to_vec();
                let mut expected = frame.bytes.clone();
                if esp.icv != 0 {
                    let sealed = esp.seal_as_engine(&inside, 9, &iv);
                    expected[start..].copy_from_slice(&sealed[inside.esp..]);
                } else {
                    expected[start..].copy_from_slice(&packet[start..]);
                    let body = start + 8 + esp.iv();
                    assert_ne!(expected[body..], frame.bytes[body..]);
                }
                let counted = canonical(ip, &expected);
                sa.sign(&mut expected, counted, frame.ah, 7);
                assert_eq!(packet, expected);

                // A wrong ICV of AH: nothing is decrypted.
                let mut damaged = packet.clone();
                *damaged.last_mut().unwrap() ^= 1;
                let before = damaged.clone();
                assert_eq!(
                    engine.open(&simd(), &mut damaged),
                    failure(CryptoStatus::TransportAhAuthFailed)
                );
                assert_eq!(damaged, before);
                // A wrong ICV of ESP within a right one of AH.
                if esp.icv != 0 {
                    let mut damaged = packet.clone();
                    *damaged.last_mut().unwrap() ^= 1;
                    let counted = canonical(ip, &damaged);
                    sa.sign(&mut damaged, counted, frame.ah, 7);
                    let before = damaged.clone();
                    assert_eq!(
                        engine.open(&simd(), &mut damaged),
                        failure(CryptoStatus::TransportEspAuthFailed)
                    );
                    assert_eq!(damaged, before);
                }
                let trailer = Some(Trailer {
                    next_header: UDP,
                    pad_length: inside.pad_length,
                });
                assert_eq!(engine.open(&simd(), &mut packet), opened(trailer));
                let body = start + 8 + esp.iv();
                assert_eq!(packet[body..][..50], payload(50));

                // One of the two protocols alone.
                let other = sa.frame(ip, 8, &payload(20), UDP);
                assert_eq!(
                    engine.open(&simd(), &mut other.bytes.clone()),
                    failure(CryptoStatus::InvalidProtocol)
                );
                let mut only = Frame::new(ip, esp, 8, &payload(20)).bytes;
                assert_eq!(
                    engine.open(&simd(), &mut only),
                    failure(CryptoStatus::InvalidProtocol)
                );
            }
        }
    }
}

/// Each header is where the request says it is.
#[test]
fn requests_that_do_not_fit() {
    let mut sa = AhSa::new(AuthenticationAlgorithm::Sha1);
    let esp = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    sa.esp = Some(esp.clone());
    let engine = engine(2);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    let inside = Frame::new(Ip::V4, &esp, 9, &payload(50));
    let frame = sa.frame(Ip::V4, 7, &inside.bytes[inside.esp..], 50);
    let good = SendRequest {
        next_header: UDP,
        pad_length: inside.pad_length,
        esp_header_offset: 11,
        ..frame.request(out)
    };
    let refuse = |request: SendRequest, change: &dyn Fn(&mut Vec<u8>), error| {
        let mut packet = frame.bytes.clone();
        change(&mut packet);
        let before = packet.clone();
        assert_eq!(engine.seal(&simd(), &request, &mut packet), Err(error));
        assert_eq!(packet, before);
    };
    let mut request = good;
    request.ah_header_offset += 1;
    refuse(request, &|_| {}, SendError::HeaderMismatch);
    request = good;
    request.esp_header_offset += 1;
    refuse(request, &|_| {}, SendError::HeaderMismatch);
    request = good;
    request.pad_length += 1;
    refuse(request, &|_| {}, SendError::TrailerMismatch);
    refuse(
        good,
        &|packet| packet[frame.ah + 4] ^= 1,
        SendError::SpiMismatch,
    );
    refuse(
        good,
        &|packet| packet[frame.ah] = 17,
        SendError::HeaderMismatch,
    );
    refuse(
        good,
        &|packet| packet[frame.ah + 1] ^= 2,
        SendError::LengthMismatch,
    );
    refuse(good, &|packet| packet[9] = 50, SendError::HeaderMismatch);
    let mut packet = frame.bytes.clone();
    assert_eq!(engine.seal(&simd(), &good, &mut packet), Ok(()));
}

/// AH as the tunnel around ESP, and ESP as the tunnel around AH.
#[test]
fn transport_over_tunnel() {
    let esp = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    for algorithm in ALGORITHMS {
        for ah_outside in [true, false] {
            let sa = AhSa::new(algorithm);
            let engine = legacy_engine(4);
            let ah_out = sa.add_to(&engine, Direction::Outbound).unwrap();
            sa.add_to(&engine, Direction::Inbound).unwrap();
            let esp_out = esp.add_to(&engine, Direction::Outbound).unwrap();
            esp.add_to(&engine, Direction::Inbound).unwrap();
            let (mut packet, request, expected, inside) = if ah_outside {
                let inner = Frame::new(Ip::V4, &esp, 3, &payload(40));
                let outer = sa.frame(Ip::V4, 5, &inner.bytes, 4);
                let start = outer.bytes.len() - inner.end;
                let request = SendRequest {
                    transport: Some(esp_out),
                    tunnel: Some(ah_out),
                    ..outer.request(ah_out)
                };
                let mut expected = outer.bytes.clone();
                expected[start..].copy_from_slice(&esp.seal_elsewhere(&inner, 3));
                let counted = canonical(Ip::V4, &expected);
                sa.sign(&mut expected, counted, outer.ah, 5);
                (outer.bytes, request, expected, start + inner.esp + 16)
            } else {
                let inner = sa.frame(Ip::V4, 5, &payload(40), UDP);
                let outer = Frame::tunnel(Ip::V4, &esp, 3, &inner.bytes);
                let request = SendRequest {
                    transport: Some(ah_out),
                    tunnel: Some(esp_out),
                    ..outer.request(esp_out)
                };
                let mut signed = inner.bytes.clone();
                sa.sign(&mut signed, canonical(Ip::V4, &inner.bytes), inner.ah, 5);
                let mut within = outer.clone();
                let start = outer.payload(&esp);
                within.bytes[start..][..signed.len()].copy_from_slice(&signed);
                let expected = esp.seal_elsewhere(&within, 3);
                (outer.bytes, request, expected, start + signed.len() - 40)
            };
            engine.seal(&simd(), &request, &mut packet).unwrap();
            assert_eq!(packet, expected);
            let both = |status| {
                Verdict::Processed(Outcome {
                    next_crypto_done: true,
                    status,
                    sa_delete_request: false,
                    trailer: None,
                })
            };
            assert_eq!(
                engine.open(&simd(), &mut packet),
                both(CryptoStatus::Success)
            );
            assert_eq!(packet[inside..][..40], payload(40));

            let mut damaged = expected;
            *damaged.last_mut().unwrap() ^= 1;
            let status = if ah_outside {
                CryptoStatus::TunnelAhAuthFailed
            } else {
                CryptoStatus::TunnelEspAuthFailed
            };
            assert_eq!(engine.open(&simd(), &mut damaged), failure(status));
        }
    }
}

/// AH that cannot be checked, in a tunnel that is opened: it stays as the tunnel had it.
#[test]
fn an_unsupported_header_within_a_tunnel() {
    let esp = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    let sa = AhSa::new(AuthenticationAlgorithm::Sha1).over(Ip::V6);
    let engine = engine(2);
    sa.add_to(&engine, Direction::Inbound).unwrap();
    esp.add_to(&engine, Direction::Inbound).unwrap();
    let mut inner = sa.frame(Ip::V6Extensions, 5, &payload(40), UDP).bytes;
    inner[50..52].copy_from_slice(&[4, 1]);
    let outer = Frame::tunnel(Ip::V4, &esp, 3, &inner);
    let mut packet = esp.seal_elsewhere(&outer, 3);
    assert_eq!(
        engine.open(&simd(), &mut packet),
        opened(Some(Trailer {
            next_header: 41,
            pad_length: outer.pad_length,
        }))
    );
    assert_eq!(packet[outer.payload(&esp)..][..inner.len()], inner);
}

/// RFC 4301 section 4.1: an SPI may be of one protocol only. A packet with AH is not a bundle's because
/// its SPI is that of the bundle's ESP.
#[test]
fn an_spi_of_a_bundle_is_of_one_protocol() {
    let alone = AhSa::new(AuthenticationAlgorithm::Sha256);
    let mut of_bundle = alone.clone();
    of_bundle.key[0] ^= 1;
    let mut esp = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    esp.spi = AH_SPI;
    let ah = SecurityAssociation {
        spi: AH_SPI + 1,
        ..of_bundle.association()
    };
    let bundle = SaParams {
        direction: Direction::Inbound,
        endpoints: ANY_V4,
        udp_encapsulation: UdpEncapsulations::NONE,
        associations: &[esp.association(), ah],
    };
    let frame = alone.frame(Ip::V4, 1, b"data", UDP);
    let mut signed = frame.bytes.clone();
    alone.sign(&mut signed, canonical(Ip::V4, &frame.bytes), frame.ah, 1);

    let engine = engine(2);
    engine.add_sa(&simd(), &bundle).unwrap();
    let mut packet = signed.clone();
    let mismatch = failure(CryptoStatus::InvalidProtocol);
    assert_eq!(engine.open(&simd(), &mut packet), mismatch);
    assert_eq!(packet, signed);
    alone.add_to(&engine, Direction::Inbound).unwrap();
    assert_eq!(engine.open(&simd(), &mut packet), opened(None));
}
