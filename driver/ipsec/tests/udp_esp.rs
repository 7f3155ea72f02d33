//! UDP-encapsulated ESP, RFC 3948: the four subtypes of "UDP-ESP Encapsulation Types".

mod common;

use std::fs;
use std::path::Path;

use common::nested::{Nested, engine_iv, processed, trailer};
use common::*;
use ipsec::{
    AuthenticationAlgorithm, CryptoStatus, Direction, EncryptionAlgorithm, NotProcessed, SendError,
    UdpEncapsulation, UdpEncapsulations, Verdict,
};

fn algorithms() -> [Sa; 4] {
    [
        Sa::new(EncryptionAlgorithm::AesGcm256, 16),
        Sa::new(EncryptionAlgorithm::AesGcm128, 8).esn(7),
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

fn gcm(types: impl Into<UdpEncapsulations>) -> Sa {
    Sa::new(EncryptionAlgorithm::AesGcm128, 16).udp(types)
}

const UNTOUCHED: Verdict = Verdict::NotProcessed(NotProcessed::NoSa);

/// Transport and tunnel mode, over every kind of headers: what others seal, the UDP header as
/// the transport wrote it.
#[test]
fn one_portion() {
    for subtype in [UdpEncapsulation::Transport, UdpEncapsulation::Tunnel] {
        for sa in algorithms() {
            for ip in Ip::ALL {
                let sa = sa.clone().over(ip).udp(subtype);
                let engine = engine(2);
                let out = sa.add_to(&engine, Direction::Outbound).unwrap();
                sa.add_to(&engine, Direction::Inbound).unwrap();
                for (sequence, size) in (1..).zip([0, 1, 15, 16, 100, 1400]) {
                    let frame = match subtype {
                        UdpEncapsulation::Transport => {
                            Frame::new(ip, &sa, sequence, &payload(size))
                        }
                        _ => {
                            let packet = [headers(ip, UDP, size), payload(size)].concat();
                            Frame::tunnel(ip, &sa, sequence, &packet)
                        }
                    }
                    .in_udp();
                    let mut packet = frame.bytes.clone();
                    let request = frame.request(out);
                    engine.seal(&simd(), &request, &mut packet).unwrap();
                    let number = u64::from(sa.esn.unwrap_or(0)) << 32 | u64::from(sequence);
                    let iv = engine_iv(&packet, &frame, &sa);
                    assert_eq!(packet, sa.seal_as_engine(&frame, number, &iv));
                    let expected = frame.opened(&packet, &sa);
                    assert!(engine.is_candidate(&packet));
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

/// Both subtypes of two portions, each SA named by the subtype or by its own encapsulation.
#[test]
fn two_portions() {
    let none = UdpEncapsulations::NONE;
    let udp_tunnel = UdpEncapsulation::TransportOverUdpTunnel.into();
    let udp_transport = UdpEncapsulation::UdpTransportOverTunnel.into();
    let cases = [
        (udp_tunnel, udp_tunnel, false),
        (none, udp_tunnel, false),
        (udp_transport, udp_transport, true),
        (udp_transport, none, true),
        (UdpEncapsulation::Transport.into(), none, true),
    ];
    for (transport_types, tunnel_types, inner_udp) in cases {
        for sa in algorithms() {
            for outer in Ip::ALL {
                for inner in Ip::ALL {
                    let transport = sa.clone().udp(transport_types);
                    let tunnel = sa.clone().udp(tunnel_types);
                    let nested = Nested::with_udp(
                        &transport, inner, inner_udp, &tunnel, outer, !inner_udp, 1,
                    );
                    let engine = engine(4);
                    let add = |sa: &Sa, direction| sa.add_to(&engine, direction).unwrap();
                    let out = add(&nested.transport, Direction::Outbound);
                    let tunnel_out = add(&nested.tunnel, Direction::Outbound);
                    add(&nested.transport, Direction::Inbound);
                    add(&nested.tunnel, Direction::Inbound);
                    let mut packet = nested.outer.bytes.clone();
                    let request = nested.request(out, tunnel_out);
                    engine.seal(&simd(), &request, &mut packet).unwrap();

                    let mut half = packet.clone();
                    let verdict = nested.receiver(false, true).open(&simd(), &mut half);
                    assert_eq!(
                        verdict,
                        processed(false, CryptoStatus::Success, trailer(&nested.outer))
                    );
                    let high = u64::from(sa.esn.unwrap_or(0)) << 32;
                    let outer_iv = engine_iv(&packet, &nested.outer, &nested.tunnel);
                    let inner_iv =
                        engine_iv(&half[nested.start()..], &nested.inner, &nested.transport);
                    let expected = nested.sealed(&inner_iv, &outer_iv, high | 1, high | 10);
                    assert_eq!(packet, expected);
                    assert_eq!(
                        engine.open(&simd(), &mut packet),
                        processed(true, CryptoStatus::Success, None)
                    );
                    let start = nested.start() + nested.inner.payload(&nested.transport);
                    assert_eq!(packet[start..][..77], payload(77));
                }
            }
        }
    }
}

/// All subtypes as scapy makes them; and made again where the IV is not random.
#[test]
fn scapy_is_received_and_sealed_alike() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/scapy-udp-esp.txt");
    let text = fs::read_to_string(path).unwrap();
    let (mut received, mut sealed) = (0, 0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [subtype, esn, c0, k0, a0, x0, c1, k1, a1, x1, packet, opened] =
            line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let subtype = match subtype {
            "transport" => UdpEncapsulation::Transport,
            "tunnel" => UdpEncapsulation::Tunnel,
            "transport-over-udp-tunnel" => UdpEncapsulation::TransportOverUdpTunnel,
            "udp-transport-over-tunnel" => UdpEncapsulation::UdpTransportOverTunnel,
            other => panic!("{other}"),
        };
        let (packet, opened) = (hex::decode(packet).unwrap(), hex::decode(opened).unwrap());
        let ip = |bytes: &[u8]| if bytes[0] >> 4 == 6 { Ip::V6 } else { Ip::V4 };
        let mut outer = scapy::sa([c0, k0, a0, x0]).udp(subtype).over(ip(&packet));
        outer.esn = scapy::esn(esn);
        let udp = |yes: bool| if yes { 8 } else { 0 };
        let front = |bytes: &[u8]| if bytes[0] >> 4 == 6 { 40 } else { 20 };
        let esp = front(&packet) + udp(subtype != UdpEncapsulation::UdpTransportOverTunnel);
        let inner = (c1 != "-").then(|| {
            let mut sa = scapy::sa([c1, k1, a1, x1]).udp(subtype);
            sa.spi = SPI + 1;
            sa.esn = outer.esn;
            sa.over(ip(&opened[esp + 8 + outer.iv()..]))
        });
        let engine = legacy_engine(4);
        outer.add_to(&engine, Direction::Inbound).unwrap();
        if let Some(inner) = &inner {
            inner.add_to(&engine, Direction::Inbound).unwrap();
        }
        let mut bytes = packet.clone();
        let Verdict::Processed(outcome) = engine.open(&simd(), &mut bytes) else {
            panic!("not processed: {line}");
        };
        assert_eq!(outcome.status, CryptoStatus::Success, "{line}");
        assert_eq!(outcome.next_crypto_done, inner.is_some(), "{line}");
        assert_eq!(bytes, opened, "{line}");
        received += 1;

        if [Some(&outer), inner.as_ref()]
            .into_iter()
            .flatten()
            .any(|sa| sa.alignment() > 4)
        {
            continue;
        }
        let out = outer.add_to(&engine, Direction::Outbound).unwrap();
        let within = inner.map(|inner| inner.add_to(&engine, Direction::Outbound).unwrap());
        let end = packet.len() - outer.icv as usize;
        let frame = Frame {
            bytes: opened.clone(),
            esp,
            end: packet.len(),
            pad_length: opened[end - 2],
            next_header: opened[end - 1],
        };
        let mut request = frame.request(out);
        if within.is_some() {
            (request.transport, request.tunnel) = (within, Some(out));
        }
        engine.seal(&simd(), &request, &mut bytes).unwrap();
        assert_eq!(bytes, packet, "{line}");
        sealed += 1;
    }
    assert_eq!((received, sealed), (224, 109));
}

/// An SA takes the encapsulations that it was added with. Others are left to the transport,
/// which takes both (RFC 7296 section 2.23), and are not sent.
#[test]
fn the_other_encapsulation() {
    use UdpEncapsulation::*;
    let none = UdpEncapsulations::NONE;
    let cases: [(UdpEncapsulations, bool, bool); 7] = [
        (none, false, true),
        (Transport.into(), true, false),
        (Tunnel.into(), true, false),
        (TransportOverUdpTunnel.into(), true, false),
        (UdpTransportOverTunnel.into(), false, true),
        (none.with(Tunnel).with(TransportOverUdpTunnel), true, false),
        (
            none.with(Transport).with(UdpTransportOverTunnel),
            true,
            true,
        ),
    ];
    for (types, udp, bare) in cases {
        for (in_udp, taken) in [(true, udp), (false, bare)] {
            let sa = gcm(types);
            let engine = engine(2);
            let out = sa.add_to(&engine, Direction::Outbound).unwrap();
            sa.add_to(&engine, Direction::Inbound).unwrap();
            let mut frame = Frame::new(Ip::V4, &sa, 1, b"data");
            if in_udp {
                frame = frame.in_udp();
            }
            let whole = sa.seal_elsewhere(&frame, 1);
            let mut packet = frame.bytes.clone();
            let sealed = engine.seal(&simd(), &frame.request(out), &mut packet);
            if taken {
                assert_eq!((sealed, &packet), (Ok(()), &whole));
                let verdict = engine.open(&simd(), &mut packet);
                assert_eq!(verdict, success(frame.pad_length), "{types:?} {in_udp}");
            } else {
                assert_eq!(
                    (sealed, &packet),
                    (Err(SendError::HeaderMismatch), &frame.bytes)
                );
                packet.clone_from(&whole);
                assert_eq!(
                    engine.open(&simd(), &mut packet),
                    UNTOUCHED,
                    "{types:?} {in_udp}"
                );
                assert_eq!(packet, whole);
            }
        }
    }
}

/// Two SAs with one SPI, for a peer that is seen with and without a translator in between.
#[test]
fn each_encapsulation_finds_its_sa() {
    let engine = engine(2);
    let (bare, mut udp) = (
        gcm(UdpEncapsulations::NONE),
        gcm(UdpEncapsulation::Transport),
    );
    udp.key[0] ^= 1;
    for sa in [&bare, &udp] {
        sa.add_to(&engine, Direction::Inbound).unwrap();
    }
    let frames = [
        (&bare, Frame::new(Ip::V4, &bare, 1, b"data")),
        (&udp, Frame::new(Ip::V4, &udp, 1, b"data").in_udp()),
    ];
    let simd = simd();
    let mut burst = engine.inbound(&simd);
    for _ in 0..2 {
        for (sa, frame) in &frames {
            let mut packet = sa.seal_elsewhere(frame, 1);
            assert_eq!(burst.open(&mut packet), success(frame.pad_length));
        }
    }
}
