//! Tunnel mode, and transport mode over it.

mod common;

use common::nested::{Nested, engine_iv, processed, trailer};
use common::*;
use ipsec::{
    AuthenticationAlgorithm, CryptoStatus, Direction, EncryptionAlgorithm, NotProcessed, SendError,
    SendRequest, Verdict,
};

fn algorithms() -> [Sa; 3] {
    [
        Sa::new(EncryptionAlgorithm::AesGcm256, 16),
        Sa::separate(
            EncryptionAlgorithm::AesCbc128,
            AuthenticationAlgorithm::Sha1,
        ),
        Sa::separate(
            EncryptionAlgorithm::Null,
            AuthenticationAlgorithm::AesGmac128,
        ),
    ]
}

fn plain_packet(ip: Ip, length: usize) -> Vec<u8> {
    [headers(ip, UDP, length), payload(length)].concat()
}

/// IPv4 and IPv6 in each other, with options and extension headers outside and inside; the
/// SA named by either handle.
#[test]
fn a_tunnel_alone() {
    for sa in algorithms() {
        for outer in Ip::ALL {
            for inner in Ip::ALL {
                let sa = sa.clone().over(outer);
                let engine = engine(2);
                let out = sa.add_to(&engine, Direction::Outbound).unwrap();
                sa.add_to(&engine, Direction::Inbound).unwrap();
                for (sequence, size) in (1..).zip([0, 1, 100, 1400]) {
                    let frame = Frame::tunnel(outer, &sa, sequence, &plain_packet(inner, size));
                    let mut packet = frame.bytes.clone();
                    let mut request = frame.request(out);
                    if sequence % 2 == 0 {
                        (request.transport, request.tunnel) = (None, Some(out));
                    }
                    engine.seal(&simd(), &request, &mut packet).unwrap();
                    let iv = engine_iv(&packet, &frame, &sa);
                    assert_eq!(packet, sa.seal_as_engine(&frame, sequence.into(), &iv));
                    let expected = frame.opened(&packet, &sa);
                    assert_eq!(
                        engine.open(&simd(), &mut packet),
                        processed(false, CryptoStatus::Success, trailer(&frame))
                    );
                    assert_eq!(packet, expected);
                }
            }
        }
    }
}

/// All algorithms and IP versions in each other, in bursts that go on with their SAs.
#[test]
fn transport_over_tunnel() {
    for transport in algorithms() {
        for tunnel in algorithms() {
            for outer in Ip::ALL {
                for inner in Ip::ALL {
                    let engine = engine(4);
                    let first = Nested::new(&transport, inner, &tunnel, outer, 1);
                    let out = first
                        .transport
                        .add_to(&engine, Direction::Outbound)
                        .unwrap();
                    let tunnel_out = first.tunnel.add_to(&engine, Direction::Outbound).unwrap();
                    first.transport.add_to(&engine, Direction::Inbound).unwrap();
                    first.tunnel.add_to(&engine, Direction::Inbound).unwrap();
                    let simd = simd();
                    let (mut sending, mut receiving) =
                        (engine.outbound(&simd), engine.inbound(&simd));
                    for sequence in 1..4 {
                        let nested = Nested::new(&transport, inner, &tunnel, outer, sequence);
                        let mut packet = nested.outer.bytes.clone();
                        let request = nested.request(out, tunnel_out);
                        sending.seal(&request, &mut packet).unwrap();
                        let number = u64::from(sequence);
                        let outer_iv = engine_iv(&packet, &nested.outer, &nested.tunnel);

                        // What a receiver sees that knows the tunnel only.
                        let gateway = nested.receiver(false, true);
                        let mut half = packet.clone();
                        assert_eq!(
                            gateway.open(&simd, &mut half),
                            processed(false, CryptoStatus::Success, trailer(&nested.outer))
                        );
                        let within = &half[nested.start()..];
                        let inner_iv = engine_iv(within, &nested.inner, &nested.transport);
                        assert_eq!(
                            packet,
                            nested.sealed(&inner_iv, &outer_iv, number, number + 9)
                        );

                        let opened = nested.inner.opened(
                            &nested
                                .transport
                                .seal_as_engine(&nested.inner, number, &inner_iv),
                            &nested.transport,
                        );
                        let mut expected = half.clone();
                        expected[nested.start()..][..opened.len()].copy_from_slice(&opened);
                        assert_eq!(
                            receiving.open(&mut packet),
                            processed(true, CryptoStatus::Success, None)
                        );
                        assert_eq!(packet, expected);
                    }
                    drop((sending, receiving));
                    let counters = engine.counters();
                    assert_eq!((counters.sealed, counters.opened), (3, 3));
                    assert!(engine.sas().all(|sa| sa.counters.packets == 3));
                }
            }
        }
    }
}

