//! Where the payloads of a packet are: for checksums, which are over what IPsec carries.

mod common;

use common::*;
use ipsec::{Direction, EncryptionAlgorithm, Payload, Payloads, SendError};

fn over(mut sa: Sa, ip: Ip) -> Sa {
    sa.endpoints = if ip.is_v6() { ANY_V6 } else { ANY_V4 };
    sa
}

#[test]
fn of_transport_mode_both_ways() {
    for ip in Ip::ALL {
        let sa = over(Sa::new(EncryptionAlgorithm::AesGcm128, 16), ip);
        let engine = engine(2);
        let out = sa.add_to(&engine, Direction::Outbound).unwrap();
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = Frame::new(ip, &sa, 1, &payload(33));
        let start = frame.payload(&sa);
        let expected = Payloads {
            outer: Some(Payload {
                protocol: UDP,
                range: start..start + 33,
            }),
            inner: None,
        };
        let simd = simd();
        let request = frame.request(out);
        let mut packet = frame.bytes.clone();
        let mut outbound = engine.outbound(&simd);
        assert_eq!(outbound.payloads(&request, &packet), Ok(expected.clone()));
        assert_eq!(packet, frame.bytes);
        outbound.seal(&request, &mut packet).unwrap();

        let mut inbound = engine.inbound(&simd);
        assert_eq!(*inbound.payloads(), Payloads::default());
        let mut broken = packet.clone();
        inbound.open(&mut packet);
        assert_eq!(*inbound.payloads(), expected);
        // Of a packet that is not authentic nothing is said.
        *broken.last_mut().unwrap() ^= 1;
        inbound.open(&mut broken);
        assert_eq!(*inbound.payloads(), Payloads::default());
    }
}

#[test]
fn of_transport_mode_in_a_tunnel() {
    for (outer, inner) in [(Ip::ALL[0], Ip::ALL[0]), (Ip::ALL[0], Ip::ALL[1])] {
        let within = over(Sa::new(EncryptionAlgorithm::AesGcm128, 16), inner);
        let mut tunnel = over(Sa::new(EncryptionAlgorithm::AesGcm128, 16), outer);
        tunnel.spi = SPI + 1;
        let engine = engine(4);
        let transport_out = within.add_to(&engine, Direction::Outbound).unwrap();
        let tunnel_out = tunnel.add_to(&engine, Direction::Outbound).unwrap();
        within.add_to(&engine, Direction::Inbound).unwrap();
        tunnel.add_to(&engine, Direction::Inbound).unwrap();
        let inside = Frame::new(inner, &within, 1, &payload(50));
        let outside = Frame::tunnel(outer, &tunnel, 1, &inside.bytes);
        let start = outside.payload(&tunnel);
        let deeper = start + inside.payload(&within);
        let expected = Payloads {
            outer: Some(Payload {
                protocol: outside.next_header,
                range: start..start + inside.bytes.len(),
            }),
            inner: Some(Payload {
                protocol: UDP,
                range: deeper..deeper + 50,
            }),
        };
        let mut request = outside.request(transport_out);
        request.tunnel = Some(tunnel_out);
        let simd = simd();
        let mut packet = outside.bytes.clone();
        let mut outbound = engine.outbound(&simd);
        assert_eq!(outbound.payloads(&request, &packet), Ok(expected.clone()));
        outbound.seal(&request, &mut packet).unwrap();
        let mut inbound = engine.inbound(&simd);
        inbound.open(&mut packet);
        assert_eq!(*inbound.payloads(), expected);
    }
}

#[test]
fn of_no_sa_are_refused() {
    let ip = Ip::ALL[0];
    let sa = over(Sa::new(EncryptionAlgorithm::AesGcm128, 16), ip);
    let engine = engine(2);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    let frame = Frame::new(ip, &sa, 1, &payload(33));
    let simd = simd();
    let mut outbound = engine.outbound(&simd);
    let mut request = frame.request(out);
    let cut = &frame.bytes[..frame.bytes.len() - 1];
    assert_eq!(
        outbound.payloads(&request, cut),
        Err(SendError::LengthMismatch)
    );
    request.transport = None;
    assert_eq!(
        outbound.payloads(&request, &frame.bytes),
        Err(SendError::UnknownSa)
    );
}
