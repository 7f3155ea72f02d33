//! Sequence numbers of 64 bits, of which a packet shows 32 (RFC 4303 section 2.2.1).
//!
//! Both directions take the high half that puts the packet nearest to the highest
//! number seen, and the lower one of two as near. That is RFC 4303 appendix A2 with a
//! window that reaches 2^31 numbers back: the receiver's replay window is the
//! transport's and its size is not known here, and the largest window never makes a
//! number wrong that a smaller one gets right, unless more than 2^31 packets in a row
//! are lost.
//!
//! # Sending and the IV
//! The explicit IV of GCM is the 64-bit number, so it repeats only if the number does.
//! The low halves are assigned by the transport. [`SequenceTracker::outbound`] maps
//! different 64-bit numbers to different results and never goes back on its own:
//! without ESN a number that would wrap is refused (RFC 4303 section 3.3.3), and
//! UPDATE_SA cannot set the high half of a sending SA back.

use core::num::NonZeroU32;

use crate::sync::{AtomicU64, Ordering};

/// Low half that stands for "no packet yet": halfway, so that the nearest high half is
/// the SA's own whatever the first packet's low half is. A real packet with this very low
/// half is kept in mind as the one after it, which is as near.
const NO_PACKET: u64 = 1 << 31;

const HALF: u64 = 1 << 31;

/// The highest sequence number that an SA has seen.
#[derive(Debug)]
pub(crate) struct SequenceTracker {
    highest: AtomicU64,
    extended: bool,
}

/// A sending SA has used up its sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// UPDATE_SA would make numbers, and with them IVs, come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backwards;

impl SequenceTracker {
    /// `high` is only used with extended numbers.
    pub(crate) fn new(extended: bool, high: u32) -> Self {
        let high = if extended { high } else { 0 };
        Self {
            highest: AtomicU64::new(join(high, 0) | NO_PACKET),
            extended,
        }
    }

    pub(crate) fn extended(&self) -> bool {
        self.extended
    }

    /// The number of the first of `count` packets to be sent with numbers in a row, of which
    /// it shows `low`; keeps the last of them in mind. Packets may come in any order, from any
    /// number of processors, if fewer than 2^31 numbers apart.
    pub(crate) fn outbound(&self, low: u32, count: NonZeroU32) -> Result<u64, Exhausted> {
        let highest = self.highest.load(Ordering::Relaxed);
        let first = nearest(highest, low).ok_or(Exhausted)?;
        let rest = u64::from(count.get()).saturating_sub(1);
        let last = first.checked_add(rest).ok_or(Exhausted)?;
        // Zero is what comes after the last one.
        let wrapped = low == 0 || last > u64::from(u32::MAX);
        if !self.extended && wrapped {
            return Err(Exhausted);
        }
        self.seen(last);
        Ok(first)
    }

    /// The number that a received packet most likely has. It is only a guess until the
    /// ICV, which covers the high half, turns out to be right.
    pub(crate) fn inbound(&self, low: u32) -> u64 {
        if self.extended {
            nearest(self.highest.load(Ordering::Relaxed), low).unwrap_or(u64::from(low))
        } else {
            u64::from(low)
        }
    }

    /// A packet with this number was authentic, or is about to be sent.
    pub(crate) fn seen(&self, sequence: u64) {
        let sequence = sequence.saturating_add(is_no_packet(sequence).into());
        let mut highest = self.highest.load(Ordering::Relaxed);
        while sequence > highest || is_no_packet(highest) {
            match self.highest.compare_exchange_weak(
                highest,
                sequence,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => highest = now,
            }
        }
    }

    /// UPDATE_SA: the high half is `high` from now on.
    ///
    /// The update and the packet that wraps the low half race. So an update that says what
    /// the tracker knows already, or will find out with the coming wrap, changes nothing:
    /// packets of both sides of the wrap get the right high half before and after it.
    pub(crate) fn update(&self, high: u32, may_go_back: bool) -> Result<(), Backwards> {
        let mut highest = self.highest.load(Ordering::Relaxed);
        loop {
            let (known, low) = split(highest);
            let coming = u64::from(low) >= HALF && known.checked_add(1) == Some(high);
            if known == high || (coming && !is_no_packet(highest)) {
                return Ok(());
            }
            if high < known && !may_go_back {
                return Err(Backwards);
            }
            match self.highest.compare_exchange_weak(
                highest,
                join(high, 0) | NO_PACKET,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => highest = now,
            }
        }
    }
}