#[test]
fn the_header_words_may_be_about_either_portion() {
    let nested = Nested::simple();
    let engine = engine(4);
    let out = nested
        .transport
        .add_to(&engine, Direction::Outbound)
        .unwrap();
    let tunnel_out = nested.tunnel.add_to(&engine, Direction::Outbound).unwrap();
    let outer = nested.request(out, tunnel_out);
    let inner = SendRequest {
        next_header: nested.inner.next_header,
        pad_length: nested.inner.pad_length,
        esp_header_offset: ((nested.start() + nested.inner.esp) / 4) as u8,
        ..outer
    };
    for request in [outer, inner] {
        let mut packet = nested.outer.bytes.clone();
        engine.seal(&simd(), &request, &mut packet).unwrap();
        assert_eq!(packet, nested.gcm());
    }
    let refuse = |request: SendRequest, error| {
        let mut packet = nested.outer.bytes.clone();
        assert_eq!(engine.seal(&simd(), &request, &mut packet), Err(error));
        assert_eq!(packet, nested.outer.bytes);
    };
    for mut request in [outer, inner] {
        request.next_header ^= 1;
        refuse(request, SendError::TrailerMismatch);
        request.next_header ^= 1;
        request.pad_length += 1;
        refuse(request, SendError::TrailerMismatch);
        request.pad_length -= 1;
        request.esp_header_offset += 1;
        refuse(request, SendError::HeaderMismatch);
    }
    // Each handle where the other belongs.
    refuse(nested.request(tunnel_out, out), SendError::SpiMismatch);
    let inbound = nested
        .transport
        .add_to(&engine, Direction::Inbound)
        .unwrap();
    refuse(
        nested.request(inbound, tunnel_out),
        SendError::WrongDirection,
    );
    refuse(nested.request(out, inbound), SendError::WrongDirection);
    engine.delete_sa(out);
    refuse(outer, SendError::UnknownSa);
}

/// The packet in the tunnel is checked like any other before anything is written.
#[test]
fn a_packet_within_that_is_wrong_is_not_sent() {
    let nested = Nested::simple();
    let engine = engine(4);
    let out = nested
        .transport
        .add_to(&engine, Direction::Outbound)
        .unwrap();
    let tunnel_out = nested.tunnel.add_to(&engine, Direction::Outbound).unwrap();
    let start = nested.start();
    let refuse = |change: &dyn Fn(&mut [u8]), error| {
        let mut bytes = nested.outer.bytes.clone();
        change(&mut bytes[start..]);
        let before = bytes.clone();
        let request = nested.request(out, tunnel_out);
        assert_eq!(engine.seal(&simd(), &request, &mut bytes), Err(error));
        assert_eq!(bytes, before);
    };
    refuse(&|inner| inner[0] = 0x60, SendError::HeaderMismatch);
    refuse(&|inner| inner[0] = 0x42, SendError::Malformed);
    refuse(&|inner| inner[6] = 0x20, SendError::Fragment);
    refuse(&|inner| inner[2] += 1, SendError::LengthMismatch);
    refuse(&|inner| inner[3] -= 1, SendError::LengthMismatch);
    refuse(&|inner| inner[9] = 17, SendError::HeaderMismatch);
    refuse(&|inner| inner[23] ^= 1, SendError::SpiMismatch);
    let pad = nested.inner.end - 16 - 2;
    refuse(&|inner| inner[pad] = 255, SendError::TrailerMismatch);
}

#[test]
fn a_receiver_without_the_tunnels_sa_leaves_the_packet_alone() {
    let nested = Nested::simple();
    let engine = nested.receiver(true, false);
    let mut packet = nested.gcm();
    assert_eq!(
        engine.open(&simd(), &mut packet),
        Verdict::NotProcessed(NotProcessed::NoSa)
    );
    assert_eq!(packet, nested.gcm());
}

/// The tunnel is open, the packet in it is as it came.
#[test]
fn a_wrong_icv_within_the_tunnel() {
    let nested = Nested::simple();
    let engine = nested.receiver(true, true);
    let within = nested.transport.seal_elsewhere(&nested.inner, 1);
    for bit in (nested.inner.esp + 4) * 8..within.len() * 8 {
        let mut within = within.clone();
        within[bit / 8] ^= 0x80 >> (bit % 8);
        let mut packet = nested.around(&within, &10u64.to_be_bytes(), 10);
        assert_eq!(
            engine.open(&simd(), &mut packet),
            processed(true, CryptoStatus::TransportEspAuthFailed, None)
        );
        assert_eq!(packet[nested.start()..][..within.len()], within);
    }
    assert_eq!(engine.counters().opened, 0);
    assert!(engine.counters().authentication_failures > 500);
}

