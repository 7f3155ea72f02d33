//! Large send offload with AH, alone and over ESP.

mod common;

use common::ah::{ALGORITHMS, AhSa, canonical, opened};
use common::large::{Large, TCP};
use common::*;
use ipsec::{Direction, EncryptionAlgorithm, SendError, Trailer};

/// Every algorithm and kind of header; the numbers wrap within the segments.
#[test]
fn ah_alone() {
    for algorithm in ALGORITHMS {
        for ip in Ip::ALL {
            for esn in [None, Some(6)] {
                let mut sa = AhSa::new(algorithm).over(ip);
                sa.esn = esn;
                let first = match esn {
                    Some(high) => u64::from(high) << 32 | 0xFFFF_FFFE,
                    None => 7,
                };
                let engine = legacy_engine(2);
                let out = sa.add_to(&engine, Direction::Outbound).unwrap();
                sa.add_to(&engine, Direction::Inbound).unwrap();
                let near = sa.frame(ip, first as u32 - 5, b"", TCP);
                let mut bytes = near.bytes.clone();
                engine
                    .seal(&simd(), &near.request(out), &mut bytes)
                    .unwrap();
                assert_eq!(engine.open(&simd(), &mut bytes), opened(None));

                let large = Large::new(ip, 1000, 300);
                let front = sa.frame(ip, first as u32, b"", TCP);
                let framed = large.framed(&front.bytes, false);
                let request = front.request(out);
                let sent = framed.send(&engine, &large, &request, 3).unwrap();
                assert_eq!(sent.len(), 4);
                for (index, packet) in sent.into_iter().enumerate() {
                    let number = first + index as u64;
                    let mut frame = sa.frame(ip, number as u32, &large.segment(index), TCP);
                    large.finish_ip(&mut frame.bytes, index);
                    let mut expected = frame.bytes.clone();
                    sa.sign(&mut expected, canonical(ip, &frame.bytes), frame.ah, number);
                    assert_eq!(packet, expected, "{algorithm:?} {ip:?} {index}");
                    let mut packet = packet;
                    assert_eq!(engine.open(&simd(), &mut packet), opened(None));
                }
            }
        }
    }
}

#[test]
fn ah_over_esp() {
    for algorithm in ALGORITHMS {
        for ip in Ip::ALL {
            let esp = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
            let mut sa = AhSa::new(algorithm).over(ip);
            sa.esp = Some(esp.clone());
            let engine = legacy_engine(2);
            let out = sa.add_to(&engine, Direction::Outbound).unwrap();
            sa.add_to(&engine, Direction::Inbound).unwrap();
            let large = Large::new(ip, 1000, 300);
            // ESP of each segment alone, its own numbers beside AH's.
            let inside = |index: usize| {
                Frame::of(Ip::V4, &esp, 90 + index as u32, &large.segment(index), TCP)
            };
            let first = inside(0);
            let head = &first.bytes[first.esp..first.payload(&esp)];
            let front = sa.frame(ip, 7, head, 50);
            let framed = large.framed(&front.bytes, true);
            let mut request = large.request(front.request(out));
            request.esp_header_offset = ((front.bytes.len() - head.len()) / 4) as u8;
            let sent = framed.send(&engine, &large, &request, 2).unwrap();
            assert_eq!(sent.len(), 4);
            for (index, mut packet) in sent.into_iter().enumerate() {
                let inside = inside(index);
                let sealed = esp.seal_elsewhere(&inside, 90 + index as u64);
                let mut frame = sa.frame(ip, 7 + index as u32, &sealed[inside.esp..], 50);
                large.finish_ip(&mut frame.bytes, index);
                let mut expected = frame.bytes.clone();
                let number = 7 + index as u64;
                sa.sign(&mut expected, canonical(ip, &frame.bytes), frame.ah, number);
                assert_eq!(packet, expected, "{algorithm:?} {ip:?} {index}");
                let trailer = Some(Trailer {
                    next_header: TCP,
                    pad_length: inside.pad_length,
                });
                assert_eq!(engine.open(&simd(), &mut packet), opened(trailer));
            }
        }
    }
}

#[test]
fn what_is_refused() {
    let sa = AhSa::new(ALGORITHMS[1]);
    let engine = engine(1);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    let large = Large::new(Ip::V4Options, 1000, 300);
    let front = sa.frame(Ip::V4Options, 7, b"", TCP);
    let refuse = |change: &dyn Fn(&mut Vec<u8>), offset: u8, error| {
        let mut framed = large.framed(&front.bytes, false);
        change(&mut framed.bytes);
        let mut request = front.request(out);
        request.ah_header_offset += offset;
        assert_eq!(framed.plan(&engine, &request).err(), Some(error));
    };
    let ah = front.ah;
    refuse(&|_| {}, 1, SendError::HeaderMismatch);
    refuse(&|bytes| bytes[ah] = 4, 0, SendError::LargeInTunnel);
    refuse(&|bytes| bytes[ah] = 50, 0, SendError::HeaderMismatch);
    refuse(&|bytes| bytes[ah + 4] ^= 1, 0, SendError::SpiMismatch);
    refuse(&|bytes| bytes[ah + 1] ^= 2, 0, SendError::LengthMismatch);
    refuse(&|bytes| bytes[21] = 0, 0, SendError::Malformed);
}
