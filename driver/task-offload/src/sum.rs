//! The one's complement sum of the Internet checksum, RFC 1071.

/// A sum over bytes, added in pieces of any length.
///
/// Words are added in the processor's byte order and swapped once at the end (RFC 1071 section 2,
/// B: the sum does not depend on byte order).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Far from overflow: each piece adds 16 bits.
    folded: u64,
    /// The bytes so far are odd in number: the next one is the low half of a word.
    odd: bool,
}

impl Sum {
    /// Of no bytes.
    pub const ZERO: Self = Self {
        folded: 0,
        odd: false,
    };

    /// With `bytes` behind those before.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let piece = fold(wide(bytes));
        // A piece that starts within a word has its bytes in the other halves (section 2, B).
        let piece = if self.odd { piece.swap_bytes() } else { piece };
        Self {
            folded: self.folded.wrapping_add(u64::from(piece)),
            odd: self.odd ^ (bytes.len() % 2 == 1),
        }
    }

    /// With a 16-bit number behind an even count of bytes.
    #[must_use]
    pub fn number(self, number: u16) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// With a 32-bit number behind an even count of bytes.
    #[must_use]
    pub fn long(self, number: u32) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// The sum, not complemented: what the transport leaves in a checksum field for the adapter to
    /// go on with.
    #[must_use]
    pub fn value(self) -> u16 {
        u16::from_be(fold(self.folded))
    }

    /// The checksum: the complement of the sum. Of bytes that hold their right checksum it is zero.
    #[must_use]
    pub fn checksum(self) -> u16 {
        !self.value()
    }
}

/// Adds up in 32-bit words: four accumulators of 64 bits, which a compiler makes vectors of, and
/// which 2^32 words cannot overflow.
fn wide(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let mut lanes = [0_u64; 4];
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = lane.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
        }
    }
    let mut sum = 0_u64;
    for lane in lanes {
        sum = sum.wrapping_add(u64::from(fold(lane)));
    }
    let (words, rest) = rest.as_chunks::<2>();
    for word in words {
        sum = sum.wrapping_add(u64::from(u16::from_ne_bytes(*word)));
    }
    if let [last] = rest {
        // Padded with a zero byte (section 4.1).
        sum = sum.wrapping_add(u64::from(u16::from_ne_bytes([*last, 0])));
    }
    sum
}

/// Adds the carries in.
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32).wrapping_add(sum & 0xffff_ffff);
    let sum = (sum >> 32).wrapping_add(sum & 0xffff_ffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    sum.wrapping_add(sum >> 16) as u16
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// RFC 1071 section 4.1, word by word in network order.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for word in bytes.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        sum as u16
    }

    /// Zero has two spellings in one's complement.
    fn same(a: u16, b: u16) -> bool {
        a == b || matches!((a, b), (0, 0xffff) | (0xffff, 0))
    }

    #[test]
    fn example_of_rfc_1071() {
        // Section 3: the sum is ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.bytes(&bytes).value(), 0xddf2);
        assert_eq!(Sum::ZERO.bytes(&bytes).checksum(), !0xddf2);
    }

    #[test]
    fn all_ones_do_not_overflow() {
        for len in (0..300).chain([65_535, 0x4_0000, 0x10_0001]) {
            let bytes = std::vec![0xff; len];
            assert_eq!(Sum::ZERO.bytes(&bytes).value(), slow(&bytes), "{len}");
        }
    }

    #[test]
    fn nothing_and_zeroes_sum_to_zero() {
        assert_eq!(Sum::ZERO.value(), 0);
        assert_eq!(Sum::ZERO.bytes(&[0; 77]).value(), 0);
    }

    proptest! {
        #[test]
        fn pieces_sum_to_the_whole(bytes in vec(any::<u8>(), 0..600), cuts in vec(0_usize..600, 0..9)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut sum = Sum::ZERO;
            for cut in cuts.windows(2) {
                sum = sum.bytes(&bytes[cut[0]..cut[1]]);
            }
            prop_assert!(same(sum.value(), slow(&bytes)), "{:x} {:x}", sum.value(), slow(&bytes));
        }

        #[test]
        fn a_sum_with_its_checksum_is_zero(mut bytes in vec(any::<u8>(), 2..2000)) {
            bytes[0] = 0;
            bytes[1] = 0;
            let [high, low] = Sum::ZERO.bytes(&bytes).checksum().to_be_bytes();
            bytes[0] = high;
            bytes[1] = low;
            prop_assert_eq!(Sum::ZERO.bytes(&bytes).checksum(), 0);
        }
    }
}
