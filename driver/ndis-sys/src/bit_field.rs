//! C bit-fields: Rust has none, so a word keeps the storage and names its fields.

use core::marker::PhantomData;

/// A bit-field of the word `W`: where it starts and how wide it is.
pub struct BitField<W> {
    shift: u32,
    width: u32,
    word: PhantomData<fn() -> W>,
}

impl<W> Clone for BitField<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for BitField<W> {}

/// Whether a word of `bits` bits has `width` bits from `shift` on.
pub(crate) const fn fits(shift: u32, width: u32, bits: u32) -> bool {
    width > 0 && shift < bits && width <= bits - shift
}

impl<W> BitField<W> {
    pub(crate) const fn new(shift: u32, width: u32) -> Self {
        Self {
            shift,
            width,
            word: PhantomData,
        }
    }

    /// The number of the field's least significant bit in the word.
    pub const fn shift(self) -> u32 {
        self.shift
    }

    /// The largest value of the field, which is also its mask before shifting.
    pub const fn max(self) -> u64 {
        u64::MAX >> (u64::BITS - self.width)
    }

    /// The field's mask within the word.
    pub const fn mask(self) -> u64 {
        self.max() << self.shift
    }
}