fn is_no_packet(highest: u64) -> bool {
    highest & u64::from(u32::MAX) == NO_PACKET
}

fn split(sequence: u64) -> (u32, u32) {
    ((sequence >> 32) as u32, sequence as u32)
}

fn join(high: u32, low: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

/// The number with this low half that is nearest to `highest`. `None` if it would be
/// above the last number.
fn nearest(highest: u64, low: u32) -> Option<u64> {
    let (high, highest_low) = split(highest);
    let ahead = low.wrapping_sub(highest_low);
    if u64::from(ahead) < HALF {
        // At or ahead of the highest: over the wrap if the low half got smaller.
        let high = if low < highest_low {
            high.checked_add(1)?
        } else {
            high
        };
        Some(join(high, low))
    } else {
        // Behind; there is nothing before the first numbers, so it is a leap ahead then.
        let high = if low > highest_low {
            high.saturating_sub(1)
        } else {
            high
        };
        Some(join(high, low))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// RFC 4303 appendix A2.1, in numbers that cannot wrap: the number with this low half
    /// that is in the window below `highest`, or else the first one above it.
    fn appendix_a2(highest: u64, low: u32) -> i128 {
        const WINDOW: i128 = (1 << 31) + 1;
        let bottom = i128::from(highest) - WINDOW + 1;
        let mut number = i128::from(low);
        while number < bottom {
            number += 1 << 32;
        }
        if number - (1 << 32) >= bottom {
            number -= 1 << 32;
        }
        number
    }

    #[test]
    fn nearest_is_appendix_a2() {
        let lows = [
            0,
            1,
            2,
            0x7FFF_FFFE,
            0x7FFF_FFFF,
            0x8000_0000,
            0x8000_0001,
            0xFFFF_FFFE,
            0xFFFF_FFFF,
        ];
        for high in [0, 1, 2, 0x7FFF_FFFF, 0xFFFF_FFFE, 0xFFFF_FFFF] {
            for highest_low in lows {
                for low in lows {
                    let highest = join(high, highest_low);
                    let mut expected = appendix_a2(highest, low);
                    if expected < 0 {
                        expected += 1 << 32;
                    }
                    assert_eq!(
                        nearest(highest, low),
                        u64::try_from(expected).ok(),
                        "{highest:#x} {low:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_tracker_keeps_the_highest() {
        let tracker = SequenceTracker::new(true, 2);
        tracker.seen(join(2, 50));
        tracker.seen(join(2, 40));
        assert_eq!(tracker.highest.load(Ordering::Relaxed), join(2, 50));
        tracker.seen(join(3, 1));
        assert_eq!(tracker.highest.load(Ordering::Relaxed), join(3, 1));
    }

    /// What stands for "no packet yet" is also a packet's number: what comes after it must not
    /// bring an older number back.
    #[test]
    fn the_middle_is_a_number_like_others() {
        let tracker = SequenceTracker::new(true, 5);
        tracker.seen(join(5, 0x8000_0000));
        for replayed in [1, 2, 0x7FFF_FFFF] {
            tracker.seen(join(5, replayed));
            assert_eq!(tracker.inbound(0x8000_0001), join(5, 0x8000_0001));
        }
        // An update that comes before the wrap does not hurry it.
        assert_eq!(tracker.update(6, true), Ok(()));
        assert_eq!(tracker.inbound(0x8000_0001), join(5, 0x8000_0001));
        assert_eq!(tracker.inbound(0), join(6, 0));
    }

    #[test]
    fn numbers_in_a_row_are_taken_at_once() {
        let tracker = SequenceTracker::new(true, 2);
        let ten = NonZeroU32::new(10).unwrap();
        assert_eq!(
            tracker.outbound(u32::MAX - 3, ten),
            Ok(join(2, u32::MAX - 3))
        );
        assert_eq!(tracker.highest.load(Ordering::Relaxed), join(3, 5));
        assert_eq!(tracker.update(2, false), Err(Backwards));
    }

    #[test]
    fn a_short_sequence_number_has_no_high_half() {
        let tracker = SequenceTracker::new(false, 9);
        assert_eq!(tracker.outbound(5, NonZeroU32::MIN), Ok(5));
        assert_eq!(tracker.inbound(u32::MAX), u64::from(u32::MAX));
    }
}
