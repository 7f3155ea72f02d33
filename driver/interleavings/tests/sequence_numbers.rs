//! Extended sequence numbers: packets of both sides of a wrap on different processors, and UPDATE_SA.
//! A number that comes twice would be an IV that comes twice.
#![cfg(loom)]

#[allow(dead_code, reason = "the receiving half is used by its own models")]
#[path = "../../ipsec/src/esn.rs"]
mod esn;

/// What the source asks of its crate.
mod sync {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

use std::num::NonZeroU32;

use esn::SequenceTracker;
use loom::{sync::Arc, thread};

const HIGH: u32 = 6;

/// Every order of events with at most three preemptions.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

const fn number(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// Assigns the number of one packet.
fn send(tracker: &SequenceTracker, low: u32) -> Option<u64> {
    tracker.outbound(low, NonZeroU32::MIN).ok()
}

/// A sending SA that has sent up to a few numbers before the wrap.
fn before_the_wrap() -> Arc<SequenceTracker> {
    let tracker = SequenceTracker::new(true, HIGH);
    assert_eq!(
        send(&tracker, u32::MAX - 3),
        Some(number(HIGH, u32::MAX - 3))
    );
    Arc::new(tracker)
}

fn sender(
    tracker: &Arc<SequenceTracker>,
    lows: &'static [u32],
) -> thread::JoinHandle<Vec<Option<u64>>> {
    let tracker = Arc::clone(tracker);
    thread::spawn(move || lows.iter().map(|low| send(&tracker, *low)).collect())
}

#[test]
fn both_sides_of_a_wrap_at_once() {
    model(|| {
        let tracker = before_the_wrap();
        let others = [
            sender(&tracker, &[u32::MAX - 2, 1]),
            sender(&tracker, &[u32::MAX - 1, 2]),
        ];
        let here = [u32::MAX, 0].map(|low| send(&tracker, low));
        let [first, second] = others.map(|other| other.join().unwrap());
        let before = |low| Some(number(HIGH, low));
        let after = |low| Some(number(HIGH + 1, low));
        assert_eq!(first, [before(u32::MAX - 2), after(1)]);
        assert_eq!(second, [before(u32::MAX - 1), after(2)]);
        assert_eq!(here, [before(u32::MAX), after(0)]);
        // And it has not gone back.
        assert_eq!(send(&tracker, 3), after(3));
    });
}

#[test]
fn the_announcement_of_a_wrap_races_with_it() {
    model(|| {
        let tracker = before_the_wrap();
        let other = sender(&tracker, &[u32::MAX - 1, 0]);
        let updating = {
            let tracker = Arc::clone(&tracker);
            thread::spawn(move || tracker.update(HIGH + 1, false).is_ok())
        };
        let here = [u32::MAX, 1].map(|low| send(&tracker, low));
        assert!(updating.join().unwrap());
        assert_eq!(
            other.join().unwrap(),
            [Some(number(HIGH, u32::MAX - 1)), Some(number(HIGH + 1, 0))]
        );
        assert_eq!(
            here,
            [Some(number(HIGH, u32::MAX)), Some(number(HIGH + 1, 1))]
        );
    });
}

#[test]
fn a_late_announcement_does_not_set_a_sender_back() {
    model(|| {
        let tracker = before_the_wrap();
        let other = sender(&tracker, &[0, 1]);
        let updating = {
            let tracker = Arc::clone(&tracker);
            // Either it is still so, or it is refused.
            thread::spawn(move || tracker.update(HIGH, false).is_ok())
        };
        let _ = updating.join().unwrap();
        assert_eq!(
            other.join().unwrap(),
            [Some(number(HIGH + 1, 0)), Some(number(HIGH + 1, 1))]
        );
        assert_eq!(send(&tracker, 2), Some(number(HIGH + 1, 2)));
    });
}

#[test]
fn receivers_on_two_processors_keep_the_highest() {
    model(|| {
        let tracker = before_the_wrap();
        let other = {
            let tracker = Arc::clone(&tracker);
            thread::spawn(move || {
                let sequence = tracker.inbound(5);
                assert_eq!(sequence, number(HIGH + 1, 5));
                tracker.seen(sequence);
            })
        };
        let sequence = tracker.inbound(u32::MAX);
        assert_eq!(sequence, number(HIGH, u32::MAX));
        tracker.seen(sequence);
        other.join().unwrap();
        assert_eq!(tracker.inbound(6), number(HIGH + 1, 6));
        assert_eq!(tracker.inbound(u32::MAX - 5), number(HIGH, u32::MAX - 5));
    });
}

/// A large send takes numbers on both sides of the wrap at once, against single packets.
#[test]
fn a_large_send_over_the_wrap_keeps_its_numbers_to_itself() {
    model(|| {
        let tracker = before_the_wrap();
        let large = {
            let tracker = Arc::clone(&tracker);
            let count = NonZeroU32::new(4).unwrap();
            thread::spawn(move || tracker.outbound(u32::MAX - 1, count).ok())
        };
        let here = [u32::MAX - 2, 2].map(|low| send(&tracker, low));
        assert_eq!(large.join().unwrap(), Some(number(HIGH, u32::MAX - 1)));
        assert_eq!(
            here,
            [Some(number(HIGH, u32::MAX - 2)), Some(number(HIGH + 1, 2))]
        );
        assert_eq!(send(&tracker, 3), Some(number(HIGH + 1, 3)));
    });
}

/// Without extended numbers the last one is the last: nothing is sent behind it, on any processor.
#[test]
fn short_numbers_end_on_every_processor() {
    model(|| {
        let tracker = Arc::new(SequenceTracker::new(false, 0));
        assert_eq!(send(&tracker, u32::MAX - 1), Some(number(0, u32::MAX - 1)));
        let other = sender(&tracker, &[u32::MAX, 0, 1]);
        let here = [0, 2].map(|low| send(&tracker, low));
        assert_eq!(here, [None, None]);
        assert_eq!(
            other.join().unwrap(),
            [Some(number(0, u32::MAX)), None, None]
        );
    });
}
