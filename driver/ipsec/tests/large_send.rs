//! Large send offload with IPsec: the same as to cut first, and to seal each segment.

mod common;

use common::large::{Framed, Large, TCP};
use common::nested::engine_iv;
use common::suites::{every_gcm, every_pair};
use common::*;
use ipsec::{
    AuthenticationAlgorithm, Direction, EncryptionAlgorithm, SaHandle, SendError, SendRequest,
    UdpEncapsulation,
};
use proptest::prelude::*;
use task_offload::large_send::LargeSendVersion;

/// A large packet for an SA of ESP.
struct Case {
    sa: Sa,
    large: Large,
    udp: bool,
    /// Of the first segment, with its high half.
    number: u64,
}

impl Case {
    fn new(sa: &Sa, large: Large, udp: bool, number: u64) -> Self {
        let mut sa = sa.clone().over(large.ip);
        if udp {
            sa.udp = UdpEncapsulation::Transport.into();
        }
        Self {
            sa,
            large,
            udp,
            number,
        }
    }

    /// Segment `index`, framed by the transport.
    fn frame(&self, index: usize) -> Frame {
        let low = (self.number + index as u64) as u32;
        let next_header = self.large.next_header();
        let segment = self.large.segment(index);
        let mut frame = Frame::of(self.large.ip, &self.sa, low, &segment, next_header);
        if self.udp {
            frame = frame.in_udp();
        }
        self.large.finish_ip(&mut frame.bytes, index);
        frame
    }

    fn framed(&self) -> Framed {
        let first = self.frame(0);
        let mut front = first.bytes[..first.payload(&self.sa)].to_vec();
        if self.udp {
            // Of no segment.
            front[first.esp - 4..first.esp].fill(0xA5);
        }
        self.large.framed(&front, true)
    }

    fn request(&self, handle: SaHandle) -> SendRequest {
        self.large.request(self.frame(0).request(handle))
    }

    /// Sends it, and compares with what others make of each segment, and the engine too.
    fn check(&self, burst: usize) {
        let (engine, plain) = (legacy_engine(2), legacy_engine(1));
        let out = self.sa.add_to(&engine, Direction::Outbound).unwrap();
        let each = self.sa.add_to(&plain, Direction::Outbound).unwrap();
        self.sa.add_to(&engine, Direction::Inbound).unwrap();
        let request = self.request(out);
        let sent = self
            .framed()
            .send(&engine, &self.large, &request, burst)
            .unwrap();
        assert_eq!(sent.len(), self.large.segments());
        for (index, packet) in sent.iter().enumerate() {
            let frame = self.frame(index);
            let iv = engine_iv(packet, &frame, &self.sa);
            let number = self.number + index as u64;
            let expected = self.sa.seal_as_engine(&frame, number, &iv);
            assert_eq!(packet, &expected, "{:?} {:?} {index}", self.sa, self.large);
            let mut alone = frame.bytes.clone();
            plain
                .seal(&simd(), &frame.request(each), &mut alone)
                .unwrap();
            assert_eq!(packet, &alone);
            let mut opened = packet.clone();
            let verdict = engine.open(&simd(), &mut opened);
            let ipsec::Verdict::Processed(outcome) = verdict else {
                panic!("{verdict:?}");
            };
            assert_eq!(outcome.status, ipsec::CryptoStatus::Success);
            assert_eq!(opened, frame.opened(packet, &self.sa));
        }
        assert_eq!(engine.counters().sealed, sent.len() as u64);
    }
}

/// Every algorithm, headers, UDP or not, and MSS that leave every kind of rest.
#[test]
fn every_algorithm_and_header() {
    let sizes = [
        (2, 1),
        (33, 16),
        (33, 32),
        (34, 32),
        (3000, 1460),
        (2920, 1460),
        (3001, 537),
    ];
    for sa in every_pair().chain(every_gcm()) {
        for ip in Ip::ALL {
            for udp in [false, true] {
                for (size, mss) in sizes {
                    let large = Large::new(ip, size, mss);
                    Case::new(&sa, large, udp, 5).check(usize::MAX);
                }
            }
        }
    }
}

/// Every rest modulo the block, and the padding that goes with it.
#[test]
fn every_residue() {
    for sa in [
        Sa::separate(
            EncryptionAlgorithm::AesCbc128,
            AuthenticationAlgorithm::Sha1,
        ),
        Sa::new(EncryptionAlgorithm::AesGcm128, 16),
    ] {
        for mss in 40..57 {
            for size in 100..117 {
                Case::new(&sa, Large::new(Ip::V4, size, mss), false, 1).check(usize::MAX);
            }
        }
    }
}

