//! The kernel stack, of which every driver above has taken its part ("Using the Kernel
//! Stack").

use ndis_sys::{IoGetStackLimits, ULONG_PTR};

/// How many bytes of the stack are left: IoGetRemainingStackSize, which is inline over
/// IoGetStackLimits. Any IRQL. 0 when the stack that is in use is not the one that the kernel tells of.
#[must_use]
pub fn remaining_stack() -> usize {
    let (mut low, mut high): (ULONG_PTR, ULONG_PTR) = (0, 0);
    // SAFETY: callable at any IRQL; the kernel writes two words and does not keep them.
    unsafe { IoGetStackLimits(&raw mut low, &raw mut high) };
    let here = (&raw const low).addr();
    if here < high {
        here.saturating_sub(low)
    } else {
        0
    }
}
