//! Packets of every kind, while something may fail.

use std::time::Duration;

use ipsecov2_tests::{
    flow::{Came, Flows},
    kinds::Kind,
};
use ndis_sys::*;
use tcpip::{
    algorithm::Encryption,
    lab::{PATIENCE, status_name},
    offload::Handle,
    plan::Shape,
    split::Split,
};

use crate::{everything::Side, run::Run};

pub const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
pub const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

/// Flows of every kind, one of extended sequence numbers that wrap.
pub fn flows() -> Flows {
    let extended = extended();
    let flow = |(kind, id): (Kind, u32)| {
        let flow = kind.flow(id, A, B, id.is_multiple_of(2), 1200);
        if id as usize == extended {
            flow.extended((7 << 32) - 9)
        } else {
            flow
        }
    };
    Flows(Kind::all().into_iter().zip(0..).map(flow).collect())
}

/// The place of a kind among the flows.
fn place_of(kind: Kind) -> usize {
    let place = Kind::all().into_iter().position(|other| other == kind);
    place.expect("one of each kind")
}

/// The flow with extended sequence numbers. It needs no keyword, so its SA is always there.
pub fn extended() -> usize {
    place_of(Kind::Sealed(Shape::default(), Encryption::AesGcm256.into()))
}

/// The packets that have been sent of each flow.
pub struct Traffic<'a> {
    pub flows: &'a Flows,
    /// None where there is no SA at one of the ends.
    pub handles: Vec<Option<Vec<Handle>>>,
    pub next: Vec<u64>,
}

impl Traffic<'_> {
    /// Sends packets of every flow, `clear` of one. With a fault among them each is completed with a
    /// documented status and comes up if that is success, decrypted or as it was sent; without one, or
    /// once more, all come up as they should.
    pub fn flow(&mut self, run: &Run, a: &Side, b: &Side, clear: u64) {
        let before = run.found().is_some();
        let problem = self.attempt(run, a, b, clear);
        let place = run.failed_since(before);
        match (problem, place) {
            (None, _) => {}
            (Some(problem), None) => panic!("{problem}, for no reason"),
            (Some(_), Some(place)) => {
                if let Some(problem) = self.attempt(run, a, b, clear) {
                    panic!("{problem}, once more after {place}");
                }
            }
        }
    }

    /// Sends them once, and returns what is not as it is when nothing fails, and may be when something
    /// does. What may never be ends the test.
    fn attempt(&mut self, run: &Run, a: &Side, b: &Side, clear: u64) -> Option<String> {
        let mut packets = Vec::new();
        let mut lists = Vec::new();
        let without_sa = place_of(Kind::Clear);
        for (flow, next) in self.next.iter_mut().enumerate() {
            let Some(handles) = &self.handles[flow] else {
                continue;
            };
            for _ in 0..if flow == without_sa { clear } else { 2 } {
                let (number, cookie) = (*next, packets.len() as u64);
                *next += self.flows.0[flow].per_list();
                let mapped = packets.len().is_multiple_of(2);
                let split = Split::Random(number);
                lists.push(self.flows.0[flow].nbl(number, handles, split, mapped, cookie));
                packets.push((flow, number));
            }
        }
        a.port.send(lists).unwrap();
        let completed = a.recorder.take_completed(packets.len(), PATIENCE);
        run.failed_since(true);
        let received = b.recorder.take_received(usize::MAX, Duration::ZERO);

        let mut problem = None;
        let mut statuses = vec![None; packets.len()];
        for done in completed {
            let status = statuses[done.cookie as usize].replace(done.status);
            assert_eq!(status, None, "completed twice");
        }
        let mut received = received.iter().peekable();
        for (&(flow, first), status) in packets.iter().zip(statuses) {
            let count = self.flows.0[flow].per_list();
            let status = status.expect("every send is completed");
            let about = format!("packet {first} of flow {flow} after {:?}", run.found());
            let mut came = 0;
            // In order; of a large packet that failed, the segments before that.
            while came < count
                && received.peek().is_some_and(|seen| {
                    self.flows
                        .identify(&seen.frame)
                        .is_ok_and(|is| is == (flow, first + came))
                })
            {
                let seen = received.next().expect("it was there");
                let (.., how) = self
                    .flows
                    .judge(seen)
                    .unwrap_or_else(|error| panic!("{error:#}, {about}"));
                match how {
                    Came::Clear | Came::Verified => {}
                    Came::Untouched => problem = Some(format!("{about} came up sealed")),
                    how => panic!("{about}: {how:?}"),
                }
                came += 1;
            }
            match status {
                NDIS_STATUS_SUCCESS => assert_eq!(came, count, "{about}"),
                NDIS_STATUS_RESOURCES => {
                    assert!(came < count, "{about}");
                    problem = Some(format!("{about} is out of resources"));
                }
                other => panic!("{about}: {}", status_name(other)),
            }
        }
        assert_eq!(
            received.next(),
            None,
            "more came up than was sent, or out of order"
        );
        problem
    }
}