/// The low half wraps before, in, and behind the segments; with bursts of every size in between.
#[test]
fn extended_sequence_numbers_wrap() {
    for sa in [
        Sa::new(EncryptionAlgorithm::AesGcm128, 16),
        Sa::separate(
            EncryptionAlgorithm::AesCbc256,
            AuthenticationAlgorithm::Sha256,
        ),
        Sa::separate(
            EncryptionAlgorithm::Null,
            AuthenticationAlgorithm::AesGmac256,
        ),
    ] {
        for high in [0, 7, u32::MAX - 1] {
            for before in 0..7 {
                for burst in [1, 2, 3, usize::MAX] {
                    let first = (u64::from(high) << 32 | 0xFFFF_FFFF) - before + 1;
                    let sa = sa.clone().esn(high);
                    let case = Case::new(&sa, Large::new(Ip::V6, 500, 100), before % 2 == 0, first);
                    // The SA has seen a number before, so that it knows on which side of the
                    // wrap a low one is.
                    let engine = engine(1);
                    let out = case.sa.add_to(&engine, Direction::Outbound).unwrap();
                    let near = Frame::new(Ip::V6, &case.sa, 0xFFFF_FF00, b"");
                    let near = if case.udp { near.in_udp() } else { near };
                    engine
                        .seal(&simd(), &near.request(out), &mut near.bytes.clone())
                        .unwrap();
                    let request = case.request(out);
                    let sent = case
                        .framed()
                        .send(&engine, &case.large, &request, burst)
                        .unwrap();
                    assert_eq!(sent.len(), 5);
                    for (index, packet) in sent.iter().enumerate() {
                        let frame = case.frame(index);
                        let iv = engine_iv(packet, &frame, &case.sa);
                        let number = first + index as u64;
                        assert_eq!(packet, &case.sa.seal_as_engine(&frame, number, &iv));
                    }
                    // What comes next has the next number.
                    let number = first + 5;
                    let next = Frame::new(Ip::V6, &case.sa, number as u32, b"");
                    let next = if case.udp { next.in_udp() } else { next };
                    let mut packet = next.bytes.clone();
                    engine
                        .seal(&simd(), &next.request(out), &mut packet)
                        .unwrap();
                    let iv = engine_iv(&packet, &next, &case.sa);
                    assert_eq!(packet, case.sa.seal_as_engine(&next, number, &iv));
                }
            }
        }
    }
}

/// Without ESN all segments have a number, or none is sent; with ESN the same at the very end.
#[test]
fn numbers_that_are_used_up() {
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    for (sa, high) in [(sa.clone(), 0), (sa.clone().esn(u32::MAX), u32::MAX)] {
        for (low, fits) in [
            (0xFFFF_FFFB, true),
            (0xFFFF_FFFC, false),
            (0xFFFF_FFFF, false),
        ] {
            let number = u64::from(high) << 32 | low;
            let large = Large::new(Ip::V4, 500, 100);
            let engine = engine(1);
            let case = Case::new(&sa, large, false, 0);
            let out = case.sa.add_to(&engine, Direction::Outbound).unwrap();
            let near = Frame::new(Ip::V4, &case.sa, 0xF000_0000, b"");
            engine
                .seal(&simd(), &near.request(out), &mut near.bytes.clone())
                .unwrap();
            let mut framed = case.framed();
            framed.bytes[24..28].copy_from_slice(&(number as u32).to_be_bytes());
            let request = case.request(out);
            let sent = framed.send(&engine, &case.large, &request, usize::MAX);
            match sent {
                Ok(sent) => assert!(fits && sent.len() == 5, "{low:#x}"),
                Err(error) => {
                    assert_eq!((error, fits), (SendError::SequenceExhausted, false));
                    assert_eq!(engine.counters().seal_errors, 1);
                }
            }
        }
    }
}

