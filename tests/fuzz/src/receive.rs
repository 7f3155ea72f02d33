//! Anything that may come from the wire, for SAs of every kind.

use arbitrary::{Arbitrary, Result, Unstructured};
use ipsec::{Counters, CryptoStatus, Direction, Engine, Verdict};

use crate::sa::Sa;
use crate::{engine, simd};

/// SAs and a burst of packets.
struct Case<'a> {
    sas: Vec<Sa>,
    packets: Vec<&'a [u8]>,
}

impl<'a> Case<'a> {
    fn new(mut u: Unstructured<'a>) -> Result<Self> {
        let sas = match u.arbitrary()? {
            false => vec![u.arbitrary()?],
            true => vec![u.arbitrary()?, u.arbitrary()?],
        };
        let mut packets = Vec::new();
        let count = usize::from(u.arbitrary::<u8>()?) % 3;
        for _ in 0..count {
            let length = usize::from(u8::arbitrary(&mut u)?).min(u.len());
            packets.push(u.bytes(length)?);
        }
        packets.push(u.take_rest());
        Ok(Self { sas, packets })
    }

    fn receiver(&self) -> Engine {
        let engine = engine();
        for sa in &self.sas {
            sa.add(&engine, Direction::Inbound, false);
            sa.add(&engine, Direction::Inbound, true);
        }
        engine
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let Ok(case) = Case::new(Unstructured::new(data)) else {
        return;
    };
    let simd = simd();
    let (alone, together) = (case.receiver(), case.receiver());
    let mut burst = together.inbound(&simd);
    for before in &case.packets {
        let mut packet = before.to_vec();
        let counted = alone.counters();
        let verdict = alone.open(&simd, &mut packet);
        check(&alone, before, &packet, &verdict);
        check_count(counted, alone.counters(), &verdict);

        // What a burst remembers of the packets before changes nothing.
        let mut again = before.to_vec();
        assert_eq!(burst.open(&mut again), verdict);
        assert_eq!(again, packet);
    }
    drop(burst);
    assert_eq!(together.counters(), alone.counters());
}

/// What holds for every packet, whoever made it.
pub fn check(engine: &Engine, before: &[u8], after: &[u8], verdict: &Verdict) {
    if !engine.is_candidate(before) {
        assert!(matches!(verdict, Verdict::NotProcessed(_)));
    }
    match verdict {
        Verdict::NotProcessed(_) => assert_eq!(before, after),
        Verdict::Processed(outcome) => {
            let success = outcome.status == CryptoStatus::Success;
            let authentication_failed = matches!(
                outcome.status,
                CryptoStatus::TransportAhAuthFailed
                    | CryptoStatus::TransportEspAuthFailed
                    | CryptoStatus::TunnelAhAuthFailed
                    | CryptoStatus::TunnelEspAuthFailed
            );
            if authentication_failed && !outcome.next_crypto_done {
                assert_eq!(before, after);
            }
            if let Some(trailer) = outcome.trailer {
                assert!(success && !outcome.next_crypto_done);
                assert!(usize::from(trailer.pad_length) < before.len());
            }
            if outcome.sa_delete_request {
                assert!(success || outcome.next_crypto_done);
            }
            check_bounds(before, after);
        }
    }
}

/// Neither the IP header nor what comes after the packet (Ethernet padding) is ever written.
fn check_bounds(before: &[u8], after: &[u8]) {
    let word = |at: usize| usize::from(u16::from_be_bytes([before[at], before[at + 1]]));
    let (header, end) = match before[0] >> 4 {
        4 => (usize::from(before[0] & 15) * 4, word(2)),
        _ => (40, 40 + word(4)),
    };
    let end = end.min(before.len());
    // An IPsec header is never written either: what can be is at least its 8 bytes further.
    let kept = end.min(header + 8);
    assert_eq!(before[..kept], after[..kept]);
    assert_eq!(before[end..], after[end..]);
}

/// Each packet is counted once, under what its verdict says.
fn check_count(before: Counters, after: Counters, verdict: &Verdict) {
    use ipsec::NotProcessed::{Fragment, NoSa, UnsupportedHeader};
    let mut expected = before;
    match verdict {
        Verdict::NotProcessed(NoSa) => expected.no_sa += 1,
        Verdict::NotProcessed(Fragment) => expected.fragments += 1,
        Verdict::NotProcessed(UnsupportedHeader) => expected.unsupported_headers += 1,
        Verdict::NotProcessed(_) => {}
        Verdict::Processed(outcome) => match outcome.status {
            CryptoStatus::Success => expected.opened += 1,
            CryptoStatus::InvalidPacketSyntax | CryptoStatus::GenericError => {
                expected.syntax_errors += 1;
            }
            CryptoStatus::InvalidProtocol => expected.protocol_mismatches += 1,
            _ => expected.authentication_failures += 1,
        },
    }
    expected.opened_bytes = after.opened_bytes;
    assert_eq!(after, expected);
    if after.opened == before.opened {
        assert_eq!(after.opened_bytes, before.opened_bytes);
    }
}
