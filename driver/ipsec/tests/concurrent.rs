//! One SA on many processors at once.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::{collections::VecDeque, sync::Mutex};

use common::*;
use ipsec::{Direction, EncryptionAlgorithm, Engine, Operation, SendError, UpdateError, Verdict};

/// Packets of each sender.
const PACKETS: u32 = if cfg!(miri) { 20 } else { 2_000 };

/// Frames on their way. ThreadSanitizer knows only the part of the standard library that is inlined here: a lock that
/// is tried, but neither channels nor waiting for a lock.
#[derive(Default)]
struct Wire(Mutex<VecDeque<(Vec<u8>, u8)>>);

impl Wire {
    fn with<R>(&self, work: impl FnOnce(&mut VecDeque<(Vec<u8>, u8)>) -> R) -> R {
        loop {
            if let Ok(mut frames) = self.0.try_lock() {
                return work(&mut frames);
            }
            thread::yield_now();
        }
    }
}

/// Two processors send on an SA, two receive what they have sent, a third pair adds and deletes other SAs and
/// updates this one, and its counters are read all the while: every packet is opened, and counted once.
#[test]
fn one_sa_on_all_processors() {
    let mut sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    sa.esn = Some(7);
    let engine = engine(16);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let done = AtomicBool::new(false);
    let opened = AtomicU64::new(0);
    let wires = [Wire::default(), Wire::default()];
    thread::scope(|scope| {
        let (engine, done, opened, sa, wires) = (&engine, &done, &opened, &sa, &wires);
        let senders = [0, 1].map(|sender: u32| {
            let wire = &wires[sender as usize];
            let sending = scope.spawn(move || {
                let simd = simd();
                for packet in 1..=PACKETS {
                    let frame = Frame::new(Ip::V4, sa, packet * 2 + sender, &payload(48));
                    let mut bytes = frame.bytes.clone();
                    engine.seal(&simd, &frame.request(out), &mut bytes).unwrap();
                    wire.with(|frames| frames.push_back((bytes, frame.pad_length)));
                }
            });
            let receiving = scope.spawn(move || {
                let simd = simd();
                let mut left = PACKETS;
                while left > 0 {
                    let Some((mut bytes, pad_length)) = wire.with(VecDeque::pop_front) else {
                        thread::yield_now();
                        continue;
                    };
                    left -= 1;
                    assert_eq!(engine.open(&simd, &mut bytes), success(pad_length));
                    opened.fetch_add(1, Ordering::Relaxed);
                }
            });
            (sending, receiving)
        });
        let managing = scope.spawn(move || {
            let mut other = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
            other.spi = SPI + 1;
            while !done.load(Ordering::Relaxed) {
                let handle = other.add_to(engine, Direction::Inbound).unwrap();
                // What the SA knows already.
                engine.update_sa(out, Operation::Esp, SPI, 7).unwrap();
                let back = engine.update_sa(out, Operation::Esp, SPI, 6);
                assert_eq!(back, Err(UpdateError::Backwards));
                assert!(engine.delete_sa(handle));
            }
        });
        let reading = scope.spawn(move || {
            let mut before = 0;
            while !done.load(Ordering::Relaxed) {
                let sealed = engine.counters().sealed;
                assert!(sealed >= before);
                // The other SA may be met in every slot that it comes to meanwhile.
                assert!((2..=16).contains(&engine.sas().count()));
                before = sealed;
            }
        });
        for (sending, receiving) in senders {
            sending.join().unwrap();
            receiving.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        managing.join().unwrap();
        reading.join().unwrap();
    });
    assert_eq!(opened.into_inner(), u64::from(PACKETS) * 2);
    let counters = engine.counters();
    assert_eq!(counters.sealed, u64::from(PACKETS) * 2);
    assert_eq!(counters.opened, u64::from(PACKETS) * 2);
}

/// An SA goes while packets use it: each of them is either done with it or finds none, and afterwards there is
/// room again.
#[test]
fn an_sa_that_goes_under_load() {
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    let engine = engine(4);
    for round in 0..PACKETS / 20 {
        let out = sa.add_to(&engine, Direction::Outbound).unwrap();
        let inbound = sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = Frame::new(Ip::V4, &sa, round + 1, &payload(48));
        let wire = sa.seal_elsewhere(&frame, u64::from(round) + 1);
        thread::scope(|scope| {
            let (engine, frame, wire) = (&engine, &frame, &wire);
            let users =
                [0, 1].map(|_| scope.spawn(move || use_until_gone(engine, frame, out, wire)));
            thread::yield_now();
            assert!(engine.delete_sa(out) && engine.delete_sa(inbound));
            for user in users {
                user.join().unwrap();
            }
        });
        assert_eq!(engine.sa_count(), 0);
    }
}

fn use_until_gone(engine: &Engine, frame: &Frame, out: ipsec::SaHandle, wire: &[u8]) {
    let simd = simd();
    let (mut sends, mut receives) = (true, true);
    while sends || receives {
        let mut bytes = frame.bytes.clone();
        match engine.seal(&simd, &frame.request(out), &mut bytes) {
            Ok(()) => assert_eq!(bytes, wire),
            Err(error) => {
                assert_eq!(error, SendError::UnknownSa);
                assert_eq!(bytes, frame.bytes);
                sends = false;
            }
        }
        let mut bytes = wire.to_vec();
        match engine.open(&simd, &mut bytes) {
            Verdict::NotProcessed(_) => {
                assert_eq!(bytes, wire);
                receives = false;
            }
            verdict => assert_eq!(verdict, success(frame.pad_length)),
        }
    }
}