/// A segment that fails has spent its number.
#[test]
fn a_segment_that_fails() {
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    let case = Case::new(&sa, Large::new(Ip::V4, 300, 100), false, 9);
    let engine = engine(1);
    let out = case.sa.add_to(&engine, Direction::Outbound).unwrap();
    let framed = case.framed();
    let simd = simd();
    let mut outbound = engine.outbound(&simd);
    let framing = outbound
        .large(&case.request(out), &framed.bytes, framed.tcp_offset)
        .unwrap();
    let mut segments = outbound.reserve(framing, 3.try_into().unwrap(), 0).unwrap();
    let whole = case.frame(0);
    for length in [0, 99, whole.end - 1, whole.end + 1] {
        let mut packet = whole.bytes.clone();
        packet.resize(length, 0);
        let before = packet.clone();
        assert_eq!(
            outbound.seal_segment(&mut segments.clone(), 100, &mut packet),
            Err(SendError::LengthMismatch)
        );
        assert_eq!(packet, before);
    }
    assert_eq!(
        outbound.seal_segment(&mut segments, 100, &mut []),
        Err(SendError::LengthMismatch)
    );
    for index in [1, 2] {
        let frame = case.frame(index);
        let mut packet = frame.bytes.clone();
        outbound
            .seal_segment(&mut segments, 100, &mut packet)
            .unwrap();
        assert_eq!(packet, case.sa.seal_elsewhere(&frame, 9 + index as u64));
    }
    let mut packet = whole.bytes.clone();
    assert_eq!(
        outbound.seal_segment(&mut segments, 100, &mut packet),
        Err(SendError::SequenceExhausted)
    );
    assert_eq!(packet, whole.bytes);
    // The SA goes in between.
    let framing = outbound
        .large(&case.request(out), &framed.bytes, framed.tcp_offset)
        .unwrap();
    drop(outbound);
    engine.delete_sa(out);
    let mut outbound = engine.outbound(&simd);
    assert_eq!(
        outbound.reserve(framing, 3.try_into().unwrap(), 0).err(),
        Some(SendError::UnknownSa)
    );
}

/// Version 1, with the length in the IPv4 header; and destination options within ESP.
#[test]
fn other_forms() {
    let sa = Sa::separate(
        EncryptionAlgorithm::AesCbc128,
        AuthenticationAlgorithm::Sha1,
    );
    for ip in [Ip::V4, Ip::V4Options] {
        let mut large = Large::new(ip, 3000, 1000);
        large.version = LargeSendVersion::V1;
        Case::new(&sa, large, false, 77).check(2);
    }
    for ip in [Ip::V6, Ip::V6Extensions] {
        let mut large = Large::new(ip, 3000, 1000);
        large.options_in_esp = true;
        Case::new(&sa, large, true, 77).check(2);
    }
}

#[test]
fn what_is_refused() {
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    let engine = engine(8);
    let case = Case::new(&sa, Large::new(Ip::V4, 300, 100), false, 9);
    let out = case.sa.add_to(&engine, Direction::Outbound).unwrap();
    let inbound = case.sa.add_to(&engine, Direction::Inbound).unwrap();
    let good = case.request(out);
    let framed = case.framed();
    assert!(framed.plan(&engine, &good).is_ok());
    let refuse = |request: SendRequest, change: &dyn Fn(&mut Framed), error| {
        let mut framed = framed.clone();
        change(&mut framed);
        assert_eq!(framed.plan(&engine, &request).err(), Some(error));
    };
    let unchanged = &|_: &mut Framed| {};
    let with = |change: &dyn Fn(&mut SendRequest)| {
        let mut request = good;
        change(&mut request);
        request
    };
    // "The packet won't be sent through a tunnel."
    let tunnel = SendError::LargeInTunnel;
    refuse(with(&|r| r.tunnel = Some(out)), unchanged, tunnel);
    refuse(
        with(&|r| (r.transport, r.tunnel) = (None, Some(out))),
        unchanged,
        tunnel,
    );
    refuse(with(&|r| r.next_header = 4), unchanged, tunnel);
    refuse(with(&|r| r.next_header = 41), unchanged, tunnel);
    for subtype in UdpEncapsulation::ALL {
        let sa = sa.clone().udp(subtype);
        let handle = sa.add_to(&engine, Direction::Outbound).unwrap();
        let error = match subtype {
            // The packet has no UDP header.
            UdpEncapsulation::Transport => SendError::HeaderMismatch,
            _ => tunnel,
        };
        refuse(with(&|r| r.transport = Some(handle)), unchanged, error);
        engine.delete_sa(handle);
    }
    refuse(
        with(&|r| r.transport = None),
        unchanged,
        SendError::UnknownSa,
    );
    refuse(
        with(&|r| r.transport = SaHandle::from_raw(0xDEAD_BEEF)),
        unchanged,
        SendError::UnknownSa,
    );
    refuse(
        with(&|r| r.transport = Some(inbound)),
        unchanged,
        SendError::WrongDirection,
    );
    let header = SendError::HeaderMismatch;
    refuse(with(&|r| r.esp_header_offset += 1), unchanged, header);
    refuse(with(&|r| r.next_header = UDP), unchanged, header);
    // Over IPv4 there are no extension headers.
    refuse(with(&|r| r.next_header = 60), unchanged, header);
    refuse(good, &|framed| framed.tcp_offset += 4, header);
    refuse(good, &|framed| framed.tcp_offset -= 4, header);
    refuse(good, &|framed| framed.bytes[9] = TCP, header);
    refuse(
        good,
        &|framed| framed.bytes[20] ^= 1,
        SendError::SpiMismatch,
    );
    refuse(good, &|framed| framed.bytes[6] |= 0x20, SendError::Fragment);
    refuse(good, &|framed| framed.bytes[0] = 0x50, SendError::Malformed);
    for length in 0..framed.tcp_offset + 13 {
        let mut short = framed.clone();
        short.bytes.truncate(length);
        let simd = simd();
        let mut outbound = engine.outbound(&simd);
        let error = outbound.large(&good, &short.bytes, short.tcp_offset).err();
        assert!(error.is_some(), "{length}");
    }
    assert_eq!(engine.counters().sealed, 0);
}

