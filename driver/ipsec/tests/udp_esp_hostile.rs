//! UDP-encapsulated ESP that is wrong, or is none.

mod common;

use common::nested::{Nested, processed, trailer};
use common::*;
use ipsec::{
    AddError, AuthenticationAlgorithm, CryptoStatus, Direction, EncryptionAlgorithm, NotProcessed,
    Operation, SaParams, SecurityAssociation, SendError, UdpEncapsulation, UdpEncapsulations,
    Verdict,
};
use proptest::prelude::*;

fn gcm(types: impl Into<UdpEncapsulations>) -> Sa {
    Sa::new(EncryptionAlgorithm::AesGcm128, 16).udp(types)
}

/// "UDP-encapsulated transport over a UDP-encapsulated tunnel is not a supported encapsulation
/// subtype."
#[test]
fn udp_in_both_portions() {
    let every = UdpEncapsulations::NONE
        .with(UdpEncapsulation::Transport)
        .with(UdpEncapsulation::TransportOverUdpTunnel)
        .with(UdpEncapsulation::UdpTransportOverTunnel);
    let nested = Nested::with_udp(&gcm(every), Ip::V4, true, &gcm(every), Ip::V6, true, 1);
    let engine = nested.receiver(true, true);
    let mut packet = nested.gcm();
    assert_eq!(
        engine.open(&simd(), &mut packet),
        processed(false, CryptoStatus::Success, trailer(&nested.outer))
    );
    let within = nested.transport.seal_elsewhere(&nested.inner, 1);
    assert_eq!(packet[nested.start()..][..within.len()], within);

    let engine = common::engine(2);
    let out = nested
        .transport
        .add_to(&engine, Direction::Outbound)
        .unwrap();
    let tunnel_out = nested.tunnel.add_to(&engine, Direction::Outbound).unwrap();
    let mut packet = nested.outer.bytes.clone();
    assert_eq!(
        engine.seal(&simd(), &nested.request(out, tunnel_out), &mut packet),
        Err(SendError::HeaderMismatch)
    );
    assert_eq!(packet, nested.outer.bytes);
}

