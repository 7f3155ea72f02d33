//! Sequence numbers of 32 and 64 bits, and that no IV comes twice under one key.

mod common;

use std::collections::HashSet;

use common::*;
use ipsec::{
    CryptoStatus, Direction, EncryptionAlgorithm, Engine, Operation, SaHandle, SendError,
    UpdateError, Verdict,
};

/// Seals packets of one SA and remembers every IV.
struct Sender<'e> {
    engine: &'e Engine,
    sa: Sa,
    handle: SaHandle,
    ivs: HashSet<[u8; 8]>,
}

impl<'e> Sender<'e> {
    fn new(engine: &'e Engine, sa: Sa) -> Self {
        let handle = sa.add_to(engine, Direction::Outbound).unwrap();
        Self {
            engine,
            sa,
            handle,
            ivs: HashSet::new(),
        }
    }

    fn try_send(&mut self, low: u32) -> Result<Vec<u8>, SendError> {
        let frame = Frame::new(Ip::V4, &self.sa, low, b"data");
        let mut packet = frame.bytes.clone();
        self.engine
            .seal(&simd(), &frame.request(self.handle), &mut packet)?;
        let iv = packet[frame.esp + 8..][..8].try_into().unwrap();
        assert!(self.ivs.insert(iv), "IV {iv:02x?} came twice");
        Ok(packet)
    }

    /// The packet must be what it is for this 64-bit number.
    fn send(&mut self, number: u64) -> Vec<u8> {
        let low = number as u32;
        let packet = self.try_send(low).unwrap();
        let frame = Frame::new(Ip::V4, &self.sa, low, b"data");
        assert_eq!(
            packet,
            self.sa.seal_elsewhere(&frame, number),
            "{number:#x}"
        );
        packet
    }

    fn update(&self, high: u32) -> Result<(), UpdateError> {
        self.engine
            .update_sa(self.handle, Operation::Esp, self.sa.spi, high)
    }
}

fn plain() -> Sa {
    Sa::new(EncryptionAlgorithm::AesGcm128, 16)
}

const WRAP: u64 = 1 << 32;

#[test]
fn the_high_half_advances_with_the_wrap() {
    let engine = engine(2);
    let mut sender = Sender::new(&engine, plain().esn(0));
    for number in [1, 2, 3, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF0] {
        sender.send(number);
    }
    for number in WRAP - 8..WRAP + 8 {
        sender.send(number);
    }
    // A whole turn, in steps below half of it.
    for step in 1..=8 {
        sender.send(WRAP + 8 + step * (WRAP / 4));
    }
}

#[test]
fn processors_may_send_out_of_order_over_the_wrap() {
    let engine = engine(1);
    let mut sender = Sender::new(&engine, plain().esn(5));
    let base = 6 * WRAP;
    for number in [
        base - 2,
        base + 3,
        base - 1,
        base,
        base + 1,
        base - 100,
        base + 2,
    ] {
        sender.send(number);
    }
}

/// An SA is offloaded in the middle of its life, at any point of it.
#[test]
fn the_first_packet_has_the_sas_high_half() {
    for low in [0, 1, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFFF] {
        let engine = engine(1);
        let number = 9 * WRAP + low;
        let mut sender = Sender::new(&engine, plain().esn(9));
        sender.send(number);
        sender.send(number + 1);
    }
}

/// UPDATE_SA and the wrapping packet race; either may be first.
#[test]
fn update_before_and_after_the_wrap() {
    for early in [true, false] {
        let engine = engine(1);
        let mut sender = Sender::new(&engine, plain().esn(0));
        sender.send(WRAP - 3);
        if early {
            sender.update(1).unwrap();
        }
        sender.send(WRAP - 2);
        sender.send(WRAP - 1);
        sender.send(WRAP);
        if !early {
            sender.update(1).unwrap();
        }
        sender.send(WRAP + 1);
        sender.send(WRAP - 4);
        sender.send(WRAP + 2);
    }
}

#[test]
fn update_sets_the_high_half() {
    let engine = engine(1);
    let mut sender = Sender::new(&engine, plain().esn(0));
    sender.send(10);
    sender.update(7).unwrap();
    sender.send(7 * WRAP + 0xFFFF_0000);
    sender.send(8 * WRAP + 5);
}

/// Going back would use IVs again.
#[test]
fn a_sender_is_never_set_back() {
    let engine = engine(1);
    let mut sender = Sender::new(&engine, plain().esn(3));
    sender.send(3 * WRAP + 10);
    assert_eq!(sender.update(2), Err(UpdateError::Backwards));
    assert_eq!(sender.update(0), Err(UpdateError::Backwards));
    sender.send(3 * WRAP + 11);
}

#[test]
fn update_of_what_is_not_there() {
    let engine = engine(3);
    let esn = plain().esn(0).add_to(&engine, Direction::Inbound).unwrap();
    let short = plain().add_to(&engine, Direction::Inbound).unwrap();
    let update = |handle, operation, spi| engine.update_sa(handle, operation, spi, 1);
    assert_eq!(update(esn, Operation::Esp, SPI), Ok(()));
    assert_eq!(
        update(short, Operation::Esp, SPI),
        Err(UpdateError::NotExtended)
    );
    assert_eq!(update(esn, Operation::Ah, SPI), Err(UpdateError::Mismatch));
    assert_eq!(
        update(esn, Operation::Esp, SPI + 1),
        Err(UpdateError::Mismatch)
    );
    engine.delete_sa(esn);
    assert_eq!(update(esn, Operation::Esp, SPI), Err(UpdateError::NotFound));
}