proptest! {
    #[test]
    fn anything_that_is_cut_is_right(
        suite in 0..30usize,
        ip in prop_oneof![Just(Ip::V4), Just(Ip::V4Options), Just(Ip::V6), Just(Ip::V6Extensions)],
        size in 2..4000usize,
        parts in 2..12usize,
        options in 0..10usize,
        flags in any::<u8>(),
        udp in any::<bool>(),
        esn in proptest::option::of(any::<u32>()),
        low in 1..0x7FFF_0000u32,
        burst in 1..9usize,
    ) {
        let mut sa = every_pair().chain(every_gcm()).nth(suite).unwrap();
        sa.esn = esn;
        let mss = (size / parts).clamp(1, size - 1);
        prop_assume!(size.div_ceil(mss) <= 64);
        let mut large = Large::new(ip, size, mss);
        large.tcp_options = vec![1; options * 4];
        // SYN, RST and URG are never set.
        large.flags = flags & !0b10_0110;
        let number = u64::from(esn.unwrap_or(0)) << 32 | u64::from(low);
        Case::new(&sa, large, udp, number).check(burst);
    }

    #[test]
    fn anything_at_all_is_framed_or_refused(
        mut head in proptest::collection::vec(any::<u8>(), 0..200),
        start in prop_oneof![Just(0x45u8), Just(0x46), Just(0x60), any::<u8>()],
        protocol in prop_oneof![Just(50u8), Just(17), Just(51), any::<u8>()],
        tcp_offset in 0..200usize,
        offset in 0..30u8,
        next_header in prop_oneof![Just(6u8), Just(60), any::<u8>()],
        payload in 0..70_000usize,
    ) {
        if let [first, _, _, _, _, _, v6, _, _, v4, ..] = &mut head[..] {
            (*first, *v6, *v4) = (start, protocol, protocol);
        }
        let engine = engine(4);
        for ip in [Ip::V4, Ip::V6] {
            for udp in [false, true] {
                let mut sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16).over(ip);
                if udp {
                    sa.udp = UdpEncapsulation::Transport.into();
                }
                let handle = sa.add_to(&engine, Direction::Outbound).unwrap();
                let at = usize::from(offset) * 4;
                if let Some(place) = head.get_mut(at..at + 4) {
                    place.copy_from_slice(&SPI.to_be_bytes());
                }
                let request = SendRequest {
                    transport: Some(handle), tunnel: None, next_header, pad_length: 0,
                    ah_header_offset: 0, esp_header_offset: offset,
                };
                let simd = simd();
                let mut outbound = engine.outbound(&simd);
                if let Ok(framing) = outbound.large(&request, &head, tcp_offset) {
                    let tail = framing.tail(payload);
                    let mut segments = outbound.reserve(framing, 2.try_into().unwrap(), 0).unwrap();
                    let mut packet = head.clone();
                    packet.resize(segments.framing().head_len() + payload + tail, 0);
                    let _ = outbound.seal_segment(&mut segments, payload, &mut packet);
                }
            }
        }
    }
}
