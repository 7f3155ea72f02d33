//! Packets that are wrong: each gets its answer, and its bytes stay.

mod common;

use common::*;
use ipsec::{
    CryptoStatus, Direction, EncryptionAlgorithm, NotProcessed, SaHandle, SendError, Verdict,
};
use proptest::prelude::*;

fn sa_for(ip: Ip) -> Sa {
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    if ip.is_v6() { sa.v6() } else { sa }
}

fn refused(verdict: Verdict) -> bool {
    match verdict {
        Verdict::NotProcessed(_) => true,
        Verdict::Processed(outcome) => {
            assert!(outcome.trailer.is_none() || outcome.status == CryptoStatus::Success);
            outcome.status != CryptoStatus::Success
        }
    }
}

/// With the SPI visible the packet is the SA's, and its length is wrong; without it, it
/// is nobody's.
#[test]
fn a_received_packet_cut_at_every_byte() {
    for ip in Ip::ALL {
        let sa = sa_for(ip);
        let engine = engine(1);
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = Frame::new(ip, &sa, 1, &payload(40));
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

/// The IP length says that the packet ends early: the buffer goes on, as Ethernet padding.
#[test]
fn an_ip_length_cut_at_every_byte() {
    let sa = sa_for(Ip::V4);
    let engine = engine(1);
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let frame = Frame::new(Ip::V4, &sa, 1, &payload(40));
    let whole = sa.seal_elsewhere(&frame, 1);
    for length in 0..frame.end {
        let mut packet = whole.clone();
        packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        let before = packet.clone();
        let verdict = engine.open(&simd(), &mut packet);
        let esp = length.saturating_sub(frame.esp);
        if esp < 4 {
            assert!(matches!(verdict, Verdict::NotProcessed(_)), "{length}");
        } else if esp < 8 + 8 + 4 + 16 || !esp.is_multiple_of(4) {
            assert_eq!(
                verdict,
                failure(CryptoStatus::InvalidPacketSyntax),
                "{length}"
            );
        } else {
            assert_eq!(
                verdict,
                failure(CryptoStatus::TransportEspAuthFailed),
                "{length}"
            );
        }
        assert_eq!(packet, before);
    }
}

/// Everything from the SPI on is authenticated, and whatever a header says otherwise, no
/// flipped bit is accepted there or changes a byte.
#[test]
fn every_flipped_bit_of_esp_is_noticed() {
    for ip in Ip::ALL {
        for esn in [None, Some(3)] {
            let mut sa = sa_for(ip);
            sa.esn = esn;
            let engine = engine(1);
            sa.add_to(&engine, Direction::Inbound).unwrap();
            let frame = Frame::new(ip, &sa, 77, &payload(21));
            let number = u64::from(esn.unwrap_or(0)) << 32 | 77;
            let whole = sa.seal_elsewhere(&frame, number);
            for bit in frame.esp * 8..whole.len() * 8 {
                let mut packet = whole.clone();
                packet[bit / 8] ^= 0x80 >> (bit % 8);
                let before = packet.clone();
                let verdict = engine.open(&simd(), &mut packet);
                if bit < frame.esp * 8 + 32 {
                    assert_eq!(verdict, Verdict::NotProcessed(NotProcessed::NoSa));
                } else {
                    assert_eq!(verdict, failure(CryptoStatus::TransportEspAuthFailed));
                }
                assert_eq!(packet, before);
            }
            // None of it moved the SA's sequence number.
            let mut packet = whole.clone();
            assert_eq!(engine.open(&simd(), &mut packet), success(frame.pad_length));
        }
    }
}

#[test]
fn another_key_is_noticed() {
    let sa = sa_for(Ip::V4);
    let engine = engine(1);
    let mut other = sa.clone();
    other.key[19] ^= 1;
    other.add_to(&engine, Direction::Inbound).unwrap();
    let frame = Frame::new(Ip::V4, &sa, 1, &payload(8));
    let whole = sa.seal_elsewhere(&frame, 1);
    let mut packet = whole.clone();
    assert_eq!(
        engine.open(&simd(), &mut packet),
        failure(CryptoStatus::TransportEspAuthFailed),
        "the salt is part of the key"
    );
    assert_eq!(packet, whole);
    assert_eq!(engine.counters().authentication_failures, 1);
    assert_eq!(
        engine
            .sas()
            .next()
            .unwrap()
            .counters
            .authentication_failures,
        1
    );
}

/// Authentic, and the lengths agree, but the padding is longer than the body: no status but
/// the generic one is about that.
#[test]
fn a_trailer_that_cannot_be() {
    let sa = sa_for(Ip::V4);
    let engine = engine(2);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let mut frame = Frame::new(Ip::V4, &sa, 1, b"12");
    let trailer = frame.end - 16 - 2;
    frame.bytes[trailer] = 3;
    frame.pad_length = 3;
    let mut packet = sa.seal_elsewhere(&frame, 1);
    assert_eq!(
        engine.open(&simd(), &mut packet),
        failure(CryptoStatus::GenericError)
    );
    let mut packet = frame.bytes.clone();
    assert_eq!(
        engine.seal(&simd(), &frame.request(out), &mut packet),
        Err(SendError::TrailerMismatch)
    );
    assert_eq!(packet, frame.bytes);
}

/// An SA for ESP, and a packet with AH.
#[test]
fn ah_on_an_esp_sa_is_the_wrong_protocol() {
    let sa = sa_for(Ip::V4);
    let engine = engine(1);
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let mut packet = headers(Ip::V4, 51, 24);
    packet.extend([17, 4, 0, 0]);
    packet.extend(SPI.to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend([0; 12]);
    let before = packet.clone();
    assert_eq!(
        engine.open(&simd(), &mut packet),
        failure(CryptoStatus::InvalidProtocol)
    );
    assert_eq!(packet, before);
    assert_eq!(engine.counters().protocol_mismatches, 1);
}

#[test]
fn what_is_not_ipsec_is_left_alone() {
    let sa = sa_for(Ip::V4);
    let engine = engine(2);
    sa.add_to(&engine, Direction::Inbound).unwrap();
    sa.clone().v6().add_to(&engine, Direction::Inbound).unwrap();
    let left = |packet: &[u8], reason| {
        let mut after = packet.to_vec();
        assert_eq!(
            engine.open(&simd(), &mut after),
            Verdict::NotProcessed(reason)
        );
        assert_eq!(after, packet);
        assert_eq!(engine.is_candidate(packet), reason == NotProcessed::NoSa);
    };
    left(&[], NotProcessed::NotIp);
    left(&[0x50; 60], NotProcessed::NotIp);
    for ip in Ip::ALL {
        let mut udp = headers(ip, 17, 16);
        udp.extend(SPI.to_be_bytes());
        udp.extend([0; 12]);
        left(&udp, NotProcessed::NotIpsec);
        // No next header.
        let mut none = headers(ip, 59, 0);
        none.extend([0; 8]);
        left(&none, NotProcessed::NotIpsec);
    }
    let mut sa = sa_for(Ip::V4);
    sa.spi = SPI + 1;
    left(&Frame::new(Ip::V4, &sa, 1, b"").bytes, NotProcessed::NoSa);
}

#[test]
fn fragments_are_left_alone() {
    let sa = sa_for(Ip::V4);
    let engine = engine(3);
    sa.add_to(&engine, Direction::Inbound).unwrap();
    sa.clone().v6().add_to(&engine, Direction::Inbound).unwrap();
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    // More fragments; a fragment offset.
    for field in [[0x20, 0x00], [0x00, 0x01], [0x1F, 0xFF]] {
        let mut frame = Frame::new(Ip::V4, &sa, 1, &payload(32));
        frame.bytes[6..8].copy_from_slice(&field);
        let mut packet = frame.bytes.clone();
        assert_eq!(
            engine.open(&simd(), &mut packet),
            Verdict::NotProcessed(NotProcessed::Fragment)
        );
        assert_eq!(
            engine.seal(&simd(), &frame.request(out), &mut packet),
            Err(SendError::Fragment)
        );
        assert_eq!(packet, frame.bytes);
        assert!(!engine.is_candidate(&packet));
    }
    let esp = Frame::new(Ip::V6, &sa, 1, &payload(32));
    let mut packet = headers(Ip::V6, 44, 8 + esp.end - esp.esp);
    packet.extend([50, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(&esp.bytes[esp.esp..]);
    assert_eq!(
        engine.open(&simd(), &mut packet),
        Verdict::NotProcessed(NotProcessed::Fragment)
    );
}

/// A chain of extension headers as long as the packet ends the walk, not the machine.
#[test]
fn endless_extension_headers() {
    let sa = sa_for(Ip::V6);
    let engine = engine(1);
    sa.add_to(&engine, Direction::Inbound).unwrap();
    for count in 0..12 {
        let esp = Frame::new(Ip::V6, &sa, 1, &payload(4));
        let first = if count == 0 { 50 } else { 60 };
        let mut packet = headers(Ip::V6, first, count * 8 + esp.end - esp.esp);
        for index in 1..=count {
            let next = if index == count { 50 } else { 60 };
            packet.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
        let start = packet.len();
        packet.extend(&sa.seal_elsewhere(&esp, 1)[esp.esp..]);
        let verdict = engine.open(&simd(), &mut packet);
        if count <= 8 {
            assert_eq!(verdict, success(esp.pad_length), "{count}");
            assert_eq!(packet[start + 16..][..4], payload(4));
        } else {
            assert_eq!(
                verdict,
                Verdict::NotProcessed(NotProcessed::NotIpsec),
                "{count}"
            );
        }
    }
    let mut packet = headers(Ip::V6, 60, 9000);
    packet.extend([60, 0, 0, 0, 0, 0, 0, 0].repeat(1125));
    assert_eq!(
        engine.open(&simd(), &mut packet),
        Verdict::NotProcessed(NotProcessed::NotIpsec)
    );
}

#[test]
fn a_sent_packet_cut_at_every_byte() {
    for ip in Ip::ALL {
        let sa = sa_for(ip);
        let engine = engine(1);
        let out = sa.add_to(&engine, Direction::Outbound).unwrap();
        let frame = Frame::new(ip, &sa, 1, &payload(40));
        for length in 0..frame.end {
            let mut packet = frame.bytes[..length].to_vec();
            let error = engine
                .seal(&simd(), &frame.request(out), &mut packet)
                .unwrap_err();
            assert!(
                matches!(error, SendError::Malformed | SendError::LengthMismatch),
                "{ip:?} {length} {error:?}"
            );
            assert_eq!(packet, frame.bytes[..length]);
        }
    }
}

/// The out-of-band data and the packet must tell the same story.
#[test]
fn a_send_request_that_does_not_fit() {
    let sa = sa_for(Ip::V4Options);
    let engine = engine(4);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    let inbound = sa.add_to(&engine, Direction::Inbound).unwrap();
    let frame = Frame::new(Ip::V4Options, &sa, 1, &payload(40));
    let good = frame.request(out);
    let refuse = |request, bytes: &[u8], error| {
        let mut packet = bytes.to_vec();
        assert_eq!(engine.seal(&simd(), &request, &mut packet), Err(error));
        assert_eq!(packet, bytes);
    };
    let mut request = good;
    request.transport = None;
    refuse(request, &frame.bytes, SendError::UnknownSa);
    request.transport = Some(inbound);
    refuse(request, &frame.bytes, SendError::WrongDirection);
    request = good;
    // There is no packet in this packet.
    request.tunnel = Some(out);
    refuse(request, &frame.bytes, SendError::HeaderMismatch);
    for offset in (0..=255).filter(|&offset| offset != good.esp_header_offset) {
        request = good;
        request.esp_header_offset = offset;
        refuse(request, &frame.bytes, SendError::HeaderMismatch);
    }
    for value in 0..=255 {
        request = good;
        request.next_header = value;
        if value != good.next_header {
            refuse(request, &frame.bytes, SendError::TrailerMismatch);
        }
        request = good;
        request.pad_length = value;
        if value != good.pad_length && value != 0 {
            refuse(request, &frame.bytes, SendError::TrailerMismatch);
        }
    }
    let mut other = frame.bytes.clone();
    other[frame.esp] ^= 1;
    refuse(good, &other, SendError::SpiMismatch);
    let mut other = frame.bytes.clone();
    other[9] = 51;
    refuse(good, &other, SendError::HeaderMismatch);
    let mut other = frame.bytes.clone();
    other[9] = 17;
    refuse(good, &other, SendError::HeaderMismatch);
    // Not a multiple of 4 between IV and ICV.
    let mut other = frame.bytes.clone();
    other[3] += 1;
    other.push(0);
    refuse(good, &other, SendError::LengthMismatch);
    assert!(engine.counters().sealed == 0 && engine.counters().seal_errors > 500);
    // Zero says nothing: PadLength is for large sends.
    request = good;
    request.pad_length = 0;
    let (mut with, mut without) = (frame.bytes.clone(), frame.bytes.clone());
    engine.seal(&simd(), &good, &mut with).unwrap();
    engine.seal(&simd(), &request, &mut without).unwrap();
    assert_eq!(with, without);

    let mut packet = frame.bytes.clone();
    assert_eq!(engine.seal(&simd(), &good, &mut packet), Ok(()));
}

#[test]
fn forged_handles_are_not_found() {
    let sa = sa_for(Ip::V4);
    let engine = engine(8);
    let handle = sa.add_to(&engine, Direction::Outbound).unwrap();
    let frame = Frame::new(Ip::V4, &sa, 1, b"");
    let forged =
        (0..64)
            .map(|bit| handle.to_raw() ^ (1 << bit))
            .chain([1, u64::MAX, 0xFFFF_8000_1234_5670]);
    for raw in forged {
        let Some(forged) = SaHandle::from_raw(raw) else {
            continue;
        };
        let mut packet = frame.bytes.clone();
        assert_eq!(
            engine.seal(&simd(), &frame.request(forged), &mut packet),
            Err(SendError::UnknownSa)
        );
        assert_eq!(packet, frame.bytes);
        assert!(!engine.delete_sa(forged));
    }
    assert!(engine.delete_sa(handle));
    assert!(!engine.delete_sa(handle));
}

proptest! {
    /// Noise with an IP version in front never panics and is never authentic.
    #[test]
    fn noise_is_refused(
        version in prop_oneof![Just(0x45u8), Just(0x46), Just(0x4F), Just(0x60), any::<u8>()],
        protocol in prop_oneof![Just(50u8), Just(51), Just(44), Just(0), Just(60), any::<u8>()],
        mut packet in proptest::collection::vec(any::<u8>(), 1..200),
    ) {
        let engine = engine(4);
        let out = sa_for(Ip::V4).add_to(&engine, Direction::Outbound).unwrap();
        sa_for(Ip::V4).add_to(&engine, Direction::Inbound).unwrap();
        sa_for(Ip::V6).add_to(&engine, Direction::Inbound).unwrap();
        packet[0] = version;
        for position in [6, 9] {
            if let Some(byte) = packet.get_mut(position) {
                *byte = protocol;
            }
        }
        let before = packet.clone();
        prop_assert!(refused(engine.open(&simd(), &mut packet)));
        prop_assert_eq!(&packet, &before);
        let request = Frame::new(Ip::V4, &sa_for(Ip::V4), 1, b"").request(out);
        if engine.seal(&simd(), &request, &mut packet).is_err() {
            prop_assert_eq!(&packet, &before);
        }
    }

    /// A real packet with some bytes changed: only what IPsec does not cover may change.
    #[test]
    fn damaged_packets_are_refused(
        ip in prop_oneof![Just(Ip::V4), Just(Ip::V4Options), Just(Ip::V6), Just(Ip::V6Extensions)],
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..6),
        length in 0..120usize,
    ) {
        let sa = sa_for(ip);
        let engine = engine(2);
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = Frame::new(ip, &sa, 9, &payload(length));
        let whole = sa.seal_elsewhere(&frame, 9);
        let mut packet = whole.clone();
        for (index, change) in changes {
            packet[index.index(whole.len())] ^= change;
        }
        let before = packet.clone();
        if refused(engine.open(&simd(), &mut packet)) {
            prop_assert_eq!(&packet, &before);
        } else {
            prop_assert_eq!(&before[frame.esp..], &whole[frame.esp..]);
        }
    }
}
