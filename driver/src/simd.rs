//! The way from NDIS to the engine's witness: the one place that makes a [`Simd`].

use ipsec::Simd;
use ndis::{Dispatch, ExtendedFeatures, SaveFailed};

/// Runs `work` inside the extended-state bracket. Taken once per burst.
///
/// # Errors
/// [`SaveFailed`]; `work` has not run.
pub fn with_simd<R>(
    features: ExtendedFeatures,
    at: Dispatch<'_>,
    work: impl FnOnce(&Simd) -> R,
) -> Result<R, SaveFailed> {
    features.with_state(at, |_bracket| {
        // SAFETY: the bracket is open: every enabled feature of AVX and AVX-512 is saved and will be
        // restored after `work`. The code is at DISPATCH_LEVEL, so it stays on this thread, and
        // only a reference is lent, which cannot leave the closure.
        let simd = unsafe { Simd::assume_saved() };
        work(&simd)
    })
}