/// RFC 4303 section 3.3.3: the counter of 32 bits must not cycle.
#[test]
fn without_esn_a_sender_stops_at_the_end() {
    let engine = engine(1);
    let mut sender = Sender::new(&engine, plain());
    sender.send(WRAP - 2);
    sender.send(WRAP - 1);
    for low in [0, 1, 2, 100] {
        assert_eq!(sender.try_send(low), Err(SendError::SequenceExhausted));
    }
    sender.send(WRAP - 3);
}

#[test]
fn the_last_of_all_numbers() {
    let engine = engine(1);
    let mut sender = Sender::new(&engine, plain().esn(u32::MAX));
    sender.send(u64::MAX - 1);
    sender.send(u64::MAX);
    assert_eq!(sender.try_send(0), Err(SendError::SequenceExhausted));
    assert_eq!(sender.try_send(1), Err(SendError::SequenceExhausted));
}

/// Deleted and added again, under other keys: IVs start again, keys do not.
#[test]
fn a_thousand_numbers_of_each_kind() {
    for esn in [None, Some(0), Some(77)] {
        let engine = engine(1);
        let mut sa = plain();
        sa.esn = esn;
        let mut sender = Sender::new(&engine, sa);
        let base = u64::from(esn.unwrap_or(0)) * WRAP;
        // Each number once, in an order that jumps about by hundreds.
        for index in 0..1000 {
            sender.send(base + 1 + (index * 389) % 1000);
        }
        assert_eq!(sender.ivs.len(), 1000);
    }
}

#[test]
fn a_receiver_follows_over_the_wrap() {
    let sa = plain().esn(0);
    let engine = engine(1);
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let receive = |number: u64| {
        let frame = Frame::new(Ip::V4, &sa, number as u32, b"data");
        let mut packet = sa.seal_elsewhere(&frame, number);
        engine.open(&simd(), &mut packet) == success(frame.pad_length)
    };
    for number in [
        1,
        100,
        50,
        0x7000_0000,
        0xE000_0000,
        WRAP - 1,
        WRAP + 1,
        WRAP - 2,
        WRAP,
        WRAP + 0x7000_0000,
        WRAP + 0xE000_0000,
        2 * WRAP + 5,
        WRAP + 0xFFFF_FFFF,
        // A replay is authentic; the transport knows it for one.
        WRAP + 0xFFFF_FFFF,
    ] {
        assert!(receive(number), "{number:#x}");
    }
    // Of another turn: the high half is authenticated.
    assert!(!receive(7));
    assert!(!receive(9 * WRAP + 7));
}

/// Forged packets do not move the high half.
#[test]
fn only_authentic_packets_move_the_receiver() {
    let sa = plain().esn(0);
    let engine = engine(1);
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let frame = |number: u64| Frame::new(Ip::V4, &sa, number as u32, b"data");
    let mut packet = sa.seal_elsewhere(&frame(WRAP - 5), WRAP - 5);
    assert!(
        matches!(engine.open(&simd(), &mut packet), Verdict::Processed(outcome)
        if outcome.status == CryptoStatus::Success)
    );
    for low in [WRAP, WRAP + 0x7FFF_FFF0, WRAP + 0xFFFF_0000] {
        let mut forged = frame(low).bytes;
        assert_eq!(
            engine.open(&simd(), &mut forged),
            failure(CryptoStatus::TransportEspAuthFailed)
        );
    }
    let mut packet = sa.seal_elsewhere(&frame(WRAP - 4), WRAP - 4);
    assert!(
        matches!(engine.open(&simd(), &mut packet), Verdict::Processed(outcome)
        if outcome.status == CryptoStatus::Success)
    );
}

#[test]
fn a_receiver_may_be_set_back() {
    let sa = plain().esn(4);
    let engine = engine(1);
    let handle = sa.add_to(&engine, Direction::Inbound).unwrap();
    let receive = |number: u64| {
        let frame = Frame::new(Ip::V4, &sa, number as u32, b"data");
        let mut packet = sa.seal_elsewhere(&frame, number);
        engine.open(&simd(), &mut packet) == success(frame.pad_length)
    };
    assert!(receive(4 * WRAP + 9));
    assert!(!receive(2 * WRAP + 9));
    engine.update_sa(handle, Operation::Esp, SPI, 2).unwrap();
    assert!(receive(2 * WRAP + 9));
}

/// The pair is to be replaced while there are numbers left to do it with.
#[test]
fn deletion_is_asked_for_near_the_end() {
    for (esn, number, asked) in [
        (None, 1, false),
        (None, 0xEFFF_FFFF, false),
        (None, 0xF000_0000, true),
        (Some(0), 0xFFFF_FFFF, false),
        (Some(0xEFFF_FFFF), u64::MAX - (1 << 60), false),
        (Some(0xF000_0000), u64::MAX - (1 << 60) + 1, true),
    ] {
        let mut sa = plain();
        sa.esn = esn;
        let engine = engine(1);
        let handle = sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = Frame::new(Ip::V4, &sa, number as u32, b"data");
        for _ in 0..2 {
            let mut packet = sa.seal_elsewhere(&frame, number);
            let Verdict::Processed(outcome) = engine.open(&simd(), &mut packet) else {
                panic!("not processed");
            };
            assert_eq!(outcome.status, CryptoStatus::Success);
            assert_eq!(outcome.sa_delete_request, asked, "{esn:?} {number:#x}");
        }
        // It works until it is deleted.
        assert!(engine.delete_sa(handle));
    }
}