fn datagram(ip: Ip, ports: [u16; 2], data: &[u8]) -> Vec<u8> {
    let length = data.len() + 8;
    let mut packet = headers(ip, UDP, length);
    packet.extend(ports.map(u16::to_be_bytes).concat());
    packet.extend((length as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(data);
    packet
}

/// Four zero bytes are IKE's, a single byte is a keep-alive, another port is someone else's.
#[test]
fn what_is_not_esp() {
    for ip in Ip::ALL {
        let sa = gcm(UdpEncapsulation::Transport).over(ip);
        let engine = engine(1);
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let left = |packet: Vec<u8>| {
            assert!(!engine.is_candidate(&packet));
            let mut after = packet.clone();
            assert_eq!(
                engine.open(&simd(), &mut after),
                Verdict::NotProcessed(NotProcessed::NotIpsec)
            );
            assert_eq!(after, packet);
        };
        left(datagram(ip, [4500, 4500], &[0xFF]));
        left(datagram(ip, [4500, 4500], &[0; 4]));
        left(datagram(
            ip,
            [4500, 4500],
            &[[0; 4].to_vec(), payload(300)].concat(),
        ));
        for length in 0..4 {
            left(datagram(ip, [4500, 4500], &SPI.to_be_bytes()[..length]));
        }
        // The whole of it, to another port.
        let frame = Frame::new(ip, &sa, 1, b"data").in_udp();
        let mut packet = sa.seal_elsewhere(&frame, 1);
        let ports = frame.esp - 8;
        packet[ports + 2..][..2].copy_from_slice(&4501u16.to_be_bytes());
        left(packet);
    }
}

/// A translator changes ports and checksum. The destination port is ours.
#[test]
fn what_a_translator_changes() {
    for ip in Ip::ALL {
        let sa = gcm(UdpEncapsulation::Transport).over(ip);
        let engine = engine(2);
        let out = sa.add_to(&engine, Direction::Outbound).unwrap();
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let mut frame = Frame::new(ip, &sa, 1, b"data").in_udp();
        let udp = frame.esp - 8;
        let mut packet = sa.seal_elsewhere(&frame, 1);
        packet[udp..][..2].copy_from_slice(&61234u16.to_be_bytes());
        packet[udp + 6..][..2].copy_from_slice(&[0xBE, 0xEF]);
        let front = packet[..frame.esp].to_vec();
        assert_eq!(engine.open(&simd(), &mut packet), success(frame.pad_length));
        assert_eq!(packet[..frame.esp], front);
        // And to a peer behind one: any port, and the checksum is the transport's.
        frame.bytes[udp + 2..][..2].copy_from_slice(&61234u16.to_be_bytes());
        frame.bytes[udp + 6..][..2].copy_from_slice(&[0xBE, 0xEF]);
        let mut packet = frame.bytes.clone();
        engine
            .seal(&simd(), &frame.request(out), &mut packet)
            .unwrap();
        assert_eq!(packet, sa.seal_elsewhere(&frame, 1));
    }
}

/// The UDP length and the IP length are of the same bytes.
#[test]
fn another_udp_length() {
    for ip in Ip::ALL {
        let sa = gcm(UdpEncapsulation::Transport).over(ip);
        let engine = engine(2);
        let out = sa.add_to(&engine, Direction::Outbound).unwrap();
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = Frame::new(ip, &sa, 1, &payload(40)).in_udp();
        let right = (frame.end - frame.esp + 8) as u16;
        let udp = frame.esp - 8;
        for length in [
            0,
            7,
            8,
            9,
            right - 4,
            right - 1,
            right + 1,
            right + 4,
            u16::MAX,
        ] {
            let mut wrong = frame.clone();
            wrong.bytes[udp + 4..][..2].copy_from_slice(&length.to_be_bytes());
            let whole = sa.seal_elsewhere(&wrong, 1);
            let mut packet = whole.clone();
            assert_eq!(
                engine.open(&simd(), &mut packet),
                failure(CryptoStatus::InvalidPacketSyntax),
                "{length}"
            );
            assert_eq!(packet, whole);
            let mut packet = wrong.bytes.clone();
            assert_eq!(
                engine.seal(&simd(), &wrong.request(out), &mut packet),
                Err(SendError::LengthMismatch)
            );
            assert_eq!(packet, wrong.bytes);
        }
    }
}

#[test]
fn a_received_packet_cut_at_every_byte() {
    for ip in Ip::ALL {
        let sa = gcm(UdpEncapsulation::Transport).over(ip);
        let engine = engine(1);
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = Frame::new(ip, &sa, 1, &payload(40)).in_udp();
        let whole = sa.seal_elsewhere(&frame, 1);
        for length in 0..whole.len() {
            let mut packet = whole[..length].to_vec();
            let verdict = engine.open(&simd(), &mut packet);
            if length < frame.esp + 4 {
                assert!(
                    matches!(verdict, Verdict::NotProcessed(_)),
                    "{ip:?} {length}"
                );
            } else {
                assert_eq!(verdict, failure(CryptoStatus::InvalidPacketSyntax));
            }
            assert_eq!(packet, whole[..length]);
        }
    }
}

/// EspHeaderOffset counts the UDP header too.
#[test]
fn requests_that_do_not_fit() {
    let sa = gcm(UdpEncapsulation::Transport);
    let engine = engine(1);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    let frame = Frame::new(Ip::V4, &sa, 1, b"data").in_udp();
    let refuse = |change: &dyn Fn(&mut Vec<u8>), offset: u8, error| {
        let mut packet = frame.bytes.clone();
        change(&mut packet);
        let before = packet.clone();
        let mut request = frame.request(out);
        request.esp_header_offset = offset;
        assert_eq!(engine.seal(&simd(), &request, &mut packet), Err(error));
        assert_eq!(packet, before);
    };
    for offset in [0, 5, 6, 8] {
        refuse(&|_| {}, offset, SendError::HeaderMismatch);
    }
    refuse(&|packet| packet[28] ^= 1, 7, SendError::SpiMismatch);
    refuse(
        &|packet| packet[28..32].fill(0),
        7,
        SendError::HeaderMismatch,
    );
    refuse(&|packet| packet[9] = 6, 7, SendError::HeaderMismatch);
    refuse(&|packet| packet[6] = 0x20, 7, SendError::Fragment);
}

/// "UDP ESP: 1" header (NumExtHdrs, page of IPSEC_OFFLOAD_V2_ADD_SA): no AH.
#[test]
fn ah_is_refused() {
    let ah = Sa::separate(EncryptionAlgorithm::Null, AuthenticationAlgorithm::Sha1);
    let esp = gcm(UdpEncapsulations::NONE);
    let ah = SecurityAssociation {
        operation: Operation::Ah,
        encryption: None,
        ..ah.association()
    };
    for subtype in UdpEncapsulation::ALL {
        for associations in [&[ah][..], &[esp.association(), ah]] {
            for direction in [Direction::Inbound, Direction::Outbound] {
                let params = |udp_encapsulation| SaParams {
                    direction,
                    endpoints: ANY_V4,
                    udp_encapsulation,
                    associations,
                };
                let engine = engine(1);
                assert_eq!(
                    engine.add_sa(&simd(), &params(subtype.into())),
                    Err(AddError::InvalidParameter)
                );
                assert!(
                    engine
                        .add_sa(&simd(), &params(UdpEncapsulations::NONE))
                        .is_ok()
                );
            }
        }
    }
}

/// The subtype tells the mode of a packet whose trailer cannot be read.
#[test]
fn a_wrong_icv_before_any_good_packet() {
    for subtype in UdpEncapsulation::ALL {
        let sa = gcm(subtype);
        let engine = engine(1);
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let mut frame = Frame::new(Ip::V4, &sa, 1, &payload(40));
        if subtype != UdpEncapsulation::UdpTransportOverTunnel {
            frame = frame.in_udp();
        }
        let mut packet = sa.seal_elsewhere(&frame, 1);
        *packet.last_mut().unwrap() ^= 1;
        let expected = match subtype {
            UdpEncapsulation::Transport => CryptoStatus::TransportEspAuthFailed,
            _ => CryptoStatus::TunnelEspAuthFailed,
        };
        assert_eq!(
            engine.open(&simd(), &mut packet),
            failure(expected),
            "{subtype:?}"
        );
    }
    // Within a tunnel it is the transport-mode portion all the same.
    let types = UdpEncapsulation::UdpTransportOverTunnel;
    let nested = Nested::with_udp(&gcm(types), Ip::V4, true, &gcm(types), Ip::V4, false, 1);
    let mut within = nested.transport.seal_elsewhere(&nested.inner, 1);
    *within.last_mut().unwrap() ^= 1;
    let mut packet = nested.around(&within, &10u64.to_be_bytes(), 10);
    assert_eq!(
        nested.receiver(true, true).open(&simd(), &mut packet),
        processed(true, CryptoStatus::TransportEspAuthFailed, None)
    );
}

proptest! {
    /// Noise behind the UDP header: nothing panics, is accepted or changed.
    #[test]
    fn noise_is_refused(
        version in prop_oneof![Just(0x45u8), Just(0x46), Just(0x60)],
        mut packet in proptest::collection::vec(any::<u8>(), 60..200),
        right_length in any::<bool>(),
    ) {
        let engine = engine(4);
        let mut handles = Vec::new();
        for ip in [Ip::V4, Ip::V6] {
            for direction in [Direction::Inbound, Direction::Outbound] {
                handles.push(gcm(UdpEncapsulation::Transport).over(ip).add_to(&engine, direction).unwrap());
            }
        }
        let total = packet.len();
        packet[0] = version;
        let udp = if version == 0x60 {
            packet[4..6].copy_from_slice(&[0, (total - 40) as u8]);
            packet[6] = UDP;
            40
        } else {
            packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
            packet[6..8].fill(0);
            packet[9] = UDP;
            usize::from(version & 15) * 4
        };
        packet[udp + 2..udp + 4].copy_from_slice(&4500u16.to_be_bytes());
        if right_length {
            packet[udp + 4..udp + 6].copy_from_slice(&((total - udp) as u16).to_be_bytes());
        }
        packet[udp + 8..udp + 12].copy_from_slice(&SPI.to_be_bytes());
        let before = packet.clone();
        match engine.open(&simd(), &mut packet) {
            Verdict::Processed(outcome) => prop_assert_ne!(outcome.status, CryptoStatus::Success),
            Verdict::NotProcessed(reason) => prop_assert_eq!(reason, NotProcessed::NotIp),
        }
        prop_assert_eq!(&packet, &before);
        for handle in handles {
            let frame = Frame {
                bytes: before.clone(), esp: udp + 8, end: total, pad_length: before[total - 18],
                next_header: before[total - 17],
            };
            let mut packet = before.clone();
            if engine.seal(&simd(), &frame.request(handle), &mut packet).is_err() {
                prop_assert_eq!(&packet, &before);
            } else {
                prop_assert_eq!(&packet[..udp + 16], &before[..udp + 16]);
            }
        }
    }
}
