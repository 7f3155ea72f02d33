//! Anything that a transport may hand over: out-of-band words and packets that do not fit each other.

use arbitrary::{Arbitrary, Result, Unstructured};
use ipsec::{Direction, Engine, SaHandle, SendRequest};

use crate::sa::Sa;
use crate::{engine, simd};

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Handle {
    None,
    /// Of the first or the second SA.
    Of(bool),
    Inbound,
    Deleted,
    Forged(u64),
}

#[derive(Debug, Arbitrary)]
struct Words {
    transport: Handle,
    tunnel: Handle,
    next_header: u8,
    pad_length: u8,
    ah_header_offset: u8,
    esp_header_offset: u8,
}

struct Case<'a> {
    sas: [Sa; 2],
    v6: [bool; 2],
    packets: Vec<(Words, &'a [u8])>,
}

impl<'a> Case<'a> {
    fn new(mut u: Unstructured<'a>) -> Result<Self> {
        let (sas, v6) = (u.arbitrary()?, u.arbitrary()?);
        let mut packets = Vec::new();
        let count = usize::from(u.arbitrary::<u8>()?) % 3;
        for _ in 0..count {
            let words = u.arbitrary()?;
            let length = usize::from(u8::arbitrary(&mut u)?).min(u.len());
            packets.push((words, u.bytes(length)?));
        }
        packets.push((u.arbitrary()?, u.take_rest()));
        Ok(Self { sas, v6, packets })
    }

    fn sender(&self) -> (Engine, Handles) {
        let engine = engine();
        let add = |index: usize, direction| self.sas[index].add(&engine, direction, self.v6[index]);
        let handles = Handles {
            outbound: [add(0, Direction::Outbound), add(1, Direction::Outbound)],
            inbound: add(0, Direction::Inbound),
            deleted: add(1, Direction::Outbound),
        };
        assert!(engine.delete_sa(handles.deleted));
        (engine, handles)
    }
}

struct Handles {
    outbound: [SaHandle; 2],
    inbound: SaHandle,
    deleted: SaHandle,
}

impl Handles {
    fn get(&self, handle: Handle) -> Option<SaHandle> {
        match handle {
            Handle::None => None,
            Handle::Of(which) => Some(self.outbound[usize::from(which)]),
            Handle::Inbound => Some(self.inbound),
            Handle::Deleted => Some(self.deleted),
            Handle::Forged(raw) => SaHandle::from_raw(raw),
        }
    }

    fn request(&self, words: &Words) -> SendRequest {
        SendRequest {
            transport: self.get(words.transport),
            tunnel: self.get(words.tunnel),
            next_header: words.next_header,
            pad_length: words.pad_length,
            ah_header_offset: words.ah_header_offset,
            esp_header_offset: words.esp_header_offset,
        }
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let Ok(case) = Case::new(Unstructured::new(data)) else {
        return;
    };
    let simd = simd();
    let (alone, handles) = case.sender();
    let (together, same_handles) = case.sender();
    let mut burst = together.outbound(&simd);
    for (words, before) in &case.packets {
        let request = handles.request(words);
        let mut packet = before.to_vec();
        let result = alone.seal(&simd, &request, &mut packet);
        match result {
            Err(_) => assert_eq!(*before, packet),
            Ok(()) => check(&handles, &request, before, &packet),
        }
        // What a burst remembers of the packets before changes nothing.
        let mut again = before.to_vec();
        assert_eq!(burst.seal(&same_handles.request(words), &mut again), result);
        assert_eq!(again, packet);
    }
    drop(burst);
    assert_eq!(together.counters(), alone.counters());
}

/// A packet that was sealed with such words.
fn check(handles: &Handles, request: &SendRequest, before: &[u8], after: &[u8]) {
    for handle in [request.transport, request.tunnel].into_iter().flatten() {
        assert!(handles.outbound.contains(&handle));
    }
    let word = |at: usize| usize::from(u16::from_be_bytes([before[at], before[at + 1]]));
    let end = match before[0] >> 4 {
        4 => word(2),
        _ => 40 + word(4),
    };
    let first = match (request.ah_header_offset, request.esp_header_offset) {
        (0, esp) => esp,
        (ah, 0) => ah,
        (ah, esp) => ah.min(esp),
    };
    // Up to the sequence number of the first IPsec header, and after the packet. With two SAs the words
    // may be about the inner one: then the IP header alone is sure.
    let kept = match (request.transport, request.tunnel) {
        (Some(_), Some(_)) => 28,
        _ => usize::from(first) * 4 + 8,
    };
    assert_eq!(before[..kept], after[..kept]);
    assert_eq!(before[end..], after[end..]);
}