/// The trailer that would tell the mode is encrypted: it is the last authentic packet's.
#[test]
fn a_wrong_icv_of_the_tunnel() {
    let nested = Nested::simple();
    let engine = nested.receiver(true, true);
    let mut damaged = nested.gcm();
    damaged[nested.start() + 30] ^= 1;
    let open = |bytes: &[u8]| {
        let mut packet = bytes.to_vec();
        let verdict = engine.open(&simd(), &mut packet);
        (verdict, packet)
    };
    let (verdict, packet) = open(&damaged);
    assert_eq!(verdict, failure(CryptoStatus::TransportEspAuthFailed));
    assert_eq!(packet, damaged);
    let (verdict, _) = open(&nested.gcm());
    assert_eq!(verdict, processed(true, CryptoStatus::Success, None));
    let (verdict, packet) = open(&damaged);
    assert_eq!(verdict, failure(CryptoStatus::TunnelEspAuthFailed));
    assert_eq!(packet, damaged);
    // The tunnel's SA carries a transport-mode packet.
    let frame = Frame::new(Ip::V6, &nested.tunnel, 3, b"data");
    let mut packet = nested.tunnel.seal_elsewhere(&frame, 3);
    assert_eq!(engine.open(&simd(), &mut packet), success(frame.pad_length));
    let (verdict, _) = open(&damaged);
    assert_eq!(verdict, failure(CryptoStatus::TransportEspAuthFailed));
}

/// Only a whole packet with an IPsec header and an SA is checked within a tunnel.
#[test]
fn what_is_left_alone_within_a_tunnel() {
    let nested = Nested::simple();
    let engine = nested.receiver(true, true);
    let sealed = nested.transport.seal_elsewhere(&nested.inner, 1);
    let open = |change: &dyn Fn(&mut [u8])| {
        let mut within = sealed.clone();
        change(&mut within);
        let mut packet = nested.around(&within, &10u64.to_be_bytes(), 10);
        let verdict = engine.open(&simd(), &mut packet);
        assert_eq!(packet[nested.start()..][..within.len()], within);
        verdict
    };
    let alone = processed(false, CryptoStatus::Success, trailer(&nested.outer));
    assert_eq!(open(&|inner| inner[6] = 0x20), alone, "fragment");
    assert_eq!(open(&|inner| inner[9] = 17), alone, "no IPsec header");
    assert_eq!(open(&|inner| inner[23] ^= 1), alone, "another SPI");
    assert_eq!(open(&|inner| inner[0] = 0x65), alone, "another version");
    assert_eq!(open(&|inner| inner[0] = 0x41), alone, "no header");
    let syntax = processed(true, CryptoStatus::InvalidPacketSyntax, None);
    assert_eq!(open(&|inner| inner[2] += 4), syntax, "too long");
    assert_eq!(open(&|inner| inner[3] -= 1), syntax, "not padded");
}

/// NextCryptoDone is about a tunnel and a transport-mode portion: a tunnel within the tunnel is left
/// to the transport.
#[test]
fn a_tunnel_within_a_tunnel() {
    let mut nested = Nested::simple();
    let carried = [headers(Ip::V4, UDP, 77), payload(77)].concat();
    nested.inner = Frame::tunnel(Ip::V4, &nested.transport, 1, &carried);
    nested.outer = Frame::tunnel(Ip::V6, &nested.tunnel, 10, &nested.inner.bytes);
    let engine = nested.receiver(true, true);
    let within = nested.transport.seal_elsewhere(&nested.inner, 1);
    let mut packet = within.clone();
    assert_eq!(
        engine.open(&simd(), &mut packet),
        processed(false, CryptoStatus::Success, trailer(&nested.inner))
    );
    let mut packet = nested.gcm();
    assert_eq!(
        engine.open(&simd(), &mut packet),
        processed(false, CryptoStatus::Success, trailer(&nested.outer))
    );
    assert_eq!(packet[nested.start()..][..within.len()], within);
}

/// The transport asks for the deletion of what the packet was received over, be it the
/// tunnel's SA or the other.
#[test]
fn either_sa_may_ask_to_be_deleted() {
    for (inner, outer) in [(0xF000_0001, 5), (5, 0xF000_0001)] {
        let mut nested = Nested::simple();
        nested.inner = Frame::new(Ip::V4, &nested.transport, inner, &payload(77));
        nested.outer = Frame::tunnel(Ip::V6, &nested.tunnel, outer, &nested.inner.bytes);
        let engine = nested.receiver(true, true);
        let (inner, outer) = (u64::from(inner), u64::from(outer));
        let mut packet = nested.sealed(&inner.to_be_bytes(), &outer.to_be_bytes(), inner, outer);
        let Verdict::Processed(outcome) = engine.open(&simd(), &mut packet) else {
            panic!("not processed");
        };
        assert_eq!(outcome.status, CryptoStatus::Success);
        assert!(outcome.sa_delete_request);
    }
}
